//! The slash forms that administrators know, and the subcommands that they stand for.
//!
//! They stand here for all programs together, so that whoever types one to the wrong program is told the right
//! one.

use clap::error::ErrorKind;
use clap::{Arg, Command};
use std::ffi::OsString;

/// A program, and its slash forms: each name with the words that it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    name: &'static str,
    forms: &'static [(&'static str, &'static str)],
}

/// The program of machines with a product.
pub const QUORATE: Program = Program {
    name: "quorate",
    forms: &[
        ("dstatus", "status"),
        ("dstatusall", "status --all"),
        ("act", "activate"),
        ("sethst", "set-host"),
        ("setprt", "set-port"),
        ("remhst", "clear-host"),
        ("inpkey", "install-key"),
        ("unpkey", "remove-key"),
        ("dinstid", "installation-id"),
        ("actcid", "confirm"),
        ("dhistorykms", "discover"),
        ("rearm", "rearm"),
    ],
};

/// The activation host.
pub const QUORATE_HOST: Program = Program {
    name: "quorate-host",
    forms: &[
        ("ipk", "ipk"),
        ("upk", "upk"),
        ("ato", "ato"),
        ("dti", "dti"),
        ("atp", "atp"),
        ("dli", "dli"),
        ("dlv", "dlv"),
        ("xpr", "xpr"),
        ("sprt", "sprt"),
        ("sai", "sai"),
        ("sri", "sri"),
        ("sdns", "sdns"),
        ("cdns", "cdns"),
        ("spri", "spri"),
        ("cpri", "cpri"),
    ],
};

/// The vendor's service, which has none.
pub const QUORATE_VENDOR: Program = Program { name: "quorate-vendor", forms: &[] };

/// Turns a slash form where the subcommand belongs into plain words: `/sethst:kms.example.com` becomes
/// `set-host kms.example.com`. Everywhere else a slash begins a path.
pub fn plain_arguments(
    arguments: impl IntoIterator<Item = OsString>,
    command: &mut Command,
    program: Program,
) -> Result<Vec<OsString>, clap::Error> {
    let mut plain = Vec::from_iter(arguments);
    let Some(position) = subcommand(&plain, command) else { return Ok(plain) };
    let Some((name, value)) = plain[position].to_str().and_then(slash_form) else { return Ok(plain) };
    let words = program.words(name).ok_or_else(|| unknown(name, command, program))?;
    let words = words.split(' ').chain(value).map(OsString::from).collect::<Vec<_>>();
    plain.splice(position..=position, words);
    Ok(plain)
}

impl Program {
    fn words(self, name: &str) -> Option<&'static str> {
        self.forms.iter().find(|(slash, _)| slash.eq_ignore_ascii_case(name)).map(|(_, words)| *words)
    }
}

/// Where the subcommand stands: behind the program's name, its options and their values.
fn subcommand(arguments: &[OsString], command: &Command) -> Option<usize> {
    let mut position = 1;
    while let Some(argument) = arguments.get(position) {
        let Some(option) = argument.to_str().filter(|text| text.starts_with('-')) else {
            return Some(position);
        };
        let named = |arg: &&Arg| arg.get_long().is_some_and(|long| option.strip_prefix("--") == Some(long));
        let has_value =
            command.get_arguments().find(named).is_some_and(|arg| arg.get_action().takes_values());
        position += if has_value { 2 } else { 1 };
    }
    None
}

/// The name of a slash form and the value behind its colon. What has another slash in it is a path.
fn slash_form(text: &str) -> Option<(&str, Option<&str>)> {
    let form = text.strip_prefix('/')?;
    let (name, value) = match form.split_once(':') {
        Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
        None => (form, None),
    };
    let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_word.then_some((name, value))
}

/// Says which program has a form that this one has not, or which forms there are. What was typed is not
/// repeated unless it is known: it may be a product key.
fn unknown(name: &str, command: &mut Command, program: Program) -> clap::Error {
    let other = [QUORATE, QUORATE_HOST].into_iter().find_map(|other| Some((other, other.words(name)?)));
    let what = match other {
        Some((other, words)) => {
            let name = name.to_ascii_lowercase();
            format!("/{name} is not a command of {}: type `{} {words}`", program.name, other.name)
        }
        None if program.forms.is_empty() => format!("{} has no slash forms", program.name),
        None => {
            let forms =
                program.forms.iter().map(|(name, _)| format!("/{name}")).collect::<Vec<_>>().join(", ");
            format!("{} does not know this slash form; it knows {forms}", program.name)
        }
    };
    command.error(ErrorKind::InvalidSubcommand, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let option = |name: &'static str| Arg::new(name).long(name);
        Command::new("quorate")
            .arg(option("dir"))
            .arg(option("json").action(clap::ArgAction::SetTrue))
            .subcommand(Command::new("status"))
    }

    fn plain_for(program: Program, arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments = arguments.iter().map(OsString::from);
        plain_arguments(arguments, &mut command(), program)
            .map(|plain| plain.into_iter().map(|argument| argument.into_string().unwrap()).collect())
            .map_err(|error| {
                assert_eq!(error.exit_code(), 2);
                error.to_string().lines().next().unwrap().to_owned()
            })
    }

    #[test]
    fn slash_forms_become_subcommands() {
        let plain = |arguments: &[&str]| plain_for(QUORATE, arguments).unwrap();
        assert_eq!(plain(&["q", "/sethst:10.0.0.1"]), ["q", "set-host", "10.0.0.1"]);
        assert_eq!(plain(&["q", "/SETHST:", "::1"]), ["q", "set-host", "::1"]);
        assert_eq!(plain(&["q", "--dir", "/act", "/act"]), ["q", "--dir", "/act", "activate"]);
        assert_eq!(plain(&["q", "--dir=/act", "--json", "/act"]), ["q", "--dir=/act", "--json", "activate"]);
        assert_eq!(plain(&["q"]), ["q"]);
        assert_eq!(plain(&["q", "--dir"]), ["q", "--dir"]);
    }

    #[test]
    fn a_form_may_stand_for_several_words() {
        let program = Program { name: "quorate", forms: &[("dstatusall", "status --all")] };
        assert_eq!(plain_for(program, &["q", "/dstatusall"]).unwrap(), ["q", "status", "--all"]);
        assert_eq!(plain_for(program, &["q", "/dstatusall:x"]).unwrap(), ["q", "status", "--all", "x"]);
    }

    #[test]
    fn paths_stay_paths() {
        for arguments in
            [&["q", "register", "/act"][..], &["q", "/tmp/x"], &["q", "/"], &["q", "status", "/x"]]
        {
            assert_eq!(plain_for(QUORATE, arguments).unwrap(), arguments);
        }
    }

    #[test]
    fn a_form_of_another_program_is_sent_there_and_an_unknown_one_is_not_repeated() {
        let error = |program, argument| plain_for(program, &["q", argument]).unwrap_err();
        assert_eq!(
            error(QUORATE, "/DLV:all"),
            "error: /dlv is not a command of quorate: type `quorate-host dlv`"
        );
        assert_eq!(
            error(QUORATE_HOST, "/dstatus"),
            "error: /dstatus is not a command of quorate-host: type `quorate status`"
        );
        assert_eq!(
            error(QUORATE_HOST, "/BCDFG-HJKMP-QRTVW-XY234-6789B"),
            "error: quorate-host does not know this slash form; it knows /ipk, /upk, /ato, /dti, /atp, /dli, /dlv, \
             /xpr, /sprt, /sai, /sri, /sdns, /cdns, /spri, /cpri"
        );
        assert_eq!(
            error(QUORATE_VENDOR, "/ato"),
            "error: /ato is not a command of quorate-vendor: type `quorate-host ato`"
        );
        assert_eq!(error(QUORATE_VENDOR, "/x"), "error: quorate-vendor has no slash forms");
    }
}
