//! Hardware: which machine this is, and how much of it may change.
//!
//! The edges read what identifies a machine (machine id, board, disks, network cards, processor). Each reading
//! is hashed at once, so that neither a license store, nor a host, nor the vendor ever learns a serial number
//! or a MAC address. The hashes are kept by component, and weighed when they are compared: a new network card
//! or a docking station is the same machine, another board and disk is not. All of them together make the
//! hardware id, of which Installation IDs carry the first 48 bits.

use crate::{Code, Error, Result};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What can identify a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The id that the system was given when it was installed.
    MachineId,
    /// The board, by maker and model.
    Board,
    /// The disks.
    Disk,
    /// The network cards that are built in or plugged in.
    Network,
    /// The processor, by model.
    Processor,
}

/// Shares of a weight, so that a part of it is a whole number.
const PARTS: u64 = 1_000;

impl Component {
    /// Whether a machine has some of these today and others tomorrow.
    fn comes_and_goes(self) -> bool {
        matches!(self, Component::Disk | Component::Network)
    }

    fn name(self) -> &'static str {
        match self {
            Component::MachineId => "machine-id",
            Component::Board => "board",
            Component::Disk => "disk",
            Component::Network => "network",
            Component::Processor => "processor",
        }
    }
}

/// How much each component counts when two readings of a machine are compared: part of the signed policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HardwareTolerance {
    /// The weight of the machine id.
    pub machine_id: u32,
    /// The weight of the board.
    pub board: u32,
    /// The weight of the disks.
    pub disk: u32,
    /// The weight of the network cards.
    pub network: u32,
    /// The weight of the processor.
    pub processor: u32,
    /// The part of the weight, in percent, that must be as it was.
    pub required_percent: u32,
}

impl Default for HardwareTolerance {
    /// The machine id and the disks may stay alone, or everything but the machine id. Board and processor say which
    /// model it is: with the machine id alone, as in an image of one model, they are not enough.
    fn default() -> Self {
        Self { machine_id: 35, board: 10, disk: 25, network: 20, processor: 10, required_percent: 60 }
    }
}

impl HardwareTolerance {
    /// Compares what a machine was with what it is, by all that is known of either. Of disks and network cards, which
    /// come and go, the part that is the same counts; of the others there is one, or nothing can be said.
    ///
    /// So a description that is written to fit several machines fits none of them well enough.
    pub fn compare(&self, was: &Components, is: &Components) -> Comparison {
        let (mut same, mut whole) = (0, 0);
        let none = BTreeSet::new();
        let components: BTreeSet<Component> = was.0.keys().chain(is.0.keys()).copied().collect();
        for component in components {
            let weight = u64::from(self.weight(component)) * PARTS;
            whole += weight;
            let (before, now) =
                (was.0.get(&component).unwrap_or(&none), is.0.get(&component).unwrap_or(&none));
            let (shared, all) = (before.intersection(now).count(), before.union(now).count());
            if component.comes_and_goes() || all == 1 {
                same += weight * shared as u64 / all.max(1) as u64;
            }
        }
        // Of a machine of which nothing is known, nothing has changed.
        let tolerated = same * 100 >= whole * u64::from(self.required_percent);
        Comparison { same: same / PARTS, whole: whole / PARTS, tolerated }
    }

    /// Whether enough is known of a machine to tell it from others for good: a third of the weight.
    pub fn knows(&self, machine: &Components) -> bool {
        let known: u64 = machine.0.keys().map(|component| u64::from(self.weight(*component))).sum();
        known * 3 >= self.all()
    }

    fn all(&self) -> u64 {
        [self.machine_id, self.board, self.disk, self.network, self.processor].map(u64::from).iter().sum()
    }

    /// Refuses a tolerance that tolerates everything or nothing.
    pub fn check(&self, policy: &str) -> Result<()> {
        let whole = self.all();
        if whole > 0 && (1..=100).contains(&self.required_percent) {
            return Ok(());
        }
        Err(Error::new(
            Code::CatalogInvalid,
            format!(
                "policy {policy:?}: hardware weights sum to {whole}, required-percent is {}",
                self.required_percent
            ),
            "give at least one component a weight, and require from 1 to 100 percent",
        ))
    }

    fn weight(&self, component: Component) -> u32 {
        match component {
            Component::MachineId => self.machine_id,
            Component::Board => self.board,
            Component::Disk => self.disk,
            Component::Network => self.network,
            Component::Processor => self.processor,
        }
    }
}

/// How far two readings of a machine agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The weight of what is as it was.
    pub same: u64,
    /// The weight of all that was known.
    pub whole: u64,
    /// Whether it is the same machine by the policy.
    pub tolerated: bool,
}

/// The hashed readings of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Components(BTreeMap<Component, BTreeSet<ComponentHash>>);

impl Components {
    /// Hashes readings; a component may have several values.
    pub fn new<'a>(readings: impl IntoIterator<Item = (Component, &'a str)>) -> Self {
        let mut components: BTreeMap<Component, BTreeSet<ComponentHash>> = BTreeMap::new();
        for (component, value) in readings {
            components.entry(component).or_default().insert(ComponentHash::of(component, value));
        }
        Self(components)
    }

    /// The hardware id of a machine with exactly these components.
    pub fn id(&self) -> HardwareId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"quorate hardware 2");
        for (component, values) in &self.0 {
            context.update(component.name().as_bytes());
            for value in values {
                context.update(&[0]);
                context.update(&value.0);
            }
            context.update(&[1]);
        }
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        HardwareId(id)
    }

    /// Whether nothing at all is known of the machine.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One reading, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct ComponentHash([u8; 16]);

impl ComponentHash {
    fn of(component: Component, value: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"quorate component 1");
        context.update(component.name().as_bytes());
        context.update(&[0]);
        context.update(value.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(hash)
    }
}

impl TryFrom<String> for ComponentHash {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        hexadecimal(&text).map(Self).ok_or_else(|| not_an_id(&text, 32))
    }
}

impl From<ComponentHash> for String {
    fn from(hash: ComponentHash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A hash over all that identifies one machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HardwareId([u8; 32]);

impl HardwareId {
    /// The id as it came over the wire; `None` when it is not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The whole hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What fits into an Installation ID.
    pub fn short(&self) -> ShortHardwareId {
        let [a, b, c, d, e, f, ..] = self.0;
        ShortHardwareId([a, b, c, d, e, f])
    }
}

impl fmt::Display for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HardwareId({})", self.short())
    }
}

impl FromStr for HardwareId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hexadecimal(text).map(Self).ok_or_else(|| not_an_id(text, 64))
    }
}

impl TryFrom<String> for HardwareId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HardwareId> for String {
    fn from(id: HardwareId) -> Self {
        id.to_string()
    }
}

/// The first 48 bits of a hardware id: enough to tell the machines of one product key apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortHardwareId(pub [u8; 6]);

impl fmt::Display for ShortHardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ShortHardwareId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hexadecimal(text).map(Self).ok_or_else(|| not_an_id(text, 12))
    }
}

fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn not_an_id(text: &str, digits: usize) -> Error {
    Error::new(
        Code::IdentifierInvalid,
        format!("{} is not a hardware id", crate::identifier::quoted(text)),
        format!("a hardware id is {digits} hexadecimal digits"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use Component::*;

    fn laptop() -> Vec<(Component, &'static str)> {
        vec![
            (MachineId, "3f1c"),
            (Board, "Contoso X1"),
            (Disk, "disk-a"),
            (Network, "02:00:00:00:00:01"),
            (Processor, "model 85"),
        ]
    }

    fn tolerated(change: impl FnOnce(&mut Vec<(Component, &'static str)>)) -> bool {
        let mut now = laptop();
        change(&mut now);
        HardwareTolerance::default().compare(&Components::new(laptop()), &Components::new(now)).tolerated
    }

    #[test]
    fn small_changes_are_tolerated_and_large_ones_are_not() {
        assert!(tolerated(|_| {}));
        assert!(tolerated(|now| now[3].1 = "02:00:00:00:00:99"), "a new network card");
        assert!(tolerated(|now| now.push((Network, "02:00:00:00:00:02"))), "a docking station");
        assert!(tolerated(|now| now.push((Disk, "usb-stick"))), "a second disk");
        assert!(tolerated(|now| now[2].1 = "disk-b"), "a new disk");
        assert!(tolerated(|now| now[0].1 = "77aa"), "the system installed again");
        assert!(tolerated(|now| (now[1].1, now[4].1) = ("Contoso X2", "model 99")), "a new board");
        assert!(
            !tolerated(|now| (now[1].1, now[2].1, now[4].1) = ("X2", "disk-b", "model 99")),
            "another machine"
        );
        // An image on another machine of the same model, machine id and all.
        assert!(!tolerated(|now| (now[2].1, now[3].1) = ("disk-b", "02:00:00:00:00:99")));
        // A clone of the disk's image on another machine: machine id and processor model may be the same.
        assert!(!tolerated(|now| (now[1].1, now[2].1, now[3].1) = ("X2", "disk-b", "02:00:00:00:00:99")));
        assert!(!tolerated(Vec::clear));
    }

    #[test]
    fn what_is_known_of_either_counts() {
        let tolerance = HardwareTolerance::default();
        let (container, laptop) = (Components::new([(MachineId, "3f1c")]), Components::new(laptop()));
        assert!(tolerance.compare(&container, &container).tolerated);
        assert!(!tolerance.compare(&container, &Components::new([(MachineId, "77aa")])).tolerated);
        // Who shows little of himself is not whoever shows more.
        assert!(!tolerance.compare(&container, &laptop).tolerated);
        assert!(!tolerance.compare(&Components::default(), &laptop).tolerated);
        assert!(tolerance.compare(&Components::default(), &Components::default()).tolerated);
        assert!(tolerance.knows(&container) && tolerance.knows(&laptop));
        assert!(!tolerance.knows(&Components::default()));
        assert!(!tolerance.knows(&Components::new([(Processor, "model 85"), (Board, "X1")])));
    }

    /// Two machines of one model; and a description of both.
    #[test]
    fn what_is_written_to_fit_two_machines_fits_neither() {
        let other = vec![
            (MachineId, "77aa"),
            (Board, "Contoso X1"),
            (Disk, "disk-b"),
            (Network, "02:00:00:00:00:99"),
            (Processor, "model 85"),
        ];
        let both = Components::new(laptop().into_iter().chain(other.clone()));
        let tolerance = HardwareTolerance::default();
        for machine in [laptop(), other] {
            assert!(!tolerance.compare(&both, &Components::new(machine)).tolerated);
        }
    }

    #[test]
    fn a_tolerance_of_everything_or_nothing_is_refused() {
        let refused = |tolerance: HardwareTolerance| tolerance.check("office").unwrap_err().what;
        assert!(HardwareTolerance::default().check("office").is_ok());
        assert_eq!(
            refused(HardwareTolerance { required_percent: 0, ..HardwareTolerance::default() }),
            "policy \"office\": hardware weights sum to 100, required-percent is 0"
        );
    }

    #[test]
    fn the_order_of_readings_does_not_matter_and_their_limits_do() {
        let id = Components::new([(Board, "x1"), (Processor, "y")]).id();
        assert_eq!(id, Components::new([(Processor, "y"), (Board, "x1")]).id());
        assert_ne!(id, Components::new([(Board, "x"), (Processor, "1y")]).id());
        assert_ne!(id, Components::new([(Board, "x1"), (Disk, "y")]).id());
        assert_eq!(id.to_string().parse::<HardwareId>().unwrap(), id);
        assert_eq!(id.short().to_string().parse::<ShortHardwareId>().unwrap(), id.short());
    }

    #[test]
    fn what_is_kept_does_not_show_what_was_read() {
        let text = serde_json::to_string(&Components::new(laptop())).unwrap();
        assert!(!text.contains("02:00:00") && !text.contains("Contoso"));
        assert_eq!(serde_json::from_str::<Components>(&text).unwrap(), Components::new(laptop()));
    }
}
