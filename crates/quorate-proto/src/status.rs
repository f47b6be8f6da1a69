//! Errors on the wire: a gRPC status for any client, with our code, text and next step in its details.

use crate::v1::ErrorDetail;
use prost::Message;
use quorate_core::{Code, Error};
use tonic::Status;

/// An error as a gRPC status.
pub fn to_status(error: &Error) -> Status {
    to_status_with(error, "")
}

/// An error as a gRPC status, with the signed revocation list that is its reason.
pub fn to_status_with(error: &Error, revocations: &str) -> Status {
    let detail = ErrorDetail {
        code: error.code.as_str().to_owned(),
        what: error.what.clone(),
        next: error.next.clone(),
        revocations: revocations.to_owned(),
    };
    let code = match error.code {
        Code::RequestInvalid | Code::IdentifierInvalid => tonic::Code::InvalidArgument,
        Code::Busy => tonic::Code::ResourceExhausted,
        Code::Unreadable
        | Code::Unwritable
        | Code::DiskFull
        | Code::StoreDamaged
        | Code::DatabaseUnavailable => tonic::Code::Unavailable,
        Code::Internal => tonic::Code::Internal,
        _ => tonic::Code::FailedPrecondition,
    };
    Status::with_details(code, error.to_string(), detail.encode_to_vec().into())
}

/// The error that a host gave and the revocation list that came with it, if the status carries an error.
pub fn from_status(status: &Status) -> Option<(Error, String)> {
    let detail = ErrorDetail::decode(status.details()).ok()?;
    let error = Error { code: detail.code.parse().ok()?, what: detail.what, next: detail.next };
    Some((error.from_outside(), detail.revocations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_whole() {
        let error = Error::new(Code::ClockSkew, "both times", "set the clock");
        assert_eq!(from_status(&to_status(&error)), Some((error.clone(), String::new())));
        assert_eq!(from_status(&to_status_with(&error, "list")), Some((error, "list".to_owned())));
        assert_eq!(from_status(&Status::unavailable("a proxy's words")), None);
    }
}
