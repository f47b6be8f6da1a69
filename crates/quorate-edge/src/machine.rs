//! Which machine this is: the readings behind the hardware id, its name, and whether it is virtual.
//!
//! Only what every user of the machine can read is used, so that a service and a person at a terminal see
//! the same machine. Tests and the demo play other machines by a file of readings (`--machine FILE`).

use crate::files;
use quorate_core::hardware::HardwareId;
use quorate_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What is known of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// Its host name.
    pub name: String,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// What identifies it; hashed before it goes anywhere.
    pub readings: BTreeMap<String, String>,
}

impl Machine {
    /// This machine, or the one that a file describes.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        match file {
            None => Ok(Self::this()),
            Some(path) => toml::from_str(&files::read_text(path)?).map_err(|error| {
                Error::new(
                    Code::DocumentInvalid,
                    format!("{} does not describe a machine: {}", path.display(), error.message()),
                    "it needs name, virtual-machine and a table of readings",
                )
            }),
        }
    }

    /// The machine's hardware id.
    pub fn hardware(&self) -> HardwareId {
        HardwareId::from_readings(self.readings.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    fn this() -> Self {
        let line = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let readings = READINGS
            .iter()
            .filter_map(|(name, path)| line(path).map(|value| ((*name).to_owned(), value)))
            .collect();
        // The processor says when a hypervisor is under it; Linux passes that on as a flag.
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let virtual_machine = processor
            .lines()
            .find(|line| line.starts_with("flags"))
            .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
        let name = line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".to_owned());
        Self { name, virtual_machine, readings }
    }
}

const READINGS: &[(&str, &str)] = &[
    ("machine-id", "/etc/machine-id"),
    ("board", "/sys/class/dmi/id/board_name"),
    ("product", "/sys/class/dmi/id/product_name"),
    ("maker", "/sys/class/dmi/id/sys_vendor"),
];
