//! The authorization server: a refresh token works once.

use crate::http::client::HttpRequest;
use crate::http::exchange::Failed;
use crate::process::cancellation::CallContext;
use crate::protocol::response::Response;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Of std, and never locked where another thread may go on.
static SERVER: Mutex<Server> = Mutex::new(Server {
    pair: 0,
    requests: 0,
    used_again: 0,
    busy: 0,
    refuses: false,
});

pub(crate) struct Server {
    /// The number of the newest pair, `a0` and `r0` at first.
    pub(crate) pair: u32,
    pub(crate) requests: u32,
    /// Requests with a refresh token that was used before.
    pub(crate) used_again: u32,
    /// So many requests are answered with 503.
    pub(crate) busy: u32,
    /// Whether no refresh token is accepted.
    pub(crate) refuses: bool,
}

pub(crate) fn server() -> MutexGuard<'static, Server> {
    SERVER.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn begin() {
    *server() = Server {
        pair: 0,
        requests: 0,
        used_again: 0,
        busy: 0,
        refuses: false,
    };
}

/// The answer to a request, which nothing is sent for.
pub(crate) fn answer(
    call: &CallContext,
    request: &HttpRequest<'_>,
) -> Option<Result<Response, Failed>> {
    let query = request.uri.query()?;
    let token = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("refresh_token="))?;
    // On its way, and then on its way back.
    call.sleep(Duration::from_millis(50)).unwrap();
    let (status, body) = server().execute(token);
    call.sleep(Duration::from_millis(50)).unwrap();
    Some(Ok(Response {
        status,
        location: None,
        retry_after: None,
        body: body.into_bytes(),
        sent_before: false,
    }))
}

impl Server {
    fn execute(&mut self, token: &str) -> (u16, String) {
        self.requests += 1;
        if self.busy > 0 {
            self.busy -= 1;
            return (503, "{}".to_owned());
        }
        if token != format!("r{}", self.pair) {
            self.used_again += 1;
        } else if !self.refuses {
            self.pair += 1;
            let pair = self.pair;
            let body = format!(
                r#"{{"access_token":"a{pair}","refresh_token":"r{pair}","expires_in":3600,"member_id":"m"}}"#
            );
            return (200, body);
        }
        (400, r#"{"error":"invalid_grant"}"#.to_owned())
    }
}
