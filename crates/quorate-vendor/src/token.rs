//! The activation CA's key in a PKCS #11 token: a hardware security module, or a software one.
//!
//! The key is made in the token and never leaves it; here is only a session in which the token signs. A token may be
//! taken away and come back, as a module on the network does: a session that has failed is opened once more. A PIN that the
//! token has refused is not tried again.

use crate::sha256::sha256;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Fault, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use der::asn1::{OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use quorate_core::identifier::quoted;
use quorate_core::{Code, Error, Result};
use quorate_edge::files;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Where a key is, as the file `ca-token.toml` in the vendor's directory says it. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenPlace {
    /// The module, a shared library that comes with the token.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub label: String,
    /// A file with the PIN of the token's user.
    pub pin_file: PathBuf,
}

/// A P-256 key in a token, which is opened when the first signature is wanted: most commands need none.
pub struct TokenKey {
    place: TokenPlace,
    /// The point, uncompressed.
    public: Vec<u8>,
    access: Mutex<TokenAccess>,
}

thread_local! {
    /// What went wrong with the signature that this thread asked for last: whoever asks is told only that it did.
    static FAULT: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// How the token is got at.
#[derive(Default)]
struct TokenAccess {
    open: Option<Open>,
    /// A PIN that the token has refused. It is not tried again: after some wrong ones, a token locks itself.
    refused: Option<Zeroizing<String>>,
}

/// A session, and the key in it.
struct Open {
    session: Session,
    key: ObjectHandle,
}

impl TokenKey {
    /// Makes the key in the token, where none of this label may be yet.
    pub fn generate(place: &TokenPlace) -> Result<Self> {
        let session = writing(place)?;
        let label = || Attribute::Label(place.label.clone().into_bytes());
        let of_label = session.find_objects(&[label()]).map_err(|fault| place.fault(&fault))?;
        if !of_label.is_empty() {
            return Err(Error::new(
                Code::AlreadyThere,
                format!(
                    "the token {} holds something labelled {} already",
                    quoted(&place.token),
                    quoted(&place.label)
                ),
                "a vendor is set up once; choose another label for another vendor",
            ));
        }
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(P256.to_vec()),
            label(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label(),
        ];
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .map_err(|fault| place.fault(&fault))?;
        let point = point(&session, place);
        drop(session);
        let key = point.map(|public| Self::of(place.clone(), public));
        key.inspect_err(|_| {
            // It was made for nothing. That the attempt has failed is told.
            let _ = Self::remove(place);
        })
    }

    /// The key of this point, which the token is said to hold.
    pub fn of(place: TokenPlace, public: Vec<u8>) -> Self {
        Self { place, public, access: Mutex::default() }
    }

    /// Where it is.
    pub fn place(&self) -> &TokenPlace {
        &self.place
    }

    /// Takes the key out of the token again, when it was made for nothing.
    pub fn remove(place: &TokenPlace) -> Result<()> {
        let session = writing(place)?;
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let object = only(&session, place, class)?;
            session.destroy_object(object).map_err(|fault| place.fault(&fault))?;
        }
        Ok(())
    }

    /// Finds out whether the token is there, takes the PIN and holds this key.
    pub fn check(&self) -> Result<()> {
        let mut access = lock(&self.access);
        if access.open.is_none() {
            access.open = Some(self.open(&mut access.refused)?);
        }
        Ok(())
    }

    fn open(&self, refused: &mut Option<Zeroizing<String>>) -> Result<Open> {
        let (place, pin) = (&self.place, self.place.pin()?);
        if refused.as_ref() == Some(&pin) {
            return Err(place.refuses());
        }
        let (session, last_try) = session(place, Use::Signing)?;
        log_in(&session, place, &pin, last_try, refused)?;
        if point(&session, place)? != self.public {
            return Err(place.unsuited("does not belong to the activation CA's certificate"));
        }
        let key = only(&session, place, ObjectClass::PRIVATE_KEY)?;
        Ok(Open { session, key })
    }

    /// What went wrong with the signature that this thread has asked for.
    pub fn take_fault() -> Option<Error> {
        FAULT.take()
    }

    /// Signs a digest: R and S, each as long as the curve's order.
    fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>> {
        let mut access = lock(&self.access);
        let sign = |open: &Open| open.session.sign(&Mechanism::Ecdsa, open.key, digest);
        if let Some(Ok(signature)) = access.open.as_ref().map(sign) {
            return Ok(signature);
        }
        // The old session goes first: with the last one, a token forgets who has logged in.
        access.open = None;
        let open = self.open(&mut access.refused)?;
        let signature = sign(&open).map_err(|fault| self.place.fault(&fault))?;
        access.open = Some(open);
        Ok(signature)
    }

    fn in_der(&self, signature: &[u8]) -> Result<Vec<u8>> {
        let both = signature.split_at_checked(ORDER).and_then(|(r, s)| {
            EcdsaSignature { r: UintRef::new(r).ok()?, s: UintRef::new(s).ok()? }.to_der().ok()
        });
        both.ok_or_else(|| self.place.unsuited("makes signatures that are none of P-256"))
    }
}

impl PublicKeyData for TokenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for TokenKey {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rcgen::Error> {
        let digest = sha256(message);
        let signature = self.sign_digest(&digest).and_then(|signature| self.in_der(&signature));
        signature.map_err(|error| {
            FAULT.set(Some(error));
            rcgen::Error::RemoteKeyError
        })
    }
}

/// RFC 3279, 2.2.3.
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl TokenPlace {
    /// Reads the file that says it. Paths are seen from that file's directory.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read_text(path)?;
        let mut place: Self = toml::from_str(&text).map_err(|error| {
            Error::new(
                Code::DocumentInvalid,
                format!("{} does not say where a token is: {}", path.display(), error.message()),
                "write module, token, label and pin-file, each a text in quotation marks",
            )
        })?;
        let directory =
            std::path::absolute(files::directory_of(path)).map_err(|error| files::reading(path, &error))?;
        place.module = directory.join(&place.module);
        place.pin_file = directory.join(&place.pin_file);
        Ok(place)
    }

    fn pin(&self) -> Result<Zeroizing<String>> {
        let text = files::read_secret(&self.pin_file, "then give the token's user another PIN")?;
        let pin = text.trim();
        // Somebody is about to write another, or has forgotten to: no try of the token's is worth it.
        if pin.is_empty() {
            return Err(Error::new(
                Code::TokenUnavailable,
                format!("{} holds no PIN", self.pin_file.display()),
                "write the PIN of the token's user there",
            ));
        }
        Ok(Zeroizing::new(pin.to_owned()))
    }

    fn refuses(&self) -> Error {
        Error::new(
            Code::PinRefused,
            format!("the token {} refuses the PIN in {}", quoted(&self.token), self.pin_file.display()),
            "write the PIN of the token's user there, before too many tries lock it",
        )
    }

    fn fault(&self, fault: &Fault) -> Error {
        let token = quoted(&self.token);
        let (what, next) = match fault {
            Fault::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
                return self.refuses();
            }
            Fault::Pkcs11(RvError::PinLocked, _) => (
                format!("the token {token} has locked its user's PIN, after too many wrong ones"),
                "set a new PIN as the token's security officer",
            ),
            Fault::LibraryLoading(error) => (
                format!("the PKCS #11 module {} cannot be loaded: {error}", self.module.display()),
                "install the software that comes with the token; module is its shared library",
            ),
            other => (
                format!("the token {token} fails: {other}"),
                "look whether it is there and in order; then try again",
            ),
        };
        Error::new(Code::TokenUnavailable, what, next)
    }

    fn unsuited(&self, what: &str) -> Error {
        Error::new(
            Code::TokenUnavailable,
            format!("the key {} in the token {} {what}", quoted(&self.label), quoted(&self.token)),
            "name the key that `quorate-vendor init` has made",
        )
    }
}

/// What a session is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Signing,
    Writing,
}

/// A session, of nobody yet; and whether the token takes one more PIN before it locks itself.
fn session(place: &TokenPlace, wanted: Use) -> Result<(Session, bool)> {
    let module = module(&place.module).map_err(|fault| place.fault(&fault))?;
    let slots = module.get_slots_with_token().map_err(|fault| place.fault(&fault))?;
    let labelled = |slot| module.get_token_info(slot).ok().map(|info| (slot, info));
    let mut tokens = slots.into_iter().filter_map(labelled);
    let token = tokens.find(|(_, info)| info.label().trim_end() == place.token);
    let (slot, info) = token.ok_or_else(|| {
        Error::new(
            Code::TokenUnavailable,
            format!("the PKCS #11 module {} has no token labelled {}", place.module.display(), quoted(&place.token)),
            "connect it, or initialise it with its own tool; `pkcs11-tool --list-slots` shows those there are",
        )
    })?;
    let session = match wanted {
        Use::Signing => module.open_ro_session(slot),
        Use::Writing => module.open_rw_session(slot),
    };
    Ok((session.map_err(|fault| place.fault(&fault))?, info.user_pin_final_try()))
}

/// A session in which keys are made and removed.
fn writing(place: &TokenPlace) -> Result<Session> {
    let pin = place.pin()?;
    let (session, last_try) = session(place, Use::Writing)?;
    log_in(&session, place, &pin, last_try, &mut None)?;
    Ok(session)
}

/// Logs in, and keeps a PIN that the token has refused.
fn log_in(
    session: &Session,
    place: &TokenPlace,
    pin: &Zeroizing<String>,
    last_try: bool,
    refused: &mut Option<Zeroizing<String>>,
) -> Result<()> {
    // The last try is a person's: whoever starts programs again and again would take it without looking.
    if last_try {
        return Err(Error::new(
            Code::PinRefused,
            format!("after wrong PINs, the token {} takes one more before it locks", quoted(&place.token)),
            "log in once with the token's own tool, as in `pkcs11-tool --login --list-objects`; then try again",
        ));
    }
    match session.login(UserType::User, Some(&AuthPin::new(pin.as_str().into()))) {
        // Whoever has logged in has done so for all sessions of this program.
        Ok(()) | Err(Fault::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(fault) => {
            let error = place.fault(&fault);
            if error.code == Code::PinRefused {
                *refused = Some(pin.clone());
            }
            Err(error)
        }
    }
}

/// The point of the public key, uncompressed.
fn point(session: &Session, place: &TokenPlace) -> Result<Vec<u8>> {
    let key = only(session, place, ObjectClass::PUBLIC_KEY)?;
    let attributes =
        session.get_attributes(key, &[AttributeType::EcPoint]).map_err(|fault| place.fault(&fault))?;
    let point = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(point),
        _ => None,
    });
    let point = point.unwrap_or_default();
    // By the standard it is wrapped in an OCTET STRING; some tokens leave that out.
    let point =
        <&OctetStringRef>::from_der(&point).map_or(point.clone(), |wrapped| wrapped.as_bytes().to_vec());
    if point.len() != UNCOMPRESSED || point.first() != Some(&4) {
        return Err(place.unsuited("is not an ECDSA key on the curve P-256"));
    }
    Ok(point)
}

/// The one object of this label and kind.
fn only(session: &Session, place: &TokenPlace, class: ObjectClass) -> Result<ObjectHandle> {
    let wanted = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC),
        Attribute::Label(place.label.clone().into_bytes()),
    ];
    let found = session.find_objects(&wanted).map_err(|fault| place.fault(&fault))?;
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(place.unsuited("is not there")),
        _ => Err(place.unsuited("is there more than once")),
    }
}

/// A module, which a program may load once only, begun anew: many notice only so that a token has come back. Sessions
/// that are open end with that; a program has one vendor, and with it one key.
fn module(path: &Path) -> std::result::Result<Pkcs11, Fault> {
    static LOADED: LazyLock<Mutex<BTreeMap<PathBuf, Pkcs11>>> = LazyLock::new(Mutex::default);
    let mut loaded = lock(&LOADED);
    let module = match loaded.get(path) {
        Some(module) => {
            // When it has ended already, as after an initialisation that failed, so much the better.
            let _ = module.clone().finalize();
            module.clone()
        }
        None => {
            let module = Pkcs11::new(path)?;
            loaded.insert(path.to_owned(), module.clone());
            module
        }
    };
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Also one that could not be ended goes on.
        Ok(()) | Err(Fault::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(fault) => Err(fault),
    }
}

/// What is in these is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The object identifier of the curve, 1.2.840.10045.3.1.7, in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The bytes of a number below the curve's order.
const ORDER: usize = 32;
const UNCOMPRESSED: usize = 1 + 2 * ORDER;
