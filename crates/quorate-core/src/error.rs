//! Every failure of Quorate, in one place: a stable code, what happened with figures, what to do next.
//!
//! Administrators search for codes, so a [`Code`] never changes its meaning. Where the documented numbers
//! of volume activation have one for the same condition, it is shown beside ours. An error crosses the
//! wire whole (code, text, next step), so the machine that asked shows what the host or the vendor said.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The result of anything in Quorate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One failure: what it is, what happened, what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// What happened, with the figures.
    pub what: String,
    /// The next thing to try.
    pub next: String,
}

impl Error {
    /// An error of `code`: what happened, and what to do next.
    pub fn new(code: Code, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, what: shown(what.into()), next: shown(next.into()) }
    }

    /// An error as somebody else put it, over a network or in a file: as it can be shown in a terminal.
    pub fn from_outside(self) -> Self {
        Self { code: self.code, what: plain(&self.what), next: plain(&self.next) }
    }

    /// The error as a person at a terminal reads it: two lines, no colours.
    pub fn report(&self) -> String {
        format!("error {}: {}\nnext: {}", self.code, self.what, self.next)
    }
}

/// Text of somebody else's, without what would steer a terminal, and not longer than a few lines.
pub(crate) fn plain(text: &str) -> String {
    shown(text.chars().take(LONGEST_TEXT).collect())
}

/// Text without what would steer a terminal or turn the order of what is read: an error repeats what was typed, or
/// what a parser found.
fn shown(text: String) -> String {
    if !text.contains(steers) {
        return text;
    }
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

const LONGEST_TEXT: usize = 1_000;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.what)
    }
}

impl std::error::Error for Error {}

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:literal $(, $known:literal)? ; )+) => {
        /// The stable codes. Each one's first sentence is its row of `docs/errors.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[ $( Code::$name, )+ ];

            /// The code as it is printed and searched for.
            pub fn as_str(self) -> &'static str {
                match self { $( Code::$name => $code, )+ }
            }

            /// The documented number that administrators know for the same condition.
            pub fn known_number(self) -> Option<u32> {
                match self { $( Code::$name => None $( .or(Some($known)) )?, )+ }
            }

            /// The row of the table in the documentation.
            pub fn summary(self) -> &'static str {
                match self { $( Code::$name => concat!($($doc),+).trim_ascii(), )+ }
            }
        }
    };
}

codes! {
    /// A product key does not have the form of one, or its check fails: a typing error.
    ProductKeyInvalid = "Q101", 0xC004_F050;
    /// The product key is sound, but is not one for this product, edition or program.
    ProductKeyUnsuited = "Q102", 0xC004_F035;
    /// No product key is installed.
    ProductKeyMissing = "Q103", 0xC004_F014;
    /// An Installation ID is mistyped or was made with another key.
    InstallationIdInvalid = "Q104";
    /// A Confirmation ID is mistyped, or is for another Installation ID.
    ConfirmationIdInvalid = "Q105", 0xC004_F01F;
    /// An identifier (GUID, CMID, extended PID, vendor id) does not have its form.
    IdentifierInvalid = "Q106";
    /// A product file or a catalog contradicts itself or cannot be read.
    CatalogInvalid = "Q107";

    /// A document does not chain to the vendor root that is trusted here.
    UntrustedRoot = "Q201";
    /// A certificate of the chain has ended or has not begun.
    CertificateExpired = "Q202";
    /// A certificate is genuine, but made out for another name: another vendor, or another role.
    CertificateWrongName = "Q203";
    /// The host's certificate does not entitle it to activate this product.
    NotEntitled = "Q204", 0xC004_F042;
    /// A signature does not match its document: it was changed after signing.
    SignatureInvalid = "Q205";
    /// A response answers another request than the one that was sent.
    NonceMismatch = "Q206";
    /// A catalog or revocation list is older than one already seen.
    StaleNumber = "Q207";
    /// The key or the host certificate has been revoked by the vendor.
    Revoked = "Q208", 0xC004_C003;
    /// A file or message is not a document of the kind expected.
    DocumentInvalid = "Q209", 0x8007_000D;
    /// A response is genuine, but made out for another machine or product.
    ResponseMismatch = "Q210";

    /// Fewer machines have asked the host than the product's policy needs.
    CountTooLow = "Q301", 0xC004_F038;
    /// The host has no activated key of this vendor.
    HostNotActivated = "Q302", 0xC004_F041;
    /// The host's key does not cover this product.
    HostCannotActivate = "Q303", 0xC004_F042;
    /// The clocks of client and host differ by more than the policy allows.
    ClockSkew = "Q304", 0xC004_F06C;
    /// The other side speaks a version of the protocol that this one does not.
    ProtocolVersion = "Q305";
    /// A request lacks a field or carries one that cannot be.
    RequestInvalid = "Q306";
    /// The host is at its limit for the moment.
    Busy = "Q307";

    /// The activation service does not know this product key.
    KeyUnknown = "Q401", 0xC004_C003;
    /// The vendor has blocked this product key.
    KeyBlocked = "Q402", 0xC004_C003;
    /// The product key is activated on as many hosts as it may be.
    HostsUsedUp = "Q403", 0xC004_C008;
    /// The proof that the caller holds the product key does not hold.
    ProofInvalid = "Q404";
    /// The license pack has no slot left to hand out.
    SlotsUsedUp = "Q405", 0xC004_C008;
    /// The product key is activated on as many machines as it may be.
    MachinesUsedUp = "Q406", 0xC004_C020;
    /// No customer has this name or number.
    CustomerUnknown = "Q407";
    /// No host has a certificate with this serial number.
    CertificateUnknown = "Q408";
    /// The catalog has no key group of this number.
    KeyGroupUnknown = "Q409";
    /// The product key was activated again on this host as often as it may be.
    ReactivationsUsedUp = "Q410", 0xC004_C008;
    /// The key group has not so many serials left for new product keys.
    SerialsUsedUp = "Q411";
    /// The vendor's activation service is there, but cannot answer for the moment.
    ServiceUnable = "Q412";

    /// No host was found: no SRV record and none set by hand.
    NoHostFound = "Q501", 0x8007_232B;
    /// No host that was found could be reached.
    HostUnreachable = "Q502", 0xC004_F074;
    /// The name server did not answer, or answered with a failure.
    DnsUnavailable = "Q503", 0x8007_267C;
    /// The vendor's activation service cannot be reached.
    ServiceUnreachable = "Q504", 0x8007_2EE7;
    /// What answered at the address does not speak the protocol.
    NotAHost = "Q505";
    /// An address cannot be listened on: in use, or not permitted.
    AddressUnavailable = "Q506";
    /// An address, port or URL does not have its form.
    AddressInvalid = "Q507";
    /// A dynamic DNS update was refused or failed.
    DnsUpdateFailed = "Q508";

    /// A file or directory cannot be read.
    Unreadable = "Q601";
    /// A file or directory cannot be written: no permission, or read-only.
    Unwritable = "Q602";
    /// The disk is full.
    DiskFull = "Q603";
    /// A stored file is damaged.
    StoreDamaged = "Q604", 0x8007_000D;
    /// Nothing has been set up here yet.
    NotSetUp = "Q605";
    /// Something is here already that must not be overwritten.
    AlreadyThere = "Q606";
    /// The store belongs to another machine, or the hardware has changed.
    HardwareChanged = "Q607", 0xC004_F00F;
    /// The initial grace cannot be restarted, or not again.
    RearmRefused = "Q609", 0xC004_D307;
    /// The time in which a product runs without an activation is over.
    GraceOver = "Q610", 0xC004_F009;
    /// The database that hosts share cannot be reached, or takes no writes for the moment.
    DatabaseUnavailable = "Q611";
    /// Another activation host already serves from the same directory.
    AlreadyServing = "Q612";
    /// A private key, or what opens one, can be read by others than its owner.
    KeyExposed = "Q613";
    /// The PKCS #11 token with the vendor's key cannot be used.
    TokenUnavailable = "Q614";
    /// The PKCS #11 token with the vendor's key refuses the PIN.
    PinRefused = "Q615";
    /// The machine's clock is behind the latest time this program has seen.
    ClockSetBack = "Q608";
    /// Nobody is signed in, or the token is not one that is valid.
    NotSignedIn = "Q701";
    /// The token or the role does not permit this.
    NotPermitted = "Q702";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "Q703";
    /// There is nothing of this number, of this name, or at this path.
    NotFound = "Q704";
    /// The name or the password is wrong.
    SignInFailed = "Q705";
    /// Too many wrong passwords were given, or too many requests made, in a short time.
    TooManyAttempts = "Q706";
    /// The OpenID Connect provider cannot be reached, or what answers in its place is none.
    ProviderUnavailable = "Q707";
    /// The OpenID Connect provider refuses a sign-in, or what it says of somebody cannot be believed.
    ProviderNotBelieved = "Q708";
    /// Somebody whom the OpenID Connect provider knows has no role here, or a closed account.
    NoRole = "Q709";
    /// A sign-in by OpenID Connect was begun in another browser, took too long, or is over.
    SignInOver = "Q710";
    /// A defect in Quorate itself: please report it.
    Internal = "Q699";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_number() {
            Some(number) => write!(f, "{} (0x{number:08X})", self.as_str()),
            None => f.write_str(self.as_str()),
        }
    }
}

impl std::str::FromStr for Code {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text).ok_or_else(|| {
            Error::new(
                Code::DocumentInvalid,
                format!("the error code {text:?} is not one this version knows"),
                "update Quorate on this machine",
            )
        })
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| serde::de::Error::custom(error.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_read_back() {
        let distinct: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(distinct.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.as_str().parse::<Code>().unwrap(), *code);
        }
    }

    #[test]
    fn report_names_both_numbers_and_the_next_step() {
        let error = Error::new(Code::CountTooLow, "the count is 3 of 5", "start 2 more machines");
        assert_eq!(
            error.report(),
            "error Q301 (0xC004F038): the count is 3 of 5\nnext: start 2 more machines"
        );
    }

    /// The documentation's table is this enum, written out.
    #[test]
    fn the_documented_table_is_this_table() {
        let mut table = String::from("| code | known as | what it means |\n|---|---|---|\n");
        for code in Code::ALL {
            let known = code.known_number().map(|number| format!("0x{number:08X}")).unwrap_or_default();
            table += &format!("| {} | {known} | {} |\n", code.as_str(), code.summary());
        }
        let documented = include_str!("../../../docs/errors.md");
        assert!(documented.contains(&table), "docs/errors.md should contain:\n{table}");
    }
}
