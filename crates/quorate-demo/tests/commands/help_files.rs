//! Manual pages and completions of the three programs, read by what reads them on an administrator's machine.

use crate::support::Terminal;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A page for each command that the help lists, at every depth, and none without.
#[test]
fn every_command_has_a_manual_page() {
    let terminal = Terminal::new();
    let written = written(&terminal);
    let expected: BTreeSet<String> = PROGRAMS
        .iter()
        .flat_map(|program| commands(&terminal, program))
        .map(|command| format!("{}.1", command.replace(' ', "-")))
        .collect();
    assert_eq!(written, expected);
    assert!(written.contains("quorate-vendor-key-issue.1"), "{written:?}");
}

#[test]
fn manual_pages_are_read_without_warnings() {
    let terminal = Terminal::new();
    for page in written(&terminal) {
        let path = terminal.directory().join("man").join(&page);
        // As man does it; a warning is as bad as an error.
        let read =
            Command::new("groff").args(["-man", "-ww", "-Kutf8", "-Tutf8", "-rLL=78n"]).arg(&path).output();
        let read = read.expect("groff is missing: install the Debian package groff-base, as ./setup does");
        let warnings = String::from_utf8(read.stderr).unwrap();
        assert_eq!((read.status.code(), warnings.as_str()), (Some(0), ""), "{page}");
        assert!(!read.stdout.is_empty(), "{page}");
    }
}

#[test]
fn manual_pages_name_the_slash_forms_and_show_no_escape_codes() {
    let terminal = Terminal::new();
    written(&terminal);
    let page = |name: &str| std::fs::read_to_string(terminal.directory().join("man").join(name)).unwrap();
    assert!(page("quorate-status.1").contains("[/dstatus]"));
    assert!(page("quorate-set-host.1").contains("[/sethst:]"));
    assert!(page("quorate-host-dlv.1").contains("[/dlv]"));
    assert!(page("quorate.1").contains("QUORATE_DIR"));
    assert!(!page("quorate.1").contains('\x1b'));
    // Written again, they are the same: packages can be built twice.
    let before = page("quorate.1");
    written(&terminal);
    assert_eq!(page("quorate.1"), before);
}

/// Of all ways to end and all variables, a page has its own.
#[test]
fn manual_pages_have_exit_statuses_and_the_environment() {
    let terminal = Terminal::new();
    let pages = written(&terminal);
    let page = |name: &str| std::fs::read_to_string(terminal.directory().join("man").join(name)).unwrap();
    for name in &pages {
        let page = page(name);
        for text in
            [".SH \"EXIT STATUS\"", "Typed wrongly: nothing was done.", ".SH ENVIRONMENT", "QUORATE_LOG"]
        {
            assert!(page.contains(text), "{name}: {text}");
        }
        let graces = page.contains("a product is in a grace, and none is worse");
        assert_eq!(graces, name == "quorate-status.1", "{name}");
        let pin = page.contains("refuses its PIN");
        let on = ["", "-init", "-pack", "-serve"].map(|command| format!("quorate-vendor{command}.1"));
        assert_eq!(pin, on.contains(name), "{name}");
    }
    for (name, variable) in [
        ("quorate-activate.1", "QUORATE_DIR"),
        ("quorate.1", "QUORATE_HOST\\fR"),
        ("quorate-host-serve.1", "QUORATE_HOST_CONFIG"),
        ("quorate-vendor-key-issue.1", "QUORATE_VENDOR_DATABASE"),
    ] {
        let page = page(name);
        let (_, environment) = page.split_once(".SH ENVIRONMENT").unwrap();
        assert!(environment.contains(variable) && environment.contains("HTTPS_PROXY"), "{name}");
    }
    // In the usual order.
    let page = page("quorate.1");
    let at = |heading: &str| page.find(heading).unwrap_or_else(|| panic!("{heading}: {page}"));
    assert!(at(".SH OPTIONS") < at("EXIT STATUS") && at(".SH ENVIRONMENT") < at(".SH VERSION"));
}

#[test]
fn bash_completes_commands_options_and_shells() {
    let terminal = Terminal::new();
    for (typed, completed) in [
        ("quorate sta", "status"),
        ("quorate status --exit", "--exit-code"),
        ("quorate watch --js", "--json"),
        ("quorate completions fi", "fish"),
        ("quorate-host d", "dti dli dlv dns"),
        ("quorate-host serve --li", "--listen"),
        ("quorate-vendor key is", "issue"),
    ] {
        assert_eq!(complete(&terminal, typed), completed, "{typed}");
    }
}

#[test]
fn each_shell_has_completions() {
    let terminal = Terminal::new();
    for program in PROGRAMS {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let script = terminal.run(&format!("{program} completions {shell}"));
            assert!(script.contains(program) && !script.contains("[exit"), "{program} {shell}: {script}");
        }
    }
    assert!(terminal.run("quorate completions tcsh").ends_with("[exit 2]\n"));
}

/// A directory that cannot be made is told as every error is.
#[test]
fn pages_that_cannot_be_written_are_told() {
    let terminal = Terminal::new();
    std::fs::write(terminal.directory().join("file"), "").unwrap();
    let printed = terminal.run("quorate man-pages file/man");
    assert!(printed.starts_with("error Q602: file/man cannot be written: "), "{printed}");
    assert!(printed.ends_with("[exit 1]\n"), "{printed}");
}

/// The names of all pages, as the programs have written them.
fn written(terminal: &Terminal) -> BTreeSet<String> {
    for program in PROGRAMS {
        assert_eq!(terminal.run(&format!("{program} man-pages man")), "");
    }
    let directory: &Path = &terminal.directory().join("man");
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A command and those below it, as the help lists them.
fn commands(terminal: &Terminal, command: &str) -> Vec<String> {
    let help = terminal.run(&format!("{command} --help"));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        // What goes on from the line above stands further in.
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        name.split_whitespace().next()
    });
    let below = names.filter(|name| *name != "help").map(|name| format!("{command} {name}"));
    std::iter::once(command.to_owned())
        .chain(below.flat_map(|command| commands(terminal, &command)))
        .collect()
}

/// What bash offers for the last word of this line, by the program's completions.
fn complete(terminal: &Terminal, line: &str) -> String {
    let program = line.split(' ').next().unwrap();
    let script = format!(
        "source <({program} completions bash)
         COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}} COMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
         function=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
         \"$function\" {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"
         echo \"${{COMPREPLY[@]}}\""
    );
    std::fs::write(terminal.directory().join("complete.bash"), script).unwrap();
    terminal.run("bash --norc complete.bash").trim().to_owned()
}

const PROGRAMS: [&str; 3] = ["quorate", "quorate-host", "quorate-vendor"];
