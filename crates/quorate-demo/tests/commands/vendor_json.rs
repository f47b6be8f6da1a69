//! `quorate-vendor --json`: what `docs/vendor-json.md` says of each command is printed, and nothing else.

use crate::support::Terminal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn what_is_printed_is_what_is_documented() {
    let terminal = Terminal::new();
    let mut document = Document::read();
    let contoso = concat!(env!("CARGO_MANIFEST_DIR"), "/../quorate-vendor/examples/contoso.toml");
    std::fs::copy(contoso, terminal.directory().join("products.toml")).unwrap();
    assert_eq!(terminal.run("sed 's/^threshold = 5$/threshold = 6/' products.toml > changed.toml"), "");
    std::fs::write(terminal.directory().join("customers.csv"), "name,note\nNorthwind,\n").unwrap();

    std::fs::write(terminal.directory().join("sold.csv"), "key-id,customer\n00097-000-000001,Northwind\n")
        .unwrap();

    let mut run = |command: &str, arguments: &str| document.compare(&terminal, command, arguments);
    run("init", "--vendor contoso --name Contoso --url https://127.0.0.1:1 --root-dir root");
    run("config check", "");
    run("product import", "products.toml");
    assert_eq!(run("product diff", "changed.toml")["differences"][0]["new"], "6");
    run("product history", "");
    run("product export", "");
    run("catalog", "--out product");
    run("customer add", "Fabrikam");
    run("customer change", "Fabrikam --note new");
    run("customer import", "customers.csv");
    run("customer list", "");
    run("webhook add", "https://shop.example/ --event activation");
    let issued = run("key issue", "--group 96 --customer Fabrikam");
    run("key issue --out", "keys.csv --group 97 --count 2");
    run("pack", "00096-000-000001 --out office.pack");

    // A host that is activated by telephone.
    let key = issued["keys"][0]["product-key"].as_str().unwrap();
    let installed = terminal.run(&format!("quorate-host ipk {key} --pack office.pack"));
    assert!(installed.starts_with("Installed"), "{installed}");
    let shown = terminal.run("quorate-host dti");
    assert_eq!(run("inquire", shown.lines().nth(1).unwrap())["cost"], "host");
    assert_eq!(run("confirm", shown.lines().nth(1).unwrap())["usage"]["activated"], 1);
    let shown = run("key show", "00096-000-000001");
    let activation = &shown["activations"][0];
    run("certificate revoke", activation["certificate"].as_str().unwrap());
    run("certificate list", "");
    assert_eq!(run("webhook deliveries", "1")["deliveries"][0]["event"], "activation");
    let machine = activation["machine"].as_str().unwrap();
    assert_eq!(run("key release", &format!("00096-000-000001 {machine}"))["activated"], 0);

    run("key list", "--group 97");
    run("key assign", "00097-000-000001 Fabrikam");
    run("key assign --file", "sold.csv");
    run("key limit", "00097-000-000001 --machines 7");
    run("key block", "00097-000-000001");
    run("key unblock", "00097-000-000001");
    run("customer show", "Fabrikam");
    run("token add", "shop --scope read");
    run("token list", "");
    run("token revoke", "1");
    run("user add", "alice --role admin");
    run("user list", "");
    run("user password", "alice");
    run("user close", "alice");
    run("user open", "alice");
    run("webhook list", "");
    run("webhook remove", "1");
    run("backup", "vendor.backup");
    run("verify", "");
    run("audit list", "");
    run("audit verify", "");
    assert_eq!(terminal.run("mv vendor moved"), "");
    run("restore", "vendor.backup");
    document.is_everything_seen();
}

/// The fields of something: their names, and the object that stands in each, when it is one.
type Fields = BTreeMap<String, Option<String>>;

/// The page, and what of it was seen.
struct Document {
    commands: BTreeMap<String, Fields>,
    objects: BTreeMap<String, Fields>,
    seen: BTreeSet<String>,
}

impl Document {
    fn read() -> Self {
        let (mut commands, mut objects) = (BTreeMap::<_, Fields>::new(), BTreeMap::<_, Fields>::new());
        let (mut object, mut last) = (None, Vec::new());
        for line in include_str!("../../../../docs/vendor-json.md").lines() {
            if let Some(title) = line.strip_prefix("### ") {
                object = Some(title.to_lowercase());
                continue;
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (field, what) = match (&object, &cells[..]) {
                (None, ["", of, field, what, ""]) => {
                    let of: Vec<_> = of.split(", ").filter_map(code).collect();
                    if !of.is_empty() {
                        last = of;
                    }
                    (field, what)
                }
                (Some(_), ["", field, what, ""]) => (field, what),
                _ => continue,
            };
            let Some(field) = code(field).or_else(|| (*field == "–").then(String::new)) else { continue };
            let stands_there = what.split_once('[').and_then(|(_, rest)| rest.split_once("](#"));
            let stands_there = stands_there.map(|(object, _)| object.to_owned());
            match &object {
                Some(object) => {
                    objects.entry(object.clone()).or_default().insert(field, stands_there);
                }
                None => {
                    for command in &last {
                        commands
                            .entry(command.clone())
                            .or_default()
                            .insert(field.clone(), stands_there.clone());
                    }
                }
            }
        }
        assert!(commands.len() > 35 && objects.len() > 10, "{commands:?} {objects:?}");
        Self { commands, objects, seen: BTreeSet::new() }
    }

    /// Runs a command and compares its document.
    fn compare(&mut self, terminal: &Terminal, command: &str, arguments: &str) -> Value {
        let printed = terminal.run(&format!("quorate-vendor --json {command} {arguments}"));
        let value: Value =
            serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{command}: {e}: {printed}"));
        let fields = self.commands.get(command).unwrap_or_else(|| panic!("{command} is not documented"));
        self.seen.insert(command.to_owned());
        match fields.get("") {
            Some(object) => {
                let object = object.clone().unwrap();
                self.object(&value, &object);
            }
            None => self.fields(&value, &fields.clone(), command),
        }
        value
    }

    fn object(&mut self, value: &Value, object: &str) {
        self.seen.insert(object.to_owned());
        let fields = self.objects.get(object).unwrap_or_else(|| panic!("{object} is not documented")).clone();
        self.fields(value, &fields, object);
    }

    /// The fields of a value are those that are documented of `what`, and so are those of what stands in them.
    fn fields(&mut self, value: &Value, fields: &Fields, what: &str) {
        let object = value.as_object().unwrap_or_else(|| panic!("{what}: {value}"));
        let documented: BTreeSet<&str> = fields
            .keys()
            .filter(|field| !field.contains('.'))
            .map(|field| field.trim_end_matches("[]"))
            .collect();
        assert_eq!(object.keys().map(String::as_str).collect::<BTreeSet<_>>(), documented, "{what}");
        for (field, object) in fields {
            if let Some((outer, inner)) = field.split_once('.') {
                assert!(value[outer].is_null() || value[outer].get(inner).is_some(), "{what}: {field}");
                continue;
            }
            let values = match field.strip_suffix("[]") {
                Some(name) => value[name].as_array().unwrap_or_else(|| panic!("{what}: {field}")).as_slice(),
                None => std::slice::from_ref(&value[field]),
            };
            if let Some(object) = object {
                values.iter().for_each(|value| self.object(value, object));
            }
        }
    }

    fn is_everything_seen(&self) {
        let documented: BTreeSet<String> = self.commands.keys().chain(self.objects.keys()).cloned().collect();
        assert_eq!(documented, self.seen);
    }
}

/// What stands in a cell as code.
fn code(cell: &str) -> Option<String> {
    Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned())
}
