//! Small files whose damage is noticed: JSON with a SHA-256 over the content beside it.
//!
//! The checksum is no secret and no lock. It tells a file that was cut off or lost a bit from one that holds
//! what was written, so that the store never acts on half a truth.

use aws_lc_rs::digest;
use quorate_core::{Code, Error, Result};
use quorate_edge::files::{self, Access};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::path::Path;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    sha256: String,
    content: Box<RawValue>,
}

/// What was found.
pub enum Found<T> {
    /// The content, as it was written.
    Whole(T),
    /// No file.
    Missing,
    /// A file that is not what was written, and what is wrong with it.
    Damaged(Error),
}

/// Reads a sealed file. An error is for one that is there and cannot be read at all.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Found<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(files::reading(path, &error)),
    };
    let damaged = |why: &str| {
        Found::Damaged(Error::new(
            Code::StoreDamaged,
            format!("{} is damaged: {why}", path.display()),
            "`quorate activate` makes it anew (a copy is kept); a host that was set by hand must be set again",
        ))
    };
    let Ok(sealed) = serde_json::from_slice::<Sealed>(&bytes) else {
        return Ok(damaged("it is cut off or overwritten"));
    };
    if sealed.sha256 != checksum(sealed.content.get()) {
        return Ok(damaged("its checksum does not match"));
    }
    Ok(match serde_json::from_str(sealed.content.get()) {
        Ok(content) => Found::Whole(content),
        Err(error) => damaged(&format!("it was written by another version ({error})")),
    })
}

/// Writes a sealed file, whole or not at all.
pub fn write<T: Serialize>(path: &Path, content: &T, access: Access) -> Result<()> {
    let internal = |error: serde_json::Error| {
        Error::new(
            Code::Internal,
            format!("{} cannot be written ({error})", path.display()),
            "please report this",
        )
    };
    let content = serde_json::value::to_raw_value(content).map_err(internal)?;
    let sealed = Sealed { sha256: checksum(content.get()), content };
    files::write(path, &serde_json::to_vec(&sealed).map_err(internal)?, access)
}

fn checksum(content: &str) -> String {
    let digest = digest::digest(&digest::SHA256, content.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, &vec!["one", "two"], Access::Public).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert!(
            matches!(read::<Vec<String>>(&path).unwrap(), Found::Whole(content) if content == ["one", "two"])
        );
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(read::<Vec<String>>(&path).unwrap(), Found::Damaged(_)), "cut to {length}");
        }
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << bit;
                std::fs::write(&path, &flipped).unwrap();
                // A flip within white space or the case of a digit is no damage; what is read is what was written.
                if let Found::Whole(content) = read::<Vec<String>>(&path).unwrap() {
                    assert_eq!(content, ["one", "two"], "byte {byte}, bit {bit}");
                }
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read::<Vec<String>>(&path).unwrap(), Found::Missing));
    }
}
