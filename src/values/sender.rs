//! A sender: an SMS provider as an application registers it.

use super::error::{Error, ErrorKind};
use super::shown::shown;
use super::status::check_code;
use serde::Serialize;
use std::collections::BTreeMap;

/// An SMS provider as it is registered with a portal: its code, the handler that the portal sends
/// messages to, and the texts that users see.
///
/// It is checked when a call uses it. Plain data: it can be cloned and sent to threads.
///
/// ```
/// use b24_messageservice::Sender;
///
/// let mut sender = Sender::new("provider1");
/// sender
///     .handler("https://provider.example.com/send")
///     .name("Provider One")
///     .description_in("en", "SMS by Provider One")
///     .description_in("de", "SMS von Provider One");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    code: String,
    handler: Option<String>,
    name: Text,
    description: Text,
    kind: Option<String>,
}

/// A text that users see: one for all languages, or one for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "Written")]
pub(crate) struct Text {
    plain: Option<String>,
    by_language: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written {
    Plain(String),
    ByLanguage(BTreeMap<String, String>),
}

impl From<Text> for Written {
    fn from(text: Text) -> Self {
        match text.plain {
            Some(plain) => Self::Plain(plain),
            None => Self::ByLanguage(text.by_language),
        }
    }
}

impl Text {
    fn set(&mut self, language: Option<&str>, text: &str) {
        match language {
            None => self.plain = Some(text.to_owned()),
            Some(language) => {
                self.by_language
                    .insert(language.to_owned(), text.to_owned());
            }
        }
    }

    pub(crate) fn is_unset(&self) -> bool {
        self.plain.is_none() && self.by_language.is_empty()
    }

    fn check(&self, name: &str) -> Result<(), Error> {
        let wrong = |language: &String| {
            language.is_empty()
                || !language
                    .bytes()
                    .all(|b| b.is_ascii_alphabetic() || b == b'-')
        };
        let is_blank = |text: &String| text.trim().is_empty();
        if self.plain.is_some() && !self.by_language.is_empty() {
            Err(invalid(
                name,
                "is given both as one text and by language; give one of the two",
            ))
        } else if let Some(language) = self.by_language.keys().find(|language| wrong(language)) {
            let language = shown(language);
            Err(invalid(
                name,
                &format!("has the language {language}; give a code such as en"),
            ))
        } else if self
            .plain
            .iter()
            .chain(self.by_language.values())
            .any(is_blank)
        {
            Err(invalid(name, "is empty; give a text, or leave it out"))
        } else {
            Ok(())
        }
    }
}

impl Sender {
    /// A sender with this provider code, `[A-Za-z0-9._-]+`, and nothing else.
    pub fn new(code: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            handler: None,
            name: Text::default(),
            description: Text::default(),
            kind: None,
        }
    }

    /// The address that the portal posts messages to. Required to add a sender.
    pub fn handler(&mut self, url: &str) -> &mut Self {
        self.handler = Some(url.to_owned());
        self
    }

    /// The name that users see, in every language. Required to add a sender, unless
    /// [`name_in`](Self::name_in) gives names by language.
    pub fn name(&mut self, text: &str) -> &mut Self {
        self.name.set(None, text);
        self
    }

    /// The name that users of one language, such as `en`, see.
    pub fn name_in(&mut self, language: &str, text: &str) -> &mut Self {
        self.name.set(Some(language), text);
        self
    }

    /// The description that users see, in every language.
    pub fn description(&mut self, text: &str) -> &mut Self {
        self.description.set(None, text);
        self
    }

    /// The description that users of one language, such as `en`, see.
    pub fn description_in(&mut self, language: &str, text: &str) -> &mut Self {
        self.description.set(Some(language), text);
        self
    }

    /// The type of its messages. Portals accept only `SMS` so far, which is the default. It cannot
    /// be changed later.
    pub fn sender_type(&mut self, sender_type: &str) -> &mut Self {
        self.kind = Some(sender_type.to_owned());
        self
    }

    /// Sets one of `handler`, `name`, `description` and `type` by its name; `language` is for a
    /// name or description in one language.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for any other name, and for a language with
    /// `handler` or `type`.
    pub fn set(
        &mut self,
        name: &str,
        language: Option<&str>,
        text: &str,
    ) -> Result<&mut Self, Error> {
        match (name, language) {
            ("name", _) => self.name.set(language, text),
            ("description", _) => self.description.set(language, text),
            ("handler", None) => self.handler = Some(text.to_owned()),
            ("type", None) => self.kind = Some(text.to_owned()),
            ("handler" | "type", Some(_)) => {
                return Err(invalid(
                    name,
                    "is the same in every language; give no language",
                ));
            }
            _ => {
                let message = format!(
                    "a sender has no {}; it has handler, name, description and type",
                    shown(name)
                );
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        }
        Ok(self)
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn handler_if_set(&self) -> Option<&str> {
        self.handler.as_deref()
    }

    pub(crate) fn name_text(&self) -> &Text {
        &self.name
    }

    pub(crate) fn description_text(&self) -> &Text {
        &self.description
    }

    pub(crate) fn type_or_default(&self) -> &str {
        self.kind.as_deref().unwrap_or("SMS")
    }

    /// Checks that it can be added.
    pub(crate) fn check_add(&self) -> Result<(), Error> {
        self.check()?;
        if self.handler.is_none() {
            return Err(invalid(
                "handler",
                "is missing; give the address that the portal posts messages to",
            ));
        }
        if self.name.is_unset() {
            return Err(invalid("name", "is missing; give the name that users see"));
        }
        if self.type_or_default().trim().is_empty() {
            return Err(invalid("type", "is empty; give SMS, or leave it out"));
        }
        Ok(())
    }

    /// Checks that it says what to change.
    pub(crate) fn check_update(&self) -> Result<(), Error> {
        self.check()?;
        if self.kind.is_some() {
            return Err(invalid("type", "cannot be changed; leave it out"));
        }
        if self.handler.is_none() && self.name.is_unset() && self.description.is_unset() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "nothing to change; give a handler, name or description",
            ));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        check_sender_code(&self.code)?;
        if let Some(handler) = &self.handler {
            check_handler(handler)?;
        }
        self.name.check("name")?;
        self.description.check("description")
    }
}

/// What the portal's table holds; what is longer it refuses with `ERROR_SENDER_ADD_FAILURE`.
const MAX_CODE: usize = 128;
const MAX_HANDLER: usize = 1000;

pub(crate) fn check_sender_code(code: &str) -> Result<(), Error> {
    check_code(code)?;
    if code.len() > MAX_CODE {
        return Err(invalid(
            "code",
            &format!("is longer than {MAX_CODE} characters"),
        ));
    }
    Ok(())
}

fn check_handler(handler: &str) -> Result<(), Error> {
    const TAKES: &str = "give an address such as https://provider.example.com/send";
    let is_url = ["https://", "http://"].iter().any(|scheme| {
        let start = handler.get(..scheme.len()).unwrap_or_default();
        let rest = handler.get(scheme.len()..).unwrap_or_default();
        start.eq_ignore_ascii_case(scheme) && !rest.is_empty() && !rest.starts_with(['/', '?', '#'])
    });
    if handler.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Err(invalid(
            "handler",
            &format!("contains a space or control character; {TAKES}"),
        ))
    } else if handler.chars().count() > MAX_HANDLER {
        Err(invalid(
            "handler",
            &format!("is longer than {MAX_HANDLER} characters"),
        ))
    } else if is_url {
        Ok(())
    } else {
        Err(invalid(
            "handler",
            &format!("is not an http or https address; {TAKES}"),
        ))
    }
}

fn invalid(name: &str, problem: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("the sender's {name} {problem}"),
    )
}
