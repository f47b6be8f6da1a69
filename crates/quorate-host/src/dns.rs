//! DNS publishing: an SRV record by dynamic update (RFC 2136), signed with TSIG (RFC 8945).
//!
//! The host adds its own record and touches no other, so that several hosts stand side by side; adding it
//! again changes nothing. Afterwards it asks the server for the record, since an update that was accepted
//! and is not visible helps nobody. The exchange is done on plain sockets rather than by a client library
//! because the libraries hide a server's refusal when they can't verify the signature on it, as a server
//! that does not know the key can't sign.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode, update_message};
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};
use quorate_core::identifier::quoted;
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::random;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Where a host is published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The primary name server of the domain.
    pub server: SocketAddr,
    /// The domain, which is the zone that is updated.
    pub domain: String,
    /// The key that permits the update.
    pub key: Option<TsigKey>,
    /// The name under which clients reach this host.
    pub target: String,
}

/// A shared key for signing updates, in the form that `dig -y` has: `hmac-sha256:name:base64`.
#[derive(Clone)]
pub struct TsigKey(TSigner);

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
        let name = Name::from_ascii(name).map_err(|_| invalid("its name is not a domain name"))?;
        let secret = BASE64.decode(secret).map_err(|_| invalid("its secret is not base64"))?;
        TSigner::new(secret, algorithm, name, FUDGE)
            .map(Self)
            .map_err(|_| invalid("its algorithm is not supported"))
    }
}

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TsigKey(…)")
    }
}

impl Publication {
    /// The record as it stands in a zone file, for adding it by hand.
    pub fn record_line(&self, srv_name: &str, port: u16) -> String {
        record_line(srv_name, &self.target, port)
    }

    /// Publishes the SRV record of a host on `port` and confirms that the server gives it out.
    pub async fn publish(&self, srv_name: &str, port: u16, now: Timestamp) -> Result<()> {
        let zone = self.name(&self.domain)?;
        let owner = self.name(srv_name)?;
        let target = self.name(&self.target)?;
        if !zone.zone_of(&owner) {
            return Err(
                self.failed(&format!("{srv_name} is not in the domain"), "give the domain with --publish")
            );
        }
        let record =
            Record::from_rdata(owner.clone(), TTL, RData::SRV(SRV::new(PRIORITY, WEIGHT, port, target)));
        self.update(update_message::append(record.clone().into(), zone, false, false), now).await?;
        if self.query(&owner).await?.iter().any(|answer| answer.data == record.data) {
            return Ok(());
        }
        Err(self.failed(
            "the server accepted the update but does not give the record out",
            "look for a second primary server of the domain, and name the right one with --dns-server",
        ))
    }

    async fn update(&self, mut message: Message, now: Timestamp) -> Result<()> {
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let mut verifier = match &self.key {
            Some(key) => message.finalize(&key.0, seconds).map_err(|error| self.internal(&error))?,
            None => None,
        };
        let wire = message.to_vec().map_err(|error| self.internal(&error))?;
        let (answer, bytes) = self.exchange(&wire, message.id).await?;
        if answer.response_code != ResponseCode::NoError {
            let tsig = answer
                .signature()
                .and_then(|record| record.data.error.as_ref().map(|error| format!("{error:?}")));
            return Err(self.refused(answer.response_code, tsig.as_deref()));
        }
        if let Some(verifier) = verifier.as_mut() {
            verifier.verify(&bytes).map_err(|_| {
                self.failed(
                    "the server's answer is not signed with the key",
                    "compare the TSIG key on both sides",
                )
            })?;
        }
        Ok(())
    }

    async fn query(&self, owner: &Name) -> Result<Vec<Record>> {
        let mut message =
            Message::new(u16::from_be_bytes(random::bytes()), MessageType::Query, OpCode::Query);
        let mut query = Query::query(owner.clone(), RecordType::SRV);
        query.set_query_class(DNSClass::IN);
        message.add_query(query);
        let wire = message.to_vec().map_err(|error| self.internal(&error))?;
        let (answer, _) = self.exchange(&wire, message.id).await?;
        match answer.response_code {
            ResponseCode::NoError => Ok(answer.answers.clone()),
            ResponseCode::NXDomain => Ok(Vec::new()),
            code => Err(self.refused(code, None)),
        }
    }

    /// One exchange over UDP or, when a message is too long for a datagram, over TCP.
    async fn exchange(&self, wire: &[u8], id: u16) -> Result<(Message, Vec<u8>)> {
        let over_udp = async {
            let any: SocketAddr =
                if self.server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
            let socket = UdpSocket::bind(any).await?;
            // A connected socket hears of a closed port at once.
            socket.connect(self.server).await?;
            socket.send(wire).await?;
            let mut buffer = vec![0; 4096];
            loop {
                let length = socket.recv(&mut buffer).await?;
                if buffer[..length].starts_with(&id.to_be_bytes()) {
                    buffer.truncate(length);
                    return Ok::<_, std::io::Error>(buffer);
                }
            }
        };
        let over_tcp = async {
            let mut stream = TcpStream::connect(self.server).await?;
            let length = u16::try_from(wire.len()).map_err(std::io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], wire].concat()).await?;
            let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut buffer).await?;
            Ok::<_, std::io::Error>(buffer)
        };
        let exchanged = async {
            if wire.len() <= LONGEST_DATAGRAM {
                let answer = over_udp.await?;
                if !Message::from_vec(&answer).is_ok_and(|answer| answer.truncation) {
                    return Ok(answer);
                }
            }
            over_tcp.await
        };
        let bytes = timeout(PATIENCE, exchanged)
            .await
            .map_err(|_| {
                self.failed(
                    &format!("the server did not answer within {} seconds", PATIENCE.as_secs()),
                    "compare the address given with --dns-server, and the firewall on port 53",
                )
            })?
            .map_err(|error: std::io::Error| {
                self.failed(
                    &quorate_edge::files::plain(&error),
                    "compare the address given with --dns-server, and the firewall on port 53",
                )
            })?;
        let answer = Message::from_vec(&bytes).ok().filter(|answer| answer.id == id).ok_or_else(|| {
            self.failed("what answered is not a name server", "compare the address given with --dns-server")
        })?;
        Ok((answer, bytes))
    }

    fn name(&self, text: &str) -> Result<Name> {
        let mut name = Name::from_ascii(text).map_err(|_| {
            Error::new(
                Code::AddressInvalid,
                format!("{} is not a domain name", quoted(text)),
                "write it as in \"corp.example.com\"",
            )
        })?;
        name.set_fqdn(true);
        Ok(name)
    }

    fn refused(&self, code: ResponseCode, tsig: Option<&str>) -> Error {
        let because = tsig.map(|error| format!(", TSIG {error}")).unwrap_or_default();
        let next = match (tsig, code) {
            (Some("BadTime"), _) => "set the clocks of this host and of the name server",
            (Some(_), _) => "compare the TSIG key's name and secret on both sides",
            (None, ResponseCode::Refused) => {
                "permit updates for this host's TSIG key, or add the record by hand"
            }
            _ => "name the domain's primary server with --dns-server, or add the record by hand",
        };
        self.failed(&format!("the server answers {code}{because}"), next)
    }

    fn failed(&self, why: &str, next: &str) -> Error {
        Error::new(
            Code::DnsUpdateFailed,
            format!("{} cannot be published by {}: {why}", self.domain, self.server),
            next,
        )
    }

    fn internal(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(Code::Internal, format!("a DNS message cannot be made ({error})"), "please report this")
    }
}

/// An SRV record as it stands in a zone file.
pub fn record_line(srv_name: &str, target: &str, port: u16) -> String {
    format!("{srv_name} {TTL} IN SRV {PRIORITY} {WEIGHT} {port} {}.", target.trim_end_matches('.'))
}

// The documented defaults of a published host.
const TTL: u32 = 3_600;
const PRIORITY: u16 = 0;
const WEIGHT: u16 = 0;
/// Seconds that the clocks of a signed update may differ, as RFC 8945 recommends.
const FUDGE: u16 = 300;
const LONGEST_DATAGRAM: usize = 512;
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tsig_key_is_read_and_never_shown() {
        let key = TsigKey::read("hmac-sha256:quorate.:c2VjcmV0\n").unwrap();
        assert_eq!(format!("{key:?}"), "TsigKey(…)");
        let what = |text: &str| TsigKey::read(text).unwrap_err().what;
        assert_eq!(what("secret"), "the TSIG key cannot be used: it has not three parts");
        assert_eq!(what("hmac-sha256:quorate.:***"), "the TSIG key cannot be used: its secret is not base64");
        assert_eq!(
            what("hmac-md5:quorate.:c2VjcmV0"),
            "the TSIG key cannot be used: its algorithm is none of hmac-sha256, hmac-sha384, hmac-sha512"
        );
    }

    #[test]
    fn the_record_to_add_by_hand() {
        assert_eq!(
            record_line("_contoso-kms._tcp.example.com.", "kms1.example.com", 1688),
            "_contoso-kms._tcp.example.com. 3600 IN SRV 0 0 1688 kms1.example.com."
        );
    }
}
