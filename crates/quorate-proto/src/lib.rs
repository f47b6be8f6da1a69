//! The protocol: the `.proto`, its generated code, and the conversions between wire and domain.
//!
//! The messages on the wire are loose, as protobuf is: any string may stand where a GUID should. The
//! conversions here are the one place where they become [`quorate_core::activation`] types or an error, so
//! that neither client nor host ever handles an unchecked message. Errors cross whole (see [`status`]).
//!
//! Where to go next: `quorate-client` sends these, `quorate-host` answers them.

pub mod request;
pub mod status;

/// The code generated from `proto/quorate/v1/activation.proto`.
#[expect(missing_docs, clippy::allow_attributes, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// The compiled `.proto`, for tools that ask a server what it can be asked.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");

/// The port that hosts listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 1688;
