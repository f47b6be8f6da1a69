//! What tools of gRPC ask any server on its main port: is it healthy, and what can be called?
//!
//! Both are open to anybody, as `Activate` is, and tell nothing that the published `.proto` does not.

use crate::health::Health;
use quorate_core::{Code, Error, Result};
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;

/// Adds both services to these.
pub fn add(routes: Routes, health: Health) -> Result<Routes> {
    let unreadable = |error: tonic_reflection::server::Error| {
        Error::new(
            Code::Internal,
            format!("the protocol cannot be described ({error})"),
            "please report this",
        )
    };
    let reflection = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(quorate_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes
        .add_service(HealthServer::new(health).max_decoding_message_size(LARGEST_REQUEST))
        .add_service(reflection().build_v1().map_err(unreadable)?.max_decoding_message_size(LARGEST_REQUEST))
        // What tools from before 2023 ask.
        .add_service(
            reflection().build_v1alpha().map_err(unreadable)?.max_decoding_message_size(LARGEST_REQUEST),
        ))
}

/// A name is all that is asked.
const LARGEST_REQUEST: usize = 4 * 1024;
