//! Activation at the vendor's service, with a product key of the machine's own: a MAK or a retail key.
//!
//! Three ways lead there. Online, the machine asks by itself, through a proxy where there is one. By telephone,
//! a person reads the Installation ID out and types the Confirmation ID. And a machine that no network reaches
//! writes its request into a file, which a connected one has answered ([`forward`]).

use crate::activation::{Activated, Activator, ByVendor, Client, ServiceWay, no_key};
use crate::key_ring::{HeldKey, KeyRing};
use crate::registration::Vendor;
use crate::stored::{Activation, Edition, InstalledKey, Stored, too_little_known};
use quorate_core::activation::Trust;
use quorate_core::catalog::Catalog;
use quorate_core::certificate::Role;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::hardware::Components;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::{
    Answer, AnswerEntry, KeyActivationRequest, KeyActivationResponse, RequestEntry,
};
use quorate_core::license_pack::LicensePack;
use quorate_core::license_state;
use quorate_core::machine_license::{self, MachineLicense};
use quorate_core::product_key::KeyId;
use quorate_core::revocation::RevocationList;
use quorate_core::signed::{self, Signer};
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::https::ServiceClient;

impl Client {
    /// Asks the service to activate a key, and keeps what came of it.
    pub(crate) async fn activate_at_service(&self, asking: &Stored, key: KeyId) -> Result<Activated> {
        let (outcome, list) = self.ask_service(asking, key).await;
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| {
            stored.product.latest_time = stored.product.latest_time.max(now);
            // A key that was taken back since the list before is known by the list alone.
            let standing = list.map_or(Ok(()), |list| note_list(stored, key, &list, now));
            // What the service said of a blocked key says more than that it is on the list.
            let outcome = outcome.and_then(|granted| standing.map(|()| granted)).and_then(|granted| {
                // The vendor has just said what time it is: a clock that once ran ahead is forgotten.
                let (said, policy) = (granted.license.granted, self.policy(stored)?);
                if Interval::between(now.min(said), now.max(said)) <= policy.clock_tolerance {
                    stored.product.latest_time = now.max(said);
                }
                self.keep_license(stored, granted, now)
            });
            self.note_attempt(stored, Some(key), outcome, None, now)
        })?
    }

    /// What the service answers, and the revocation list that it shows.
    async fn ask_service(&self, asking: &Stored, key: KeyId) -> (Result<Granted>, Option<RevocationList>) {
        let mut list = None;
        let outcome = async {
            let (_, held) = self.held(asking, Some(key))?;
            let hardware = asking.product.hardware();
            let installation_id = held.installation_id(hardware.short());
            let request = KeyActivationRequest::new(installation_id, hardware, &held.verifier);
            let service = service(&self.vendor, &self.way, &self.clock)?;
            let trust = self.trust(&asking.product);
            let answer: Result<KeyActivationResponse> = service.post(PATH, &request).await;
            match answer {
                Ok(answer) => {
                    list = Some(revocations(&answer.revocations, trust, self.clock.now())?);
                    Ok(Granted {
                        license: machine_license::accept(&answer.license, &installation_id, hardware, trust)?,
                        jws: answer.license,
                        components: asking.product.components.clone(),
                        machines: Some((answer.machines, answer.machines_allowed)),
                    })
                }
                Err(error) => {
                    // The refusal is nobody's signed word; the list is.
                    if error.code == Code::KeyBlocked
                        && let Ok(signed) = service.get("/v1/revocations").await
                    {
                        list = revocations(&signed, trust, self.clock.now()).ok();
                    }
                    Err(error)
                }
            }
        };
        (outcome.await, list)
    }

    /// Whether there is a way to the vendor's service: where it is, and the number of its catalog. Asks for nothing
    /// that is counted.
    pub async fn reach_service(&self) -> Result<(String, u64)> {
        let url = self.way.url.clone().unwrap_or_else(|| self.vendor.catalog.service_url.clone());
        let jws = service(&self.vendor, &self.way, &self.clock)?.get("/v1/catalog").await?;
        let Vendor { root, catalog, .. } = &self.vendor;
        let newest = signed::verify::<Catalog>(&jws, root, &catalog.vendor, self.clock.now())?.document;
        Ok((url, newest.number))
    }

    /// The Installation ID to read to the vendor's phone desk, for a key or for the one in use.
    pub fn installation_id(&self, key: Option<KeyId>) -> Result<(InstalledKey, InstallationId)> {
        self.store.update(&self.machine, self.clock.now(), |stored| {
            self.prepare(stored)?;
            let (key, held) = self.held(stored, key)?;
            Ok((key, held.installation_id(stored.product.hardware().short())))
        })
    }

    /// Activates a key, or the one in use, by the Confirmation ID that the phone desk has read out; with a license
    /// pack other than the one that was installed with it, or when none was.
    pub fn confirm(&self, typed: &str, key: Option<KeyId>, pack: Option<&str>) -> Result<Activated> {
        let confirmation_id: ConfirmationId = typed.parse()?;
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| {
            self.prepare(stored)?;
            let (key, held) = self.held(stored, key)?;
            let hardware = stored.product.hardware();
            let installation_id = held.installation_id(hardware.short());
            let pack = pack.or(held.pack.as_deref()).ok_or_else(|| {
                Error::new(
                    Code::NotSetUp,
                    format!("no license pack of product key {} is here", key.id),
                    "get it from the vendor and give it: `quorate confirm CONFIRMATION_ID --pack FILE`",
                )
            })?;
            let pack = open_pack(pack, &held, self.trust(&stored.product), now)?;
            let secret = confirmation_id.reveal(&installation_id, &held.verifier);
            let credential = pack.unseal(&secret).ok_or_else(|| {
                Error::new(
                    Code::ConfirmationIdInvalid,
                    format!(
                        "the Confirmation ID is not for Installation ID {installation_id}, or not for this license pack"
                    ),
                    "read this machine's Installation ID to the phone desk again (`quorate installation-id`); if the \
                     vendor has made a newer pack, give it with --pack",
                )
            })?;
            let list = revocations(&pack.revocations, self.trust(&stored.product), now)?;
            note_list(stored, key.id, &list, now)?;
            let trust = self.trust(&stored.product);
            let certificate = trust.root.verify(trust.vendor, Role::Machine, &credential.chain, now)?;
            let extended_pid = certificate.entitlement.map(|entitlement| entitlement.extended_pid);
            let extended_pid = extended_pid.ok_or_else(|| {
                Error::new(
                    Code::DocumentInvalid,
                    "a slot of the license pack holds a certificate for no product key",
                    "get the license pack again from the vendor",
                )
            })?;
            // Signed once; the private key ends here.
            let signer = Signer::new(&credential.private_key, &credential.chain);
            let jws = MachineLicense::sign_by_machine(
                installation_id,
                hardware,
                extended_pid,
                trust,
                &signer,
                now,
            )?;
            let license = machine_license::accept(&jws, &installation_id, hardware, trust)?;
            let components = stored.product.components.clone();
            let activated = self.keep_license(stored, Granted { license, jws, components, machines: None }, now);
            self.note_attempt(stored, Some(key.id), activated, None, now)
        })?
    }

    /// A request for the key in use, for a file that a connected machine has answered.
    pub fn export_request(&self, key: Option<KeyId>) -> Result<RequestEntry> {
        self.store.update(&self.machine, self.clock.now(), |stored| {
            self.prepare(stored)?;
            let (_, held) = self.held(stored, key)?;
            let hardware = stored.product.hardware();
            Ok(RequestEntry {
                vendor: self.vendor.catalog.vendor.clone(),
                machine: self.machine.name.clone(),
                request: KeyActivationRequest::new(
                    held.installation_id(hardware.short()),
                    hardware,
                    &held.verifier,
                ),
            })
        })
    }

    /// Takes an answer out of such a file: `None` when it is for another machine or another product.
    pub fn import_answer(&self, entry: &AnswerEntry) -> Result<Option<Activated>> {
        let now = self.clock.now();
        let id = entry.installation_id.key();
        let is_installed = |stored: &Stored| stored.installation.keys.iter().any(|key| key.id == id);
        if entry.vendor != self.vendor.catalog.vendor {
            return Ok(None);
        }
        let stored = self.store.read(&self.machine, now)?;
        let tolerance = self.policy(&stored)?.hardware;
        let moved = !tolerance.compare(&stored.product.components, &self.machine.components()).tolerated;
        let is_for_this = entry.installation_id.hardware() == stored.product.hardware().short();
        // Others' answers are passed over without a change to any file.
        if !is_installed(&stored) || (!moved && !is_for_this) {
            return Ok(None);
        }
        let taken = self.store.update(&self.machine, now, |stored| {
            // The answer must be for the machine of now, not for the one that the store was copied from.
            self.prepare(stored)?;
            let hardware = stored.product.hardware();
            if !is_installed(stored) || entry.installation_id.hardware() != hardware.short() {
                return Ok(None);
            }
            let (_, held) = self.held(stored, Some(id))?;
            if held.installation_id(hardware.short()) != entry.installation_id {
                return Ok(None);
            }
            let outcome = match &entry.answer {
                Answer::Granted { license, revocations: list } => {
                    let list = revocations(list, self.trust(&stored.product), now)?;
                    note_list(stored, id, &list, now).and_then(|()| {
                        let trust = self.trust(&stored.product);
                        let components = stored.product.components.clone();
                        let jws = license.clone();
                        let license = machine_license::accept(&jws, &entry.installation_id, hardware, trust)?;
                        let granted = Granted { license, jws, components, machines: None };
                        self.keep_license(stored, granted, now)
                    })
                }
                Answer::Error(error) => Err(error.clone()),
            };
            self.note_attempt(stored, Some(id), outcome, None, now).map(Some)
        })?;
        taken.transpose()
    }

    /// A key that is installed, or the one in use, with what proves it.
    fn held(&self, stored: &Stored, key: Option<KeyId>) -> Result<(InstalledKey, HeldKey)> {
        let (installation, products) = (&stored.installation, &self.vendor.catalog.products);
        let installed = match key {
            Some(id) => installation.keys.iter().find(|key| key.id == id),
            None => installation.key(products),
        };
        let licensed = installed.and_then(|key| products.key_group(key.id.group())).map(|group| group.sku);
        let sku = self.vendor.sku(licensed.unwrap_or_else(|| self.edition(stored).sku))?;
        if !sku.channel.has_own_key() {
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!("{} ({}) is activated by a host, not by the vendor", sku.name, sku.channel),
                "`quorate activate`; to change to a key of this machine's own: `quorate install-key KEY`",
            ));
        }
        let installed = installed.ok_or_else(|| no_key(sku))?;
        if !installation.fits(installed, products) {
            let registered = self.vendor.sku(installation.sku)?;
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!(
                    "product key {} is for {}; installed here is {}, another edition",
                    installed.id, sku.name, registered.name
                ),
                format!("install that edition, or use a key for {}", registered.name),
            ));
        }
        if !products.policy(sku).hardware.knows(&stored.product.components) {
            return Err(too_little_known());
        }
        Ok((installed.clone(), KeyRing::read(self.store.key_ring())?.get(installed.id)?.clone()))
    }

    fn keep_license(&self, stored: &mut Stored, granted: Granted, now: Timestamp) -> Result<Activated> {
        let Granted { license, jws, components, machines } = granted;
        let id = license.installation_id.key();
        let key = stored.installation.keys.iter().find(|key| key.id == id).cloned().ok_or_else(|| {
            Error::new(
                Code::ProductKeyMissing,
                format!("product key {id} was removed meanwhile"),
                "`quorate install-key KEY`, if it was meant to stay",
            )
        })?;
        stored.product.activate(Activation {
            edition: Edition { sku: license.sku, key: Some(id) },
            document: jws,
            components,
            out_of_tolerance: None,
            host_revoked: None,
            machines,
        });
        let mut seen = stored.clone();
        seen.installation.in_use = Some(id);
        let (facts, judged_at) = seen.facts(self.trust(&seen.product), now);
        let state = license_state::evaluate(&self.policy(&seen)?, &facts, judged_at);
        Ok(Activated { by: Activator::Vendor(ByVendor { key, machines }), state })
    }
}

/// A machine license that was granted, as it came and what it says, and the hardware that it was asked for.
struct Granted {
    license: MachineLicense,
    jws: String,
    components: Components,
    machines: Option<(u32, u32)>,
}

/// Notes what a list says, and refuses a key that is on it or was on a newer one.
fn note_list(stored: &mut Stored, key: KeyId, list: &RevocationList, now: Timestamp) -> Result<()> {
    stored.note_list(list, now);
    let Some(known) = stored.revocation(key) else { return Ok(()) };
    let from_before = match list.keys.contains(&key) {
        true => String::new(),
        false => format!("; what came is from before, with list {}", list.number),
    };
    Err(Error::new(
        Code::Revoked,
        format!("the vendor has revoked product key {key} (revocation list {}){from_before}", known.list),
        match from_before.is_empty() {
            true => "ask the vendor; install another key: `quorate install-key`",
            false => "ask the vendor; if the key is good again, get a newer license pack or a newer answer",
        },
    ))
}

/// Has a request of another machine answered, at the service of whichever registered vendor it is for. A refusal is
/// an answer, which that machine shall see; an error is for whoever carries the file.
pub async fn forward(
    entry: &RequestEntry,
    vendors: &[Vendor],
    way: &ServiceWay,
    clock: &Clock,
) -> Result<AnswerEntry> {
    let vendor = vendors.iter().find(|vendor| vendor.catalog.vendor == entry.vendor).ok_or_else(|| {
        Error::new(
            Code::NotSetUp,
            format!("vendor {} is not registered on this machine", entry.vendor),
            "register its catalog here, so that it is known whom to ask and to believe: `quorate register`",
        )
    })?;
    let answer: Result<KeyActivationResponse> = service(vendor, way, clock)?.post(PATH, &entry.request).await;
    let installation_id = entry.request.installation_id;
    let answer = match answer {
        Ok(answer) => {
            let (root, catalog) = (&vendor.root, &vendor.catalog);
            let trust = Trust { root, vendor: &catalog.vendor, catalog, newest_revocations: 0 };
            machine_license::accept(&answer.license, &installation_id, entry.request.hardware, trust)?;
            Answer::Granted { license: answer.license, revocations: answer.revocations }
        }
        Err(error) if is_refusal(error.code) => Answer::Error(error),
        Err(error) => return Err(error),
    };
    let (vendor, machine) = (entry.vendor.clone(), entry.machine.clone());
    Ok(AnswerEntry { vendor, machine, installation_id, answer })
}

/// Opens the license pack of a key, which must be of the vendor that is registered here.
pub(crate) fn open_pack(jws: &str, key: &HeldKey, trust: Trust<'_>, now: Timestamp) -> Result<LicensePack> {
    let (pack, root) = LicensePack::open(jws, now)?;
    if root != *trust.root {
        return Err(Error::new(
            Code::UntrustedRoot,
            format!(
                "the license pack of vendor {} brings another root than the one registered here ({}…)",
                pack.vendor,
                &trust.root.fingerprint()[..23]
            ),
            "get the license pack again from the vendor",
        ));
    }
    pack.check_key(key.id, &key.verifier)?;
    Ok(pack)
}

/// Whether the vendor has decided against a machine, rather than not been able to decide.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::ProductKeyUnsuited
            | Code::KeyUnknown
            | Code::KeyBlocked
            | Code::ProofInvalid
            | Code::MachinesUsedUp
    )
}

/// A revocation list that is genuine. What it is compared with is what is known of a key ([`note_list`]): that
/// another key was revoked since makes a pack no worse.
fn revocations(jws: &str, trust: Trust<'_>, now: Timestamp) -> Result<RevocationList> {
    Ok(signed::verify::<RevocationList>(jws, trust.root, trust.vendor, now)?.document)
}

fn service(vendor: &Vendor, way: &ServiceWay, clock: &Clock) -> Result<ServiceClient> {
    let url = way.url.as_deref().unwrap_or(&vendor.catalog.service_url);
    ServiceClient::new(url, &vendor.root, way.proxy.as_ref(), OTHERWISE, clock)
}

const PATH: &str = "/v1/activations";
const OTHERWISE: &str = "activate by telephone (`quorate installation-id`, then `quorate confirm`) or through another \
                         machine (`quorate export-request FILE`)";
