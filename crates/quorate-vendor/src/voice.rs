//! The automated telephone line: an Installation ID by the keypad, its Confirmation ID read out, nobody at the desk.
//!
//! What a call says next is a function of where it stands and of what was typed, [`Call::answer`]. The telephony
//! platform carries it: it asks for each step with a request that it signs ([`signature`]), and gets the step in its
//! own language ([`twiml`]).
//!
//! Between two requests nothing is kept. Where a call stands is in the URL that the platform is told to ask next, which
//! its signature covers; so any replica answers any request, a restart ends no call, and there is nothing to tidy up
//! after callers who hung up. The URL holds the groups of the Installation ID, worth nothing to anybody without the
//! product key. The Confirmation ID is never in one: whenever it is to be read, the phone desk is asked again, which
//! gives the same for the same. Platforms log URLs; here neither number is logged.

pub mod signature;
pub mod twiml;

use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::installation_id::InstallationId;
use quorate_core::{Code, Error, Result};
use std::borrow::Cow;
use std::fmt;

/// Where a call stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// How often the caller has been asked for something.
    turn: u32,
    /// How often in a row nothing was typed then.
    silent: u32,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The Installation ID is being typed: the groups that are there, and how often the next one was wrong.
    Typing { groups: Vec<String>, wrong: u32 },
    /// The Confirmation ID has been read: whole, or slowly as far as this group.
    Reading { installation_id: InstallationId, last: Option<usize> },
}

/// One step of a call. What is said may be a Confirmation ID, so there is no `Debug`.
pub struct Answer {
    /// What the caller hears, in this order.
    pub says: Vec<Said>,
    /// The call that goes on with the next keys, or ends.
    pub then: Option<Call>,
}

/// Something that the caller hears.
#[derive(Clone, PartialEq, Eq)]
pub enum Said {
    /// A sentence, or a few.
    Words(String),
    /// A second in which to write.
    Pause,
}

impl Call {
    /// A call that has just come in.
    pub fn begin() -> Self {
        Self { turn: 0, silent: 0, stage: Stage::Typing { groups: Vec::new(), wrong: 0 } }
    }

    /// The call that stands where this query says, as it was written by `Display`; a new one where there is none.
    pub fn of_query(query: &str) -> Result<Self> {
        let field = |name| {
            form_urlencoded::parse(query.as_bytes())
                .find_map(|(field, value)| (field == name).then_some(value))
        };
        if field("turn").is_none() {
            return Ok(Self::begin());
        }
        let number = |name| {
            let number: Option<u32> = field(name).and_then(|value| value.parse().ok());
            number.filter(|number| *number <= MOST_TURNS).ok_or_else(unknown_place)
        };
        let joined = field("groups").ok_or_else(unknown_place)?;
        let groups: Vec<String> =
            joined.split('-').filter(|group| !group.is_empty()).map(Into::into).collect();
        if !(1..).zip(&groups).all(|(number, group)| is_sound(number, group)) {
            return Err(unknown_place());
        }
        let stage = if groups.len() < InstallationId::GROUPS {
            Stage::Typing { groups, wrong: number("wrong")? }
        } else {
            let last = field("last").map(|letter| letter_index(&letter).ok_or_else(unknown_place));
            Stage::Reading { installation_id: joined.parse()?, last: last.transpose()? }
        };
        Ok(Self { turn: number("turn")?, silent: number("silent")?, stage })
    }

    /// How many keys the caller is asked for.
    pub fn keys(&self) -> usize {
        match self.stage {
            Stage::Typing { .. } => GROUP,
            Stage::Reading { .. } => 1,
        }
    }

    /// The next step, after these keys; none is silence. Whatever is typed, a call ends after [`MOST_TURNS`].
    pub fn answer(
        self,
        vendor: &str,
        keys: &str,
        confirm: impl FnOnce(&InstallationId) -> Result<ConfirmationId>,
    ) -> Answer {
        if self.turn == 0 {
            return self.ask(format!(
                "Welcome to the activation line of {vendor}. You need the Installation ID that your machine shows: \
                 nine groups of six digits. If you make a mistake, press star, and type the group again. \
                 Group 1, please."
            ));
        }
        let silent = if keys.is_empty() { self.silent + 1 } else { 0 };
        if silent >= MOST_TRIES {
            return end(format!("Nothing was typed. {CALL_AGAIN}"));
        }
        if self.turn >= MOST_TURNS {
            return end(format!("This call has taken too long. {CALL_AGAIN}"));
        }
        let call = Self { silent, ..self };
        match call.stage.clone() {
            Stage::Typing { groups, wrong } => call.typed(groups, wrong, keys, vendor, confirm),
            Stage::Reading { installation_id, last } => call.heard(installation_id, last, keys, confirm),
        }
    }

    /// A group was typed, or something else.
    fn typed(
        self,
        mut groups: Vec<String>,
        wrong: u32,
        keys: &str,
        vendor: &str,
        confirm: impl FnOnce(&InstallationId) -> Result<ConfirmationId>,
    ) -> Answer {
        let number = groups.len() + 1;
        if keys.is_empty() {
            return self.ask(format!("Nothing was typed. Group {number}, please."));
        }
        // The star ends the gathering, and is not among the keys then; on a platform that counts it, what follows the
        // last one is the group. Many end with the hash sign whatever they type: the sixth digit has ended the group by
        // then, and so it stands before the next.
        let group = keys.rsplit('*').next().unwrap_or_default().replace('#', "");
        let group = group.as_str();
        if group.len() < GROUP && group.bytes().all(|key| key.is_ascii_digit()) {
            return self.ask(format!("Group {number} from its first digit, please."));
        }
        if !is_sound(number, group) {
            let wrong = wrong + 1;
            if wrong >= MOST_TRIES {
                return end(format!(
                    "Group {number} was wrong {MOST_TRIES} times. Read the Installation ID again from the machine and \
                     call again, or ask the phone desk of {vendor}."
                ));
            }
            let again = Self { stage: Stage::Typing { groups, wrong }, ..self };
            return again.ask(format!("Group {number} has a typing error. Group {number} again, please."));
        }
        groups.push(group.to_owned());
        if groups.len() < InstallationId::GROUPS {
            let next = Self { stage: Stage::Typing { groups, wrong: 0 }, ..self };
            return next.ask(format!("Group {}, please.", number + 1));
        }
        // Nine sound groups may still be no Installation ID, as when two of them were exchanged.
        match groups.join("-").parse() {
            Ok(installation_id) => self.read(installation_id, Wanted::Whole, confirm),
            Err(error) => self.refused(&error),
        }
    }

    /// A choice was typed after the Confirmation ID, or a group of it, had been read.
    fn heard(
        self,
        installation_id: InstallationId,
        last: Option<usize>,
        keys: &str,
        confirm: impl FnOnce(&InstallationId) -> Result<ConfirmationId>,
    ) -> Answer {
        let wanted = match (last, keys) {
            (None, "1") => Wanted::Whole,
            (None, "2") => Wanted::Group(0),
            (Some(last), "1") => Wanted::Group((last + 1) % ConfirmationId::LETTERS.len()),
            // Whoever is still writing has no hand for the keys.
            (Some(last), "2" | "") => Wanted::Group(last),
            (None, "") => return self.ask(choices(last)),
            _ => return self.ask(format!("That key does nothing here. {}", choices(last))),
        };
        self.read(installation_id, wanted, confirm)
    }

    /// Reads the Confirmation ID, or a group of it, and asks what to do next.
    fn read(
        self,
        installation_id: InstallationId,
        wanted: Wanted,
        confirm: impl FnOnce(&InstallationId) -> Result<ConfirmationId>,
    ) -> Answer {
        let confirmation_id = match confirm(&installation_id) {
            Ok(confirmation_id) => confirmation_id.to_string(),
            Err(error) => {
                return self.passing(&error, installation_id).unwrap_or_else(|call| call.refused(&error));
            }
        };
        let mut groups = ConfirmationId::LETTERS.iter().zip(confirmation_id.split('-'));
        let (mut says, last) = match wanted {
            Wanted::Whole => {
                let mut says = vec![Said::Words(
                    "This is your Confirmation ID: eight groups of six digits, from A to H.".to_owned(),
                )];
                for (letter, group) in groups {
                    let digits: Vec<&str> = group.split("").filter(|digit| !digit.is_empty()).collect();
                    says.push(Said::Words(format!("Group {letter}: {}.", digits.join(", "))));
                    says.push(Said::Pause);
                }
                (says, None)
            }
            Wanted::Group(index) => {
                let mut says = Vec::new();
                if let Some((letter, group)) = groups.nth(index) {
                    says.push(Said::Words(format!("Group {letter}.")));
                    for digit in group.chars() {
                        says.extend([Said::Words(digit.to_string()), Said::Pause]);
                    }
                }
                (says, Some(index))
            }
        };
        says.push(Said::Words(choices(last)));
        let stage = Stage::Reading { installation_id, last };
        Answer { says, then: Some(Self { turn: self.turn + 1, stage, ..self }) }
    }

    /// When the service cannot answer now, the call waits with what has been typed; when it is another fault, the call is
    /// given back.
    fn passing(self, error: &Error, installation_id: InstallationId) -> std::result::Result<Answer, Self> {
        let code = error.code;
        if !matches!(code, Code::DatabaseUnavailable | Code::Unwritable | Code::DiskFull | Code::Internal) {
            return Err(self);
        }
        let waits = Self { stage: Stage::Reading { installation_id, last: None }, ..self };
        let words = "The activation service cannot answer now. The error is";
        Ok(waits.ask(format!("{words} {}. Press 1 to try again, or call again later.", spoken(code))))
    }

    /// What the phone desk has refused, in words that make sense without a screen.
    fn refused(self, error: &Error) -> Answer {
        // Whoever can't show that he holds a key does not learn whether there is one.
        let code = match error.code {
            Code::KeyUnknown => Code::InstallationIdInvalid,
            code => code,
        };
        let words = match code {
            Code::InstallationIdInvalid => {
                let from_the_first = Self { stage: Stage::Typing { groups: Vec::new(), wrong: 0 }, ..self };
                return from_the_first.ask(format!(
                    "This Installation ID cannot be activated. The error is {}. Compare the product key on the machine \
                     with the one that you were given, and type all nine groups in their order. Group 1, please.",
                    spoken(code)
                ));
            }
            Code::KeyBlocked => "This product key is blocked. Ask the vendor why, or for another key.",
            Code::HostsUsedUp | Code::MachinesUsedUp => {
                "The activations of this product key are used up. Ask the vendor for more."
            }
            Code::ReactivationsUsedUp => {
                "This product key was activated on this machine as often as it may be. Ask the vendor for more."
            }
            Code::SlotsUsedUp => {
                "The license pack of this product key is used up. Ask the vendor for a new license pack."
            }
            Code::ProductKeyUnsuited | Code::KeyGroupUnknown => {
                "Nothing is activated with this product key by telephone."
            }
            _ => "The activation service cannot answer now. Call again later.",
        };
        end(format!("{words} The error is {}.", spoken(code)))
    }

    fn ask(self, words: impl Into<String>) -> Answer {
        Answer { says: vec![Said::Words(words.into())], then: Some(Self { turn: self.turn + 1, ..self }) }
    }
}

/// As the query of a URL: digits, letters, `-`, `=` and `&`, which nobody on the way writes otherwise.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn={}&silent={}", self.turn, self.silent)?;
        match &self.stage {
            Stage::Typing { groups, wrong } => write!(f, "&wrong={wrong}&groups={}", groups.join("-")),
            Stage::Reading { installation_id, last } => {
                write!(f, "&groups={installation_id}")?;
                match last.and_then(|last| ConfirmationId::LETTERS.get(last)) {
                    Some(letter) => write!(f, "&last={letter}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What of the Confirmation ID is read.
enum Wanted {
    Whole,
    Group(usize),
}

fn choices(last: Option<usize>) -> String {
    let choices = match last {
        None => "Press 1 to hear it again, or 2 to hear it slowly, group by group. If you have it, hang up.",
        Some(last) if last + 1 < ConfirmationId::LETTERS.len() => {
            "Press 1 for the next group, or 2 to hear this one again."
        }
        Some(_) => {
            "That was the last group. Press 1 for group A, or 2 to hear this one again. If you have it, hang up."
        }
    };
    choices.to_owned()
}

fn end(words: impl Into<String>) -> Answer {
    Answer { says: vec![Said::Words(words.into() + " Goodbye.")], then: None }
}

/// A code as people say it: "Q four oh three".
fn spoken(code: Code) -> String {
    let words = code.as_str().chars().map(|c| match c.to_digit(10).and_then(|d| DIGITS.get(d as usize)) {
        Some(digit) => Cow::Borrowed(*digit),
        None => Cow::Owned(c.to_string()),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn is_sound(number: usize, group: &str) -> bool {
    // The core overlooks spaces, which no keypad has.
    group.len() == GROUP
        && group.bytes().all(|key| key.is_ascii_digit())
        && number <= InstallationId::GROUPS
        && InstallationId::check_group(number, group).is_ok()
}

fn letter_index(letter: &str) -> Option<usize> {
    ConfirmationId::LETTERS.iter().position(|known| letter.chars().eq([*known]))
}

fn unknown_place() -> Error {
    Error::new(
        Code::RequestInvalid,
        "the query is not one that this service has given out",
        "let the call begin at the path without a query",
    )
}

/// How often a group may be wrong, and how often in a row nothing may be typed.
pub const MOST_TRIES: u32 = 3;
/// How often a caller is asked for something: nine groups with many mistakes, and the answer several times.
pub const MOST_TURNS: u32 = 100;
const GROUP: usize = 6;
const CALL_AGAIN: &str = "Call again when you are ready: the same Installation ID gets the same answer.";
const DIGITS: [&str; 10] = ["oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

#[cfg(test)]
mod tests;
