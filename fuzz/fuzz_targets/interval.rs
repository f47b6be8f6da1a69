//! Intervals: what is read is written and read back the same, in text and in JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::{Code, Interval, Timestamp};

fuzz_target!(|text: &str| {
    match text.parse::<Interval>() {
        Ok(interval) => {
            assert_eq!(interval.to_string().parse::<Interval>(), Ok(interval));
            let json = serde_json::to_string(&interval).expect("an interval is text");
            assert_eq!(serde_json::from_str::<Interval>(&json).ok(), Some(interval));
            let later = interval.after(Timestamp::UNIX_EPOCH);
            assert_eq!(Interval::between(Timestamp::UNIX_EPOCH, later), interval);
        }
        Err(error) => assert_eq!(error.code, Code::CatalogInvalid),
    }
});
