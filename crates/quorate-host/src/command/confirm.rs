//! `quorate-host atp` on a terminal: the Confirmation ID is asked for group by group, as the phone desk reads it out,
//! and a group that was misheard is asked for again before the next.

use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::{Code, Error, Result};
use quorate_edge::command_line::print;
use quorate_edge::files;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

/// Asks for the Confirmation ID.
pub fn ask(out: &mut impl Write) -> Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Error::new(
            Code::ConfirmationIdInvalid,
            "no Confirmation ID is given",
            "type its 48 digits behind the command, or \"-\" to read them from standard input",
        ));
    }
    print(out, "The eight groups of the Confirmation ID, as the phone desk reads them out:")?;
    groups(&mut input.lock(), out)
}

/// Reads the groups. Several may be typed at once; what is wrong is named, and asked for again.
fn groups(input: &mut impl BufRead, out: &mut impl Write) -> Result<String> {
    let terminal = |error| files::writing(Path::new("the terminal"), &error);
    let mut sound: Vec<String> = Vec::new();
    while let Some(letter) = ConfirmationId::LETTERS.get(sound.len()) {
        write!(out, "Group {letter}: ").and_then(|()| out.flush()).map_err(terminal)?;
        let mut line = String::new();
        if input.read_line(&mut line).map_err(|error| files::reading(Path::new("the terminal"), &error))? == 0
        {
            return Err(Error::new(
                Code::ConfirmationIdInvalid,
                format!("the Confirmation ID ends before group {letter}"),
                "type `quorate-host atp` again when you have all eight groups",
            ));
        }
        let typed: Vec<char> = line.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        let letters = ConfirmationId::LETTERS.iter().skip(sound.len());
        let mut groups =
            typed.chunks(6).map(|group| group.iter().collect::<String>()).zip(letters).collect::<Vec<_>>();
        if groups.is_empty() {
            groups.push((String::new(), letter));
        }
        for (group, letter) in groups {
            match ConfirmationId::check_group(*letter, &group) {
                Ok(()) => sound.push(group),
                Err(error) => {
                    print(out, &format!("{}: {}", error.what, error.next))?;
                    break;
                }
            }
        }
    }
    Ok(sound.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_group_is_named_at_once_and_asked_for_again() {
        // A group whose check digit is right, and one whose is not.
        let (right, wrong) = ("000000", "000001");
        let typed = format!("{right}\n{wrong}\n{right}\n12345\nO23456\n\n{right} {right}-{wrong}{right}\n")
            + &format!("{right}{right} {right}\n{right}\n{right}\n");
        let mut out = Vec::new();
        let read = groups(&mut typed.as_bytes(), &mut out).unwrap();
        assert_eq!(read, [right; 8].join("-"));
        let again = "have this group read to you again\n";
        let expected = [
            "Group A: ",
            "Group B: ",
            &format!("group B of the Confirmation ID has a typing error: {again}"),
            "Group B: ",
            "Group C: ",
            &format!("group C of the Confirmation ID has 5 digits, not 6: {again}"),
            "Group C: ",
            &format!("group C of the Confirmation ID has 'O' in it, which is not a digit: {again}"),
            "Group C: ",
            &format!("group C of the Confirmation ID has 0 digits, not 6: {again}"),
            "Group C: ",
            &format!("group E of the Confirmation ID has a typing error: {again}"),
            "Group E: ",
            "Group H: ",
        ];
        assert_eq!(String::from_utf8(out).unwrap(), expected.concat());
        let error = groups(&mut "".as_bytes(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.what, "the Confirmation ID ends before group A");
    }
}
