//! The host that need not be looked for: set by somebody, or known from the last time.
//!
//! Whoever is nearer to the product has the say: what was set by hand for it (`quorate set-host`), then the
//! environment, then the machine's own file, then the host that answered last. Only when there is none of
//! these is DNS asked. A host that somebody has set is the only one asked: an administrator who names a host
//! means that one, and a machine that turned to another unasked would hide that the named one is down.

use crate::discovery::Found;
use crate::host_address::HostAddress;
use quorate_core::{Error, Result};
use quorate_edge::files;
use std::path::{Path, PathBuf};

/// What this machine says about its host, as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSetting {
    /// The environment variable, if there is one.
    pub variable: Option<String>,
    /// The machine's file and its text, if it exists.
    pub file: Option<(PathBuf, String)>,
}

impl HostSetting {
    /// Reads the environment and this file, which need not exist.
    pub fn read(file: &Path) -> Result<Self> {
        let variable = std::env::var_os(VARIABLE).map(|value| value.to_string_lossy().into_owned());
        let file = match file.try_exists() {
            Ok(false) => None,
            // What cannot be looked at is read, for the error that names it.
            Ok(true) | Err(_) => Some((file.to_owned(), files::read_text(file)?)),
        };
        Ok(Self { variable, file })
    }

    /// The host that the machine's administrator has set, if any.
    fn host(&self) -> Result<Option<(HostAddress, Found)>> {
        if let Some(text) = self.variable.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            let host = text.parse().map_err(|error| from(VARIABLE, error))?;
            return Ok(Some((host, Found::Environment)));
        }
        let Some((path, text)) = &self.file else { return Ok(None) };
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let host = text.parse().map_err(|error| from(&path.display().to_string(), error))?;
        Ok(Some((host, Found::MachineFile)))
    }
}

/// The host to ask before DNS is, with how it is known.
pub fn known_host(
    by_hand: Option<&HostAddress>,
    setting: &HostSetting,
    cached: Option<&HostAddress>,
) -> Result<Option<(HostAddress, Found)>> {
    if let Some(host) = by_hand {
        return Ok(Some((host.clone(), Found::SetByHand)));
    }
    let cached = cached.map(|host| (host.clone(), Found::Cached));
    Ok(setting.host()?.or(cached))
}

/// Somebody reads the error who did not type the address just now: it says where it stands.
fn from(place: &str, error: Error) -> Error {
    Error::new(error.code, format!("{place}: {}", error.what), error.next)
}

/// The environment variable.
pub const VARIABLE: &str = "QUORATE_HOST";
/// The machine's file.
pub const FILE: &str = "/etc/quorate/host";

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::Code;

    fn host(text: &str) -> HostAddress {
        text.parse().unwrap()
    }

    fn setting(variable: Option<&str>, file: Option<&str>) -> HostSetting {
        HostSetting {
            variable: variable.map(str::to_owned),
            file: file.map(|text| (FILE.into(), text.to_owned())),
        }
    }

    #[test]
    fn the_nearest_has_the_say() {
        let (hand, cached) = (host("hand"), host("cached"));
        let both = setting(Some("variable"), Some("file:1700\n"));
        let file = setting(None, Some("file:1700\n"));
        let none = HostSetting::default();
        for (by_hand, setting, cached, expected) in [
            (Some(&hand), &both, Some(&cached), Some((host("hand"), Found::SetByHand))),
            (None, &both, Some(&cached), Some((host("variable"), Found::Environment))),
            (None, &file, Some(&cached), Some((host("file:1700"), Found::MachineFile))),
            (None, &none, Some(&cached), Some((host("cached"), Found::Cached))),
            (None, &none, None, None),
        ] {
            assert_eq!(known_host(by_hand, setting, cached).unwrap(), expected);
        }
    }

    #[test]
    fn empty_settings_are_none() {
        let file = setting(Some(""), Some("[2001:db8::10]:1700 \n"));
        let expected = Some((host("[2001:db8::10]:1700"), Found::MachineFile));
        assert_eq!(known_host(None, &file, None).unwrap(), expected);
        for empty in ["", "\n", "  \n"] {
            assert_eq!(known_host(None, &setting(Some(empty), Some(empty)), None).unwrap(), None);
        }
    }

    #[test]
    fn a_setting_that_is_no_host_is_named_and_not_passed_over() {
        let cached = host("cached");
        for (setting, place, text) in [
            (setting(Some("kms example"), Some("file")), VARIABLE, "\"kms example\""),
            (setting(None, Some("one\ntwo\n")), FILE, "\"one\\ntwo\""),
        ] {
            let error = known_host(None, &setting, Some(&cached)).unwrap_err();
            assert_eq!(error.code, Code::AddressInvalid);
            assert_eq!(
                error.what,
                format!(
                    "{place}: {text} is not a host: it has neither the form of a domain name nor of an IP address"
                )
            );
            assert_eq!(
                error.next,
                "write it as in \"kms.example.com\", \"192.0.2.10:1688\" or \"[2001:db8::10]:1688\""
            );
            // It does not stand in the way of a host that was set by hand.
            assert!(known_host(Some(&cached), &setting, None).is_ok());
        }
    }

    #[test]
    fn a_file_that_is_not_there_sets_nothing_and_one_that_is_not_text_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host");
        assert_eq!(HostSetting::read(&path).unwrap().file, None);
        std::fs::write(&path, "kms\n").unwrap();
        assert_eq!(HostSetting::read(&path).unwrap().file, Some((path.clone(), "kms\n".to_owned())));
        std::fs::write(&path, [0xff]).unwrap();
        let error = HostSetting::read(&path).unwrap_err();
        assert_eq!(error.what, format!("{} is not a text file", path.display()));
    }
}
