//! `quorate --json`: every field that `docs/json.md` promises is there, no other is, and errors are JSON too.
//!
//! The commands are run against a real host; the tables of the document are read and compared.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::desk::{MAKS, Online};
use common::name_server::{DOMAIN, NameServer};
use common::peers::ClosedPort;
use common::{Pc, Ran, STANDARD, Vendor, products};
use quorate_edge::clock::Clock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_what_is_documented() {
    let mut vendor = Vendor::new("contoso");
    let host = vendor.host().await;
    let names = NameServer::publishing(&[(0, "kms", host.address.port())]).await;
    let (pc, closed) = (Pc::new(1), ClosedPort::new());
    let mut seen = Seen::new();
    let (catalog, root) = (vendor.catalog(), vendor.root());
    let (catalog, root) = (catalog.to_str().unwrap(), root.to_str().unwrap());
    seen.run(&pc, &["register", catalog, "--root", root, "--product", STANDARD]);
    seen.run(&pc, &["status"]);
    seen.run(&pc, &["rearm"]);

    // A host that cannot be reached.
    seen.run(&pc, &["set-host", &closed.address.to_string()]);
    for command in ["activate", "doctor"] {
        let printed = seen.fails(&pc, &[command]);
        assert_eq!(printed["products"][0]["error"]["code"], "Q502");
    }
    let printed = seen.run(&pc, &["status"]);
    assert_eq!(printed["products"][0]["result"]["last-request"]["error"]["known-number"], "0xC004F074");

    // A host that the machine's file names, and one from DNS.
    std::fs::write(pc.state().with_file_name("host"), host.address.to_string()).unwrap();
    let printed = seen.run(&pc, &["clear-host"]);
    assert_eq!(printed["still-set"], json!({"address": host.address.to_string(), "found": "machine-file"}));
    std::fs::write(pc.state().with_file_name("host"), "no host").unwrap();
    assert_eq!(seen.run(&pc, &["clear-host"])["problem"]["code"], "Q507");
    assert_eq!(seen.run(&pc, &["status"])["products"][0]["result"]["host-problem"]["code"], "Q507");
    std::fs::remove_file(pc.state().with_file_name("host")).unwrap();
    let dns = names.address.to_string();
    let with_dns = |command| ["--dns-server", &dns, "--domain", DOMAIN, command].map(ToOwned::to_owned);
    for command in ["discover", "activate", "doctor", "status"] {
        let arguments = with_dns(command);
        seen.run(&pc, &arguments.each_ref().map(String::as_str));
    }
    let printed = seen.run(&pc, &["status"]);
    let result = &printed["products"][0]["result"];
    assert_eq!(
        (&result["activation"], &result["status"], &result["status-number"]),
        (&json!("kms"), &json!("licensed"), &json!(1))
    );
    assert_eq!(result["host"]["found"], "cached");
    // Licensed: nothing to rearm.
    assert_eq!(seen.fails(&pc, &["rearm"])["products"][0]["error"]["code"], "Q609");
    seen.run(&pc, &["set-host", "192.0.2.10"]);
    assert_eq!(seen.run(&pc, &["set-port", "1700"])["host"], "192.0.2.10:1700");
    product_keys(&mut seen, &pc, &mut vendor).await;
    seen.is_everything_documented();
}

/// A MAK beside the KMS edition, in every way there is to activate it.
async fn product_keys(seen: &mut Seen, pc: &Pc, vendor: &mut Vendor) {
    let (key, service) = (vendor.key(MAKS), Online::serve(vendor).await);
    let pack = vendor.pack(&key, 1);
    let printed = seen.run(pc, &["install-key", &key.reveal(), "--pack", pack.to_str().unwrap()]);
    assert_eq!((&printed["activation"], &printed["activated"]), (&json!("mak"), &json!(false)));
    let printed = seen.run(pc, &["installation-id"]);
    let spoken = vendor.confirm(printed["products"][0]["result"]["installation-id"].as_str().unwrap());
    assert_eq!(seen.run(pc, &["confirm", &spoken])["products"][0]["result"]["by"], "vendor");
    let printed = seen.run(pc, &["activate", "--service", &service.url()]);
    assert_eq!(printed["products"][0]["result"]["key-machines"], 1);
    let printed = seen.run(pc, &["status", "--all"]);
    let in_use = printed["products"].as_array().unwrap().iter().map(|product| &product["result"]["in-use"]);
    assert_eq!(in_use.collect::<Vec<_>>(), [&json!(false), &json!(true)]);

    let path = |name: &str| pc.state().with_file_name(name).to_str().unwrap().to_owned();
    let (requests, answers) = (path("requests"), path("answers"));
    seen.run(pc, &["export-request", &requests]);
    let exported = std::fs::read_to_string(&requests).unwrap();
    std::fs::write(&requests, format!("no request\n{exported}")).unwrap();
    let forward = ["forward-requests", &requests, &answers, "--service", &service.url()];
    assert_eq!(seen.fails_in_part(pc, &forward)["bad"][0]["line"], 1);
    std::fs::write(&answers, std::fs::read_to_string(&answers).unwrap() + "no answer\n").unwrap();
    assert_eq!(seen.fails_in_part(pc, &["import-response", &answers])["for-others"], 0);
    let printed = seen.run(pc, &["remove-key", &key.partial().to_string()]);
    assert_eq!((&printed["activation"], &printed["key-id"]), (&json!("kms"), &json!("00097-000-000001")));
}

#[test]
fn an_error_is_a_line_of_json_and_nothing_achieved_is_no_document() {
    let pc = Pc::new(1);
    let ran = pc.run(&["status", "--json"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    let error = error(&ran);
    assert_eq!((&error["code"], &error["known-number"]), (&json!("Q605"), &Value::Null));
    assert_eq!(error["next"], "`quorate register CATALOG --root FILE`, or name the directory with --dir");
}

/// One product of two fails: the other has its result all the same.
#[tokio::test(flavor = "multi_thread")]
async fn each_product_has_its_result_or_its_error() {
    let (mut contoso, fabrikam) = (Vendor::new("contoso"), Vendor::new("fabrikam"));
    let (pc, host) = (Pc::with_product(1, &contoso), contoso.host().await);
    let (catalog, root) = (fabrikam.catalog(), fabrikam.root());
    let (catalog, root) = (catalog.to_str().unwrap(), root.to_str().unwrap());
    pc.run(&["register", catalog, "--root", root, "--product", STANDARD]).succeeds();
    pc.run(&["set-host", &host.address.to_string()]).succeeds();
    let ran = pc.run(&["activate", "--json"]);
    assert_eq!(ran.status, Some(1));
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    let [first, second] = &printed["products"].as_array().unwrap()[..] else { panic!("{printed}") };
    assert_eq!((&first["vendor"], &first["result"]["count"]), (&json!("contoso"), &json!(1)));
    assert_eq!((&first["error"], &second["result"]), (&Value::Null, &Value::Null));
    assert_eq!((&second["vendor"], &second["error"]["code"]), (&json!("fabrikam"), &json!("Q302")));
    assert_eq!(error(&ran), second["error"]);

    // A store that cannot be read has no name to give.
    let installed = pc.state().join("fabrikam").join(format!("{}.installed.json", common::OFFICE));
    std::fs::write(installed, "{}").unwrap();
    let ran = pc.run(&["status", "--json"]);
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    let [first, second] = &printed["products"].as_array().unwrap()[..] else { panic!("{printed}") };
    assert_eq!(first["result"]["status"], "licensed");
    assert_eq!((&second["name"], &second["application-id"]), (&Value::Null, &json!(common::OFFICE)));
    assert_eq!(error(&ran), second["error"]);
}

#[test]
fn what_has_no_result_refuses_json() {
    let pc = Pc::with_product(1, &Vendor::with("contoso", &products("contoso", 5), Clock::system()));
    for arguments in
        [&["run"][..], &["run", "--once"], &["watch"], &["completions", "bash"], &["man-pages", "x"]]
    {
        let ran = pc.run(&[&["--json"], arguments].concat());
        let start = format!("error: `{}` has no result to print as JSON\n", arguments[0]);
        assert!(ran.err.starts_with(&start), "{ran:?}");
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""));
    }
}

/// The only error on standard error.
fn error(ran: &Ran) -> Value {
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    let mut printed: Value = serde_json::from_str(&ran.err).unwrap();
    printed["error"].take()
}

/// The fields that were seen so far, by command, and those that are documented.
struct Seen {
    seen: BTreeMap<String, BTreeSet<String>>,
    documented: BTreeMap<String, BTreeMap<String, String>>,
}

impl Seen {
    fn new() -> Self {
        let mut documented = BTreeMap::<String, BTreeMap<String, String>>::new();
        let mut section = String::new();
        for line in include_str!("../../../docs/json.md").lines() {
            if let Some(title) = line.strip_prefix("## ") {
                section = title.trim_matches('`').trim_start_matches("quorate ").to_owned();
            } else if let Some((field, what)) =
                line.strip_prefix("| `").and_then(|row| row.split_once("` | "))
            {
                documented.entry(section.clone()).or_default().insert(field.to_owned(), what.to_owned());
            }
        }
        Self { seen: BTreeMap::new(), documented }
    }

    fn run(&mut self, pc: &Pc, arguments: &[&str]) -> Value {
        let out = pc.run(&[&["--json"], arguments].concat()).succeeds();
        self.note(arguments, &out)
    }

    fn fails(&mut self, pc: &Pc, arguments: &[&str]) -> Value {
        let ran = pc.run(&[&["--json"], arguments].concat());
        assert_eq!(ran.status, Some(1), "{ran:?}");
        let printed = self.note(arguments, &ran.out);
        assert_eq!(printed["products"][0]["error"], error(&ran));
        printed
    }

    /// What was achieved is printed, and why it is not all on standard error.
    fn fails_in_part(&mut self, pc: &Pc, arguments: &[&str]) -> Value {
        let ran = pc.run(&[&["--json"], arguments].concat());
        assert_eq!(ran.status, Some(1), "{ran:?}");
        error(&ran);
        self.note(arguments, &ran.out)
    }

    fn note(&mut self, arguments: &[&str], out: &str) -> Value {
        let printed: Value = serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"));
        let command = arguments.iter().find(|argument| self.documented.contains_key(**argument)).unwrap();
        let fields = self.documented(command);
        let mut found = BTreeSet::new();
        walk(&printed, "", &fields, &mut found);
        self.seen.entry((*command).to_owned()).or_default().extend(found);
        printed
    }

    /// The fields of a command, with those of every product when it lists them.
    fn documented(&self, command: &str) -> BTreeMap<String, String> {
        let mut fields = self.documented[command].clone();
        if fields.keys().any(|field| field.starts_with("products[]")) {
            fields.extend(self.documented["Products"].clone());
        }
        fields
    }

    #[track_caller]
    fn is_everything_documented(&self) {
        let commands =
            self.documented.keys().filter(|title| !["Errors", "Products"].contains(&title.as_str()));
        for command in commands {
            let documented: BTreeSet<String> = self.documented(command).into_keys().collect();
            assert_eq!(self.seen.get(command), Some(&documented), "{command}");
        }
    }
}

/// Collects the paths of a document's fields. An object has all the fields that are documented for it, and an
/// error has its own.
fn walk(value: &Value, path: &str, documented: &BTreeMap<String, String>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if field == "products" {
                    walk(value, &field, documented, found);
                    continue;
                }
                let what = documented.get(&field).unwrap_or_else(|| panic!("{field} is not documented"));
                found.insert(field.clone());
                if what.starts_with("an error") {
                    let names: Option<Vec<&str>> =
                        value.as_object().map(|e| e.keys().map(String::as_str).collect());
                    let whole = names.is_none_or(|names| names == ["code", "known-number", "what", "next"]);
                    assert!(whole && (value.is_object() || value.is_null()), "{field}: {value}");
                } else {
                    walk(value, &field, documented, found);
                }
            }
            let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
            let children = documented.keys().filter_map(|field| field.strip_prefix(&prefix));
            for child in children.filter(|child| !child.contains(['.', '['])) {
                assert!(object.contains_key(child), "{prefix}{child} is missing");
            }
        }
        Value::Array(array) => {
            array.iter().for_each(|value| walk(value, &format!("{path}[]"), documented, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
