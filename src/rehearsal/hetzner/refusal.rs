//! Refusals, in the form and with the codes of the real API.

use serde_json::{Value, json};

use crate::rehearsal::serve::Answer;
use crate::rehearsal::strict::Wrong;

/// A request the API refuses.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error code.
    pub code: &'static str,
    /// The message.
    pub message: String,
    /// More, where the code has more.
    pub details: Value,
}

impl Refusal {
    /// A refusal without details.
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), details: Value::Null }
    }

    /// 404: there is no such thing.
    pub(super) fn not_found(what: &str, id: impl std::fmt::Display) -> Refusal {
        Refusal::new(404, "not_found", format!("{what} with ID '{id}' not found"))
    }

    /// 422: a field is wrong.
    pub(super) fn invalid(field: &str, why: &str) -> Refusal {
        Refusal {
            details: json!({ "fields": [{ "name": field, "messages": [why] }] }),
            ..Refusal::new(422, "invalid_input", format!("invalid input in field '{field}': {why}"))
        }
    }

    /// 409: the name, or what tells things apart, is taken.
    pub(super) fn taken(field: &str, message: &str) -> Refusal {
        Refusal { details: json!({ "fields": [{ "name": field }] }), ..Refusal::new(409, "uniqueness_error", message) }
    }

    /// The answer that says so.
    pub(super) fn into_answer(self) -> Answer {
        let error = json!({ "code": self.code, "message": self.message, "details": self.details });
        Answer { status: self.status, body: Some(json!({ "error": error })), headers: vec![] }
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Refusal {
        match wrong {
            Wrong::Body(why) => Refusal::new(400, "json_error", why),
            Wrong::Field(field, why) => Refusal::invalid(&field, why),
        }
    }
}
