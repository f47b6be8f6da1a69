//! Calls, step by step, without a platform and without a desk.

use super::*;
use proptest::prelude::*;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::license_pack::SlotSecret;
use quorate_core::product_key::{KeyId, ProductKey};

fn machine() -> (InstallationId, ConfirmationId) {
    let key = ProductKey::new(KeyId::new(96, 4).unwrap(), [3; 8]);
    let id = InstallationId::new(key.id(), &key.verifier(), ShortHardwareId([1; 6]), 7);
    (id, ConfirmationId::conceal(&SlotSecret::from_bytes([5; 16]), &id, &key.verifier()))
}

fn groups() -> Vec<String> {
    machine().0.to_string().split('-').map(str::to_owned).collect()
}

/// A call by its query, and what the desk would say.
struct Line {
    query: String,
    desk: Result<ConfirmationId>,
    asked: u32,
}

impl Line {
    fn new() -> Self {
        Self { query: String::new(), desk: Ok(machine().1), asked: 0 }
    }

    /// A call in which these groups were typed, and what was said after the last.
    fn with(desk: Result<ConfirmationId>, groups: &[String]) -> (Self, String) {
        let mut line = Self { desk, ..Self::new() };
        line.types("");
        let said = groups.iter().map(|group| line.types(group)).last();
        (line, said.unwrap())
    }

    fn confirmed() -> Self {
        Self::with(Ok(machine().1), &groups()).0
    }

    /// What is said after these keys, pauses as "…"; the call goes on where the answer says.
    fn types(&mut self, keys: &str) -> String {
        let call = Call::of_query(&self.query).unwrap();
        let answer = call.answer("Contoso", keys, |_| {
            self.asked += 1;
            self.desk.clone()
        });
        self.query = match &answer.then {
            Some(call) => call.to_string(),
            None => "ended".to_owned(),
        };
        let says = answer.says.iter().map(|said| match said {
            Said::Words(words) => words.as_str(),
            Said::Pause => "…",
        });
        says.collect::<Vec<_>>().join(" ")
    }

    fn has_ended(&self) -> bool {
        self.query == "ended"
    }
}

#[test]
fn nine_groups_are_asked_for_and_the_confirmation_id_is_read() {
    let (mut line, groups) = (Line::new(), groups());
    let greeting = line.types("123456");
    assert!(greeting.starts_with("Welcome to the activation line of Contoso. "), "{greeting}");
    assert!(greeting.ends_with(" Group 1, please."), "{greeting}");
    assert_eq!(line.query, "turn=1&silent=0&wrong=0&groups=");
    for (number, group) in (2..).zip(&groups[..8]) {
        assert_eq!(line.types(group), format!("Group {number}, please."));
        let typed = groups[..number - 1].join("-");
        assert_eq!(line.query, format!("turn={number}&silent=0&wrong=0&groups={typed}"));
    }
    assert_eq!(line.asked, 0);
    let confirmed = machine().1.to_string();
    let mut expected = "This is your Confirmation ID: eight groups of six digits, from A to H.".to_owned();
    for (letter, group) in ConfirmationId::LETTERS.iter().zip(confirmed.split('-')) {
        let apart: Vec<String> = group.chars().map(String::from).collect();
        expected += &format!(" Group {letter}: {}. …", apart.join(", "));
    }
    expected += " Press 1 to hear it again, or 2 to hear it slowly, group by group. If you have it, hang up.";
    assert_eq!(line.types(&groups[8]), expected);
    assert_eq!(line.query, format!("turn=10&silent=0&groups={}", groups.join("-")));
    assert_eq!(line.types("1"), expected);
    assert_eq!(line.asked, 2);
}

#[test]
fn a_group_that_is_not_right_is_asked_for_again() {
    let (right, wrong) = (groups()[0].clone(), "000001");
    let again = "Group 1 has a typing error. Group 1 again, please.";
    let begun = "Group 1 from its first digit, please.";
    for (keys, said) in [
        (wrong, again),
        ("12345#", begun),
        ("12#", begun),
        ("#12345", begun),
        ("12 456", again),
        ("000000000000", again),
        ("ABCDEF", again),
        ("１２３４５６", again),
        ("*12345#", begun),
        ("12345", begun),
        ("*", begun),
        ("12*", begun),
        ("123456*", begun),
        ("", "Nothing was typed. Group 1, please."),
        (&right, "Group 2, please."),
        (&format!("99*{right}"), "Group 2, please."),
        (&format!("#{right}"), "Group 2, please."),
    ] {
        let mut line = Line::new();
        line.types("");
        assert_eq!(line.types(keys), said, "{keys:?}");
    }
}

#[test]
fn three_wrong_tries_of_one_group_end_the_call() {
    let (mut line, groups) = (Line::new(), groups());
    line.types("");
    // A group that is right begins the count anew; a star, or silence, is no try.
    for keys in ["000001", "12*", "", "000001", &groups[0], "000001", "000001"] {
        line.types(keys);
        assert!(!line.has_ended(), "{keys}");
    }
    assert_eq!(
        line.types("000001"),
        "Group 2 was wrong 3 times. Read the Installation ID again from the machine and call again, or ask the \
         phone desk of Contoso. Goodbye."
    );
    assert!(line.has_ended());
}

#[test]
fn three_silences_in_a_row_end_the_call() {
    let goodbye = format!("Nothing was typed. {CALL_AGAIN} Goodbye.");
    let (mut line, groups) = (Line::new(), groups());
    line.types("");
    for keys in ["", "", &groups[0], "", "", "000001", "", ""] {
        line.types(keys);
        assert!(!line.has_ended(), "{keys}");
    }
    assert_eq!(line.types(""), goodbye);
    assert!(line.has_ended());

    let mut line = Line::confirmed();
    assert_eq!((line.types(""), line.types("")), (choices(None), choices(None)));
    assert_eq!(line.types(""), goodbye);
    assert!(line.has_ended());
    // The desk was not asked for what nobody wanted to hear.
    assert_eq!(line.asked, 1);
}

#[test]
fn the_confirmation_id_is_read_slowly_on_request() {
    let mut line = Line::confirmed();
    let confirmed = machine().1.to_string();
    let slowly = |index: usize| {
        let group = confirmed.split('-').nth(index).unwrap();
        let digits: String = group.chars().map(|digit| format!("{digit} … ")).collect();
        format!("Group {}. {digits}{}", ConfirmationId::LETTERS[index], choices(Some(index)))
    };
    assert_eq!(line.types("2"), slowly(0));
    assert!(line.query.ends_with("&last=A"), "{}", line.query);
    assert!(slowly(0).ends_with("Press 1 for the next group, or 2 to hear this one again."));
    for (keys, index) in
        [("2", 0), ("", 0), ("1", 1), ("1", 2), ("", 2), ("1", 3), ("1", 4), ("1", 5), ("1", 6)]
    {
        assert_eq!(line.types(keys), slowly(index), "{keys} {index}");
    }
    assert_eq!(line.types("7"), format!("That key does nothing here. {}", choices(Some(6))));
    assert_eq!(line.types("1"), slowly(7));
    assert!(slowly(7).contains("That was the last group. Press 1 for group A"));
    assert_eq!(line.types("1"), slowly(0));

    let mut line = Line::confirmed();
    for keys in ["0", "3", "*", "#", "11", "x"] {
        assert_eq!(line.types(keys), format!("That key does nothing here. {}", choices(None)), "{keys}");
    }
}

#[test]
fn a_refusal_is_spoken_with_its_code() {
    for (code, words, number) in [
        (Code::KeyBlocked, "This product key is blocked. ", "Q four oh two"),
        (Code::HostsUsedUp, "The activations of this product key are used up. ", "Q four oh three"),
        (Code::ReactivationsUsedUp, "This product key was activated on this machine as ", "Q four one oh"),
        (Code::MachinesUsedUp, "The activations of this product key are used up. ", "Q four oh six"),
        (Code::SlotsUsedUp, "The license pack of this product key is used up. ", "Q four oh five"),
        (Code::ProductKeyUnsuited, "Nothing is activated with this product key ", "Q one oh two"),
        (Code::KeyGroupUnknown, "Nothing is activated with this product key ", "Q four oh nine"),
        (Code::RequestInvalid, "The activation service cannot answer now. ", "Q three oh six"),
    ] {
        let desk = Err(Error::new(code, "product key 00096-000-000004 …", "`quorate-vendor …`"));
        let (line, said) = Line::with(desk, &groups());
        assert!(said.starts_with(words), "{said}");
        assert!(said.ends_with(&format!(" The error is {number}. Goodbye.")), "{said}");
        assert!(line.has_ended() && line.asked == 1);
        // Nothing of what is meant for a screen.
        assert!(!said.contains("00096") && !said.contains('`'), "{said}");
    }

    // Blocked while the call went on.
    let mut line = Line::confirmed();
    line.desk = Err(Error::new(Code::KeyBlocked, "", ""));
    assert!(line.types("1").starts_with("This product key is blocked. "));

    // Each group is sound, and yet no machine shows these.
    let mut reversed = groups();
    reversed.reverse();
    for groups in [vec!["000000".to_owned(); 9], reversed] {
        let (line, said) = Line::with(Ok(machine().1), &groups);
        assert!(said.starts_with("This Installation ID cannot be activated. "), "{said}");
        assert!(line.query.ends_with("&wrong=0&groups=") && line.asked == 0, "{}", line.query);
    }
}

#[test]
fn whoever_has_typed_another_id_may_type_it_again_in_the_same_call() {
    for code in [Code::KeyUnknown, Code::InstallationIdInvalid] {
        let desk = Err(Error::new(code, "product key 00096-000-000004 …", "`quorate-vendor …`"));
        let (mut line, said) = Line::with(desk, &groups());
        let begins = "This Installation ID cannot be activated. The error is Q one oh four. ";
        assert!(said.starts_with(begins) && said.ends_with(" Group 1, please."), "{said}");
        assert!(!said.contains("00096") && !said.contains('`'), "{said}");
        line.desk = Ok(machine().1);
        let said = groups().iter().map(|group| line.types(group)).last().unwrap();
        assert!(said.starts_with("This is your Confirmation ID"), "{said}");
    }
}

#[test]
fn what_has_been_typed_waits_until_the_service_can_answer() {
    let away = Err(Error::new(Code::DatabaseUnavailable, "postgres://…", "`systemctl …`"));
    let (mut line, said) = Line::with(away.clone(), &groups());
    let try_again = "The activation service cannot answer now. The error is Q six one one. Press 1 to try again, or call \
                     again later.";
    assert_eq!(said, try_again);
    assert_eq!(line.types("1"), try_again);
    line.desk = Ok(machine().1);
    assert!(line.types("1").starts_with("This is your Confirmation ID"));
    line.desk = away;
    assert_eq!(line.types("2"), try_again);
}

#[test]
fn a_call_that_takes_too_long_ends() {
    let mut line = Line::new();
    // One that has been confirmed already is not confirmed once more.
    line.query = format!("turn={MOST_TURNS}&silent=0&groups={}", machine().0);
    assert_eq!(line.types("1"), format!("This call has taken too long. {CALL_AGAIN} Goodbye."));
    assert!(line.has_ended() && line.asked == 0);
}

#[test]
fn a_place_that_was_not_given_out_is_refused() {
    let nine = machine().0.to_string();
    let eight = &nine[..55];
    for query in [
        "turn=",
        "turn=-1&silent=0&wrong=0&groups=",
        "turn=4294967296&silent=0&wrong=0&groups=",
        "turn=101&silent=0&wrong=0&groups=",
        "turn=1&silent=101&wrong=0&groups=",
        "turn=1&wrong=0&groups=",
        "turn=1&silent=0&groups=",
        "turn=1&silent=0&wrong=0",
        "turn=1&silent=0&wrong=0&groups=000001",
        "turn=1&silent=0&wrong=0&groups=00000",
        "turn=1&silent=0&wrong=0&groups=%D9%A0%D9%A0%D9%A0",
        &format!("turn=1&silent=0&groups={eight}"),
        &format!("turn=1&silent=0&groups={nine}-000000"),
        &format!("turn=1&silent=0&groups={}", ["000000"; 9].join("-")),
        &format!("turn=1&silent=0&groups={nine}&last=I"),
        &format!("turn=1&silent=0&groups={nine}&last=AB"),
        &format!("turn=1&silent=0&groups={nine}&last="),
    ] {
        assert!(Call::of_query(query).is_err(), "{query}");
    }
    // What a platform may add of its own is no place in a call.
    for query in ["", "account=7", "groups=1"] {
        assert_eq!(Call::of_query(query).unwrap(), Call::begin());
    }
}

/// What a caller does: types what is asked for, or something else.
#[derive(Clone, Debug)]
enum Does {
    Right,
    Choice(u8),
    Wrong,
    Silence,
    Any(String),
}

fn anything() -> impl Strategy<Value = Does> {
    prop_oneof![
        12 => Just(Does::Right),
        2 => (0u8..4).prop_map(Does::Choice),
        1 => Just(Does::Wrong),
        1 => Just(Does::Silence),
        2 => "[0-9*#]{0,7}|.*".prop_map(Does::Any),
    ]
}

proptest! {
    #[test]
    fn every_call_ends_whatever_is_typed(
        does in proptest::collection::vec(anything(), 1..150),
        refused in proptest::option::weighted(0.1, Just(Code::SlotsUsedUp)),
    ) {
        let desk = refused.map_or(Ok(machine().1), |code| Err(Error::new(code, "", "")));
        let (mut line, groups) = (Line { desk, ..Line::new() }, groups());
        let secret = machine().1.to_string();
        let mut steps = 0;
        // Whoever has come to the end of the list does the same again.
        for does in does.iter().cycle() {
            let keys = match does {
                Does::Right => {
                    let typed = line.query.split_once("groups=").map_or("", |(_, groups)| groups);
                    let typed = typed.split('-').filter(|group| !group.is_empty()).count();
                    groups.get(typed).cloned().unwrap_or_else(|| "1".to_owned())
                }
                Does::Choice(key) => key.to_string(),
                Does::Wrong => "000001".to_owned(),
                Does::Silence => String::new(),
                Does::Any(keys) => keys.clone(),
            };
            let said = line.types(&keys);
            steps += 1;
            if line.has_ended() {
                prop_assert!(said.ends_with(" Goodbye."));
                break;
            }
            prop_assert!(!said.is_empty() && steps <= MOST_TURNS);
            prop_assert!(line.query.bytes().all(|c| c.is_ascii_alphanumeric() || b"=&-".contains(&c)));
            prop_assert!(!secret.split('-').any(|group| line.query.contains(group)));
            prop_assert_eq!(Call::of_query(&line.query).unwrap().to_string(), line.query.clone());
        }
    }

    #[test]
    fn no_query_panics(query in "(turn|silent|wrong|groups|last|=|&|-|[0-9]|%)*|.*") {
        let _ = Call::of_query(&query);
    }
}
