//! `ActivateRequest`: to the wire and, with every field checked, from it.

use crate::v1;
use quorate_core::activation::{ActivationRequest, Nonce, PROTOCOL_VERSION};
use quorate_core::hardware::HardwareId;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Error, Result, Timestamp};

/// A request as it is sent.
pub fn to_wire(request: &ActivationRequest) -> v1::ActivateRequest {
    v1::ActivateRequest {
        protocol_version: PROTOCOL_VERSION,
        application_id: request.application.to_string(),
        activation_id: request.sku.to_string(),
        cmid: request.cmid.to_string(),
        hardware_id: request.hardware.as_bytes().to_vec(),
        license_status: request.status.number(),
        minutes_left: request.minutes_left,
        threshold: request.threshold,
        client_time_ms: request.client_time.as_millisecond(),
        machine_name: request.machine_name.clone(),
        virtual_machine: request.virtual_machine,
        nonce: request.nonce.0.to_be_bytes().to_vec(),
        previous_cmid: request.previous_cmid.map(|cmid| cmid.to_string()).unwrap_or_default(),
    }
}

/// A request as it was received, or what is wrong with it.
pub fn from_wire(wire: &v1::ActivateRequest) -> Result<ActivationRequest> {
    if wire.protocol_version != PROTOCOL_VERSION {
        return Err(Error::new(
            Code::ProtocolVersion,
            format!(
                "the client speaks version {} of the protocol, this host version {PROTOCOL_VERSION}",
                wire.protocol_version
            ),
            "update the older of the two",
        ));
    }
    if wire.machine_name.len() > LONGEST_NAME {
        return Err(invalid(&format!(
            "machine_name has {} bytes, at most {LONGEST_NAME} are allowed",
            wire.machine_name.len()
        )));
    }
    let nonce: [u8; 16] = wire
        .nonce
        .as_slice()
        .try_into()
        .map_err(|_| invalid(&format!("nonce has {} bytes, not 16", wire.nonce.len())))?;
    Ok(ActivationRequest {
        application: wire.application_id.parse()?,
        sku: wire.activation_id.parse()?,
        cmid: wire.cmid.parse()?,
        hardware: HardwareId::from_bytes(&wire.hardware_id)
            .ok_or_else(|| invalid(&format!("hardware_id has {} bytes, not 32", wire.hardware_id.len())))?,
        status: LicenseStatus::from_number(wire.license_status).ok_or_else(|| {
            invalid(&format!("license_status {} is not one of 0 to 6", wire.license_status))
        })?,
        minutes_left: wire.minutes_left,
        threshold: wire.threshold,
        client_time: Timestamp::from_millisecond(wire.client_time_ms)
            .map_err(|_| invalid(&format!("client_time_ms {} is not a time", wire.client_time_ms)))?,
        // Names go to logs and terminals: what could steer these is left out.
        machine_name: wire.machine_name.chars().filter(|c| !c.is_control()).collect(),
        virtual_machine: wire.virtual_machine,
        nonce: Nonce(u128::from_be_bytes(nonce)),
        previous_cmid: match wire.previous_cmid.as_str() {
            "" => None,
            text => Some(text.parse()?),
        },
    })
}

fn invalid(what: &str) -> Error {
    Error::new(
        Code::RequestInvalid,
        format!("the request cannot be: {what}"),
        "update the client; if it is not Quorate's own, compare it with the published .proto",
    )
}

/// The longest name that DNS has.
const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quorate_core::identifier::{ActivationId, ApplicationId, Cmid};
    use uuid::Uuid;

    fn any_request() -> impl Strategy<Value = ActivationRequest> {
        (
            any::<(u128, u128, u128, [u8; 32])>(),
            (0..7usize, any::<u32>(), any::<u32>(), 0..4_000_000_000_000i64),
            ("[a-z0-9.-]{0,40}", any::<bool>(), any::<u128>(), any::<Option<u128>>()),
        )
            .prop_map(
                |((application, sku, cmid, hardware), (status, minutes_left, threshold, time), rest)| {
                    let (machine_name, virtual_machine, nonce, previous) = rest;
                    ActivationRequest {
                        application: ApplicationId(Uuid::from_u128(application)),
                        sku: ActivationId(Uuid::from_u128(sku)),
                        cmid: Cmid(Uuid::from_u128(cmid)),
                        hardware: HardwareId::from_bytes(&hardware).unwrap(),
                        status: LicenseStatus::ALL[status],
                        minutes_left,
                        threshold,
                        client_time: Timestamp::from_millisecond(time).unwrap(),
                        machine_name,
                        virtual_machine,
                        nonce: Nonce(nonce),
                        previous_cmid: previous.map(|cmid| Cmid(Uuid::from_u128(cmid))),
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn round_trip(request in any_request()) {
            prop_assert_eq!(from_wire(&to_wire(&request)).unwrap(), request);
        }
    }

    fn sound() -> v1::ActivateRequest {
        let id = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6".to_owned();
        v1::ActivateRequest {
            protocol_version: 1,
            application_id: id.clone(),
            activation_id: id.clone(),
            cmid: id,
            hardware_id: vec![0; 32],
            nonce: vec![0; 16],
            ..v1::ActivateRequest::default()
        }
    }

    #[test]
    fn each_field_that_cannot_be_is_named() {
        let what = |change: fn(&mut v1::ActivateRequest)| {
            let mut wire = sound();
            change(&mut wire);
            from_wire(&wire).unwrap_err().what
        };
        assert!(from_wire(&sound()).is_ok());
        assert_eq!(
            what(|w| w.protocol_version = 2),
            "the client speaks version 2 of the protocol, this host version 1"
        );
        assert_eq!(what(|w| w.nonce.truncate(3)), "the request cannot be: nonce has 3 bytes, not 16");
        assert_eq!(what(|w| w.hardware_id.clear()), "the request cannot be: hardware_id has 0 bytes, not 32");
        assert_eq!(
            what(|w| w.license_status = 7),
            "the request cannot be: license_status 7 is not one of 0 to 6"
        );
        assert_eq!(what(|w| w.cmid = "x".to_owned()), "\"x\" is not a client machine id (CMID)");
        assert_eq!(
            what(|w| w.machine_name = "x".repeat(256)),
            "the request cannot be: machine_name has 256 bytes, at most 255 are allowed"
        );
        assert_eq!(
            what(|w| w.client_time_ms = i64::MAX),
            "the request cannot be: client_time_ms 9223372036854775807 is not a time"
        );
    }

    #[test]
    fn a_machine_name_cannot_steer_a_terminal() {
        let wire = v1::ActivateRequest { machine_name: "pc\u{1b}[2J-1\n".to_owned(), ..sound() };
        assert_eq!(from_wire(&wire).unwrap().machine_name, "pc[2J-1");
    }
}
