//! Numbers in sentences.

use std::fmt::Display;

/// So many of something: `1 machine`, `2 machines`.
pub fn counted(number: impl TryInto<u64> + Copy + Display, one: &str) -> String {
    let plural = if number.try_into().is_ok_and(|number| number == 1) { "" } else { "s" };
    format!("{number} {one}{plural}")
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
    }
}
