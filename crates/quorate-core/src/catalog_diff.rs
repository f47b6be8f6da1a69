//! What differs between two product files, for those who review a change before it is signed.
//!
//! Things are told apart by what never changes of them: ids, key group numbers, the names of policies. What they are
//! made of is compared field by field, as the file has it.

use crate::catalog::Products;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of what, as in `key group 97 (MAK)`.
    pub of: String,
    /// What is different.
    pub change: Change,
}

/// What is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// A field has another value; `None` where it is not set.
    Field {
        /// The field, as the file names it.
        name: String,
        /// Before.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.of;
        match &self.change {
            Change::Added => write!(f, "+ {of}"),
            Change::Removed => write!(f, "- {of}"),
            Change::Field { name, old, new } => {
                let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
                write!(f, "~ {of}: {name}: {} → {}", shown(old), shown(new))
            }
        }
    }
}

/// What `new` differs in from `old`, in the order of the file: the service name, applications, SKUs, key groups,
/// policies. Where there is no `old`, all of it is new.
pub fn between(old: Option<&Products>, new: &Products) -> Vec<Difference> {
    let (old, new) = (old.map(things).unwrap_or_default(), things(new));
    let mut differences = Vec::new();
    let all: BTreeMap<&Id, ()> = old.keys().chain(new.keys()).map(|id| (id, ())).collect();
    for id in all.keys() {
        let add = |of: &Thing, change| Difference { of: of.called.clone(), change };
        match (old.get(*id), new.get(*id)) {
            (Some(old), None) => differences.push(add(old, Change::Removed)),
            (None, Some(new)) => differences.push(add(new, Change::Added)),
            (Some(old), Some(new)) => {
                differences.extend(fields(&old.fields, &new.fields).map(|change| add(new, change)));
            }
            (None, None) => {}
        }
    }
    differences
}

/// The place of its kind in the file, and what tells it from others of its kind.
type Id = (usize, String);

struct Thing {
    called: String,
    fields: Map<String, Value>,
}

fn things(products: &Products) -> BTreeMap<Id, Thing> {
    // Writing plain data as JSON does not fail.
    let file = serde_json::to_value(products).unwrap_or_default();
    let mut things = BTreeMap::new();
    let service = Map::from_iter([("dns-service".to_owned(), file["dns-service"].clone())]);
    things.insert((0, String::new()), Thing { called: "vendor".to_owned(), fields: service });
    for (place, (kind, called, id)) in
        [("application", "application", "id"), ("sku", "SKU", "id"), ("key-group", "key group", "number")]
            .into_iter()
            .enumerate()
    {
        for fields in file[kind].as_array().into_iter().flatten().filter_map(Value::as_object) {
            let id = shown(&fields[id]);
            let name = fields.get("name").map(shown).unwrap_or_default();
            // Numbers in the order of numbers.
            let order = format!("{id:0>36}");
            let thing = Thing { called: format!("{called} {id} ({name})"), fields: fields.clone() };
            things.insert((place + 1, order), thing);
        }
    }
    for (name, fields) in file["policy"].as_object().into_iter().flatten() {
        let fields = fields.as_object().cloned().unwrap_or_default();
        things.insert((9, name.clone()), Thing { called: format!("policy {name}"), fields });
    }
    things
}

fn fields<'f>(old: &'f Map<String, Value>, new: &'f Map<String, Value>) -> impl Iterator<Item = Change> + 'f {
    let names: BTreeMap<&String, ()> = old.keys().chain(new.keys()).map(|name| (name, ())).collect();
    names.into_keys().filter(|name| old.get(*name) != new.get(*name)).map(|name| Change::Field {
        name: name.clone(),
        old: old.get(name).map(shown),
        new: new.get(name).map(shown),
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", shown(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{id, products};

    fn changed(pointer: &str, value: Value) -> Vec<String> {
        let mut file = serde_json::to_value(products()).unwrap();
        *file.pointer_mut(pointer).unwrap() = value;
        let new: Products = serde_json::from_value(file).unwrap();
        between(Some(&products()), &new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_differs_from_itself() {
        assert_eq!(between(Some(&products()), &products()), []);
    }

    #[test]
    fn a_changed_figure_is_shown_with_both_values() {
        assert_eq!(changed("/policy/office/threshold", 25.into()), ["~ policy office: threshold: 5 → 25"]);
        assert_eq!(changed("/policy/office/grace", "20d".into()), ["~ policy office: grace: 30d → 20d"]);
        assert_eq!(
            changed("/dns-service", "fabrikam".into()),
            ["~ vendor: dns-service: contoso-kms → fabrikam"]
        );
        assert_eq!(changed("/key-group/0/hosts", 8.into()), ["~ key group 96 (host): hosts: 6 → 8"]);
    }

    #[test]
    fn what_comes_and_goes_is_named() {
        let mut file = serde_json::to_value(products()).unwrap();
        let groups = file["key-group"].as_array_mut().unwrap();
        let mut more = groups.remove(1);
        more["number"] = 200.into();
        more["machines"] = 10.into();
        groups.push(more);
        file["sku"][1]["edition"] = "standard".into();
        let new: Products = serde_json::from_value(file).unwrap();
        let said: Vec<String> = between(Some(&products()), &new).iter().map(ToString::to_string).collect();
        let sku = format!("~ SKU {} (Office Standard): edition: not set → standard", id(11));
        assert_eq!(said, [sku.as_str(), "- key group 97 (MAK)", "+ key group 200 (MAK)"]);
    }
}
