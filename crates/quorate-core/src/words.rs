//! Numbers in sentences.

use std::fmt::Display;

/// So many of something: `1 machine`, `2 machines`, `2 entries`.
pub fn counted(number: impl TryInto<u64> + Copy + Display, one: &str) -> String {
    if number.try_into().is_ok_and(|number| number == 1) {
        return format!("{number} {one}");
    }
    match one.strip_suffix('y').filter(|start| !start.ends_with(['a', 'e', 'o', 'u'])) {
        Some(start) => format!("{number} {start}ies"),
        None => format!("{number} {one}s"),
    }
}

/// So many are: `1 is`, `2 are`.
pub fn are(number: u32) -> String {
    if number == 1 { "1 is".to_owned() } else { format!("{number} are") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        assert_eq!(
            [0u32, 1, 2].map(|number| counted(number, "machine")),
            ["0 machines", "1 machine", "2 machines"]
        );
        assert_eq!(
            ["entry", "day", "proxy"].map(|one| counted(2u32, one)),
            ["2 entries", "2 days", "2 proxies"]
        );
        assert_eq!(counted(1u32, "entry"), "1 entry");
        assert_eq!([0, 1, 2].map(are), ["0 are", "1 is", "2 are"]);
    }
}
