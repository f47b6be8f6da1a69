//! One attempt to sign in, as the browser keeps it: a secret in a cookie, of which everything else is made.
//!
//! `state`, `nonce` and the PKCE verifier are authentication codes under that secret, over the time and over where the
//! browser wants to get to. So an answer of the provider is good for the browser that began, any replica can finish
//! what another began, and strangers who begin and begin leave nothing behind in the database. Once somebody has signed
//! in with it, its [mark](Attempt::mark) is remembered there, so that it is done once.

use super::{CLOCKS, LASTS};
use crate::sha256::sha256;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use quorate_core::Timestamp;
use quorate_edge::random;
use std::fmt;
use zeroize::Zeroizing;

/// What a browser keeps while somebody is at the provider.
pub struct Attempt {
    secret: Zeroizing<[u8; 32]>,
    /// Seconds since 1970, UTC.
    began: i64,
    to: String,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt(…)")
    }
}

impl Attempt {
    /// A new one, to get to this page.
    pub(crate) fn begin(to: &str, now: Timestamp) -> Self {
        // A path of ours is short; a cookie that is long would not be kept.
        let to = if to.len() <= 1_000 { to.to_owned() } else { String::new() };
        Self { secret: Zeroizing::new(random::bytes()), began: now.as_second(), to }
    }

    /// As it is put into the cookie.
    pub fn reveal(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(BASE64URL.encode(*self.secret));
        Zeroizing::new(format!("{}.{}.{}", *secret, self.began, BASE64URL.encode(&self.to)))
    }

    /// As a browser sends it back.
    pub fn read(cookie: &str) -> Option<Self> {
        let (secret, rest) = cookie.split_once('.')?;
        let (began, to) = rest.split_once('.')?;
        let secret = Zeroizing::new(BASE64URL.decode(secret).ok()?);
        Some(Self {
            secret: Zeroizing::new(secret.as_slice().try_into().ok()?),
            began: began.parse().ok()?,
            to: String::from_utf8(BASE64URL.decode(to).ok()?).ok()?,
        })
    }

    /// The page that the browser wants to get to.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// What the provider sends back with its answer.
    pub(crate) fn state(&self) -> String {
        BASE64URL.encode(self.made("state"))
    }

    /// What the provider puts into the ID token.
    pub(crate) fn nonce(&self) -> String {
        BASE64URL.encode(self.made("nonce"))
    }

    /// What only who has begun can show; RFC 7636, section 4.1.
    pub(crate) fn verifier(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL.encode(self.made("verifier")))
    }

    /// What the provider compares it with; section 4.2.
    pub(crate) fn challenge(&self) -> String {
        BASE64URL.encode(sha256(self.verifier().as_bytes()))
    }

    /// By what it is remembered that it has been used.
    pub fn mark(&self) -> [u8; 32] {
        let mut mark = [0; 32];
        mark.copy_from_slice(self.made("mark").as_ref());
        mark
    }

    /// Whether an answer that came with this state is to this attempt.
    pub(crate) fn is_answered_by(&self, state: Option<&str>) -> bool {
        let expected = self.state();
        state.is_some_and(|state| {
            constant_time::verify_slices_are_equal(state.as_bytes(), expected.as_bytes()).is_ok()
        })
    }

    /// Whether it has taken too long; one of the future is none of ours.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let now = now.as_second();
        self.began > now.saturating_add(CLOCKS.as_seconds().into())
            || now >= self.began.saturating_add(LASTS.as_seconds().into())
    }

    fn made(&self, what: &str) -> hmac::Tag {
        let message = format!("quorate openid {what} {} {}", self.began, self.to);
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice()), message.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_cookie_is_all_of_it() {
        let attempt = Attempt::begin("/keys?q=é&after=7", at(1_000));
        let again = Attempt::read(&attempt.reveal()).unwrap();
        assert_eq!(again.to(), "/keys?q=é&after=7");
        assert!(again.is_answered_by(Some(&attempt.state())));
        assert_eq!((again.nonce(), again.verifier()), (attempt.nonce(), attempt.verifier()));
        assert_eq!(again.mark(), attempt.mark());
        // RFC 7636 wants 43 characters at least; the challenge is the verifier's hash.
        assert_eq!((attempt.verifier().len(), attempt.challenge().len()), (43, 43));
        let all = [attempt.state(), attempt.nonce(), attempt.verifier().to_string(), attempt.challenge()];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one) && !attempt.reveal().contains(one.as_str()));
        }
        assert_eq!(format!("{attempt:?}"), "Attempt(…)");
        assert_eq!(Attempt::begin(&"/".repeat(1_001), at(0)).to(), "");
    }

    #[test]
    fn nothing_of_another_attempt_is_good() {
        let attempt = Attempt::begin("/", at(1_000));
        assert!(!attempt.is_answered_by(None) && !attempt.is_answered_by(Some("")));
        assert!(!attempt.is_answered_by(Some(&Attempt::begin("/", at(1_000)).state())));
        // Who makes the time of a cookie younger has another attempt.
        let cookie = attempt.reveal();
        for changed in [cookie.replace(".1000.", ".1001."), cookie.replace(".Lw", ".L2s")] {
            let changed = Attempt::read(&changed).unwrap();
            assert!(!changed.is_answered_by(Some(&attempt.state())));
            assert_ne!((changed.nonce(), changed.mark()), (attempt.nonce(), attempt.mark()));
        }
        for text in
            ["", ".", "..", "a.1.", &cookie[1..], &cookie.replace("1000", "x"), &format!("{}=", *cookie)]
        {
            assert!(Attempt::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn it_lasts_ten_minutes() {
        let attempt = Attempt::begin("/", at(1_000));
        for (now, over) in [(939, true), (940, false), (1_000, false), (1_599, false), (1_600, true)] {
            assert_eq!(attempt.is_over(at(now)), over, "{now}");
        }
        let odd = format!("{}.{}.", BASE64URL.encode([0; 32]), i64::MAX);
        assert!(Attempt::read(&odd).unwrap().is_over(at(1_000)));
    }
}
