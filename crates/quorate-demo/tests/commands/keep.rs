//! `quorate-demo --keep` stays up, and the commands that it prints work as they are typed.

use crate::support::{self, Terminal};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn the_printed_commands_work_as_typed() {
    let terminal = Terminal::new();
    let mut demo = Command::new(support::programs().join("quorate-demo"))
        .arg("--keep")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.starts_with("Ctrl-C stops everything")) {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "the demo has stopped: {lines:#?}");
        lines.push(line);
    }
    let commands: Vec<&String> = lines
        .iter()
        .skip_while(|line| !line.contains("From another terminal"))
        .filter(|line| ["/", "dig ", "QUORATE_DIR="].iter().any(|start| line.starts_with(start)))
        .collect();
    assert_eq!(commands.len(), 8, "{lines:#?}");
    let outputs: Vec<String> = commands.iter().map(|command| terminal.run(command)).collect();
    for (command, output) in commands.iter().zip(&outputs).take(7) {
        assert!(!output.contains("[exit"), "{command}{output}");
    }
    assert!(outputs[0].contains("LICENSE STATUS: ---LICENSED---"), "{}", outputs[0]);
    assert!(outputs[1].contains("count 5 of 5."), "{}", outputs[1]);
    assert!(outputs[3].contains("Current count: 5"), "{}", outputs[3]);
    assert!(outputs[6].trim_end().ends_with("kms.demo.test."), "{}", outputs[6]);

    // Inkpad has its license and wants a terminal, which there is none of here.
    let redirected = "the terminal cannot be used: input or output is redirected";
    assert!(outputs[7].contains(redirected), "{}", outputs[7]);

    let directory = lines.last().unwrap().trim_end().trim_end_matches('.').rsplit(' ').next().unwrap();
    assert!(std::path::Path::new(directory).is_dir());
    assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(demo.wait().unwrap().success());
    assert_eq!(rest.trim(), "Stopped; the temporary state is removed.");
    assert!(!std::path::Path::new(directory).exists());
}
