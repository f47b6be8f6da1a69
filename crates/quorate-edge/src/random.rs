//! Random bytes from the system, for keys, nonces and CMIDs.

use quorate_core::activation::Nonce;
use quorate_core::identifier::Cmid;

/// `N` random bytes.
///
/// # Panics
///
/// When the operating system has no randomness to give. Nothing safe could be done without it, and no
/// supported system ever refuses.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A new client machine id: a UUID of version 4.
pub fn cmid() -> Cmid {
    Cmid(uuid::Builder::from_random_bytes(bytes()).into_uuid())
}

/// A nonce for one request.
pub fn nonce() -> Nonce {
    Nonce(u128::from_be_bytes(bytes()))
}
