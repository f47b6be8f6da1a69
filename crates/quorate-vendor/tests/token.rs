//! The CA's key in a PKCS #11 token: SoftHSM, from Debian's package, with a directory of its own for each test.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::web::client_of;
use common::{Ran, Running, installation_id, vendor_program};
use quorate_core::Timestamp;
use quorate_core::certificate::VendorRoot;
use quorate_core::license_pack::LicensePack;
use quorate_core::product_key::ProductKey;
use quorate_core::signed;
use quorate_edge::files;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "8642";

/// A machine with a token.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(machine.at("tokens")).unwrap();
        let config =
            format!("directories.tokendir = {}\nlog.level = ERROR\n", machine.at("tokens").display());
        std::fs::write(machine.at("softhsm2.conf"), config).unwrap();
        machine.tool(&["--init-token", "--free", "--label", "vault", "--so-pin", "13579", "--pin", PIN]);
        machine.pin(PIN);
        let place = format!("module = \"{MODULE}\"\ntoken = \"vault\"\nlabel = \"ca\"\npin-file = \"pin\"\n");
        std::fs::write(machine.at("token.toml"), place).unwrap();
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tool(&self, arguments: &[&str]) {
        let mut tool = Command::new("softhsm2-util");
        Ran::from(tool.env("SOFTHSM2_CONF", self.at("softhsm2.conf")).args(arguments)).succeeds();
    }

    fn pin(&self, pin: &str) {
        std::fs::write(self.at("pin"), format!("{pin}\n")).unwrap();
        std::fs::set_permissions(self.at("pin"), PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn vendor_in(&self, directory: &str, arguments: &[&str]) -> Ran {
        let mut program = vendor_program(&self.at(directory));
        Ran::from(program.env("SOFTHSM2_CONF", self.at("softhsm2.conf")).args(arguments))
    }

    fn vendor(&self, arguments: &[&str]) -> Ran {
        self.vendor_in("vendor", arguments)
    }

    fn init_in(&self, directory: &str, root: &str) -> Ran {
        self.init_with(directory, &self.at(root), &[])
    }

    fn init_with(&self, directory: &str, root: &Path, before: &[&str]) -> Ran {
        let token = self.at("token.toml");
        let vendor = ["init", "--vendor", "contoso", "--name", "Contoso", "--url", "https://127.0.0.1"];
        let places = ["--root-dir", root.to_str().unwrap(), "--ca-token", token.to_str().unwrap()];
        self.vendor_in(directory, &[before, &vendor, &places].concat())
    }

    /// A vendor with products, and one of its host keys.
    fn set_up(&self) -> ProductKey {
        self.init_in("vendor", "root").succeeds();
        let products = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/contoso.toml");
        self.vendor(&["product", "import", products.to_str().unwrap()]).succeeds();
        let issued = self.vendor(&["key", "issue", "--group", "96"]).succeeds();
        issued.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    }

    fn pack_in(&self, directory: &str, key: &ProductKey, slots: &str) -> Ran {
        let pack = self.at("office.pack");
        let key = key.id().to_string();
        self.vendor_in(directory, &["pack", &key, "--out", pack.to_str().unwrap(), "--slots", slots])
    }

    /// Another vendor, whose key has this label.
    fn init_with_label(&self, label: &str) {
        let place = files::read_text(&self.at("token.toml")).unwrap();
        std::fs::write(self.at("token.toml"), place.replace("\"ca\"", &format!("{label:?}"))).unwrap();
        self.init_in(label, &format!("{label}-root")).succeeds();
    }

    /// Whether the pack holds up to the vendor root: the token has signed the chain.
    fn pack_is_genuine(&self) {
        let root =
            CertificateDer::from_pem_slice(&files::read(&self.at("vendor/root.pem")).unwrap()).unwrap();
        let root = VendorRoot::from_der(root.to_vec()).unwrap();
        let pack = files::read_text(&self.at("office.pack")).unwrap();
        signed::verify_own_vendor::<LicensePack>(&pack, &root, Timestamp::now()).unwrap();
    }
}

#[test]
fn the_token_signs_and_the_key_is_nowhere_else() {
    let machine = Machine::new();
    let key = machine.set_up();
    machine.pack_in("vendor", &key, "3").succeeds();
    machine.pack_is_genuine();
    let installation_id = installation_id(&key, 1).to_string();
    let confirmed = machine.vendor(&["confirm", &installation_id]).succeeds();
    assert!(confirmed.contains("Confirmation ID: "), "{confirmed}");

    let names: Vec<String> = std::fs::read_dir(machine.at("vendor"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("key"))
        .collect();
    assert_eq!(names, ["issuer.key.pem"]);

    // A backup has where the token is, which is all that there is to have.
    let backup = machine.at("vendor.backup");
    machine.vendor(&["backup", backup.to_str().unwrap()]).succeeds();
    machine.vendor_in("again", &["restore", backup.to_str().unwrap()]).succeeds();
    machine.pack_in("again", &key, "5").succeeds();
    machine.pack_is_genuine();
}

#[test]
fn a_vendor_is_set_up_once_in_a_token_and_leaves_nothing_when_it_fails() {
    let machine = Machine::new();
    // A database that is not there to be reached.
    let database = ["--database", "postgresql://127.0.0.1:1/none?connect_timeout=1"];
    let failed = machine.init_with("other", &machine.at("other-root"), &database);
    assert!(failed.err.starts_with("error Q611: "), "{failed:?}");
    // A place where nobody can write.
    let failed = machine.init_with("other", Path::new("/proc/self"), &[]);
    assert!(failed.err.starts_with("error Q602: /proc/self/root.key.pem cannot be written"), "{failed:?}");
    let left: Vec<_> =
        std::fs::read_dir(machine.at("other")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["vendor.lock"]);
    // So the label is free.
    machine.set_up();
    machine.init_in("third", "third-root").fails(
        "Q606: the token \"vault\" holds something labelled \"ca\" already",
        "a vendor is set up once; choose another label for another vendor",
    );
}

#[test]
fn a_token_that_cannot_be_used_is_told_from_one_that_is_not_there() {
    let machine = Machine::new();
    let key = machine.set_up();
    let refused = |what: &str| {
        let ran = machine.pack_in("vendor", &key, "2");
        let status = if what.contains("Q615") { 78 } else { 1 };
        assert_eq!(ran.status, Some(status), "{ran:?}");
        let what = what.replace("DIR", machine.0.path().to_str().unwrap());
        assert!(ran.err.starts_with(&what), "{}", ran.err);
        assert!(!ran.err.contains("1111") && !ran.err.contains(PIN), "{}", ran.err);
    };
    machine.pin("1111");
    refused("error Q615: the token \"vault\" refuses the PIN in DIR/pin");
    // What needs no signature of the CA needs no token.
    machine.vendor(&["product", "export"]).succeeds();
    let serve = machine.vendor(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(serve.status == Some(78) && serve.err.contains("Q615"), "{serve:?}");
    machine.pin(PIN);
    std::fs::set_permissions(machine.at("pin"), PermissionsExt::from_mode(0o644)).unwrap();
    refused("error Q613: DIR/pin can be read by others than its owner (mode 644)");
    machine.pin(PIN);

    std::fs::rename(machine.at("tokens"), machine.at("away")).unwrap();
    std::fs::create_dir(machine.at("tokens")).unwrap();
    refused(
        "error Q614: the PKCS #11 module /usr/lib/softhsm/libsofthsm2.so has no token labelled \"vault\"",
    );
    std::fs::remove_dir(machine.at("tokens")).unwrap();
    std::fs::rename(machine.at("away"), machine.at("tokens")).unwrap();

    let place = machine.at("vendor/ca-token.toml");
    let right = files::read_text(&place).unwrap();
    for (from, to, what) in [
        (
            "libsofthsm2.so",
            "nothing.so",
            "error Q614: the PKCS #11 module /usr/lib/softhsm/nothing.so cannot be loaded",
        ),
        ("\"ca\"", "\"cb\"", "error Q614: the key \"cb\" in the token \"vault\" is not there"),
        (
            "token =",
            "tokn =",
            "error Q209 (0x8007000D): DIR/vendor/ca-token.toml does not say where a token is: ",
        ),
    ] {
        std::fs::write(&place, right.replace(from, to)).unwrap();
        refused(what);
    }
    // The key of another vendor.
    machine.init_with_label("cc");
    std::fs::write(&place, right.replace("\"ca\"", "\"cc\"")).unwrap();
    refused(
        "error Q614: the key \"cc\" in the token \"vault\" does not belong to the activation CA's certificate",
    );

    std::fs::write(&place, right).unwrap();
    machine.pack_in("vendor", &key, "2").succeeds();
    machine.pack_is_genuine();
}

/// The PIN is changed while the service runs, and the token is taken away: nobody but the person who can mend it notices
/// more than that it was away.
#[test]
fn a_service_that_runs_survives_its_token() {
    let machine = Machine::new();
    let key = machine.set_up();
    let said = machine.vendor(&["token", "add", "desk", "--scope", "desk"]).succeeds();
    let token = said.split_whitespace().last().unwrap().to_owned();
    let root = CertificateDer::from_pem_slice(&files::read(&machine.at("vendor/root.pem")).unwrap()).unwrap();

    let mut serve = vendor_program(&machine.at("vendor"));
    serve.env("SOFTHSM2_CONF", machine.at("softhsm2.conf")).env("NO_COLOR", "1").stderr(Stdio::piped());
    let mut serve = Running(serve.args(["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap());
    let mut lines = BufReader::new(serve.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("is listening")).unwrap();
    let address = line.split("address=").nth(1).unwrap().trim().to_owned();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async { client_of(&VendorRoot::from_der(root.to_vec()).unwrap()) });
    let url = format!("https://{address}/v1/keys/{}/pack", key.id());
    // So many slots as to want signatures each time.
    let pack = |slots: u32| {
        runtime.block_on(async {
            let body = serde_json::json!({ "slots": slots });
            let answer = client.post(&url).bearer_auth(&token).json(&body).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    };
    assert_eq!(pack(2).0, 200);

    // Nobody asks for the PIN while the session is open.
    machine.pin("1111");
    assert_eq!(pack(4).0, 200);

    let fails = |code: &str| {
        let (status, body) = pack(6);
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, problem["code"].as_str()), (503, Some(code)), "{body}");
    };
    let (there, away) = (machine.at("tokens"), machine.at("away"));
    std::fs::rename(&there, &away).unwrap();
    fails("Q614");
    std::fs::rename(&away, &there).unwrap();
    fails("Q615");
    // The token would be missed if the same PIN were tried again.
    std::fs::rename(&there, &away).unwrap();
    fails("Q615");
    std::fs::rename(&away, &there).unwrap();
    machine.pin(PIN);
    let (status, body) = pack(6);
    assert!(status == 200, "{status} {body}");
}
