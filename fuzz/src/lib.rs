//! What several targets share: the vendor of quorate-core's own tests, and a valid thing with one piece of
//! it replaced.
//!
//! A fuzzer finds its way through JSON, DER and digits from nothing, but not through a signature or a
//! checksum. So most targets start from something valid and let the fuzzer choose what to do to it.

#[path = "../../crates/quorate-core/tests/common/mod.rs"]
pub mod vendor;

use arbitrary::Arbitrary;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One piece replaced by another.
#[derive(Arbitrary, Debug)]
pub struct Edit<'a> {
    start: u16,
    length: u8,
    piece: &'a [u8],
}

impl Edit<'_> {
    /// What takes the place; a target may also try it alone.
    pub fn piece(&self) -> &[u8] {
        self.piece
    }

    /// `original` with the piece replaced; the same again when both pieces are empty.
    pub fn apply(&self, original: &[u8]) -> Vec<u8> {
        let start = usize::from(self.start).min(original.len());
        let end = (start + usize::from(self.length)).min(original.len());
        [&original[..start], self.piece, &original[end..]].concat()
    }
}

/// Where in a JWS an edit is made: in the decoded header, payload or signature, or in the text as it is.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Part {
    Header,
    Payload,
    Signature,
    Text,
}

impl Part {
    /// The JWS with this part edited.
    pub fn edit(self, jws: &str, edit: &Edit<'_>) -> String {
        let index = match self {
            Part::Header => 0,
            Part::Payload => 1,
            Part::Signature => 2,
            Part::Text => return String::from_utf8_lossy(&edit.apply(jws.as_bytes())).into_owned(),
        };
        let mut parts: Vec<String> = jws.split('.').map(str::to_owned).collect();
        let decoded = URL_SAFE_NO_PAD.decode(&parts[index]).expect("the original is sound");
        parts[index] = URL_SAFE_NO_PAD.encode(edit.apply(&decoded));
        parts.join(".")
    }
}
