//! The CMID table: which machines a host has seen lately, and how many that makes.
//!
//! The documented rule: a request adds or refreshes its machine before anything is counted, a machine stays
//! for 30 days after its last request, and distinct machines are counted for each application. Counting
//! costs the same with a million machines as with one; these take some 120 MB, since times are kept to the second.

use crate::hardware::HardwareId;
use crate::identifier::Cmid;
use crate::{Interval, Timestamp};
use std::collections::{BTreeMap, HashMap};

/// The machines of one application.
#[derive(Clone, Debug)]
pub struct CmidTable {
    retention: Interval,
    /// Those whose time is over are among them until they are swept up.
    machines: HashMap<Cmid, Entry>,
    /// How many machines were last seen in each second.
    by_last_seen: BTreeMap<i64, u32>,
    /// How many these are together.
    count: u32,
    /// Machines last seen before this second were forgotten.
    forgotten: i64,
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
        let (machines, by_last_seen) = (HashMap::new(), BTreeMap::new());
        Self { retention, machines, by_last_seen, count: 0, forgotten: i64::MIN }
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
        Observation { count: self.count, clone }
    }

    /// How many distinct machines have asked within the retention time.
    pub fn count(&mut self, now: Timestamp) -> u32 {
        self.forget_old(now);
        self.count
    }

    /// What is remembered of a machine.
    pub fn machine(&self, cmid: Cmid) -> Option<Machine> {
        let entry = self.machines.get(&cmid).filter(|entry| entry.last_seen >= self.forgotten);
        entry.map(|entry| entry.machine())
    }

    /// Puts a machine back as a store remembers it.
    pub fn restore(&mut self, cmid: Cmid, machine: Machine) {
        let entry = Entry { hardware: machine.hardware, last_seen: machine.last_seen.as_second() };
        let before = self.machines.insert(cmid, entry);
        self.leave(before);
        if entry.last_seen >= self.forgotten {
            *self.by_last_seen.entry(entry.last_seen).or_insert(0) += 1;
            self.count += 1;
        }
    }

    /// Takes an observation back that could not be kept: `before` is what [`CmidTable::machine`] said
    /// before it.
    pub fn undo(&mut self, cmid: Cmid, before: Option<Machine>) {
        let now = self.machines.remove(&cmid);
        self.leave(now);
        if let Some(machine) = before {
            self.restore(cmid, machine);
        }
    }

    /// Machines last seen before this moment no longer count.
    pub fn cutoff(&self, now: Timestamp) -> Timestamp {
        self.retention.before(now)
    }

    /// A machine that was counted is no more, or not as it was.
    fn leave(&mut self, entry: Option<Entry>) {
        let Some(last_seen) = entry.map(|entry| entry.last_seen) else { return };
        if let Some(machines) = self.by_last_seen.get_mut(&last_seen) {
            *machines -= 1;
            self.count -= 1;
            if *machines == 0 {
                self.by_last_seen.remove(&last_seen);
            }
        }
    }

    /// Counts down those whose time is over. Which machines these are is seen by their times; now and then they are
    /// swept up, which costs each request of the time between a few steps.
    fn forget_old(&mut self, now: Timestamp) {
        if now.as_second() < self.forgotten {
            // The clock was set back so far that machines of today would count as forgotten.
            self.sweep();
            self.forgotten = i64::MIN;
        }
        let cutoff = self.cutoff(now).as_second();
        while let Some(oldest) = self.by_last_seen.first_entry().filter(|oldest| *oldest.key() < cutoff) {
            self.count -= oldest.remove();
        }
        self.forgotten = self.forgotten.max(cutoff);
        let old = self.machines.len().saturating_sub(self.count as usize);
        if old > SWEPT_TOGETHER + self.machines.len() / 4 {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.machines.retain(|_, entry| entry.last_seen >= self.forgotten);
    }
}

const SWEPT_TOGETHER: usize = 1_000;

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

    #[test]
    fn machines_of_a_clock_that_was_set_back_count() {
        let mut table = CmidTable::new(Interval::days(30));
        table.observe(cmid(1), hardware(1), START);
        assert_eq!(table.observe(cmid(2), hardware(2), Interval::days(365).after(START)).count, 1);
        // The first was forgotten; the second asked last, by its own account, in a year.
        assert_eq!(table.observe(cmid(3), hardware(3), Interval::days(1).after(START)).count, 2);
        assert_eq!(table.observe(cmid(1), hardware(1), Interval::days(1).after(START)).count, 3);
        assert_eq!(table.count(Interval::days(2).after(START)), 3);
    }

    #[test]
    fn machines_whose_time_is_over_take_no_room_for_long() {
        let mut table = CmidTable::new(Interval::days(30));
        for number in 0..100_000 {
            let cmid = Cmid(Uuid::from_u128(number));
            let count = table.observe(
                cmid,
                hardware(1),
                Interval::hours(u32::try_from(number).unwrap()).after(START),
            );
            assert_eq!(u128::from(count.count), (number + 1).min(30 * 24 + 1));
        }
        assert!(table.machines.len() < 4_000, "{}", table.machines.len());
    }

    /// What happens to a table.
    #[derive(Clone, Copy, Debug)]
    enum Happening {
        /// A machine asks, so many hours later, or before where the clock is set back.
        Asks(u8, i32),
        /// The same, but it cannot be kept.
        AsksInVain(u8, i32),
        /// The store remembers a machine that asked so many hours ago.
        Remembered(u8, u32),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        let hours = || prop_oneof![8 => 0..90i32, 1 => -2_000..0i32, 1 => 700..2_000i32];
        prop_oneof![
            6 => (0..20u8, hours()).prop_map(|(machine, hours)| Happening::Asks(machine, hours)),
            2 => (0..20u8, hours()).prop_map(|(machine, hours)| Happening::AsksInVain(machine, hours)),
            1 => (0..20u8, 0..2_000u32).prop_map(|(machine, hours)| Happening::Remembered(machine, hours)),
        ]
    }

    proptest! {
        /// The table agrees with the plain statement of the rule: a map of who asked when, without those whose time is
        /// over.
        #[test]
        fn agrees_with_the_rule(happenings in prop::collection::vec(happening(), 0..200)) {
            let mut table = CmidTable::new(Interval::days(30));
            let mut seen: HashMap<u8, Timestamp> = HashMap::new();
            let (mut now, mut forgotten) = (Interval::days(1_000).after(START), Timestamp::MIN);
            for happening in happenings {
                if let Happening::Asks(_, hours) | Happening::AsksInVain(_, hours) = happening {
                    let by = Interval::hours(hours.unsigned_abs());
                    now = if hours < 0 { by.before(now) } else { by.after(now) };
                    if now < forgotten {
                        forgotten = Timestamp::MIN;
                    }
                    forgotten = forgotten.max(Interval::days(30).before(now));
                    seen.retain(|_, last| *last >= forgotten);
                }
                match happening {
                    Happening::Asks(machine, _) => {
                        let last = seen.entry(machine).or_insert(now);
                        *last = now.max(*last);
                        table.observe(cmid(machine), hardware(machine), now);
                    }
                    Happening::AsksInVain(machine, _) => {
                        let before = table.machine(cmid(machine));
                        table.observe(cmid(machine), hardware(machine), now);
                        table.undo(cmid(machine), before);
                    }
                    Happening::Remembered(machine, hours) => {
                        let last_seen = Interval::hours(hours).before(now);
                        table.restore(cmid(machine), Machine { hardware: hardware(machine), last_seen });
                        seen.insert(machine, last_seen);
                        seen.retain(|_, last| *last >= forgotten);
                    }
                }
                prop_assert_eq!(table.count as usize, seen.len());
                for machine in 0..20 {
                    let known = table.machine(cmid(machine)).map(|machine| machine.last_seen);
                    prop_assert_eq!(known, seen.get(&machine).copied());
                }
            }
        }
    }
}
