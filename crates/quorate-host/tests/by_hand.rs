//! The host activated by hand, as case study 1 of the article tells it: `ato` fails, `dti` shows the groups, `atp`
//! asks for them one after the other on a terminal.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PROGRAM, Site, stderr, stdout};
use pty_process::blocking::{Command, Pty};
use std::io::{Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_misheard_group_is_asked_for_again_before_the_rest_is_typed() {
    let mut site = Site::installed();
    let spoken = site.confirmation_id();
    let groups: Vec<&str> = spoken.split('-').collect();
    let mut terminal = Terminal::start(&site, &["atp"]);
    terminal.waits_for("Group A: ");
    terminal.types(groups[0]);
    terminal.waits_for("Group B: ");
    let last = if groups[1].ends_with('9') { "0" } else { "9" };
    terminal.types(&format!("{}{last}", &groups[1][..5]));
    terminal
        .waits_for("group B of the Confirmation ID has a typing error: have this group read to you again");
    // The rest may be typed in one line.
    terminal.types(&groups[1..].join(" "));
    terminal.waits_for("Activated Contoso Office, KMSHost edition");
    assert!(terminal.child.wait().unwrap().success());
    assert!(stdout(&site.run(&["/dli"])).ends_with("License Status: Licensed\n"));
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let site = Site::installed();
    site.refuses(
        &["atp"],
        "error Q105 (0xC004F01F): no Confirmation ID is given\n\
         next: type its 48 digits behind the command, or \"-\" to read them from standard input",
    );
}

#[test]
fn the_groups_are_numbered_and_a_qr_code_has_them_too() {
    let site = Site::installed();
    let shown = stdout(&site.run(&["dti"]));
    let groups: Vec<String> = shown.lines().nth(1).unwrap().split('-').map(str::to_owned).collect();
    assert_eq!(groups.len(), 9);
    for (number, group) in groups.iter().enumerate() {
        assert_eq!(shown.lines().nth(number + 2).unwrap(), format!("{}  {group}", number + 1));
    }
    let with_code = stdout(&site.run(&["dti", "--qr"]));
    let blocks: Vec<&str> = with_code.lines().filter(|line| line.contains(['█', '▀'])).collect();
    // 54 digits need 25 by 25 modules, with a border of 4; two of them stand in one line.
    assert_eq!(blocks.len(), 17, "{with_code}");
    assert!(blocks.iter().all(|line| line.chars().count() == 33), "{with_code}");
    assert!(blocks[0].chars().all(|c| c == '█'), "{with_code}");
}

#[test]
fn the_short_status_and_the_end_of_the_certificate_are_shown() {
    let mut site = Site::installed();
    let short = |status: &str| {
        format!(
            "Name: Contoso Office, KMSHost edition\nDescription: Contoso Office KMS, VOLUME_KMS channel\n\
             Partial Product Key: {}\nLicense Status: {status}\n",
            site.key.partial()
        )
    };
    let (before, after) = (short("Unlicensed"), short("Licensed"));
    assert_eq!(stdout(&site.run(&["dli"])), before);
    assert_eq!(stdout(&site.run(&["/xpr"])), "Contoso Office, KMSHost edition: not activated\n");
    let spoken = site.confirmation_id();
    assert_eq!(stderr(&site.run(&["atp", &spoken])), "");
    assert_eq!(stdout(&site.run(&["dli", "all"])), after);
    let shown = stdout(&site.run(&["xpr", "all"]));
    assert!(
        shown.starts_with("Contoso Office, KMSHost edition: the host's certificate holds until 20")
            && shown.ends_with("; renew it by telephone before (`quorate-host dti`)\n"),
        "{shown}"
    );
}

/// A program on a terminal.
struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    shown: Arc<Mutex<String>>,
    news: Receiver<()>,
}

impl Terminal {
    fn start(site: &Site, arguments: &[&str]) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        let child = Command::new(PROGRAM)
            .env_clear()
            .arg("--dir")
            .arg(site.host_directory())
            .args(arguments)
            .spawn(pts)
            .unwrap();
        let (pty, shown) = (Arc::new(pty), Arc::new(Mutex::new(String::new())));
        let (reading, writing) = (Arc::clone(&pty), Arc::clone(&shown));
        let (sender, news) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when nobody has the other side open.
            while let Ok(length @ 1..) = (&*reading).read(&mut buffer) {
                writing.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
                let _ = sender.send(());
            }
        });
        Self { child, pty, shown, news }
    }

    fn types(&self, line: &str) {
        (&*self.pty).write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn waits_for(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.shown.lock().unwrap().contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            let heard = self.news.recv_timeout(left);
            let shown = self.shown.lock().unwrap();
            assert!(heard.is_ok() || shown.contains(text), "{text:?} is not shown: {shown}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself; then both say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Far longer than it takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
