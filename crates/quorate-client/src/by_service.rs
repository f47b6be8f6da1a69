//! Activation at the vendor's service, with a product key of the machine's own: a MAK or a retail key.
//!
//! Three ways lead there. Online, the machine asks by itself, through a proxy where there is one. By telephone,
//! a person reads the Installation ID out and types the Confirmation ID. And a machine that no network reaches
//! writes its request into a file, which a connected one has answered ([`forward`]).

use crate::activation::{Activated, Activator, ByVendor, Client, ServiceWay};
use crate::key_ring::{HeldKey, KeyRing};
use crate::registration::Vendor;
use crate::store::{InstalledKey, KeyActivation, Stored};
use quorate_core::activation::Trust;
use quorate_core::certificate::Role;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::{
    Answer, AnswerEntry, KeyActivationRequest, KeyActivationResponse, RequestEntry,
};
use quorate_core::license_pack::LicensePack;
use quorate_core::license_state::{self, Event};
use quorate_core::machine_license::{self, MachineLicense};
use quorate_core::product_key::KeyId;
use quorate_core::revocation::RevocationList;
use quorate_core::signed::{self, Signer};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::https::ServiceClient;

impl Client {
    /// Asks the service to activate a key, and keeps what came of it.
    pub(crate) async fn activate_at_service(&self, asking: &Stored, key: &InstalledKey) -> Result<Activated> {
        let mut list = None;
        let outcome = self.ask_service(asking, key, &mut list).await;
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| {
            stored.product.latest_time = stored.product.latest_time.max(now);
            let outcome = match outcome {
                Ok(granted) => self.keep_license(stored, key, granted, now),
                Err(error) => Err(error),
            };
            if let Some(list) = list {
                stored.product.newest_revocations = stored.product.newest_revocations.max(list.number);
                if outcome.is_err()
                    && list.keys.contains(&key.id)
                    && stored.installation.in_use == Some(key.id)
                {
                    self.apply(stored, Event::Revoked, now)?;
                }
            }
            self.note_own_attempt(stored, key, outcome, now)
        })?
    }

    async fn ask_service(
        &self,
        asking: &Stored,
        key: &InstalledKey,
        newest: &mut Option<RevocationList>,
    ) -> Result<Granted> {
        let ring = KeyRing::read(self.store.key_ring())?;
        let held = ring.get(key.id)?;
        let installation_id = held.installation_id(asking.product.hardware.short());
        let request = KeyActivationRequest::new(installation_id, &held.verifier);
        let service = service(&self.vendor, &self.way, &self.clock)?;
        let answer: Result<KeyActivationResponse> = service.post(PATH, &request).await;
        let trust = self.trust(&asking.product);
        match answer {
            Ok(answer) => {
                *newest = Some(revocations(&answer.revocations, trust, self.clock.now())?);
                Granted::from_answer(answer, &installation_id, trust)
            }
            Err(error) => {
                // The refusal is nobody's signed word; the list is.
                if error.code == Code::KeyBlocked
                    && let Ok(list) = service.get("/v1/revocations").await
                {
                    *newest = revocations(&list, trust, self.clock.now()).ok();
                }
                Err(error)
            }
        }
    }

    /// The Installation ID to read to the vendor's phone desk, for a key or for the one in use.
    pub fn installation_id(&self, key: Option<KeyId>) -> Result<(InstalledKey, InstallationId)> {
        self.store.update(&self.machine, self.clock.now(), |stored| {
            self.prepare(stored)?;
            let (key, held) = self.held(stored, key)?;
            Ok((key, held.installation_id(stored.product.hardware.short())))
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
            let installation_id = held.installation_id(stored.product.hardware.short());
            let trust = self.trust(&stored.product);
            let pack = pack.or(held.pack.as_deref()).ok_or_else(|| {
                Error::new(
                    Code::NotSetUp,
                    format!("no license pack of product key {} is here", key.id),
                    "get it from the vendor and give it: `quorate confirm CONFIRMATION_ID --pack FILE`",
                )
            })?;
            let pack = open_pack(pack, key.id, trust, now)?;
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
            let certificate = trust.root.verify(trust.vendor, Role::Machine, &credential.chain, now)?;
            let list = revocations(&pack.revocations, trust, now)?;
            if list.keys.contains(&key.id) || list.certificates.contains(&certificate.serial) {
                return Err(Error::new(
                    Code::Revoked,
                    format!("the vendor has revoked product key {} (revocation list {})", key.id, list.number),
                    "ask the vendor; install another key: `quorate install-key`",
                ));
            }
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
            let jws = MachineLicense::sign_by_machine(installation_id, extended_pid, trust, &signer, now)?;
            let license = machine_license::accept(&jws, &installation_id, trust)?;
            let activated = self.keep_license(stored, &key, Granted { license, jws, machines: None }, now);
            self.note_own_attempt(stored, &key, activated, now)
        })?
    }

    /// A request for the key in use, for a file that a connected machine has answered.
    pub fn export_request(&self, key: Option<KeyId>) -> Result<RequestEntry> {
        self.store.update(&self.machine, self.clock.now(), |stored| {
            self.prepare(stored)?;
            let (_, held) = self.held(stored, key)?;
            let installation_id = held.installation_id(stored.product.hardware.short());
            Ok(RequestEntry {
                vendor: self.vendor.catalog.vendor.clone(),
                machine: self.machine.name.clone(),
                request: KeyActivationRequest::new(installation_id, &held.verifier),
            })
        })
    }

    /// Takes an answer out of such a file: `None` when it is for another machine or another product.
    pub fn import_answer(&self, entry: &AnswerEntry) -> Option<Result<Activated>> {
        let now = self.clock.now();
        if entry.vendor != self.vendor.catalog.vendor {
            return None;
        }
        let stored = match self.store.read(&self.machine, now) {
            Ok(stored) => stored,
            Err(error) => return Some(Err(error)),
        };
        let id = entry.installation_id.key();
        let key = stored.installation.keys.iter().find(|key| key.id == id)?.clone();
        let held = KeyRing::read(self.store.key_ring()).and_then(|ring| ring.get(id).cloned());
        let held = match held {
            Ok(held) => held,
            Err(error) => return Some(Err(error)),
        };
        if held.installation_id(stored.product.hardware.short()) != entry.installation_id {
            return None;
        }
        Some(self.take_answer(&key, entry, now))
    }

    fn take_answer(&self, key: &InstalledKey, entry: &AnswerEntry, now: Timestamp) -> Result<Activated> {
        self.store.update(&self.machine, now, |stored| {
            let granted = match &entry.answer {
                Answer::License(jws) => {
                    machine_license::accept(jws, &entry.installation_id, self.trust(&stored.product))
                        .map(|license| Granted { license, jws: jws.clone(), machines: None })
                }
                Answer::Error(error) => Err(error.clone()),
            };
            let outcome = granted.and_then(|granted| self.keep_license(stored, key, granted, now));
            self.note_own_attempt(stored, key, outcome, now)
        })?
    }

    /// A key that is installed, or the one in use, with what proves it.
    fn held(&self, stored: &Stored, key: Option<KeyId>) -> Result<(InstalledKey, HeldKey)> {
        let installation = &stored.installation;
        let installed = match key {
            Some(id) => installation.keys.iter().find(|key| key.id == id),
            None => installation.key(),
        };
        let sku = self.vendor.sku(installed.map_or(installation.edition(), |key| key.sku))?;
        if !sku.channel.has_own_key() {
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!("{} ({}) is activated by a host, not by the vendor", sku.name, sku.channel),
                "`quorate activate`; to change to a key of this machine's own: `quorate install-key KEY`",
            ));
        }
        let Some(installed) = installed else {
            return Err(Error::new(
                Code::ProductKeyMissing,
                format!("no product key of {} ({}) is installed", sku.name, sku.channel),
                "`quorate install-key KEY`",
            ));
        };
        Ok((installed.clone(), KeyRing::read(self.store.key_ring())?.get(installed.id)?.clone()))
    }

    /// Notes an attempt with a key, if it is the one in use.
    fn note_own_attempt(
        &self,
        stored: &mut Stored,
        key: &InstalledKey,
        outcome: Result<Activated>,
        now: Timestamp,
    ) -> Result<Result<Activated>> {
        match stored.installation.in_use == Some(key.id) {
            true => self.note_attempt(stored, outcome, None, now),
            false => Ok(outcome),
        }
    }

    fn keep_license(
        &self,
        stored: &mut Stored,
        key: &InstalledKey,
        granted: Granted,
        now: Timestamp,
    ) -> Result<Activated> {
        let Granted { license, jws, machines } = granted;
        let product = &mut stored.product;
        // The vendor has just said what time it is: a clock that once ran ahead is forgotten.
        product.latest_time = now.max(license.granted);
        product.out_of_tolerance = None;
        // What was tolerated is from now on how the machine is known.
        product.components = self.machine.components();
        product.keys.insert(key.id, KeyActivation { license: jws, machines, revoked: None });
        let mut seen = stored.clone();
        seen.installation.in_use = Some(key.id);
        let (facts, judged_at) = seen.facts(self.trust(&seen.product), now);
        let state = license_state::evaluate(self.policy(&seen)?, &facts, judged_at);
        Ok(Activated { by: Activator::Vendor(ByVendor { key: key.clone(), machines }), state })
    }
}

/// A machine license that was granted, as it came and what it says.
struct Granted {
    license: MachineLicense,
    jws: String,
    machines: Option<(u32, u32)>,
}

impl Granted {
    fn from_answer(
        answer: KeyActivationResponse,
        installation_id: &InstallationId,
        trust: Trust<'_>,
    ) -> Result<Self> {
        let license = machine_license::accept(&answer.license, installation_id, trust)?;
        let machines = Some((answer.machines, answer.machines_allowed));
        Ok(Self { license, jws: answer.license, machines })
    }
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
            machine_license::accept(&answer.license, &installation_id, trust)?;
            Answer::License(answer.license)
        }
        Err(error) if matches!(error.code, Code::ServiceUnreachable | Code::NotAHost) => return Err(error),
        Err(error) => Answer::Error(error),
    };
    let (vendor, machine) = (entry.vendor.clone(), entry.machine.clone());
    Ok(AnswerEntry { vendor, machine, installation_id, answer })
}

/// Opens the license pack of a key, which must be of the vendor that is registered here.
pub(crate) fn open_pack(jws: &str, key: KeyId, trust: Trust<'_>, now: Timestamp) -> Result<LicensePack> {
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
    if pack.key != key {
        return Err(Error::new(
            Code::ProductKeyUnsuited,
            format!("the license pack is for product key {}, the key is {key}", pack.key),
            "use the license pack that belongs to the key",
        ));
    }
    Ok(pack)
}

/// A revocation list that is genuine and not older than one seen before.
fn revocations(jws: &str, trust: Trust<'_>, now: Timestamp) -> Result<RevocationList> {
    let list = signed::verify::<RevocationList>(jws, trust.root, trust.vendor, now)?.document;
    list.check_number(trust.newest_revocations)?;
    Ok(list)
}

fn service(vendor: &Vendor, way: &ServiceWay, clock: &Clock) -> Result<ServiceClient> {
    let url = way.url.as_deref().unwrap_or(&vendor.catalog.service_url);
    ServiceClient::new(url, &vendor.root, way.proxy.as_ref(), OTHERWISE, clock)
}

const PATH: &str = "/v1/activations";
const OTHERWISE: &str = "activate by telephone (`quorate installation-id`, then `quorate confirm`) or through another \
                         machine (`quorate export-request FILE`)";
