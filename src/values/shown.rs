//! How a message shows a value that the host program gave.

/// So many characters of it.
const LONGEST: usize = 40;

/// In quotes, on one line and not long. A URL is not shown: if it was given by mistake, it may be a
/// webhook's, which is a secret.
pub(crate) fn shown(value: &str) -> String {
    // One without a scheme, too, if it is that of a webhook.
    if value.contains("://") || value.contains("/rest/") {
        return "(a URL, not shown)".to_owned();
    }
    let rest = if value.chars().nth(LONGEST).is_some() {
        "…"
    } else {
        ""
    };
    format!(
        "{:?}",
        value.chars().take(LONGEST).collect::<String>() + rest
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_short_and_on_one_line() {
        assert_eq!(shown("pro vider"), "\"pro vider\"");
        assert_eq!(shown("a\nb\u{1b}"), "\"a\\nb\\u{1b}\"");
        let (most, more) = ("ä".repeat(40), "ä".repeat(41));
        assert_eq!(shown(&most), format!("\"{most}\""));
        assert_eq!(shown(&more), format!("\"{most}…\""));
    }

    #[test]
    fn a_url_is_not_shown() {
        for url in [
            "https://portal.bitrix24.com/rest/1/k3y/",
            "HTTP://portal/k3y",
            "portal.bitrix24.com/rest/1/k3y/",
        ] {
            assert!(!shown(url).contains("k3y"), "{url}");
        }
    }
}
