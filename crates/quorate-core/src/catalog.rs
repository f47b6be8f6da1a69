//! The catalog: everything a vendor says about its products, in one signed and numbered document.
//!
//! Applications have SKUs (editions); a SKU has a channel and a policy; a key group says which SKU its
//! product keys license and, for host keys, which groups of client SKUs such a host may activate. A vendor
//! writes the products as TOML; the same shape travels in the catalog as JSON. Whoever holds a
//! [`Products`] knows that every reference in it leads somewhere.

use crate::identifier::{ActivationId, ApplicationId, VendorId};
use crate::policy::Policy;
use crate::{Code, Error, Interval, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The signed document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Catalog {
    /// Which vendor.
    pub vendor: VendorId,
    /// The vendor's name as people know it.
    pub vendor_name: String,
    /// Rises with every change; nobody accepts an older catalog than he has.
    pub number: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// Where the vendor's activation service is, as an `https` URL.
    pub service_url: String,
    /// The products.
    pub products: Products,
}

impl Catalog {
    /// The SRV record's owner name under a domain: `_contoso-kms._tcp.example.com.`
    pub fn srv_name(&self, domain: &str) -> String {
        format!("_{}._tcp.{}.", self.products.dns_service, domain.trim_matches('.'))
    }
}

/// A vendor's products, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawProducts", into = "RawProducts")]
pub struct Products {
    /// The service name in DNS, without the underscore: at most 15 characters (RFC 6335).
    pub dns_service: String,
    /// The applications, in the order of the file.
    pub applications: Vec<Application>,
    /// The SKUs, in the order of the file.
    pub skus: Vec<Sku>,
    /// The key groups, in the order of the file.
    pub key_groups: Vec<KeyGroup>,
    policies: BTreeMap<String, Policy>,
}

/// One application: machines are counted for each separately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Application {
    /// The application id.
    pub id: ApplicationId,
    /// Its name as people know it.
    pub name: String,
    /// The five digits that begin its extended PIDs.
    pub product_number: u32,
}

/// One edition of an application, in one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sku {
    /// The activation id.
    pub id: ActivationId,
    /// The application's id.
    pub application: ApplicationId,
    /// The edition's name as people know it.
    pub name: String,
    /// One line; status pages print it with the channel behind it.
    pub description: String,
    /// How it is licensed.
    pub channel: Channel,
    /// What the program is, whatever the channel: a product key changes the channel of an installed edition to that
    /// of another SKU with the same name here. A SKU without one is an edition of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
    /// For KMS client editions: the group by which host keys name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The name of its policy.
    pub policy: String,
}

/// How a SKU is licensed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// An activation host.
    KmsHost,
    /// A machine that is activated by a host.
    KmsClient,
    /// A machine activated by a multiple activation key at the vendor's service.
    Mak,
    /// A single machine activated at the vendor's service.
    Retail,
}

impl Channel {
    /// Whether each machine is activated at the vendor's service with a product key of its own.
    pub fn has_own_key(self) -> bool {
        matches!(self, Channel::Mak | Channel::Retail)
    }

    /// The two digits in an extended PID: 03 is volume, 00 retail.
    pub fn number(self) -> u8 {
        match self {
            Channel::KmsHost | Channel::KmsClient | Channel::Mak => 3,
            Channel::Retail => 0,
        }
    }
}

/// As administrators read it in a license description.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::KmsHost => "VOLUME_KMS channel",
            Channel::KmsClient => "VOLUME_KMSCLIENT channel",
            Channel::Mak => "VOLUME_MAK channel",
            Channel::Retail => "RETAIL channel",
        })
    }
}

/// Product keys with the same rights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeyGroup {
    /// Its number in product keys: up to 4095.
    pub number: u16,
    /// Its name as people know it.
    pub name: String,
    /// The SKU that a key of this group licenses.
    pub sku: ActivationId,
    /// For host keys: the groups of client SKUs that such a host activates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activates: Vec<String>,
    /// For host keys: on how many machines one key may be activated.
    #[serde(default = "six")]
    pub hosts: u32,
    /// For host keys: how often each of these may be activated again.
    #[serde(default = "nine")]
    pub reactivations: u32,
    /// For MAKs and retail keys: on how many machines one key may be activated; unless told, on 50 with a MAK
    /// and on one with a retail key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// How long a certificate issued for such a key lasts.
    #[serde(default = "five_years")]
    pub certificate_validity: Interval,
}

// The documented limits of a host key: six hosts, each activated again up to nine times.
fn six() -> u32 {
    6
}

fn nine() -> u32 {
    9
}

fn five_years() -> Interval {
    Interval::days(5 * 365)
}

/// A MAK is for customers below some fifty machines; those above have a host.
const MAK_MACHINES: u32 = 50;

impl Products {
    /// The application with this id.
    pub fn application(&self, id: ApplicationId) -> Option<&Application> {
        self.applications.iter().find(|application| application.id == id)
    }

    /// The SKU with this activation id.
    pub fn sku(&self, id: ActivationId) -> Option<&Sku> {
        self.skus.iter().find(|sku| sku.id == id)
    }

    /// The key group with this number.
    pub fn key_group(&self, number: u16) -> Option<&KeyGroup> {
        self.key_groups.iter().find(|group| group.number == number)
    }

    /// Whether two SKUs of these products license the same program, in whatever channel.
    pub fn same_edition(&self, one: &Sku, other: &Sku) -> bool {
        let named = one.edition.is_some() && one.edition == other.edition;
        one.id == other.id || (named && one.application == other.application)
    }

    /// On how many machines one MAK or retail key of a group of these products may be activated.
    pub fn machines_allowed(&self, group: &KeyGroup) -> u32 {
        let usual = match self.sku(group.sku).map(|sku| sku.channel) {
            Some(Channel::Mak) => MAK_MACHINES,
            _ => 1,
        };
        group.machines.unwrap_or(usual)
    }

    /// The policy of a SKU of these products.
    pub fn policy(&self, sku: &Sku) -> &Policy {
        // `check` has found every SKU's policy.
        &self.policies[&sku.policy]
    }

    fn check(&self) -> Result<()> {
        let dns_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let service = &self.dns_service;
        if service.is_empty()
            || service.len() > 15
            || !service.chars().all(dns_label)
            || service.starts_with('-')
            || service.ends_with('-')
        {
            return Err(contradiction(
                format!("dns-service {service:?} is not a service name"),
                "use 1 to 15 of a-z, 0-9 and \"-\", not at the ends, as in \"contoso-kms\"",
            ));
        }
        for (name, policy) in &self.policies {
            policy.check(name)?;
        }
        distinct("application id", self.applications.iter().map(|application| application.id))?;
        self.check_sku_groups()?;
        distinct("activation id", self.skus.iter().map(|sku| sku.id))?;
        distinct("key group number", self.key_groups.iter().map(|group| group.number))?;
        for application in &self.applications {
            if application.product_number > 99_999 {
                return Err(contradiction(
                    format!(
                        "product-number {} of {:?} has more than five digits",
                        application.product_number, application.name
                    ),
                    "choose a number up to 99999",
                ));
            }
        }
        for sku in &self.skus {
            self.check_sku(sku)?;
        }
        self.key_groups.iter().try_for_each(|group| self.check_key_group(group))
    }

    /// Refuses a SKU that stands in the file twice, in two groups.
    fn check_sku_groups(&self) -> Result<()> {
        let mut groups = BTreeMap::new();
        for sku in &self.skus {
            let Some(group) = &sku.group else { continue };
            match groups.insert(sku.id, group) {
                Some(other) if other != group => {
                    return Err(contradiction(
                        format!("SKU {} is in two groups, {other:?} and {group:?}", sku.id),
                        "let it stand in one; a host's key group may activate several groups",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_sku(&self, sku: &Sku) -> Result<()> {
        if self.application(sku.application).is_none() {
            return Err(contradiction(
                format!("SKU {:?} is of application {}, which is not in the file", sku.name, sku.application),
                "add the application, or correct the id",
            ));
        }
        if !self.policies.contains_key(&sku.policy) {
            return Err(contradiction(
                format!("SKU {:?} has policy {:?}, which is not in the file", sku.name, sku.policy),
                "add the policy, or correct the name",
            ));
        }
        match (sku.channel, &sku.group) {
            (Channel::KmsClient, None) => Err(contradiction(
                format!(
                    "SKU {:?} is a KMS client but is in no group, so no host could activate it",
                    sku.name
                ),
                "give it a group that a key group activates",
            )),
            (Channel::KmsHost | Channel::Mak | Channel::Retail, Some(group)) => Err(contradiction(
                format!("SKU {:?} is not a KMS client but is in group {group:?}", sku.name),
                "remove its group: only KMS clients are activated by hosts",
            )),
            _ => Ok(()),
        }
    }

    fn check_key_group(&self, group: &KeyGroup) -> Result<()> {
        let Some(sku) = self.sku(group.sku) else {
            return Err(contradiction(
                format!("key group {} is for SKU {}, which is not in the file", group.number, group.sku),
                "add the SKU, or correct the id",
            ));
        };
        if group.number > crate::product_key::KeyId::MAX_GROUP {
            return Err(contradiction(
                format!("key group {} does not fit into a product key", group.number),
                "key group numbers go up to 4095",
            ));
        }
        if (sku.channel == Channel::KmsHost) == group.activates.is_empty() {
            return Err(contradiction(
                format!(
                    "key group {} is for {:?} ({}) and activates {} groups",
                    group.number,
                    sku.name,
                    sku.channel,
                    group.activates.len()
                ),
                "host keys, and only these, name the SKU groups that they activate",
            ));
        }
        if let Some(machines) = group.machines
            && (machines == 0 || !sku.channel.has_own_key())
        {
            return Err(contradiction(
                format!(
                    "key group {} is for {:?} ({}) and has machines = {machines}",
                    group.number, sku.name, sku.channel
                ),
                "MAKs and retail keys, and only these, may state how many machines one key activates, from 1 up",
            ));
        }
        if group.certificate_validity < Interval::days(1) {
            return Err(contradiction(
                format!("key group {} has certificate-validity {}", group.number, group.certificate_validity),
                "a certificate lasts a day at least; 1825d is usual",
            ));
        }
        for name in &group.activates {
            if !self.skus.iter().any(|sku| sku.group.as_ref() == Some(name)) {
                return Err(contradiction(
                    format!("key group {} activates {name:?}, but no SKU is in that group", group.number),
                    "put the client SKUs into the group, or correct its name",
                ));
            }
        }
        Ok(())
    }
}

/// The shape of a product file, before it has been checked.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawProducts {
    dns_service: String,
    #[serde(rename = "application")]
    applications: Vec<Application>,
    #[serde(rename = "sku")]
    skus: Vec<Sku>,
    #[serde(rename = "key-group")]
    key_groups: Vec<KeyGroup>,
    #[serde(rename = "policy")]
    policies: BTreeMap<String, Policy>,
}

impl TryFrom<RawProducts> for Products {
    type Error = String;

    fn try_from(raw: RawProducts) -> std::result::Result<Self, String> {
        let RawProducts { dns_service, applications, skus, key_groups, policies } = raw;
        let products = Self { dns_service, applications, skus, key_groups, policies };
        // Deserialisers carry text: the two halves of our error are joined here.
        products.check().map_err(|error| format!("{}; {}", error.what, error.next))?;
        Ok(products)
    }
}

impl From<Products> for RawProducts {
    fn from(products: Products) -> Self {
        let Products { dns_service, applications, skus, key_groups, policies } = products;
        Self { dns_service, applications, skus, key_groups, policies }
    }
}

fn distinct<T: Ord + Copy + fmt::Display>(called: &str, values: impl Iterator<Item = T>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for value in values {
        if !seen.insert(value) {
            return Err(contradiction(format!("{called} {value} appears twice"), "give each its own"));
        }
    }
    Ok(())
}

fn contradiction(what: String, next: &str) -> Error {
    Error::new(Code::CatalogInvalid, what, next)
}

/// A small vendor for the tests of this crate.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn products() -> Products {
        serde_json::from_value(raw()).unwrap()
    }

    fn raw() -> serde_json::Value {
        serde_json::json!({
            "dns-service": "contoso-kms",
            "application": [{"id": id(1), "name": "Contoso Office", "product-number": 55041}],
            "sku": [
                {"id": id(10), "application": id(1), "name": "Office, KMS host", "description": "Office KMS",
                 "channel": "kms-host", "policy": "office"},
                {"id": id(11), "application": id(1), "name": "Office Standard", "description": "Office client",
                 "channel": "kms-client", "group": "office-clients", "policy": "office"},
                {"id": id(12), "application": id(1), "name": "Office Standard MAK", "description": "Office",
                 "channel": "mak", "policy": "office"}
            ],
            "key-group": [
                {"number": 96, "name": "host", "sku": id(10), "activates": ["office-clients"]},
                {"number": 97, "name": "MAK", "sku": id(12)}
            ],
            "policy": {"office": {"threshold": 5}}
        })
    }

    pub(crate) fn id(last: u8) -> String {
        format!("00000000-0000-4000-8000-0000000000{last:02x}")
    }

    #[test]
    fn round_trip_through_json() {
        let products = products();
        let text = serde_json::to_string(&products).unwrap();
        assert_eq!(serde_json::from_str::<Products>(&text).unwrap(), products);
        assert_eq!(products.policy(&products.skus[0]).threshold, 5);
    }

    #[test]
    fn contradictions_are_refused_and_named() {
        let refused = |pointer: &str, value: serde_json::Value| {
            let mut raw = raw();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            match raw.pointer_mut(parent).unwrap() {
                serde_json::Value::Object(fields) => drop(fields.insert(field.to_owned(), value)),
                list => list[field.parse::<usize>().unwrap()] = value,
            }
            serde_json::from_value::<Products>(raw).unwrap_err().to_string()
        };
        let begins = |text: String, beginning: &str| assert!(text.starts_with(beginning), "{text}");
        begins(refused("/dns-service", "Contoso".into()), "dns-service \"Contoso\" is not a service name;");
        begins(
            refused("/sku/0/id", id(11).into()),
            "activation id 00000000-0000-4000-8000-00000000000b appears twice;",
        );
        begins(
            refused("/sku/0/policy", "none".into()),
            "SKU \"Office, KMS host\" has policy \"none\", which is not in the file;",
        );
        begins(refused("/sku/1/application", id(9).into()), "SKU \"Office Standard\" is of application");
        begins(
            refused("/sku/1/channel", "mak".into()),
            "SKU \"Office Standard\" is not a KMS client but is in group",
        );
        begins(
            refused("/key-group/0/activates", serde_json::json!([])),
            "key group 96 is for \"Office, KMS host\"",
        );
        begins(
            refused("/key-group/0/activates/0", "x".into()),
            "key group 96 activates \"x\", but no SKU is in that group;",
        );
        begins(refused("/key-group/1/number", 96.into()), "key group number 96 appears twice;");
        let mut twice = raw();
        let mut second = twice["sku"][1].clone();
        second["group"] = "elsewhere".into();
        twice["sku"].as_array_mut().unwrap().push(second);
        let said = serde_json::from_value::<Products>(twice).unwrap_err().to_string();
        assert!(said.contains(" is in two groups, ") && said.contains("and \"elsewhere\"; let it"), "{said}");
        begins(
            refused("/key-group/1/number", 5_000.into()),
            "key group 5000 does not fit into a product key;",
        );
        begins(
            refused("/key-group/0/machines", 7.into()),
            "key group 96 is for \"Office, KMS host\" (VOLUME_KMS channel) and has machines = 7;",
        );
        begins(refused("/key-group/1/machines", 0.into()), "key group 97 is for \"Office Standard MAK\"");
        begins(refused("/policy/office/threshold", 0.into()), "policy \"office\": threshold is 0;");
    }
}
