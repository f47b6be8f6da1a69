//! SHA-256, for what has to be found or compared without being kept.

use aws_lc_rs::digest;

/// The hash of this content.
pub(crate) fn sha256(content: &[u8]) -> [u8; 32] {
    sha256_of(&[content])
}

/// The hash of these pieces in a row.
pub(crate) fn sha256_of(pieces: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    pieces.iter().for_each(|piece| context.update(piece));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
