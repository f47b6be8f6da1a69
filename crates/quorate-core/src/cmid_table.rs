//! The CMID table: which machines a host has seen lately, and how many that makes.
//!
//! The documented rule: a request adds or refreshes its machine before anything is counted, a machine stays
//! for 30 days after its last request, and distinct machines are counted for each application. Counting
//! costs the same with a million machines as with one; these take some 150 MB, since times are kept to the second.

use crate::hardware::HardwareId;
use crate::identifier::Cmid;
use crate::{Interval, Timestamp};
use std::collections::{BTreeSet, HashMap};

/// The machines of one application.
#[derive(Clone, Debug)]
pub struct CmidTable {
    retention: Interval,
    machines: HashMap<Cmid, Entry>,
    /// The same machines by the time of their last request, so that the oldest is found at once.
    by_last_seen: BTreeSet<(i64, Cmid)>,
}

/// A machine in the table, as small as it can be.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hardware: HardwareId,
    last_seen: i64,
}

impl Entry {
    fn machine(self) -> Machine {
        let last_seen = Timestamp::from_second(self.last_seen).unwrap_or_default();
        Machine { hardware: self.hardware, last_seen }
    }
}

/// What the table remembers of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The hardware that first used the CMID.
    pub hardware: HardwareId,
    /// The time of its last request, to the second.
    pub last_seen: Timestamp,
}

/// What one request did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// How many distinct machines there are now, this one included.
    pub count: u32,
    /// The CMID belongs to other hardware: the asking machine is a clone and was not counted.
    pub clone: bool,
}

impl CmidTable {
    /// An empty table that remembers machines for `retention`.
    pub fn new(retention: Interval) -> Self {
        Self { retention, machines: HashMap::new(), by_last_seen: BTreeSet::new() }
    }

    /// Notes that a machine has asked, and counts.
    pub fn observe(&mut self, cmid: Cmid, hardware: HardwareId, now: Timestamp) -> Observation {
        self.forget_old(now);
        let known = self.machine(cmid);
        let clone = known.is_some_and(|machine| machine.hardware != hardware);
        if !clone {
            // A clock that was set back must not shorten a machine's stay.
            let last_seen = known.map_or(now, |machine| machine.last_seen.max(now));
            self.restore(cmid, Machine { hardware, last_seen });
        }
        Observation { count: self.len(), clone }
    }

    /// How many distinct machines have asked within the retention time.
    pub fn count(&mut self, now: Timestamp) -> u32 {
        self.forget_old(now);
        self.len()
    }

    /// What is remembered of a machine.
    pub fn machine(&self, cmid: Cmid) -> Option<Machine> {
        self.machines.get(&cmid).map(|entry| entry.machine())
    }

    /// Puts a machine back as a store remembers it.
    pub fn restore(&mut self, cmid: Cmid, machine: Machine) {
        let entry = Entry { hardware: machine.hardware, last_seen: machine.last_seen.as_second() };
        if let Some(before) = self.machines.insert(cmid, entry) {
            self.by_last_seen.remove(&(before.last_seen, cmid));
        }
        self.by_last_seen.insert((entry.last_seen, cmid));
    }

    /// Takes an observation back that could not be kept: `before` is what [`CmidTable::machine`] said
    /// before it.
    pub fn undo(&mut self, cmid: Cmid, before: Option<Machine>) {
        if let Some(machine) = self.machines.remove(&cmid) {
            self.by_last_seen.remove(&(machine.last_seen, cmid));
        }
        if let Some(machine) = before {
            self.restore(cmid, machine);
        }
    }

    /// Machines last seen before this moment no longer count.
    pub fn cutoff(&self, now: Timestamp) -> Timestamp {
        self.retention.before(now)
    }

    fn forget_old(&mut self, now: Timestamp) {
        let cutoff = self.cutoff(now).as_second();
        while let Some((last_seen, cmid)) = self.by_last_seen.first().copied() {
            if last_seen >= cutoff {
                break;
            }
            self.by_last_seen.pop_first();
            self.machines.remove(&cmid);
        }
    }

    fn len(&self) -> u32 {
        u32::try_from(self.machines.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn cmid(number: u8) -> Cmid {
        Cmid(Uuid::from_u128(number.into()))
    }

    fn hardware(number: u8) -> HardwareId {
        HardwareId::from_bytes(&[number; 32]).unwrap()
    }

    #[test]
    fn distinct_machines_are_counted_once() {
        let mut table = CmidTable::new(Interval::days(30));
        for number in 1..=5 {
            assert_eq!(table.observe(cmid(number), hardware(number), START).count, u32::from(number));
        }
        assert_eq!(table.observe(cmid(1), hardware(1), START).count, 5);
    }

    #[test]
    fn a_machine_leaves_the_count_after_thirty_days_without_a_request() {
        let mut table = CmidTable::new(Interval::days(30));
        table.observe(cmid(1), hardware(1), START);
        table.observe(cmid(2), hardware(2), Interval::days(20).after(START));
        assert_eq!(table.count(Interval::days(30).after(START)), 2);
        let later = Interval::seconds(30 * 86_400 + 1).after(START);
        assert_eq!(table.count(later), 1);
        assert_eq!(table.machine(cmid(1)), None);
        assert_eq!(table.observe(cmid(1), hardware(1), later).count, 2);
    }

    #[test]
    fn a_clone_is_named_and_not_counted() {
        let mut table = CmidTable::new(Interval::days(30));
        table.observe(cmid(1), hardware(1), START);
        assert_eq!(table.observe(cmid(1), hardware(2), START), Observation { count: 1, clone: true });
        assert_eq!(table.observe(cmid(1), hardware(1), START), Observation { count: 1, clone: false });
    }

    #[test]
    fn an_observation_can_be_taken_back() {
        let mut table = CmidTable::new(Interval::days(30));
        table.observe(cmid(1), hardware(1), START);
        let before = table.machine(cmid(1));
        table.observe(cmid(1), hardware(1), Interval::days(1).after(START));
        table.undo(cmid(1), before);
        assert_eq!(table.machine(cmid(1)), before);
        table.undo(cmid(1), None);
        assert_eq!(table.count(START), 0);
    }

    proptest! {
        /// The table agrees with the plain statement of the rule.
        #[test]
        fn agrees_with_the_rule(requests in prop::collection::vec((0..20u8, 0..90u32), 0..200)) {
            let mut table = CmidTable::new(Interval::days(30));
            let mut seen: HashMap<u8, Timestamp> = HashMap::new();
            let mut now = START;
            for (machine, hours) in requests {
                now = Interval::hours(hours).after(now);
                seen.insert(machine, now);
                let expected = seen.values().filter(|last| **last >= Interval::days(30).before(now)).count();
                prop_assert_eq!(table.observe(cmid(machine), hardware(machine), now).count as usize, expected);
            }
        }
    }
}
