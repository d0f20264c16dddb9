//! The Markdown of the tables, in the forms that other documents need.

/// One line, without the space that each line of a comment begins with.
pub(crate) fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without the marks of code.
pub(crate) fn plain(text: &str) -> String {
    line(text).replace('`', "")
}

/// As Python's docstrings mark code.
pub(crate) fn restructured(text: &str) -> String {
    line(text).replace('`', "``")
}

/// With a capital letter at its beginning and a full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    format!("{}.", first.chain(letters).collect::<String>())
}

/// The lines as one text.
pub(crate) fn joined(lines: &[String]) -> String {
    lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

/// Lines of at most `width` characters, each with `indent` before it.
pub(crate) fn wrap(text: &str, indent: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines
}

/// A long word of a manual page, which may then be broken where an address has its parts. troff
/// warns of a word that does not fit into a line.
fn breakable(code: &str) -> String {
    const FITS: usize = 50;
    if code.len() <= FITS || code.contains(' ') {
        return code.to_owned();
    }
    code.split_inclusive(['/', '@', '?'])
        .collect::<Vec<_>>()
        .join("\\:")
}

/// As a manual page in mdoc: code stands on lines of its own, with the punctuation that follows it.
/// `macro_of` tells the macro for a piece of code.
pub(crate) fn mdoc(text: &str, macro_of: impl Fn(&str) -> &'static str) -> Vec<String> {
    let text = line(text);
    let mut lines: Vec<String> = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            lines.push(format!(".{} {}", macro_of(part), breakable(part)));
            continue;
        }
        let rest = part.trim_start_matches(['.', ',', ':', ';', ')']);
        let (punctuation, _) = part.split_at(part.len() - rest.len());
        if let Some(last) = lines.last_mut() {
            for mark in punctuation.chars() {
                last.push(' ');
                last.push(mark);
            }
        }
        // A sentence has a line of its own, so that formatters know where it ends.
        for sentence in rest.trim().split_inclusive(". ") {
            lines.extend(wrap(sentence, "", 80));
        }
    }
    lines
}
