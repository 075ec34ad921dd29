//! Refusals, in the form and with the codes of the real API.

use serde_json::{Value, json};

use crate::rehearsal::serve::Answer;
use crate::rehearsal::strict::Wrong;

/// A request the API refuses.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: i64,
    message: String,
    /// The true cause, where the API hides it one level down.
    chain: Option<(i64, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: i64, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), chain: None }
    }

    /// There is nothing at this path.
    pub(super) fn no_route() -> Refusal {
        Refusal::new(404, 7003, "Could not route to the requested path, perhaps your object identifier is invalid?")
    }

    /// A record the API does not take.
    pub(super) fn validation(code: i64, cause: impl Into<String>) -> Refusal {
        Refusal { chain: Some((code, cause.into())), ..Refusal::new(400, 1004, "DNS Validation Error") }
    }

    pub(super) fn body(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some((code, message)) = &self.chain {
            error["error_chain"] = json!([{ "code": code, "message": message }]);
        }
        json!({ "success": false, "errors": [error], "messages": [], "result": null })
    }

    pub(super) fn into_answer(self) -> Answer {
        let headers = if self.status == 429 { vec![("retry-after", "300".to_owned())] } else { vec![] };
        Answer { status: self.status, body: Some(self.body()), headers }
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Refusal {
        match wrong {
            Wrong::Body(why) => Refusal::new(400, 6007, format!("Malformed JSON in request body: {why}")),
            Wrong::Field(field, why) => Refusal::validation(9005, format!("{field}: {why}")),
        }
    }
}
