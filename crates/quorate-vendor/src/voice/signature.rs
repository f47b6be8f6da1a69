//! The signature by which a request is known to be the telephony platform's.
//!
//! The header `X-Twilio-Signature` bears an HMAC-SHA1 in Base64, under a secret that platform and service share. What is
//! signed is the URL as the platform knows it, with its query, and behind it the name and the value of each field of the
//! form, in the order of the names. SHA-1 is what the platforms have; an HMAC does not suffer from its collisions.
//!
//! The URL is made of the service's own setting and never of the header `Host`, which the sender chooses. No time is
//! signed, so a request that somebody has recorded is answered again: as it was the first time, since the same
//! Installation ID gets the same Confirmation ID and nothing more is counted.

use crate::address::Typed;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::{Code, Error, Result};
use quorate_edge::files;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// The secret of platform and service; several, while a new one takes the place of an old one. It is not shown.
pub struct Secret(Vec<hmac::Key>);

impl Secret {
    /// Reads a file that holds secrets and nothing else, each on a line of its own.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read_secret(path, "then let the platform make another secret")?;
        let refused = |what: String| {
            Error::new(
                Code::DocumentInvalid,
                format!("{} holds {what}", path.display()),
                "put the secret that the telephony platform signs with into the file, alone on a line",
            )
        };
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let secret = line.trim();
            if secret.is_empty() {
                continue;
            }
            if secret.chars().any(char::is_whitespace) {
                return Err(refused(format!("more than a secret in line {number}")));
            }
            if secret.chars().count() < SHORTEST {
                let what =
                    format!("fewer than {SHORTEST} characters in line {number}, which could be guessed");
                return Err(refused(what));
            }
            keys.push(key(secret));
        }
        match keys.is_empty() {
            true => Err(refused("no secret".to_owned())),
            false => Ok(Self(keys)),
        }
    }

    /// Whether a request with this header, for this URL and with these fields, was signed with one of the secrets.
    pub fn has_signed(&self, header: &[u8], url: &str, fields: &[(Cow<'_, str>, Cow<'_, str>)]) -> bool {
        let Ok(tag) = BASE64.decode(header) else { return false };
        // The same name twice with the same value is signed once.
        let fields: String =
            BTreeSet::from_iter(fields).into_iter().flat_map(|(name, value)| [&**name, value]).collect();
        spellings(url).iter().any(|url| {
            let signed = format!("{url}{fields}");
            self.0.iter().any(|key| hmac::verify(key, signed.as_bytes(), &tag).is_ok())
        })
    }
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The URL as platforms sign it, which is as it was typed: some leave its port out, some do not, and some write the usual one.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    if let Some(Typed { scheme, host, rest, .. }) = Typed::of(url) {
        spellings
            .extend([format!("{scheme}://{host}{rest}"), format!("{scheme}://{host}:{USUAL_PORT}{rest}")]);
    }
    spellings
}

const SHORTEST: usize = 16;
/// That of HTTPS.
const USUAL_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

    fn fields<'a>(fields: &[(&'a str, &'a str)]) -> Fields<'a> {
        fields.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))).collect()
    }

    /// The example by which platforms document the signature.
    #[test]
    fn the_published_example() {
        let (secret, url) = (Secret(vec![key("12345")]), "https://mycompany.com/myapp.php?foo=1&bar=2");
        let sent = fields(&[
            ("To", "+18005551212"),
            ("Digits", "1234"),
            ("CallSid", "CA1234567890ABCDE"),
            ("From", "+14158675309"),
            ("Caller", "+14158675309"),
        ]);
        let header = b"RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        assert!(secret.has_signed(header, url, &sent));
        assert!(secret.has_signed(header, "https://mycompany.com:8443/myapp.php?foo=1&bar=2", &sent));
        // As a platform signs it that names the usual port: what it asks is known without.
        let named = "https://mycompany.com:443/myapp.php?foo=1&bar=2";
        let fields_of: String = BTreeSet::from_iter(&sent).into_iter().flat_map(|(n, v)| [&**n, v]).collect();
        let tag = hmac::sign(&secret.0[0], format!("{named}{fields_of}").as_bytes());
        assert!(secret.has_signed(BASE64.encode(tag).as_bytes(), url, &sent));
        let twice = [sent.clone(), sent.clone()].concat();
        assert!(secret.has_signed(header, url, &twice));

        assert!(!Secret(vec![key("12346")]).has_signed(header, url, &sent));
        // While one secret takes the other's place, both hold.
        for keys in [["12345", "12346"], ["12346", "12345"]] {
            assert!(Secret(keys.map(key).to_vec()).has_signed(header, url, &sent));
        }
        for url in [
            "http://mycompany.com/myapp.php?foo=1&bar=2",
            "https://mycompany.com/myapp.php?bar=2&foo=1",
            "https://mycompany.com/myapp.php",
            "",
        ] {
            assert!(!secret.has_signed(header, url, &sent), "{url}");
        }
        let changed = [sent.clone(), fields(&[("Digits", "12345")])].concat();
        assert!(!secret.has_signed(header, url, &changed));
        assert!(!secret.has_signed(header, url, &sent[1..]));
        for header in
            ["", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "RSOYDt4T1cUTdK1PDd93", "RSOYDt4T1cUTdK1PDd93/VVr8B9=", "é"]
        {
            assert!(!secret.has_signed(header.as_bytes(), url, &sent), "{header}");
        }
    }

    #[test]
    fn a_port_is_left_out_or_the_usual_one_and_nothing_else_changes() {
        for (url, without, usual) in [
            (
                "https://a.example:8443/voice?turn=1",
                "https://a.example/voice?turn=1",
                "https://a.example:443/voice?turn=1",
            ),
            (
                "https://a.example/voice:8443",
                "https://a.example/voice:8443",
                "https://a.example:443/voice:8443",
            ),
            (
                "https://A.Example:8443/voice?a='",
                "https://A.Example/voice?a='",
                "https://A.Example:443/voice?a='",
            ),
            ("https://[2001:db8::1]/voice", "https://[2001:db8::1]/voice", "https://[2001:db8::1]:443/voice"),
        ] {
            assert_eq!(spellings(url), [url, without, usual]);
        }
        assert_eq!(spellings(""), [""]);
    }

    #[test]
    fn a_secret_is_alone_on_its_line_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("voice-secret");
        let read = |content: &str| {
            files::write(&path, content.as_bytes(), files::Access::Private).unwrap();
            Secret::read(&path)
        };
        assert_eq!(format!("{:?}", read(" 0123456789abcdef\r\n").unwrap()), "Secret(…)");
        assert_eq!(read("0123456789abcdef\n\nfedcba9876543210\n").unwrap().0.len(), 2);
        let next = "put the secret that the telephony platform signs with into the file, alone on a line";
        for (content, what) in [
            ("0123456789abcde\n", "fewer than 16 characters in line 1, which could be guessed"),
            ("0123456789abcdef\nhunter2", "fewer than 16 characters in line 2, which could be guessed"),
            ("# secret\n0123456789abcdef", "more than a secret in line 1"),
            ("", "no secret"),
            ("\n", "no secret"),
        ] {
            let error = read(content).unwrap_err();
            let expected =
                Error::new(Code::DocumentInvalid, format!("{} holds {what}", path.display()), next);
            assert_eq!(error, expected);
        }
        read("0123456789abcdef").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(Secret::read(&path).unwrap_err().code, Code::KeyExposed);
    }
}
