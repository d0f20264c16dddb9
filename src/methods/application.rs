//! `app.info` and `user.admin`: what an access token is of, and whether its user is an administrator.
//! They confirm installations and are not offered to callers.

use crate::engine::method::{Method, Request, write_json};
use crate::protocol::error_table::AttemptError;
use crate::protocol::response::{Operating, Response, Source, read};
use crate::values::error::Error;
use serde::Serialize;
use serde_json::Value;

static APP_INFO: Method = Method {
    path: "/rest/app.info",
    idempotent: true,
    budget: "app.info",
    codes: &[],
    after_timeout: "let the portal send its request again",
};

static USER_ADMIN: Method = Method {
    path: "/rest/user.admin",
    idempotent: true,
    budget: "user.admin",
    codes: &[],
    after_timeout: "let the portal send its request again",
};

/// Asks what an access token is of.
pub(crate) struct AppInfo;

/// Asks whether the user of an access token is an administrator.
pub(crate) struct UserAdmin;

/// What an access token is of, as far as the server says it. Empty is what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) client_id: String,
    pub(crate) member_id: String,
    pub(crate) client_endpoint: String,
}

#[derive(Serialize)]
struct Body<'a> {
    auth: &'a str,
}

impl Request for AppInfo {
    type Output = Application;

    fn method(&self) -> &'static Method {
        &APP_INFO
    }

    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error> {
        write_json(body, &Body { auth: token })
    }

    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<(Application, Operating), AttemptError> {
        read(response, source, |envelope| {
            let result: Value = envelope
                .result_as()
                .ok_or("an answer without a description of the application")?;
            let installed = result.get("install").unwrap_or(&Value::Null);
            let text = |name: &str| {
                [&result, installed]
                    .into_iter()
                    .find_map(|part| part.get(name)?.as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            let application = Application {
                client_id: text("client_id"),
                member_id: text("member_id"),
                client_endpoint: text("client_endpoint"),
            };
            Ok((application, envelope.operating()))
        })
    }
}

impl Request for UserAdmin {
    type Output = bool;

    fn method(&self) -> &'static Method {
        &USER_ADMIN
    }

    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error> {
        write_json(body, &Body { auth: token })
    }

    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<(bool, Operating), AttemptError> {
        read(response, source, |envelope| {
            let is_admin: bool = envelope
                .result_as()
                .ok_or("an answer that is neither true nor false")?;
            Ok((is_admin, envelope.operating()))
        })
    }
}
