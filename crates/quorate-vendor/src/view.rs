//! What is said of keys, customers and activations: the same JSON from the commands and from the API.

use crate::access::Scope;
use crate::phone::{Confirmed, Cost, Inquiry, for_vendor};
use crate::revocation::RevokedHost;
use crate::store::accounts::AccountRecord;
use crate::store::activations::{Activation, Standing};
use crate::store::customers::Customer;
use crate::store::keys::KeyRecord;
use crate::store::tokens::TokenRecord;
use crate::store::webhooks::{DeliveryRecord, WebhookRecord};
use crate::store::{audit, catalogs};
use crate::usage::Usage;
use crate::webhooks::Event;
use quorate_core::catalog_diff::{Change, Difference};
use quorate_core::certificate::Role;
use quorate_core::{Error, Timestamp, words};
use serde::Serialize;

/// A product key, as far as the vendor knows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct KeyView {
    /// Group and serial, as in `00096-000-000004`.
    pub id: String,
    /// The last five characters of the key.
    pub last_five: String,
    /// The number of its key group.
    pub group: u16,
    /// When it was issued, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub issued: Timestamp,
    /// Whose it is.
    pub customer: Option<CustomerName>,
    /// Since when it is blocked, UTC; null when it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub blocked: Option<Timestamp>,
    /// A limit of its own in place of its group's: on how many hosts.
    pub hosts: Option<u32>,
    /// A limit of its own: how often again on each host.
    pub reactivations: Option<u32>,
    /// A limit of its own: on how many machines.
    pub machines: Option<u32>,
}

/// A customer's number and name.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CustomerName {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

impl From<&KeyRecord> for KeyView {
    fn from(key: &KeyRecord) -> Self {
        let customer = key.customer.zip(key.customer_name.clone());
        Self {
            id: key.id.to_string(),
            last_five: key.partial.to_string(),
            group: key.id.group(),
            issued: key.issued,
            customer: customer.map(|(id, name)| CustomerName { id, name }),
            blocked: key.blocked,
            hosts: key.limits.hosts,
            reactivations: key.limits.reactivations,
            machines: key.limits.machines,
        }
    }
}

/// How far a product key is used up.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UsageView {
    /// The key.
    pub key: KeyView,
    /// The name of its key group.
    pub group_name: String,
    /// The edition it is for.
    pub sku: SkuName,
    /// Whether it is a public client setup key, which makes a machine a client of an activation host. Nothing is activated
    /// with it and nothing counted, so that the figures are 0.
    pub public: bool,
    /// What it activates: `hosts`, `machines` or `nothing`.
    pub activates: &'static str,
    /// On how many it is activated.
    pub activated: u32,
    /// On how many it may be.
    pub allowed: u32,
    /// On how many more it may be.
    pub left: u32,
    /// How many activations by telephone its license pack is still good for.
    pub slots_left: u32,
    /// How many it was made for; 0 when it has no pack.
    pub slots: u32,
    /// What should be done before it is too late.
    pub warning: Option<String>,
}

impl UsageView {
    /// On how many of how many it is activated, in words.
    pub(crate) fn counted(&self) -> String {
        let one = self.activates.trim_end_matches('s');
        format!("{} of {}", self.activated, words::counted(self.allowed, one))
    }
}

impl From<&Usage> for UsageView {
    fn from(usage: &Usage) -> Self {
        Self {
            key: KeyView::from(&usage.key),
            group_name: usage.group.clone(),
            sku: SkuName { id: usage.sku.id.to_string(), name: usage.sku.name.clone() },
            public: usage.role.is_none(),
            activates: match usage.role {
                Some(Role::Host) => "hosts",
                Some(_) => "machines",
                None => "nothing",
            },
            activated: usage.machines,
            allowed: usage.allowed,
            left: usage.left(),
            slots_left: usage.slots_left,
            slots: usage.slots,
            warning: usage.warning(),
        }
    }
}

/// An edition's activation id and name.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SkuName {
    /// The activation id.
    pub id: String,
    /// The edition's name.
    pub name: String,
}

/// A customer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CustomerView {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What the vendor wants to remember.
    pub note: String,
    /// Since when it is known, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

impl From<Customer> for CustomerView {
    fn from(customer: Customer) -> Self {
        let Customer { id, name, note, created } = customer;
        Self { id, name, note, created }
    }
}

impl From<&Customer> for CustomerView {
    fn from(customer: &Customer) -> Self {
        Self::from(customer.clone())
    }
}

/// An activation that has happened.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ActivationView {
    /// Its number; they rise with time.
    pub id: u64,
    /// Of which key.
    pub key: String,
    /// On which machine: the beginning of its hardware id.
    pub machine: String,
    /// `online`, `phone`, or `renewal` of a host's certificate, which counts for nothing.
    pub how: String,
    /// When, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The serial number of the host's certificate, by which it is revoked; null for a machine with a key of its own.
    pub certificate: Option<String>,
    /// What has become of that certificate: `current`, the newest that the host has of this key; `superseded` by a newer
    /// one, but good until its end; or `revoked`. Null where there is none.
    pub certificate_standing: Option<&'static str>,
    /// Since when the machine does not count any more, UTC; null while it counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub released: Option<Timestamp>,
}

impl From<Activation> for ActivationView {
    fn from(activation: Activation) -> Self {
        let Activation { id, key, machine, how, at, certificate, standing, released } = activation;
        let (key, machine) = (key.to_string(), machine.to_string());
        let certificate_standing = standing.map(Standing::as_str);
        Self { id, key, machine, how, at, certificate, certificate_standing, released }
    }
}

/// A host of which a certificate was revoked.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RevokedHostView {
    /// The key by which it was activated.
    pub key: String,
    /// The beginning of its hardware id.
    pub machine: String,
    /// The serial numbers that are revoked since this request, the oldest first; none when all were before.
    pub revoked: Vec<String>,
    /// A newer certificate of the host, which is good still; null when there is none.
    pub newer: Option<String>,
}

impl From<&RevokedHost> for RevokedHostView {
    fn from(host: &RevokedHost) -> Self {
        let RevokedHost { key, machine, revoked, newer } = host.clone();
        Self { key: key.to_string(), machine: machine.to_string(), revoked, newer }
    }
}

/// What the phone desk tells the caller.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConfirmedView {
    /// The Confirmation ID: eight groups A to H of six digits.
    pub confirmation_id: String,
    /// How far the key is used up now.
    pub usage: UsageView,
}

impl From<&Confirmed> for ConfirmedView {
    fn from(confirmed: &Confirmed) -> Self {
        Self {
            confirmation_id: confirmed.confirmation_id.to_string(),
            usage: UsageView::from(&confirmed.usage),
        }
    }
}

/// What is known of an Installation ID before it is confirmed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InquiryView {
    /// How far its key is used up.
    pub usage: UsageView,
    /// What a Confirmation ID would cost: `nothing`, since the same comes again; a `re-activation` of the host; a `slot` of
    /// the license pack alone, since the machine counts already; or one more `host` or `machine`. Null when it would be
    /// refused.
    pub cost: Option<&'static str>,
    /// Why it would be refused.
    pub refusal: Option<RefusalView>,
}

/// Why something would be refused.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RefusalView {
    /// The stable code.
    pub code: String,
    /// What happened, with the figures.
    pub detail: String,
    /// What to do next.
    pub next: String,
}

impl From<Inquiry> for InquiryView {
    fn from(inquiry: Inquiry) -> Self {
        let (cost, refusal) = match inquiry.cost {
            Ok(Cost::Nothing) => (Some("nothing"), None),
            Ok(Cost::Reactivation { .. }) => (Some("re-activation"), None),
            Ok(Cost::Slot) => (Some("slot"), None),
            Ok(Cost::Machine) => (Some(inquiry.usage.called()), None),
            Err(error) => {
                let Error { code, what, next, .. } = for_vendor(error);
                (None, Some(RefusalView { code: code.as_str().to_owned(), detail: what, next }))
            }
        };
        Self { usage: UsageView::from(&inquiry.usage), cost, refusal }
    }
}

/// A signed catalog's place in the history.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CatalogView {
    /// Its number.
    pub number: u64,
    /// When it was signed, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub signed: Timestamp,
}

impl From<catalogs::Entry> for CatalogView {
    fn from(entry: catalogs::Entry) -> Self {
        Self { number: entry.number, signed: entry.at }
    }
}

/// What differs between two product files.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DifferenceView {
    /// Of what.
    pub of: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// The field that is changed.
    pub field: Option<String>,
    /// Its value before; null when it was not set.
    pub old: Option<String>,
    /// Its value now; null when it is not set.
    pub new: Option<String>,
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        let Difference { of, change } = difference;
        match change {
            Change::Added => Self { of, change: "added", field: None, old: None, new: None },
            Change::Removed => Self { of, change: "removed", field: None, old: None, new: None },
            Change::Field { name, old, new } => Self { of, change: "changed", field: Some(name), old, new },
        }
    }
}

/// An entry of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AuditView {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What was done, as in `key.block`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// The figures.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// SHA-256 over all this and the hash of the entry before it, in hexadecimal.
    pub hash: String,
}

impl From<audit::Entry> for AuditView {
    fn from(entry: audit::Entry) -> Self {
        let audit::Entry { number, at, who, action, subject, detail, hash } = entry;
        let detail = serde_json::from_str(&detail).unwrap_or_default();
        Self { number, at, who, action, subject, detail, hash }
    }
}

/// A token, as far as the vendor keeps it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TokenView {
    /// Its number.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// What it permits.
    pub scopes: Vec<Scope>,
    /// When it was made, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it ends, UTC; null when it does not end by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// Since when it is taken back, UTC; null while it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked: Option<Timestamp>,
}

impl From<&TokenRecord> for TokenView {
    fn from(token: &TokenRecord) -> Self {
        Self {
            id: token.id,
            name: token.name.clone(),
            scopes: token.scopes.split(',').filter_map(|scope| scope.parse().ok()).collect(),
            created: token.created,
            expires: token.expires,
            revoked: token.revoked,
        }
    }
}

/// Somebody who signs in to the portal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UserView {
    /// The name to sign in with.
    pub name: String,
    /// `admin`, `support`, `read-only` or `customer`.
    pub role: String,
    /// For the role customer: the customer's number.
    pub customer: Option<i64>,
    /// For who signs in by an OpenID Connect provider: the provider's issuer; null with a password.
    pub openid_issuer: Option<String>,
    /// Who he is to that provider.
    pub openid_subject: Option<String>,
    /// Since when there is the account, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Since when it is closed, UTC; null while it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed: Option<Timestamp>,
}

impl From<&AccountRecord> for UserView {
    fn from(account: &AccountRecord) -> Self {
        Self {
            name: account.name.clone(),
            role: account.role.clone(),
            customer: account.customer,
            openid_issuer: account.identity.as_ref().map(|identity| identity.issuer.clone()),
            openid_subject: account.identity.as_ref().map(|identity| identity.subject.clone()),
            created: account.created,
            closed: account.closed,
        }
    }
}

/// An address that is told of some events.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WebhookView {
    /// Its number.
    pub id: i64,
    /// The address.
    pub url: String,
    /// Of what.
    pub events: Vec<Event>,
    /// Since when, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Since when it is told no more, UTC; null while it is.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub removed: Option<Timestamp>,
}

impl From<&WebhookRecord> for WebhookView {
    fn from(webhook: &WebhookRecord) -> Self {
        Self {
            id: webhook.id,
            url: webhook.url.clone(),
            events: webhook.events.split(',').filter_map(|event| event.parse().ok()).collect(),
            created: webhook.created,
            removed: webhook.removed,
        }
    }
}

/// What has become of a message to a webhook.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryView {
    /// Its number; the message's `webhook-id` is `msg_` and this.
    pub id: u64,
    /// What happened.
    pub event: String,
    /// When, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is sent next, UTC; null when it was delivered, or given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// When it was delivered, UTC.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered: Option<Timestamp>,
    /// What the last attempt came to.
    pub said: String,
}

impl From<&DeliveryRecord> for DeliveryView {
    fn from(delivery: &DeliveryRecord) -> Self {
        let DeliveryRecord { id, event, created, attempts, due, delivered, said } = delivery.clone();
        Self { id, event, created, attempts, due, delivered, said }
    }
}
