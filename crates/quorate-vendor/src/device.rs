//! Browsers that are known: guesses of strangers keep nobody out of the browser in which he has signed in before.
//!
//! With each right password a browser is given a token ("device cookie", as OWASP describes it): random bytes, and an
//! authentication code over them and the account under the hash of the password. So it can be made by nobody who can't
//! sign in, holds for one account, and ends with the password; any replica can tell, and nothing is kept of it until a
//! password is wrong. It opens nothing: whoever shows it has wrong passwords of his own, counted apart.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use quorate_edge::random;
use std::fmt;
use zeroize::Zeroizing;

/// What a browser keeps of having signed in, wiped when dropped.
#[derive(Clone)]
pub struct DeviceToken(Zeroizing<String>);

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceToken(…)")
    }
}

impl DeviceToken {
    /// As a browser sends it back.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// As it is put into the cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A new one for whoever has just signed in.
    pub(crate) fn make(account: i64, password_hash: &str) -> Self {
        let device: [u8; DEVICE] = random::bytes();
        let code = hmac::sign(&key(password_hash), &message(account, &device));
        Self(Zeroizing::new(BASE64URL.encode([&device, code.as_ref()].concat())))
    }

    /// Which browser it names, if it was made for this account and this password.
    pub(crate) fn device(&self, account: i64, password_hash: &str) -> Option<[u8; DEVICE]> {
        let bytes = BASE64URL.decode(self.0.as_bytes()).ok()?;
        let (device, code) = bytes.split_first_chunk::<DEVICE>()?;
        hmac::verify(&key(password_hash), &message(account, device), code).ok()?;
        Some(*device)
    }
}

fn key(password_hash: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, password_hash.as_bytes())
}

fn message(account: i64, device: &[u8; DEVICE]) -> Vec<u8> {
    [b"quorate device ".as_slice(), &account.to_be_bytes(), device].concat()
}

/// Bytes that tell one browser from another.
pub(crate) const DEVICE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_account_and_one_password() {
        let token = DeviceToken::make(7, "hash");
        let device = DeviceToken::new(token.reveal()).device(7, "hash");
        assert!(device.is_some() && device == token.device(7, "hash"));
        assert_ne!(DeviceToken::make(7, "hash").device(7, "hash"), device);
        assert_eq!(token.device(8, "hash"), None);
        assert_eq!(token.device(7, "another hash"), None);
        // Every character counts, and nothing else is one.
        let text = token.reveal();
        for index in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[index] = if changed[index] == b'A' { b'Z' } else { b'A' };
            let changed = DeviceToken::new(std::str::from_utf8(&changed).unwrap());
            assert_eq!(changed.device(7, "hash"), None, "{index}");
        }
        for text in ["", "A", &text[..text.len() - 4], &format!("{text}AAAA"), "é"] {
            assert_eq!(DeviceToken::new(text).device(7, "hash"), None, "{text}");
        }
        assert_eq!(format!("{token:?}"), "DeviceToken(…)");
    }
}
