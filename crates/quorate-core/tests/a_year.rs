//! A year of a machine's life, in milliseconds: every rule that the client follows, with a clock that is a
//! number and a host that is a question.
//!
//! First run, a count that is too low, activation, renewals, a host that is dead for 220 days, grace,
//! notification, the host back, licensed again.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use quorate_core::activation::check_count;
use quorate_core::license_state::{Event, Facts, License, Mode, Situation, Term, evaluate};
use quorate_core::policy::Policy;
use quorate_core::schedule::{Attempt, Intervals};
use quorate_core::{Interval, Timestamp};

const START: Timestamp = Timestamp::UNIX_EPOCH;

/// What the host says on a day: a count, or nothing when it is dead.
type Host = fn(day: u32) -> Option<u32>;

/// One change of situation.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    day: u32,
    situation: Situation,
}

fn live(policy: &Policy, days: u32, host: Host) -> (Vec<Change>, u32) {
    let end = Interval::days(days).after(START);
    let intervals = Intervals::new(policy, None);
    let mut facts = Facts::first_run(START);
    let mut changes: Vec<Change> = Vec::new();
    let mut requests = 0;
    let mut next_request = START;
    let mut now = START;
    let mut draw = 1u32;
    while now < end {
        if now >= next_request {
            requests += 1;
            let day = Interval::between(START, now).as_days();
            let activated = host(day).is_some_and(|count| check_count(policy, count).is_ok());
            let event = if activated {
                Event::Activated(License { granted: now, term: Term::Renewable })
            } else {
                Event::NotActivated
            };
            facts = facts.after(event, policy, now).unwrap();
            draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            next_request = intervals.next(Attempt { at: now, activated }, draw);
        }
        let state = evaluate(policy, &facts, now);
        if changes.last().is_none_or(|last| last.situation != state.situation) {
            changes.push(Change { day: Interval::between(START, now).as_days(), situation: state.situation });
        }
        // Nothing happens between the next request and the end of the situation.
        now = state.until.map_or(next_request, |until| until.min(next_request));
    }
    (changes, requests)
}

#[test]
fn a_year_with_a_dead_host() {
    use Situation::*;
    let policy = Policy::default();
    let (changes, requests) = live(&policy, 365, |day| match day {
        0..3 => Some(day + 1), // machines are still being installed
        3..40 => Some(9),
        40..300 => None,
        _ => Some(9),
    });
    let situations: Vec<Situation> = changes.iter().map(|change| change.situation).collect();
    assert_eq!(situations, [InitialGrace, Licensed, ExpiryGrace, Notification, Licensed]);
    let day = |index: usize| changes[index].day;
    assert_eq!(day(1), 3);
    // The last renewal was within a week before the host died; 180 days later the activation ran out.
    assert!((33 + 180..=40 + 180).contains(&day(2)), "{changes:?}");
    assert_eq!(day(3), day(2) + 30);
    assert_eq!(day(4), 300);
    // About 50 renewals, and an attempt every 90 minutes or so while there was no host.
    assert!((4_000..5_000).contains(&requests), "{requests}");
}

#[test]
fn a_fleet_that_never_reaches_its_count_ends_in_notification_and_is_healed_by_one_more_machine() {
    use Situation::*;
    let policy = Policy::default();
    let (changes, _) = live(&policy, 100, |day| Some(if day < 60 { 4 } else { 5 }));
    assert_eq!(
        changes,
        [
            Change { day: 0, situation: InitialGrace },
            Change { day: 30, situation: Notification },
            Change { day: 60, situation: Licensed },
        ]
    );
}

#[test]
fn a_year_with_a_host_that_answers_is_a_year_in_which_nothing_is_seen() {
    let policy = Policy::default();
    let (changes, requests) = live(&policy, 365, |_| Some(5));
    assert_eq!(changes, [Change { day: 0, situation: Situation::Licensed }]);
    // Between the whole and the half of 7 days: 53 to 105 requests, about 70.
    assert!((60..85).contains(&requests), "{requests}");
    let facts = Facts::first_run(START)
        .after(Event::Activated(License { granted: START, term: Term::Renewable }), &policy, START)
        .unwrap();
    assert_eq!(evaluate(&policy, &facts, START).mode, Mode::Full);
}
