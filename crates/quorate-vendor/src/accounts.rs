//! People who sign in to the portal: the vendor's own, and those of its customers.
//!
//! Passwords are kept as argon2id hashes. A session is 32 random bytes in a cookie, of which the database has the
//! hash. Whoever guesses is slowed down: after some wrong passwords, an account takes none for a while, whichever
//! replica is asked; in browsers in which it has signed in before ([`crate::device`]), it takes them still. The portal
//! slows down addresses besides. Whoever signs in by an OpenID Connect provider ([`crate::openid`]) has no password here,
//! and the role that the provider gives him.

use crate::access::{Access, Scope};
use crate::customers;
use crate::device::DeviceToken;
use crate::openid::{self, Person};
use crate::service::{Actor, Service, Turn};
use crate::store::accounts::{self, AccountRecord, Failures};
use crate::store::customers::folded;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use quorate_core::{Code, Error, Interval, Result, words};
use quorate_edge::random;
use quorate_edge::sql::Session;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// What somebody does at the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Sees everything but the audit log and tokens, and serves at the phone desk.
    Support,
    /// Sees, and changes nothing.
    ReadOnly,
    /// Sees and activates what is his own.
    Customer,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Admin, Role::Support, Role::ReadOnly, Role::Customer];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Support => "support",
            Role::ReadOnly => "read-only",
            Role::Customer => "customer",
        }
    }

    fn scopes(self) -> BTreeSet<Scope> {
        match self {
            Role::Admin => BTreeSet::from(Scope::ALL),
            Role::Support => BTreeSet::from([Scope::Read, Scope::Desk]),
            Role::ReadOnly => BTreeSet::from([Scope::Read]),
            Role::Customer => BTreeSet::new(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            Error::new(
                Code::RequestInvalid,
                format!("{text:?} is not a role"),
                "the roles are admin, support, read-only and customer",
            )
        })
    }
}

/// Somebody who has signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The account.
    pub account: AccountRecord,
    /// Its role.
    pub role: Role,
    /// What it may do.
    pub access: Access,
}

/// What a browser keeps of a session, wiped when dropped.
#[derive(Clone)]
pub struct SessionToken(Zeroizing<String>);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

impl SessionToken {
    /// As a browser sends it back.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    fn make() -> Self {
        Self(Zeroizing::new(BASE64URL.encode(random::bytes::<32>())))
    }

    /// As it is put into the cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a form of this session bears, so that no other site can send it in the visitor's name.
    pub fn form_token(&self) -> String {
        BASE64URL.encode(hash(&format!("form {}", *self.0)))
    }
}

impl Service {
    /// A new account; its password is either given or made here, and then returned this once.
    pub fn add_account(
        &self,
        name: &str,
        role: Role,
        customer: Option<&str>,
        password: Option<&str>,
    ) -> Result<(AccountRecord, Option<Zeroizing<String>>)> {
        let name = name.trim();
        let refuse = |what: &str, next: &str| Err(Error::new(Code::RequestInvalid, what, next));
        if !is_name(name) {
            return refuse("a user needs a name of at most 100 characters", "an address for mail is usual");
        }
        if (role == Role::Customer) != customer.is_some() {
            return refuse(
                "a customer's people, and only these, belong to a customer",
                "give the customer with the role customer, and none with another",
            );
        }
        let (hash, made) = hashed(password)?;
        let account = self.change(|turn| {
            if let Some((taken, _)) = accounts::named(turn.session, &folded(name))? {
                return Err(Error::new(
                    Code::AlreadyThere,
                    format!("there is a user {:?} already", taken.name),
                    "use another name",
                ));
            }
            let customer = customer.map(|customer| customers::named(turn.session, customer)).transpose()?;
            let customer = customer.map(|customer| customer.id);
            let id =
                accounts::add(turn.session, (name, &folded(name)), role.as_str(), customer, &hash, turn.now)?;
            turn.note("user.add", name, serde_json::json!({ "role": role.as_str(), "customer": customer }))?;
            known(accounts::find(turn.session, id)?, name)
        })?;
        Ok((account, made))
    }

    /// Everybody who signs in.
    pub fn accounts(&self) -> Result<Vec<AccountRecord>> {
        self.sql.read(accounts::list)
    }

    /// Gives somebody another password, made here when none is given; he has to sign in again.
    pub fn set_password(&self, name: &str, password: Option<&str>) -> Result<Option<Zeroizing<String>>> {
        let (hash, made) = hashed(password)?;
        self.change(|turn| give_password(turn, name, &hash))?;
        Ok(made)
    }

    /// Somebody gives himself another password from this browser. He has to know the old one, as who has found an open
    /// browser does not, and stays signed in there alone.
    pub fn change_password(
        &self,
        device: Option<&DeviceToken>,
        name: &str,
        old: &str,
        new: &str,
    ) -> Result<(SessionToken, DeviceToken)> {
        let (proof, _) = self.sign_in_from(device, name, old)?;
        self.sign_out(&proof)?;
        let (hash, _) = hashed(Some(new))?;
        let token = SessionToken::make();
        // In one turn: nobody's guesses come between the new password and the session.
        let id = self.change(|turn| {
            let id = give_password(turn, name, &hash)?;
            accounts::begin(turn.session, &self::hash(&token.0), id, turn.now, SESSION.after(turn.now))?;
            Ok(id)
        })?;
        Ok((token, DeviceToken::make(id, &hash)))
    }

    /// Closes an account, or opens it again.
    pub fn set_closed(&self, name: &str, close: bool) -> Result<AccountRecord> {
        self.change(|turn| {
            let (account, _) = known(accounts::named(turn.session, &folded(name))?, name)?;
            if account.closed.is_some() == close {
                return Ok(account);
            }
            accounts::set_closed(turn.session, account.id, close.then_some(turn.now))?;
            let action = if close { "user.close" } else { "user.open" };
            turn.note(action, &account.name, serde_json::json!({}))?;
            known(accounts::find(turn.session, account.id)?, name)
        })
    }

    /// Signs somebody in from a browser that is not known.
    pub fn sign_in(&self, name: &str, password: &str) -> Result<SessionToken> {
        Ok(self.sign_in_from(None, name, password)?.0)
    }

    /// Signs somebody in, from a browser that is known for it or not, and knows it from now on. Who guesses learns
    /// nothing: not even whether there is somebody of this name.
    pub fn sign_in_from(
        &self,
        device: Option<&DeviceToken>,
        name: &str,
        password: &str,
    ) -> Result<(SessionToken, DeviceToken)> {
        let found = self.sql.read(|session| accounts::named(session, &folded(name)))?;
        // Always, and always the same work, so that nobody learns from the time either.
        let hash = found.as_ref().and_then(|(_, proof)| proof.password.as_deref()).unwrap_or(&NOBODY);
        let right = argon2::PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        let token = SessionToken::make();
        let now = self.clock.now();
        let signed_in = self.sql.change(|session| {
            // The account may have changed while the password was verified.
            let account = accounts::named(session, &folded(name))?;
            let known = account
                .as_ref()
                .and_then(|(account, proof)| device?.device(account.id, proof.password.as_deref()?));
            let device = known.as_ref().map_or(accounts::STRANGERS, |device| device.as_slice());
            let id = account.as_ref().map_or(NOBODYS, |(account, _)| account.id);
            let failures = accounts::failures(session, id, device)?;
            // A year of mistyping now and then is no guessing.
            let past = failures.last.is_some_and(|last| FORGIVEN.after(last) <= now);
            let failures = if past { Failures::default() } else { failures };
            let again = failures.last.map(|last| PAUSE.after(last));
            let waits = failures.count >= FAILURES && again.is_some_and(|again| again > now);
            let account = account.and_then(|(account, proof)| {
                let verified = found.as_ref().and_then(|(_, proof)| proof.password.as_ref());
                let hash = proof.password.filter(|hash| right && !waits && verified == Some(hash))?;
                Some((account, hash))
            });
            let Some((account, hash)) = account else {
                let count = failures.count.saturating_add(1);
                let failures = if waits { failures } else { Failures { count, last: Some(now) } };
                // Also of nobody, and also what is as it was: it takes as long.
                accounts::set_failures(session, id, device, failures)?;
                return Ok(None);
            };
            accounts::forget_failures(session, account.id, device, KEPT.before(now))?;
            if account.closed.is_some() {
                return Ok(None);
            }
            accounts::begin(session, &self::hash(&token.0), account.id, now, SESSION.after(now))?;
            Ok(Some(DeviceToken::make(account.id, &hash)))
        })?;
        signed_in.map(|device| (token, device)).ok_or_else(|| {
            Error::new(
                Code::SignInFailed,
                "the name or the password is wrong",
                format!(
                    "try again; after {FAILURES} wrong passwords a name is closed for {PAUSE}, except in browsers in which \
                     it was the last to sign in; an admin of the vendor can give a new password"
                ),
            )
        })
    }

    /// Signs somebody in whom an OpenID Connect provider knows, once for each mark; the first time makes his account.
    /// What he may do is what the provider says now, in all of his sessions.
    pub fn sign_in_by_openid(&self, person: &Person, mark: &[u8; 32]) -> Result<SessionToken> {
        let Person { identity, called, role, .. } = person;
        let token = SessionToken::make();
        self.by(Actor::named("OpenID Connect")).change(|turn| {
            // As long as a replica whose clock is behind could take it.
            let ends = openid::LASTS.after(openid::CLOCKS.after(turn.now));
            if !accounts::use_once(turn.session, mark, turn.now, ends)? {
                return Ok(Err(openid::over()));
            }
            let found = accounts::of_identity(turn.session, identity)?;
            let Some(role) = role.map(Role::as_str) else {
                if let Some(account) = found {
                    accounts::end_all(turn.session, account.id)?;
                    turn.note("user.refuse", &account.name, serde_json::json!({ "why": "no role" }))?;
                }
                return Ok(Err(person.without_role()));
            };
            let account = match found {
                Some(account) => account,
                None => {
                    let name = free_name(turn.session, called)?;
                    let id = accounts::add_identity(
                        turn.session,
                        (&name, &folded(&name)),
                        role,
                        identity,
                        turn.now,
                    )?;
                    let detail = serde_json::json!({
                        "role": role, "issuer": identity.issuer, "subject": identity.subject
                    });
                    turn.note("user.add", &name, detail)?;
                    known(accounts::find(turn.session, id)?, &name)?
                }
            };
            if account.closed.is_some() {
                turn.note("user.refuse", &account.name, serde_json::json!({ "why": "closed" }))?;
                return Ok(Err(Error::new(
                    Code::NoRole,
                    format!("the account {} is closed", account.name),
                    "ask an admin of the vendor to open it",
                )));
            }
            if account.role != role {
                accounts::set_role(turn.session, account.id, role)?;
                let detail = serde_json::json!({ "role": role, "before": account.role });
                turn.note("user.role", &account.name, detail)?;
            }
            let ends = SESSION.after(turn.now);
            accounts::begin(turn.session, &self::hash(&token.0), account.id, turn.now, ends)?;
            turn.note("user.sign-in", &account.name, serde_json::json!({ "role": role }))?;
            Ok(Ok(()))
        })??;
        Ok(token)
    }

    /// Who has signed in with this session.
    pub fn signed_in(&self, token: &SessionToken) -> Result<SignedIn> {
        let now = self.clock.now();
        let account = self.sql.read(|session| accounts::of_session(session, &hash(&token.0), now))?;
        let account = account.ok_or_else(|| {
            Error::new(Code::NotSignedIn, "nobody is signed in, or not any more", "sign in")
        })?;
        let role: Role = account.role.parse()?;
        let access = Access { actor: Actor::named(format!("user {}", account.name)), scopes: role.scopes() };
        Ok(SignedIn { account, role, access })
    }

    /// Ends a session.
    pub fn sign_out(&self, token: &SessionToken) -> Result<()> {
        self.sql.change(|session| accounts::end(session, &hash(&token.0)))
    }
}

/// Whether somebody can be called so.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 100 && !text.chars().any(char::is_control)
}

/// Gives somebody another password; he is signed in nowhere then.
fn give_password(turn: &mut Turn<'_, '_>, name: &str, hash: &str) -> Result<i64> {
    let (account, _) = known(accounts::named(turn.session, &folded(name))?, name)?;
    if account.identity.is_some() {
        return Err(Error::new(
            Code::RequestInvalid,
            format!("{} signs in by OpenID Connect and has no password here", account.name),
            "change the password at the provider; `quorate-vendor user close` keeps somebody out",
        ));
    }
    accounts::set_password(turn.session, account.id, hash)?;
    turn.note("user.password", &account.name, serde_json::json!({}))?;
    Ok(account.id)
}

/// The hash of a password, and the password itself where it is made here.
fn hashed(password: Option<&str>) -> Result<(String, Option<Zeroizing<String>>)> {
    let made = match password {
        // 120 random bits.
        None => Some(Zeroizing::new(BASE64URL.encode(random::bytes::<15>()))),
        Some(given) if given.chars().count() < SHORTEST => {
            return Err(Error::new(
                Code::RequestInvalid,
                format!("the password has {}", words::counted(given.chars().count(), "character")),
                format!("choose one of at least {SHORTEST}"),
            ));
        }
        Some(_) => None,
    };
    let text = made.as_ref().map_or(password.unwrap_or_default(), |made| made.as_str());
    let hash = Argon2::default().hash_password(text.as_bytes()).map_err(|error| {
        Error::new(Code::Internal, format!("a password cannot be hashed ({error})"), "please report this")
    })?;
    Ok((hash.to_string(), made))
}

/// What somebody is called whom an OpenID Connect provider calls so. A name that somebody else has is never shared.
fn free_name(session: &mut Session<'_>, called: &str) -> Result<String> {
    let mut name = called.to_owned();
    for count in 1u64.. {
        if accounts::named(session, &folded(&name))?.is_none() {
            break;
        }
        name = match count {
            1 => format!("{called} (OpenID)"),
            _ => format!("{called} (OpenID {count})"),
        };
    }
    Ok(name)
}

fn known<T>(found: Option<T>, name: &str) -> Result<T> {
    found.ok_or_else(|| {
        Error::new(Code::NotFound, format!("there is no user {name:?}"), "list the users to find the name")
    })
}

fn hash(text: &str) -> [u8; 32] {
    crate::sha256::sha256(text.as_bytes())
}

/// Verified in place of nobody's password, so that it takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| hashed(None).map(|(hash, _)| hash).unwrap_or_default());
/// In the place of an account's number, where there is none of the name.
const NOBODYS: i64 = 0;
/// So many wrong passwords are a person's own.
const FAILURES: u32 = 10;
const PAUSE: Interval = Interval::minutes(5);
/// So long after the last one, all are forgiven.
const FORGIVEN: Interval = Interval::days(1);
/// Of a browser that is used no more, so long is remembered that it was wrong.
const KEPT: Interval = Interval::days(30);
/// A working day.
const SESSION: Interval = Interval::hours(12);
const SHORTEST: usize = 12;
