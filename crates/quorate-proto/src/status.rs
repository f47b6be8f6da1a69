//! Errors on the wire: a gRPC status for any client, with our code, text and next step in its details.

use crate::v1::ErrorDetail;
use prost::Message;
use quorate_core::{Code, Error};
use tonic::Status;

/// An error as a gRPC status.
pub fn to_status(error: &Error) -> Status {
    let detail = ErrorDetail {
        code: error.code.as_str().to_owned(),
        what: error.what.clone(),
        next: error.next.clone(),
    };
    let code = match error.code {
        Code::RequestInvalid | Code::IdentifierInvalid => tonic::Code::InvalidArgument,
        Code::Busy => tonic::Code::ResourceExhausted,
        Code::Unreadable | Code::Unwritable | Code::DiskFull | Code::StoreDamaged => tonic::Code::Unavailable,
        Code::Internal => tonic::Code::Internal,
        _ => tonic::Code::FailedPrecondition,
    };
    Status::with_details(code, error.to_string(), detail.encode_to_vec().into())
}

/// The error that a host gave, if the status carries one.
pub fn from_status(status: &Status) -> Option<Error> {
    let detail = ErrorDetail::decode(status.details()).ok()?;
    Some(Error { code: detail.code.parse().ok()?, what: detail.what, next: detail.next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_whole() {
        let error = Error::new(Code::ClockSkew, "both times", "set the clock");
        assert_eq!(from_status(&to_status(&error)), Some(error));
        assert_eq!(from_status(&Status::unavailable("a proxy's words")), None);
    }
}
