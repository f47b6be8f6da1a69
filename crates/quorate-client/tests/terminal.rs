//! What `quorate` looks like: colours in a terminal and only there, exit codes for scripts, and `watch`, drawn for
//! each situation and started as a program.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::terminal::{Terminal, rows};
use common::{Hands, Pc, Ran, STANDARD, Vendor, products};
use quorate_client::activation::Status;
use quorate_client::host_address::HostAddress;
use quorate_client::report::Report;
use quorate_client::watch::view::{Product, View};
use quorate_core::catalog::Channel;
use quorate_core::license_state::Situation;
use quorate_core::schedule::Attempt;
use quorate_core::{Code, Error, Interval, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::Problem;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use std::ffi::OsStr;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_sees_the_status_in_colour_and_a_pipe_does_not() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let status = |starter: &[&str]| {
        let mut terminal = in_terminal_behind(starter, &pc, &["status"], 24, 80);
        terminal.waits_for(|screen| screen.contents().contains("ended with"));
        let rows = rows(terminal.parser.screen());
        rows.into_iter().find(|row| row.contains("LICENSE STATUS")).unwrap()
    };
    assert_eq!(status(&[]), "LICENSE STATUS: <yellow>---OOB_GRACE---<>");
    pc.activate_at(host.address).succeeds();
    assert_eq!(status(&[]), "LICENSE STATUS: <green>---LICENSED---<>");
    assert_eq!(status(&["env", "NO_COLOR=1"]), "LICENSE STATUS: ---LICENSED---");
    for variables in [&[][..], &[("NO_COLOR", "1")]] {
        let ran = Ran::from(pc.command(&["status"]).envs(variables.iter().copied()));
        assert!(!ran.succeeds().contains('\x1b'));
    }
    let ran = Ran::from(pc.command(&["set-host", "?"]).env_remove("NO_COLOR"));
    assert!(ran.err.starts_with("error Q507: ") && !ran.err.contains('\x1b'), "{ran:?}");
}

#[test]
fn a_terminal_sees_errors_in_colour() {
    let pc = Pc::new(1);
    let mut terminal = in_terminal(&pc, &["status"], 24, 120);
    terminal.waits_for(|screen| screen.contents().contains("ended with 1"));
    let rows = rows(terminal.parser.screen());
    assert!(rows[1].starts_with("<red>error<> Q605: no product is registered"), "{rows:#?}");
    assert!(rows.iter().any(|row| row.starts_with("<cyan>next<>: `quorate register")), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_the_worst_license() {
    let hands = Hands::new();
    hands.back(Interval::days(31));
    let vendor = Vendor::with("contoso", &products("contoso", 1), hands.clock());
    // Installed 31 days ago, by the real clock.
    let pc = Pc::with_product(1, &vendor);
    assert_eq!(pc.run(&["status"]).status, Some(0));
    assert_eq!(pc.run(&["status", "--exit-code"]).status, Some(4));
    assert_eq!(pc.run(&["rearm"]).status, Some(0));
    assert_eq!(pc.run(&["status", "--exit-code"]).status, Some(3));
    assert_eq!(pc.run(&["status", "--exit-code", "--json"]).status, Some(3));
}

/// Of two products, one can be told; that the other cannot is what the status says.
#[test]
fn a_license_that_cannot_be_told_ends_with_1() {
    let (contoso, fabrikam) = (Vendor::new("contoso"), Vendor::new("fabrikam"));
    let pc = Pc::with_product(1, &contoso);
    let (catalog, root) = (fabrikam.catalog(), fabrikam.root());
    pc.run(&["register", catalog.to_str().unwrap(), "--root", root.to_str().unwrap(), "--product", STANDARD])
        .succeeds();
    assert_eq!(pc.run(&["status", "--exit-code"]).status, Some(3));
    std::fs::remove_file(pc.store("contoso")).unwrap();
    std::fs::create_dir(pc.store("contoso")).unwrap();
    for arguments in [&["status"][..], &["status", "--exit-code"], &["status", "--exit-code", "--json"]] {
        let ran = pc.run(arguments);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.err.contains("Q601") && !ran.out.is_empty(), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licensed_product_ends_with_0() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    assert_eq!(pc.run(&["status", "--exit-code"]).status, Some(3));
    pc.activate_at(host.address).succeeds();
    assert_eq!(pc.run(&["status", "--exit-code"]).status, Some(0));
    // Nothing is due now, and that is said.
    let ran = pc.run(&["run", "--once"]);
    assert!(ran.err.contains("nothing is due; the next request is at 20"), "{ran:?}");
    assert_eq!(ran.status, Some(0));
}

#[test]
fn a_rearm_says_how_many_are_left() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    for more in [
        "4 more restarts are",
        "3 more restarts are",
        "2 more restarts are",
        "1 more restart is",
        "no more restart is",
    ] {
        assert_eq!(
            pc.run(&["rearm"]).succeeds(),
            format!("Contoso Office, Standard edition: initial grace for 29 days; {more} allowed.\n")
        );
    }
    assert_eq!(pc.run(&["status"]).line("REMAINING REARM COUNT"), "0");
    assert_eq!(pc.run(&["rearm"]).status, Some(1));
}

#[test]
fn clearing_the_host_says_what_still_names_one() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let file = pc.state().with_file_name("host");
    std::fs::write(&file, "kms.corp.test").unwrap();
    let file = file.display();
    assert_eq!(
        pc.run(&["clear-host"]).succeeds(),
        format!(
            "The host that was set by hand is forgotten, but {file} still names kms.corp.test:1688: that is \
             asked.\nnext: remove {file}, if DNS shall be asked\n"
        )
    );
    let ran = Ran::from(pc.command(&["clear-host"]).env("QUORATE_HOST", "other"));
    assert_eq!(
        ran.succeeds(),
        "The host that was set by hand is forgotten, but QUORATE_HOST still names other:1688: that is asked.\n\
         next: unset the variable, if DNS shall be asked\n"
    );
}

#[test]
fn watch_wants_a_terminal() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    pc.run(&["watch"]).fails(
        "Q601: the terminal cannot be used: input or output is redirected",
        "`quorate status` prints the same once, wherever its output goes",
    );
}

#[test]
fn watch_shows_the_store_as_it_changes_and_leaves_the_terminal_as_it_was() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    for quit in ["q", "\x1b", "\x03"] {
        let mut terminal = in_terminal(&pc, &["watch"], 24, 80);
        let shows = |terminal: &mut Terminal, text: &str| {
            terminal.waits_for(|screen| screen.contents().contains(text));
            let contents = terminal.parser.screen().contents();
            assert!(contents.contains(text), "{contents}");
        };
        shows(&mut terminal, "initial grace");
        assert!(terminal.parser.screen().alternate_screen());
        pc.run(&["set-host", "kms.corp.test"]).succeeds();
        shows(&mut terminal, "kms.corp.test:1688 (set by hand)");
        // A window of any size will do.
        for (rows, columns) in [(4, 20), (30, 100)] {
            terminal.resize(rows, columns);
        }
        shows(&mut terminal, "KMS (by a host of this network)");
        shows(&mut terminal, " q quit");
        pc.run(&["clear-host"]).succeeds();
        terminal.types(quit);
        terminal.has_ended_and_left_the_terminal_as_it_was();
    }
}

/// As a service manager or the system's shutdown ends it.
#[test]
fn watch_leaves_the_terminal_as_it_was_when_it_is_told_to_stop() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let mut terminal =
        in_terminal_behind(&["timeout", "--foreground", "--preserve-status", "3"], &pc, &["watch"], 24, 80);
    terminal.waits_for(|screen| screen.contents().contains("initial grace"));
    assert!(terminal.parser.screen().alternate_screen());
    terminal.has_ended_and_left_the_terminal_as_it_was();
}

#[test]
fn a_machine_in_its_grace_sees_the_count_it_waits_for() {
    let mut status = status();
    status.state.until = Some(Interval::days(10).after(now()));
    let error = Error::new(
        Code::CountTooLow,
        "count 4 of 5: the host has not been asked by enough machines yet",
        "wait: `quorate run` asks again by itself. 1 more machine must ask this host",
    );
    asked(&mut status, Some(4), Some(error));
    status.host = host();
    let screen = draw(&[Product::Found(Box::new(Report::new(&status)))], 72, 16);
    assert_eq!(
        text(&screen),
        [
            " quorate watch                                     2026-03-01T08:00:00Z",
            "╭ Contoso Office, Standard edition ─── KMS (by a host of this network) ╮",
            "│ ● initial grace  until 2026-03-11T08:00:00Z                          │",
            "│ ━━━━━━━━━━━━━━━━━━━──────────────────────────────────── 10 days left │",
            "│ Host   kms.corp.test:1688 (set by hand)                              │",
            "│ Asked  5 minutes ago                                                 │",
            "│ Count  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━────────── 4 of 5 │",
            "│ Next   in 01:56:03                                                   │",
            "│                                                                      │",
            "│ error Q301 (0xC004F038): count 4 of 5: the host has not been asked   │",
            "│ by enough machines yet                                               │",
            "│ next: wait: `quorate run` asks again by itself. 1 more machine must  │",
            "│ ask this host                                                        │",
            "╰──────────────────────────────────────────────────────────────────────╯",
            "",
            " q quit",
        ]
    );
    assert_eq!(screen[(2, 2)].fg, Color::Yellow);
    assert_eq!((screen[(2, 3)].fg, screen[(30, 3)].fg), (Color::Yellow, Color::Reset));
    assert_eq!((screen[(2, 9)].fg, screen[(2, 11)].fg), (Color::Red, Color::Cyan));
    assert!(screen[(0, 0)].modifier.contains(Modifier::REVERSED));
}

#[test]
fn each_situation_has_its_colour() {
    for (situation, colour) in [
        (Situation::Licensed, Color::Green),
        (Situation::InitialGrace, Color::Yellow),
        (Situation::ExpiryGrace, Color::Yellow),
        (Situation::OutOfToleranceGrace, Color::Yellow),
        (Situation::NonGenuineGrace, Color::Red),
        (Situation::Notification, Color::Red),
        (Situation::Unlicensed, Color::Red),
    ] {
        let mut status = status();
        status.state.situation = situation;
        asked(&mut status, Some(5), None);
        let screen = draw(&[Product::Found(Box::new(Report::new(&status)))], 80, 24);
        assert_eq!((screen[(0, 1)].fg, screen[(2, 2)].fg), (colour, colour), "{situation}");
        let rows = text(&screen);
        assert!(rows[2].starts_with(&format!("│ ● {situation} ")), "{rows:#?}");
        // Who is licensed waits for no count.
        let gauge = rows.iter().any(|row| row.contains("Count"));
        assert_eq!(gauge, situation != Situation::Licensed, "{rows:#?}");
    }
}

#[test]
fn an_edition_that_no_host_activates_and_a_license_without_an_end_are_shown_as_such() {
    let mut status = status();
    (status.sku.channel, status.state.situation, status.state.until) =
        (Channel::Mak, Situation::Licensed, None);
    let rows = text(&draw(&[Product::Found(Box::new(Report::new(&status)))], 72, 8));
    assert!(rows[1].ends_with(" MAK (at the vendor's service) ╮"), "{rows:#?}");
    assert_eq!(rows[2].trim_end_matches([' ', '│']), "│ ● licensed");
    assert!(!quorate_client::report::status(&status).contains("\nHOST:"));
    // Neither a host nor a next time to ask one.
    assert!(rows[3].starts_with("╰──"), "{rows:#?}");
}

#[test]
fn several_products_scroll_and_one_that_cannot_be_read_says_why() {
    let problem = Problem::from(&Error::new(Code::StoreDamaged, "a file is damaged", "register it again"));
    let broken = Product::Unreadable { name: "contoso Ltd, 0ff1ce15".to_owned(), problem };
    let found = Product::Found(Box::new(Report::new(&status())));
    let products = [broken, found.clone(), found];
    let rows = text(&draw(&products, 60, 14));
    assert!(rows[1].starts_with("╭ contoso Ltd, 0ff1ce15 ─"), "{rows:#?}");
    assert!(rows[2].starts_with("│ error Q604 (0x8007000D): a file is damaged "), "{rows:#?}");
    assert!(rows[13].starts_with(" q quit  ↑ ↓ scroll ") && rows[13].ends_with(" 6 more below"), "{rows:#?}");
    // Line by line to the end, however far somebody wants to go.
    let whole = text(&draw(&products, 60, 60));
    for first in [1, 3, 6] {
        let rows = text(&draw_from(&products, first, 60, 14));
        assert_eq!(rows[1..13], whole[usize::from(first) + 1..usize::from(first) + 13], "{rows:#?}");
    }
    let rows = text(&draw_from(&products, 500, 60, 14));
    assert!(rows[12].starts_with("╰──") && rows[13] == " q quit  ↑ ↓ scroll", "{rows:#?}");
}

#[test]
fn no_size_of_a_window_is_too_small() {
    let mut status = status();
    asked(&mut status, Some(4), Some(Error::new(Code::CountTooLow, "墨".repeat(50), "wait \x1b[31m")));
    let products = [Product::Found(Box::new(Report::new(&status)))];
    for columns in 0..=90 {
        for rows in 0..=30 {
            draw(&products, columns, rows);
        }
    }
}

/// `quorate` on this machine, in a terminal.
fn in_terminal(pc: &Pc, arguments: &[&str], rows: u16, columns: u16) -> Terminal {
    in_terminal_behind(&[], pc, arguments, rows, columns)
}

/// The same, started by another program.
fn in_terminal_behind(starter: &[&str], pc: &Pc, arguments: &[&str], rows: u16, columns: u16) -> Terminal {
    let command = pc.command(arguments);
    let mut words: Vec<&OsStr> = starter.iter().map(OsStr::new).collect();
    words.push(command.get_program());
    words.extend(command.get_args());
    let variables: Vec<(&str, &OsStr)> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?))).collect();
    Terminal::new(rows, columns, &words, &variables)
}

/// A product that was installed just now.
fn status() -> Status {
    let pc = Pc::with_product(1, &Vendor::with("contoso", &products("contoso", 5), Clock::system()));
    let mut status = pc.client(&Clock::system()).status().unwrap();
    status.judged_at = now();
    status.state.until = Some(Interval::days(20).after(now()));
    status
}

fn asked(status: &mut Status, count: Option<u32>, error: Option<Error>) {
    let attempt = Attempt { at: Interval::minutes(5).before(now()), activated: error.is_none() };
    status.product.last = Some(quorate_client::stored::LastAttempt { attempt, count, error });
    status.product.next_request = Some(Interval::seconds(2 * 3600 - 237).after(now()));
}

fn host() -> quorate_core::Result<Option<(HostAddress, quorate_client::discovery::Found)>> {
    Ok(Some(("kms.corp.test".parse().unwrap(), quorate_client::discovery::Found::SetByHand)))
}

fn now() -> Timestamp {
    "2026-03-01T08:00:00Z".parse().unwrap()
}

fn draw(products: &[Product], columns: u16, rows: u16) -> Buffer {
    draw_from(products, 0, columns, rows)
}

fn draw_from(products: &[Product], first: u16, columns: u16, rows: u16) -> Buffer {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    View { now: now(), products, first }.draw(area, &mut buffer);
    buffer
}

/// The rows without the blanks at their ends.
fn text(buffer: &Buffer) -> Vec<String> {
    let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
}
