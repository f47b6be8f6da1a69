//! A TSIG key (RFC 8945): the secret that a name server shares with those who may change a zone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use quorate_core::{Code, Error, Result};

/// A shared key for signing updates, in the form that `dig -y` has: `hmac-sha256:name:base64`.
#[derive(Clone)]
pub struct TsigKey(pub(super) TSigner);

impl TsigKey {
    /// Reads a key. The text is secret, so errors do not repeat it.
    pub fn read(text: &str) -> Result<Self> {
        let invalid = |what: &str| {
            Error::new(
                Code::DocumentInvalid,
                format!("the TSIG key cannot be used: {what}"),
                "the file holds one line, hmac-sha256:NAME:BASE64, as `dig -y` takes it",
            )
        };
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [algorithm, name, secret] = parts[..] else {
            return Err(invalid("it has not three parts"));
        };
        let algorithm = match algorithm {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => return Err(invalid("its algorithm is none of hmac-sha256, hmac-sha384, hmac-sha512")),
        };
        let mut name = Name::from_ascii(name).map_err(|_| invalid("its name is not a domain name"))?;
        name.set_fqdn(true);
        let secret = BASE64.decode(secret).map_err(|_| invalid("its secret is not base64"))?;
        TSigner::new(secret, algorithm, name, FUDGE)
            .map(Self)
            .map_err(|_| invalid("its algorithm is not supported"))
    }

    /// What both sides call it, which is no secret.
    pub fn name(&self) -> String {
        self.0.signer_name().to_ascii().trim_end_matches('.').to_owned()
    }
}

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TsigKey(…)")
    }
}

/// Seconds that the clocks of a signed update may differ, as RFC 8945 recommends.
pub(super) const FUDGE: u16 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tsig_key_is_read_and_never_shown() {
        let key = TsigKey::read("hmac-sha256:quorate.:c2VjcmV0\n").unwrap();
        assert_eq!(format!("{key:?}"), "TsigKey(…)");
        assert_eq!(key.name(), "quorate");
        let what = |text: &str| TsigKey::read(text).unwrap_err().what;
        assert_eq!(what("secret"), "the TSIG key cannot be used: it has not three parts");
        assert_eq!(what("hmac-sha256:quorate.:***"), "the TSIG key cannot be used: its secret is not base64");
        assert_eq!(
            what("hmac-md5:quorate.:c2VjcmV0"),
            "the TSIG key cannot be used: its algorithm is none of hmac-sha256, hmac-sha384, hmac-sha512"
        );
    }
}
