//! What a provider says of somebody: the ID token, verified by the rules of OpenID Connect Core 1.0, section 3.1.3.7.
//!
//! Pure: the keys and the time are given. Parsing and verifying the signature is `jsonwebtoken`'s work; time is compared
//! here, by the service's own clock.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, Validation};
use quorate_core::Timestamp;
use quorate_core::identifier::quoted;
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// What the token must say.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client: &'a str,
    pub nonce: &'a str,
    pub now: Timestamp,
}

/// Why it is not believed; continues "its ID token".
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// None of the keys is the one that signed it; there may be newer keys.
    UnknownKey,
    /// Anything else.
    Because(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "is signed with a key that the provider does not publish",
            Self::Because(why) => why,
        })
    }
}

/// What the provider says of somebody.
pub(super) struct Claims {
    subject: String,
    claims: Map<String, Value>,
}

impl Claims {
    /// Who it is, to the provider.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// Whether there is anything of a claim, be it an empty list.
    pub fn says(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The values of a claim that is a text or a list of texts.
    pub fn values(&self, name: &str) -> Vec<&str> {
        match self.find(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// A name that is none of a claim may be a path: with `realm_access.roles` that is the claim `roles` in
    /// `realm_access`.
    fn find(&self, name: &str) -> Option<&Value> {
        // An address that nobody has verified is whatever somebody typed.
        if name == "email" && self.claims.get("email_verified") != Some(&Value::Bool(true)) {
            return None;
        }
        self.claims.get(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            rest.split('.').try_fold(self.claims.get(first)?, |value, part| value.get(part))
        })
    }

    /// Takes what the userinfo endpoint says besides, if it speaks of the same person.
    pub fn take(&mut self, said: Map<String, Value>) -> bool {
        if said.get("sub").and_then(Value::as_str) != Some(&self.subject) {
            return false;
        }
        // Of another address it says nothing that counts for the signed one.
        let other_address = self.claims.get("email").is_some_and(|signed| said.get("email") != Some(signed));
        for (name, value) in said {
            if !(other_address && name == "email_verified") {
                self.claims.entry(name).or_insert(value);
            }
        }
        true
    }
}

/// Verifies a token. Nothing of what it says is looked at before its signature has been found good.
pub(super) fn verify(token: &str, keys: &[Jwk], expected: &Expected<'_>) -> Result<Claims, Refused> {
    let because = |why: &str| Refused::Because(why.to_owned());
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| because("is not a token that is signed by an algorithm that is known here"))?;
    if !ALGORITHMS.contains(&header.alg) {
        let why = format!("is signed by {:?}, which needs no key of the provider", header.alg);
        return Err(Refused::Because(why));
    }
    if header.crit.is_some() {
        return Err(because("has a header that must be understood and is not"));
    }
    // An access token may look alike, and says nothing of who has signed in.
    if header.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(because("is a token of another kind"));
    }
    let claims = signed_by_any(token, &header, keys)?;
    checked(claims, expected).map_err(Refused::Because)
}

fn signed_by_any(token: &str, header: &Header, keys: &[Jwk]) -> Result<Map<String, Value>, Refused> {
    let mut validation = Validation::new(header.alg);
    // All of these are checked below: the times by our clock, the others so that an error can say what was found.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let mut refused = Refused::UnknownKey;
    for key in keys.iter().filter(|key| suits(key, header)) {
        let Ok(key) = DecodingKey::from_jwk(key) else { continue };
        match jsonwebtoken::decode(token, &key, &validation) {
            Ok(data) => return Ok(data.claims),
            Err(_) => refused = Refused::Because("has a signature that does not match".to_owned()),
        }
    }
    Err(refused)
}

/// Whether a key may have signed this: by its name where the token has one, its kind, and what it is for.
fn suits(key: &Jwk, header: &Header) -> bool {
    let of_kind = match header.alg.family() {
        AlgorithmFamily::Rsa => matches!(key.algorithm, AlgorithmParameters::RSA(_)),
        AlgorithmFamily::Ec => matches!(key.algorithm, AlgorithmParameters::EllipticCurve(_)),
        AlgorithmFamily::Ed => matches!(key.algorithm, AlgorithmParameters::OctetKeyPair(_)),
        AlgorithmFamily::Hmac => false,
    };
    let named = header.kid.is_none() || key.common.key_id == header.kid;
    let signs = key.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let algorithm = |of: KeyAlgorithm| Algorithm::from_str(&of.to_string()).ok();
    let by = key.common.key_algorithm.is_none_or(|of| algorithm(of) == Some(header.alg));
    of_kind && named && signs && by
}

fn checked(claims: Map<String, Value>, expected: &Expected<'_>) -> Result<Claims, String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let said = |name: &str| text(name).map_or_else(|| "nobody".to_owned(), quoted);
    if text("iss") != Some(expected.issuer) {
        return Err(format!("is of the issuer {}", said("iss")));
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client) {
        return Err(format!(
            "is for {}",
            audience.first().map_or_else(|| "nobody".to_owned(), |of| quoted(of))
        ));
    }
    match claims.contains_key("azp") {
        true if text("azp") != Some(expected.client) => return Err(format!("was given to {}", said("azp"))),
        false if audience.len() > 1 => {
            return Err("is for others as well, and not said to be given to us".into());
        }
        _ => {}
    }
    times(&claims, expected.now)?;
    if text("nonce") != Some(expected.nonce) {
        return Err("is the answer to another sign-in (nonce)".to_owned());
    }
    let subject =
        text("sub").filter(|sub| (1..=255).contains(&sub.len()) && !sub.chars().any(char::is_control));
    let subject = subject.ok_or("does not say who has signed in (sub)")?.to_owned();
    Ok(Claims { subject, claims })
}

/// It has begun and not ended, by our clock, which may differ a little from the provider's.
fn times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), String> {
    // Seconds since 1970, which may have a fraction.
    let time = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("has a time that is none ({name})")),
    };
    let shown = |seconds: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "what is beyond any time is shown as a number")]
        let at = Timestamp::from_second(seconds as i64);
        at.map_or_else(|_| seconds.to_string(), |at| format!("{at:.0}"))
    };
    #[expect(clippy::cast_precision_loss, reason = "a second of now is exact")]
    let second = now.as_second() as f64;
    let here = format!("; here it is {now:.0}");
    let (ends, issued) = (time("exp")?, time("iat")?);
    let ends = ends.ok_or("does not say when it ends (exp)")?;
    let issued = issued.ok_or("does not say when it was made (iat)")?;
    if second >= ends + LEEWAY {
        return Err(format!("ended at {}{here}", shown(ends)));
    }
    for (name, begins) in [("iat", Some(issued)), ("nbf", time("nbf")?)] {
        if let Some(begins) = begins.filter(|begins| *begins > second + LEEWAY) {
            return Err(format!("begins at {} ({name}){here}", shown(begins)));
        }
    }
    Ok(())
}

/// Signatures that need a private key. With the others, who knows the client's secret, or takes a public key for one,
/// could make a token.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::EdDSA,
];
/// By so many seconds clocks that are set by the network may differ.
const LEEWAY: f64 = 60.0;
