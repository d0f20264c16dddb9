//! What the portal answers, before faults change it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::fault::At;
use crate::http::reason;
use crate::limits::OperatingTime;
use crate::php::to_json;
use crate::settings::Refusal;
use crate::state::State;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// An answer to a request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The error code, for the log.
    pub(crate) error: String,
}

impl Answer {
    pub(crate) fn json<T: Serialize>(status: u16, value: &T) -> Self {
        match to_json(value) {
            Ok(body) => Self {
                status,
                content_type: JSON,
                body,
                ..Self::default()
            },
            Err(error) => Self::html(500, &error.to_string()),
        }
    }

    pub(crate) fn html(status: u16, note: &str) -> Self {
        let title = format!("{status} {}", reason(status));
        let body = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
             <hr><center>nginx</center>\r\n<!-- {note} -->\r\n</body>\r\n</html>\r\n"
        );
        Self {
            status,
            content_type: HTML,
            body: body.into_bytes(),
            ..Self::default()
        }
    }

    pub(crate) fn redirect(status: u16, location: String) -> Self {
        Self {
            headers: vec![("Location".into(), location)],
            ..Self::html(status, "the portal has another address")
        }
    }

    pub(crate) fn with_headers(
        mut self,
        headers: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        self.headers.extend(headers);
        self
    }
}

/// A refusal, as the portal words it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) error: String,
    pub(crate) description: Option<String>,
}

/// [`Problem`] as the portal writes it.
#[derive(Debug, Serialize)]
pub(crate) struct ProblemBody {
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: u16, error: &str, description: &str) -> Self {
        Self {
            status,
            error: error.to_owned(),
            description: Some(description.to_owned()),
        }
    }

    pub(crate) fn expired_token() -> Self {
        let description = "The access token provided has expired";
        Self::new(401, "expired_token", description)
    }

    pub(crate) fn invalid_token() -> Self {
        let description = "Unable to get application by token";
        Self::new(401, "invalid_token", description)
    }

    pub(crate) fn into_body(self) -> ProblemBody {
        ProblemBody {
            error: self.error,
            error_description: self.description,
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let error = problem.error.clone();
        Self {
            error,
            ..Self::json(problem.status, &problem.into_body())
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal {
                html: true, status, ..
            } => Self::html(status, "refused by the settings"),
            Refusal {
                body: Some(body),
                status,
                ..
            } => Self {
                status,
                content_type: JSON,
                body: body.into_bytes(),
                ..Self::default()
            },
            other => Problem::from(other).into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            error: refusal.error,
            description: refusal.description,
        }
    }
}

/// A result in its envelope.
#[derive(Debug, Serialize)]
pub(crate) struct Success<T> {
    pub(crate) result: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<Time>,
}

/// How long a call took, and what is left of the budget.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Time {
    start: f64,
    finish: f64,
    duration: f64,
    processing: f64,
    date_start: String,
    date_finish: String,
    operating_reset_at: i64,
    operating: f64,
}

impl Time {
    /// The times of a call of a method that began then and ends now. None if the settings say so.
    pub(crate) fn since(start: SystemTime, state: &State, at: At) -> Option<Self> {
        if !state.settings.time {
            return None;
        }
        let finish = SystemTime::now();
        let duration = finish
            .duration_since(start)
            .unwrap_or_default()
            .as_secs_f64();
        let budget = state.settings.operating;
        let none = OperatingTime::default();
        let operating = state.operating(at).unwrap_or(&none);
        let reset_in = budget.map_or(600.0, |budget| {
            let now = state.clock.now();
            state.clock.real(operating.reset_in(budget, now))
        });
        Some(Self {
            start: unix(start),
            finish: unix(finish),
            duration,
            processing: 0.0,
            date_start: date(start),
            date_finish: date(finish),
            operating_reset_at: whole_seconds(unix(finish) + reset_in),
            operating: operating.spent(),
        })
    }
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[expect(clippy::cast_possible_truncation, reason = "a Unix time fits for ages")]
fn whole_seconds(time: f64) -> i64 {
    time.ceil() as i64
}

/// As portals write dates: Moscow time, without fractions.
fn date(time: SystemTime) -> String {
    let moscow = UtcOffset::from_hms(3, 0, 0).unwrap_or(UtcOffset::UTC);
    OffsetDateTime::from(time)
        .to_offset(moscow)
        .replace_nanosecond(0)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}
