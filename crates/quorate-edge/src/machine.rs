//! Which machine this is: what identifies it, its name, and whether it is virtual or a container.
//!
//! Only what every user of the machine can read is used, so that a service and a person at a terminal see
//! the same machine. All readings are made here; tests and the demo play other machines by a file of
//! readings (`--machine FILE`).

use crate::files;
use quorate_core::hardware::{Component, Components};
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
    /// What kind of machine it is.
    pub kind: Kind,
    /// What identifies it; hashed before it goes anywhere.
    pub readings: BTreeMap<Component, Vec<String>>,
}

/// What kind of machine a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A computer of its own.
    Physical,
    /// Under a hypervisor.
    Virtual,
    /// In a container, which shares its system with others and is often gone tomorrow.
    Container,
}

/// Who runs this program: the name that the system has for its real user id, or the id when it has none. Unlike the
/// variables `USER` and `LOGNAME`, nobody can set it.
#[cfg(feature = "users")]
pub fn user() -> String {
    let id = nix::unistd::getuid();
    match nix::unistd::User::from_uid(id) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("uid {id}"),
    }
}

impl Machine {
    /// This machine, or the one that a file describes.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        match file {
            None => Ok(Self::at(Path::new("/"))),
            Some(path) => toml::from_str(&files::read_text(path)?).map_err(|error| {
                Error::new(
                    Code::DocumentInvalid,
                    format!("{} does not describe a machine: {}", path.display(), error.message()),
                    "it needs a name, a kind (physical, virtual or container) and a table of readings",
                )
            }),
        }
    }

    /// A played machine that has only a machine id.
    pub fn played(name: &str, machine_id: &str) -> Self {
        let readings = BTreeMap::from([(Component::MachineId, vec![machine_id.to_owned()])]);
        Self { name: name.to_owned(), kind: Kind::Physical, readings }
    }

    /// Its components, hashed.
    pub fn components(&self) -> Components {
        let values = self
            .readings
            .iter()
            .flat_map(|(component, values)| values.iter().map(|value| (*component, value.as_str())));
        Components::new(values)
    }

    /// Whether it is not a computer of its own: what hosts call virtual.
    pub fn is_virtual(&self) -> bool {
        self.kind != Kind::Physical
    }

    /// The machine whose system is mounted at `root`.
    fn at(root: &Path) -> Self {
        let mut readings = BTreeMap::new();
        for (component, values) in [
            (Component::MachineId, line(root, "etc/machine-id").into_iter().collect()),
            (Component::Board, board(root)),
            (Component::Disk, disks(root)),
            (Component::Network, network_cards(root)),
            (Component::Processor, processor(root)),
        ] {
            if !values.is_empty() {
                readings.insert(component, values);
            }
        }
        let name = line(root, "proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".to_owned());
        Self { name, kind: kind(root), readings }
    }
}

/// Maker and model; serial numbers of the board are for root's eyes only.
fn board(root: &Path) -> Vec<String> {
    let dmi = |name: &str| line(root, &format!("sys/class/dmi/id/{name}"));
    let parts: Vec<String> =
        ["sys_vendor", "product_name", "board_name"].into_iter().filter_map(dmi).collect();
    if parts.is_empty() { Vec::new() } else { vec![parts.join(" ")] }
}

/// World-wide names or serial numbers of the disks, where the kernel shows them.
fn disks(root: &Path) -> Vec<String> {
    entries(root, "sys/block")
        .into_iter()
        .filter_map(|disk| {
            let read = |name: &str| line(root, &format!("sys/block/{disk}/{name}"));
            read("wwid")
                .or_else(|| read("device/wwid"))
                .or_else(|| read("device/serial"))
                .or_else(|| read("serial"))
        })
        .collect()
}

/// The addresses of network cards with a device behind them; bridges, tunnels and the like come and go.
fn network_cards(root: &Path) -> Vec<String> {
    entries(root, "sys/class/net")
        .into_iter()
        .filter(|card| root.join(format!("sys/class/net/{card}/device")).exists())
        .filter_map(|card| line(root, &format!("sys/class/net/{card}/address")))
        .filter(|address| address != "00:00:00:00:00:00")
        .collect()
}

fn processor(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    // The names on x86, and on Arm.
    field("model name").or_else(|| field("CPU part")).into_iter().collect()
}

fn kind(root: &Path) -> Kind {
    let exists = |path: &str| root.join(path).exists();
    let first_process = std::fs::read(root.join("proc/1/environ")).unwrap_or_default();
    // Docker and Podman leave a file; systemd-nspawn and LXC tell the first process.
    let told = first_process.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"container="));
    if exists(".dockerenv") || exists("run/.containerenv") || exists("run/systemd/container") || told {
        return Kind::Container;
    }
    // The processor says when a hypervisor is under it; Linux passes that on as a flag.
    let processor = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let under_hypervisor = flags.split_whitespace().any(|flag| flag == "hypervisor")
        // Arm has no such flag, but the firmware or a device tree tells.
        || exists("sys/hypervisor/type")
        || exists("proc/device-tree/hypervisor/compatible");
    if under_hypervisor { Kind::Virtual } else { Kind::Physical }
}

fn line(root: &Path, path: &str) -> Option<String> {
    let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn entries(root: &Path, path: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join(path)) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system's files, as a machine would have them.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn a_laptop_is_read() {
        let root = system(&[
            ("etc/machine-id", "3f1c\n"),
            ("proc/sys/kernel/hostname", "pc-7\n"),
            ("proc/cpuinfo", "model name\t: Model 85\nflags\t\t: fpu sse\n"),
            ("sys/class/dmi/id/sys_vendor", "Contoso\n"),
            ("sys/class/dmi/id/board_name", "X1\n"),
            ("sys/block/nvme0n1/wwid", "eui.01\n"),
            ("sys/block/loop0/size", "0\n"),
            ("sys/class/net/eth0/address", "02:00:00:00:00:01\n"),
            ("sys/class/net/eth0/device/vendor", "x\n"),
            ("sys/class/net/docker0/address", "02:42:00:00:00:01\n"),
            ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
        ]);
        let machine = Machine::at(root.path());
        let readings = |component| machine.readings[&component].clone();
        assert_eq!((machine.name.as_str(), machine.kind), ("pc-7", Kind::Physical));
        assert_eq!(readings(Component::MachineId), ["3f1c"]);
        assert_eq!(readings(Component::Board), ["Contoso X1"]);
        assert_eq!(readings(Component::Disk), ["eui.01"]);
        assert_eq!(readings(Component::Network), ["02:00:00:00:00:01"]);
        assert_eq!(readings(Component::Processor), ["Model 85"]);
    }

    #[test]
    fn virtual_machines_and_containers_are_recognised() {
        let kind = |files: &[(&str, &str)]| Machine::at(system(files).path()).kind;
        assert_eq!(kind(&[]), Kind::Physical);
        assert_eq!(kind(&[("proc/cpuinfo", "flags\t\t: fpu hypervisor sse\n")]), Kind::Virtual);
        assert_eq!(kind(&[(".dockerenv", "")]), Kind::Container);
        assert_eq!(kind(&[("run/.containerenv", "")]), Kind::Container);
        assert_eq!(kind(&[("proc/1/environ", "PATH=/bin\0container=lxc\0")]), Kind::Container);
    }

    #[test]
    fn a_machine_without_anything_to_read_is_a_machine() {
        let machine = Machine::at(system(&[]).path());
        assert!(machine.readings.is_empty() && machine.components().is_empty());
        assert_eq!(machine.name, "unknown");
    }
}
