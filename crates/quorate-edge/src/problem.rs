//! Errors over HTTP: RFC 9457 problems that carry our code and next step.

use quorate_core::{Code, Error};
use serde::{Deserialize, Serialize};

/// The body of an error answer, `application/problem+json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: the code says more than a URI could.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// The stable code.
    pub code: Code,
    /// What to do next.
    pub next: String,
}

impl Problem {
    /// An error as a problem.
    pub fn new(status: u16, error: Error) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: error.code.summary().to_owned(),
            status,
            detail: error.what,
            code: error.code,
            next: error.next,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let error = Self { code: problem.code, what: problem.detail, next: problem.next };
        error.from_outside()
    }
}
