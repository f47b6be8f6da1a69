//! The program with its configuration file.

use crate::common::openid::{Stand, Wanderer, field, on_the_network};
use crate::common::people::people;
use crate::common::place::Place;
use crate::common::web::{Web, client_of};
use crate::common::{Ran, Running, vendor_program};
use crate::provider::RealProvider;
use crate::{finish, role, staff, to_the_way_back};
use quorate_vendor::accounts::Role;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The program itself, with its file; what it writes says nothing that could be used.
#[test]
fn the_program_reads_its_file_and_tells_no_secret() {
    let place = Place::in_sqlite();
    on_the_network(async {
        place.ask(people);
        let stand = Stand::new(&place).await;
        let mut provider = RealProvider::start(&stand.redirect(), staff());
        let file = place.path("vendor.toml");
        std::fs::write(&file, crate::common::openid::configuration(&place, &provider.issuer, "RS256", ""))
            .unwrap();
        let command = |arguments: &[&str]| {
            let mut command = vendor_program(&place.service_directory());
            command.arg("--config").arg(&file).args(arguments);
            command
        };
        let checked = Ran::from(&mut command(&["config", "check"])).succeeds();
        assert_eq!(checked, format!("{} is in order.\n", file.display()));
        let address = stand.leave();
        let mut program = command(&["serve", "--listen", &address.to_string()])
            .env("QUORATE_LOG", "debug")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let mut lines = BufReader::new(program.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut log = Vec::new();
        while !log.last().is_some_and(|line: &String| line.contains("listening address=")) {
            log.push(lines.next().unwrap());
        }
        let root = place.ask(|service| service.authority().root().clone());
        let web = Web { address, client: client_of(&root), root };
        let mut wanderer = Wanderer::new(&web);
        let back = to_the_way_back(&mut wanderer, &web, "1").await;
        let token = finish(&mut wanderer, &web, &back).await.unwrap();
        assert_eq!(role(&place, &token), Some(Role::Admin));
        let again = to_the_way_back(&mut wanderer, &web, "1").await;
        provider.stop();
        let refused = finish(&mut wanderer, &web, &again).await.unwrap_err();
        assert!(refused.starts_with("Q707"), "{refused}");

        let listed = Ran::from(&mut command(&["user", "list"])).succeeds();
        assert!(listed.contains("\nanna                             admin  by OpenID Connect\n"), "{listed}");
        let listed: Value =
            serde_json::from_str(&Ran::from(&mut command(&["--json", "user", "list"])).succeeds()).unwrap();
        let users = listed["users"].as_array().unwrap();
        let anna = users.iter().find(|user| user["name"] == "anna").unwrap();
        assert_eq!((&anna["openid-issuer"], &anna["openid-subject"]), (&json!(provider.issuer), &json!("1")));
        let alice = users.iter().find(|user| user["name"] == "alice").unwrap();
        assert_eq!((&alice["openid-issuer"], &alice["openid-subject"]), (&Value::Null, &Value::Null));
        Ran::from(&mut command(&["user", "password", "anna"])).fails(
            "Q306: anna signs in by OpenID Connect and has no password here",
            "change the password at the provider; `quorate-vendor user close` keeps somebody out",
        );
        Ran::from(&mut command(&["user", "close", "anna"])).succeeds();
        assert_eq!(role(&place, &token), None);

        let asked = Command::new("kill").args(["-TERM", &program.0.id().to_string()]).status().unwrap();
        assert!(asked.success() && program.0.wait().unwrap().success());
        log.extend(lines);
        let log = log.join("\n");
        assert!(log.contains("a sign-in by OpenID Connect has failed") && log.contains("Q707"), "{log}");
        let secrets = [
            crate::common::openid::SECRET.to_owned(),
            field(&back, "code").unwrap(),
            field(&again, "code").unwrap(),
            field(&again, "state").unwrap(),
            token.reveal().to_owned(),
        ];
        for secret in secrets {
            assert!(!log.contains(&secret), "{secret}: {log}");
        }
    });
}

#[test]
fn the_files_of_the_configuration_are_looked_at() {
    let place = Place::in_sqlite();
    let file = place.path("vendor.toml");
    let check = |besides: &str| {
        let text = crate::common::openid::configuration(&place, "https://login.example", "q", besides);
        std::fs::write(&file, text).unwrap();
        let mut command = vendor_program(&place.service_directory());
        command.args(["config", "check"]).arg(&file);
        command
    };
    Ran::from(&mut check("")).succeeds();
    let secret = place.path("openid-secret");
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut command = check("");
    mode(0o644);
    Ran::from(&mut command).fails(
        &format!("Q613: {} can be read by others than its owner (mode 644)", secret.display()),
        &format!(
            "chmod 600 {}; with it, somebody can pass for this service at the provider",
            secret.display()
        ),
    );
    for text in ["", "two words\n", "two\nlines\n"] {
        let mut command = check("");
        std::fs::write(&secret, text).unwrap();
        Ran::from(&mut command).fails(
            &format!("Q209 (0x8007000D): {} does not hold a secret and nothing else", secret.display()),
            "put the secret that the provider shows for this client into the file, alone on one line",
        );
    }
    let mut command = check("");
    std::fs::remove_file(&secret).unwrap();
    Ran::from(&mut command).fails(
        &format!("Q601: {} cannot be read: no such file or directory", secret.display()),
        "check the path",
    );
    let ca = place.path("ca.pem");
    let mut command = check(&format!("ca-file = '{}'\n", ca.display()));
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nnot base64 at all!\n-----END CERTIFICATE-----\n")
        .unwrap();
    Ran::from(&mut command).fails(
        &format!("Q209 (0x8007000D): {} holds no certificates in PEM", ca.display()),
        "give the file with the certificate of the authority that the provider's own chains to",
    );
}
