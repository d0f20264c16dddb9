//! The message providers that are registered with a portal.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::php::Value;

/// A message provider, with its name and description as they were given.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sender {
    /// The application that it belongs to.
    #[serde(skip)]
    pub(crate) application: String,
    #[serde(skip)]
    pub(crate) code: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) handler: String,
    pub(crate) name: Value,
    pub(crate) description: Value,
}

impl Sender {
    /// One that was there before the test began.
    fn preset(code: &str) -> Self {
        Self {
            application: String::new(),
            code: code.to_owned(),
            kind: "SMS".into(),
            handler: "https://handler.test/".into(),
            name: Value::Str(code.to_owned()),
            description: Value::Str(String::new()),
        }
    }
}

/// The message providers of all applications, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Senders(Vec<Sender>);

impl Senders {
    pub(crate) fn preset(codes: &[String]) -> Self {
        Self(codes.iter().map(|code| Sender::preset(code)).collect())
    }

    fn position(&self, application: &str, code: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|sender| sender.application == application && sender.code == code)
    }

    pub(crate) fn has(&self, application: &str, code: &str) -> bool {
        self.position(application, code).is_some()
    }

    pub(crate) fn add(&mut self, sender: Sender) {
        self.0.push(sender);
    }

    pub(crate) fn get_mut(&mut self, application: &str, code: &str) -> Option<&mut Sender> {
        let position = self.position(application, code)?;
        self.0.get_mut(position)
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, application: &str, code: &str) -> bool {
        let position = self.position(application, code);
        position.map(|position| self.0.remove(position)).is_some()
    }

    /// The codes of an application's providers.
    pub(crate) fn codes(&self, application: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |sender| sender.application == application)
            .map(|sender| sender.code.as_str())
    }

    /// Each provider by its code, or by `APPLICATION|CODE` where applications are told apart.
    pub(crate) fn by_code(&self) -> BTreeMap<String, &Sender> {
        let named = self.0.iter().map(|sender| {
            let name = match sender.application.as_str() {
                "" => sender.code.clone(),
                application => format!("{application}|{}", sender.code),
            };
            (name, sender)
        });
        named.collect()
    }
}
