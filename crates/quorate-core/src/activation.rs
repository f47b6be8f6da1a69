//! One activation: what a machine asks, whether a host may answer, what it answers, and what the machine
//! believes of it.
//!
//! The host never decides whether a machine is licensed. It says how many machines it has seen, signed; the
//! machine compares that with its own signed policy. A response is bound by a nonce to its request.

use crate::catalog::{Catalog, Channel, Sku};
use crate::certificate::{Entitlement, Role, VendorRoot};
use crate::extended_pid::ExtendedPid;
use crate::hardware::HardwareId;
use crate::identifier::{ActivationId, ApplicationId, Cmid, VendorId};
use crate::license_state::LicenseStatus;
use crate::policy::Policy;
use crate::revocation::RevocationList;
use crate::signed::{self, Document};
use crate::{Code, Error, Interval, Result, Timestamp, words};
use serde::{Deserialize, Serialize};

/// The version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a machine asks of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationRequest {
    /// The application by which it is counted.
    pub application: ApplicationId,
    /// The edition that wants to be activated.
    pub sku: ActivationId,
    /// The machine.
    pub cmid: Cmid,
    /// Which hardware it is, hashed.
    pub hardware: HardwareId,
    /// Its license status now.
    pub status: LicenseStatus,
    /// How long that status lasts, in minutes; zero when it does not end.
    pub minutes_left: u32,
    /// The count that its policy needs.
    pub threshold: u32,
    /// Its clock.
    pub client_time: Timestamp,
    /// Its name, for the administrator.
    pub machine_name: String,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// Random; the response repeats it.
    pub nonce: Nonce,
    /// The CMID it had before, when it had to make a new one.
    pub previous_cmid: Option<Cmid>,
}

/// Sixteen random bytes that bind a response to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub u128);

/// What a host answers, signed with its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ActivationResponse {
    /// As asked.
    pub application: ApplicationId,
    /// As asked.
    pub sku: ActivationId,
    /// As asked.
    pub cmid: Cmid,
    /// As asked.
    pub hardware: HardwareId,
    /// As asked, in hexadecimal.
    #[serde(with = "nonce_text")]
    pub nonce: Nonce,
    /// How many distinct machines have asked for this application within the policy's time.
    pub count: u32,
    /// The host's extended PID.
    pub host_pid: ExtendedPid,
    /// The host's clock.
    pub host_time: Timestamp,
    /// How often a machine that is not activated should ask.
    pub activation_interval: Interval,
    /// How often an activated machine should renew.
    pub renewal_interval: Interval,
    /// The CMID is in use on other hardware: make a new one and ask again.
    pub clone: bool,
}

impl Document for ActivationResponse {
    const TYPE: &'static str = "quorate-response+jws";
    const CALLED: &'static str = "an activation response";
    const ROLES: &'static [Role] = &[Role::Host];
}

/// Finds out whether a host that holds these entitlements may answer a request, and with which.
///
/// Pure: the daemon asks this before it counts anything.
pub fn admit<'e>(
    request: &ActivationRequest,
    catalog: &Catalog,
    entitlements: impl IntoIterator<Item = &'e Entitlement>,
    now: Timestamp,
) -> Result<&'e Entitlement> {
    let unknown = |what: String| {
        Error::new(
            Code::HostCannotActivate,
            what,
            "install a newer license pack on the host, or ask another host",
        )
    };
    let sku = catalog.products.sku(request.sku).ok_or_else(|| {
        unknown(format!("this host's catalog {} has no product {}", catalog.number, request.sku))
    })?;
    if sku.application != request.application {
        return Err(Error::new(
            Code::RequestInvalid,
            format!("product {} is not of application {}", request.sku, request.application),
            "reinstall the product on the client",
        ));
    }
    if sku.channel != Channel::KmsClient {
        return Err(Error::new(
            Code::HostCannotActivate,
            format!("{} is in the {}: hosts activate KMS clients only", sku.name, sku.channel),
            "activate it with its own product key at the vendor's service",
        ));
    }
    let policy = catalog.products.policy(sku);
    check_clocks(policy, request.client_time, now)?;
    entitlements
        .into_iter()
        .find(|entitlement| covers(entitlement, sku))
        .ok_or_else(|| unknown(format!("no host key that is activated here covers {}", sku.name)))
}

fn check_clocks(policy: &Policy, client: Timestamp, host: Timestamp) -> Result<()> {
    let apart = Interval::between(client.min(host), client.max(host));
    if apart <= policy.clock_tolerance {
        return Ok(());
    }
    Err(Error::new(
        Code::ClockSkew,
        format!(
            "the clocks are {} minutes apart, {} are allowed: the client's says {client:.0}, the host's {host:.0}",
            apart.as_minutes(),
            policy.clock_tolerance.as_minutes(),
        ),
        "set the clock that is wrong",
    ))
}

fn covers(entitlement: &Entitlement, sku: &Sku) -> bool {
    sku.group.as_ref().is_some_and(|group| entitlement.sku_groups.contains(group))
}

/// What a client trusts and knows when a response arrives.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The vendor root.
    pub root: &'a VendorRoot,
    /// The vendor.
    pub vendor: &'a VendorId,
    /// The vendor's catalog.
    pub catalog: &'a Catalog,
    /// The highest number of a revocation list seen so far.
    pub newest_revocations: u64,
}

/// A response that the client may believe.
#[derive(Clone, Debug)]
pub struct AcceptedResponse {
    /// What the host said.
    pub response: ActivationResponse,
    /// The number of the revocation list that came with it.
    pub revocations: u64,
}

/// Accepts a response only if it chains to the vendor root, was signed by a host that is entitled and not
/// revoked, and answers exactly this request.
pub fn accept(
    response_jws: &str,
    revocations_jws: &str,
    request: &ActivationRequest,
    trust: Trust<'_>,
    now: Timestamp,
) -> Result<AcceptedResponse> {
    let verified = verify_license(response_jws, request.sku, trust, now)?;
    let response = verified.document;
    if response.nonce != request.nonce {
        return Err(Error::new(
            Code::NonceMismatch,
            "the response answers another request than the one sent: it was replayed",
            "ask again; if this repeats, someone on the way is answering for the host",
        ));
    }
    let same = (response.application, response.sku, response.cmid, response.hardware)
        == (request.application, request.sku, request.cmid, request.hardware);
    if !same {
        return Err(Error::new(
            Code::ResponseMismatch,
            format!(
                "the response is for machine {} and product {}, not for this one",
                response.cmid, response.sku
            ),
            "ask again; if this repeats, report it to whoever runs the host",
        ));
    }
    if let Some(sku) = trust.catalog.products.sku(request.sku) {
        // A license lasts from the time in the response, so that must be the time of now.
        check_clocks(trust.catalog.products.policy(sku), now, response.host_time)?;
    }
    let list = signed::verify::<RevocationList>(revocations_jws, trust.root, trust.vendor, now)?.document;
    list.check_number(trust.newest_revocations)?;
    list.check_host(&verified.signer)?;
    Ok(AcceptedResponse { response, revocations: list.number })
}

/// The part of [`accept`] that stays true later: a stored response is verified again, at the time when it
/// was given, whenever a license is read from the store.
pub fn verify_license(
    response_jws: &str,
    sku: ActivationId,
    trust: Trust<'_>,
    at: Timestamp,
) -> Result<signed::Verified<ActivationResponse>> {
    let verified = signed::verify::<ActivationResponse>(response_jws, trust.root, trust.vendor, at)?;
    let sku = trust.catalog.products.sku(sku).ok_or_else(|| {
        Error::new(
            Code::ProductKeyUnsuited,
            format!("catalog {} has no product {sku}", trust.catalog.number),
            "register the vendor's newest catalog on this machine",
        )
    })?;
    let entitled = verified.signer.entitlement.as_ref().is_some_and(|entitlement| covers(entitlement, sku));
    if !entitled {
        return Err(Error::new(
            Code::NotEntitled,
            format!("the host's certificate does not entitle it to activate {}", sku.name),
            "set or publish a host whose key covers this product",
        ));
    }
    Ok(verified)
}

/// When a stored response says that it was given. Only its signature tells whether that is true: verify it
/// as of this time with [`verify_license`].
pub fn claimed_time(response_jws: &str) -> Result<Timestamp> {
    signed::peek::<ActivationResponse>(response_jws).map(|response| response.host_time)
}

/// Compares a count with the policy: enough, or the error that says how many are missing.
pub fn check_count(policy: &Policy, count: u32) -> Result<()> {
    if count >= policy.threshold {
        return Ok(());
    }
    let missing = policy.threshold - count;
    Err(Error::new(
        Code::CountTooLow,
        format!("count {count} of {}: the host has not been asked by enough machines yet", policy.threshold),
        format!(
            "wait: `quorate run` asks again by itself. {} must ask this host; clones of one image count once",
            words::counted(missing, "more machine")
        ),
    ))
}

/// A 128-bit number does not fit into JSON numbers.
mod nonce_text {
    use super::Nonce;
    use serde::Deserialize;

    pub(super) fn serialize<S: serde::Serializer>(nonce: &Nonce, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", nonce.0))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Nonce, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Nonce).map_err(serde::de::Error::custom)
    }
}
