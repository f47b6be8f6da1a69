//! Requests that may be sent again: under an idempotency key, the same request is done once and answered alike.
//!
//! The answer is kept with what was done, in the same turn. It may hold product keys, which are kept nowhere; so it is
//! sealed under a key that only the sender's token gives, and forgotten after a day.

use crate::service::{Service, Turn};
use crate::sha256::sha256_of;
use crate::store::answers;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use quorate_core::{Code, Error, Interval, Result};
use quorate_edge::random;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Under which key a request is done once.
pub struct Once {
    /// The number of the sender's token.
    token: i64,
    /// What the sender calls the request.
    name: String,
    /// The request, by its hash.
    request: [u8; 32],
    seal: LessSafeKey,
}

impl Once {
    /// The request of this path and body, by the one whose token this is.
    pub fn new(id: i64, token: &str, name: &str, path: &str, body: &[u8]) -> Result<Self> {
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(
                Code::RequestInvalid,
                "the idempotency key is not 1 to 255 visible ASCII characters",
                "send a random UUID for each new request, and the same one when the request is sent again",
            ));
        }
        let request = sha256_of(&[path.as_bytes(), &[0], body]);
        let info = [name.as_bytes()];
        let seal = hkdf::Salt::new(hkdf::HKDF_SHA256, b"quorate answer")
            .extract(token.as_bytes())
            .expand(&info, &AES_256_GCM)
            .map(|key| LessSafeKey::new(UnboundKey::from(key)))
            .map_err(|_| failed())?;
        Ok(Self { token: id, name: name.to_owned(), request, seal })
    }

    fn seal(&self, answer: &impl Serialize) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = random::bytes();
        let mut text = serde_json::to_vec(answer).map_err(|_| failed())?;
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&self.request),
                &mut text,
            )
            .map_err(|_| failed())?;
        Ok([nonce.as_slice(), &text].concat())
    }

    fn open<T: DeserializeOwned>(&self, request: &[u8], sealed: &[u8]) -> Result<T> {
        if request != self.request {
            return Err(Error::new(
                Code::IdempotencyKeyReused,
                "another request was sent under this idempotency key within the last day",
                "send each new request under a key of its own",
            ));
        }
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let text =
            self.seal.open_in_place(nonce, Aad::from(&self.request), &mut text).map_err(|_| failed())?;
        serde_json::from_slice(text).map_err(|_| failed())
    }
}

impl Service {
    /// Forgets the answers that nobody will ask for again.
    pub fn forget_answers(&self) -> Result<()> {
        let old = KEPT.before(self.clock.now());
        self.sql.change(|session| answers::forget(session, old))
    }

    /// Changes something in a turn of its own; what was done before under the same key is answered and not done again.
    pub(crate) fn change_once<T: Serialize + DeserializeOwned>(
        &self,
        once: Option<&Once>,
        work: impl FnOnce(&mut Turn<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        self.change(|turn| {
            let Some(once) = once else { return work(turn) };
            let old = KEPT.before(turn.now);
            if let Some((request, sealed)) = answers::find(turn.session, once.token, &once.name, old)? {
                return once.open(&request, &sealed);
            }
            let answer = work(turn)?;
            let sealed = once.seal(&answer)?;
            answers::add(turn.session, (once.token, &once.name), &once.request, &sealed, turn.now, old)?;
            Ok(answer)
        })
    }
}

fn failed() -> Error {
    Error::new(Code::Internal, "an answer that was kept cannot be read", "please report this")
}

/// A sender that has not repeated its request by then has given up.
const KEPT: Interval = Interval::days(1);
