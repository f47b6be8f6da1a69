//! A talk with a name server about one name of a zone: changing its records (RFC 2136), and asking for them.
//!
//! The exchange is done on plain sockets rather than by a client library because the libraries hide a
//! server's refusal when they can't verify the signature on it, as a server that does not know the key can't
//! sign.

use super::record::SrvRecord;
use super::tsig::{FUDGE, TsigKey};
use hickory_proto::op::update_message::UpdateMessage;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::random;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The primary server of a zone, for one name in it.
pub(super) struct NameServer<'a> {
    pub address: SocketAddr,
    pub key: Option<&'a TsigKey>,
    pub zone: Name,
    pub owner: Name,
}

/// An update that failed.
pub(super) enum Failed {
    /// The server has refused: nothing has changed.
    Refused(Error),
    /// Nobody knows whether the server has done it.
    Unknown(Error),
}

impl Failed {
    pub fn into_error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }
}

impl NameServer<'_> {
    /// Adds and removes these records, all or none. To add what is there and to remove what is not changes
    /// nothing.
    pub async fn update(
        &self,
        add: Option<&SrvRecord>,
        remove: &[&SrvRecord],
        now: Timestamp,
    ) -> Result<(), Failed> {
        let mut message = self.message(add, remove).map_err(Failed::Refused)?;
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let internal = |error: &dyn std::fmt::Display| Failed::Refused(internal(error));
        let mut verifier = match &self.key {
            Some(key) => message.finalize(&key.0, seconds).map_err(|error| internal(&error))?,
            None => None,
        };
        let wire = message.to_vec().map_err(|error| internal(&error))?;
        let (answer, bytes) = self.exchange(&wire, message.id).await.map_err(Failed::Unknown)?;
        if answer.response_code != ResponseCode::NoError {
            return Err(Failed::Refused(self.refused(&answer, seconds)));
        }
        if let Some(verifier) = verifier.as_mut() {
            verifier.verify(&bytes).map_err(|_| {
                Failed::Unknown(self.failed(
                    "the server's answer is not signed with the key",
                    "see what stands between this host and the server and changes DNS messages",
                ))
            })?;
        }
        Ok(())
    }

    /// The data of the SRV records that the server gives out.
    pub async fn query(&self) -> Result<Vec<RData>> {
        let mut message =
            Message::new(u16::from_be_bytes(random::bytes()), MessageType::Query, OpCode::Query);
        let mut query = Query::query(self.owner.clone(), RecordType::SRV);
        query.set_query_class(DNSClass::IN);
        message.add_query(query);
        let wire = message.to_vec().map_err(|error| internal(&error))?;
        let (answer, _) = self.exchange(&wire, message.id).await?;
        match answer.response_code {
            ResponseCode::NoError => Ok(answer.answers.into_iter().map(|record| record.data).collect()),
            ResponseCode::NXDomain => Ok(Vec::new()),
            code => Err(self.failed(
                &format!("the server does not say what is there ({})", mnemonic(code)),
                "permit this host to query the zone",
            )),
        }
    }

    fn message(&self, add: Option<&SrvRecord>, remove: &[&SrvRecord]) -> Result<Message> {
        let mut message =
            Message::new(u16::from_be_bytes(random::bytes()), MessageType::Query, OpCode::Update);
        let mut zone = Query::query(self.zone.clone(), RecordType::SOA);
        zone.set_query_class(DNSClass::IN);
        message.add_zone(zone);
        for record in remove {
            // RFC 2136, 2.5.4: exactly this record and no other of the name.
            let mut record = record.to_wire()?;
            record.dns_class = DNSClass::NONE;
            record.ttl = 0;
            message.add_update(record);
        }
        if let Some(record) = add {
            message.add_update(record.to_wire()?);
        }
        Ok(message)
    }

    /// One exchange over UDP or, when a message is too long for a datagram, over TCP.
    async fn exchange(&self, wire: &[u8], id: u16) -> Result<(Message, Vec<u8>)> {
        let exchanged = async {
            if wire.len() <= LONGEST_DATAGRAM {
                let answer = over_udp(self.address, wire, id).await?;
                if !Message::from_vec(&answer).is_ok_and(|answer| answer.truncation) {
                    return Ok(answer);
                }
            }
            over_tcp(self.address, wire).await
        };
        let next = "see that the server runs and that this is its address, and open port 53 to it; it is \
                    tried again by itself while `quorate-host serve` runs";
        let bytes = timeout(PATIENCE, exchanged)
            .await
            .map_err(|_| {
                self.failed(&format!("the server did not answer within {} seconds", PATIENCE.as_secs()), next)
            })?
            .map_err(|error: std::io::Error| self.failed(&quorate_edge::files::plain(&error), next))?;
        let answer = Message::from_vec(&bytes).ok().filter(|answer| answer.id == id).ok_or_else(|| {
            self.failed("what answered is not a name server", "name the domain's primary server")
        })?;
        Ok((answer, bytes))
    }

    /// What a refusal means. The server's word for it is in there, for its manual and its log.
    fn refused(&self, answer: &Message, seconds: u64) -> Error {
        let (zone, code) = (shown(&self.zone), mnemonic(answer.response_code));
        let key = self.key.map(TsigKey::name).unwrap_or_default();
        let signature = answer.signature().map(|record| &record.data);
        let (why, next) = match (signature.and_then(|tsig| tsig.error), answer.response_code) {
            // Knot says this of a key that it knows but does not permit, too.
            (Some(TsigError::BadKey), _) => (
                format!("the server does not know the TSIG key {key:?}, or not for this ({code}, BADKEY)"),
                "make the key known to the server under the same name and with the same algorithm, and \
                 permit it to change this name (docs/dns-publishing.md)"
                    .to_owned(),
            ),
            (Some(TsigError::BadSig | TsigError::BadTrunc), _) => (
                format!("the server has another secret for the TSIG key {key:?} ({code}, BADSIG)"),
                "copy the key's secret from the server's configuration into the key file anew".to_owned(),
            ),
            (Some(TsigError::BadTime), _) => (
                format!(
                    "the clocks of this host and of the server {} ({code}, BADTIME)",
                    apart(signature.map_or(&[], |tsig| &tsig.other), seconds)
                ),
                "set the clocks of both, best by NTP".to_owned(),
            ),
            (Some(other), _) => (
                format!("the server does not take the signature ({code}, TSIG error {})", u16::from(other)),
                "see the server's log".to_owned(),
            ),
            // BIND says one and Knot the other of an update that is not signed.
            (None, ResponseCode::Refused | ResponseCode::NotAuth) if self.key.is_none() => (
                format!(
                    "the server takes no update of {zone} without a signature, or is not its primary server \
                     ({code})"
                ),
                format!("give the TSIG key with --tsig-key; `dig SOA {zone}` shows the primary server"),
            ),
            (None, ResponseCode::Refused) => (
                format!("the server does not permit TSIG key {key:?} to change this name ({code})"),
                format!("permit it there (docs/dns-publishing.md), or {BY_HAND}"),
            ),
            (None, ResponseCode::NotAuth | ResponseCode::NotZone) => (
                format!("the server is not the primary server of a zone {zone} ({code})"),
                format!(
                    "name the zone with --publish and its primary server with --dns-server: `dig SOA {zone}` \
                     shows both"
                ),
            ),
            (None, ResponseCode::NotImp) => {
                (format!("the server takes no dynamic updates ({code})"), BY_HAND.to_owned())
            }
            (None, ResponseCode::ServFail) => (
                format!("the server failed ({code})"),
                "see the server's log; often it may not write the zone's file or journal".to_owned(),
            ),
            (None, _) => {
                (format!("the server refused ({code})"), format!("see the server's log, or {BY_HAND}"))
            }
        };
        self.failed(&why, &next)
    }

    pub fn failed(&self, why: &str, next: &str) -> Error {
        Error::new(
            Code::DnsUpdateFailed,
            format!("{} cannot be changed at {}: {why}", shown(&self.owner), self.address),
            next,
        )
    }
}

async fn over_udp(server: SocketAddr, wire: &[u8], id: u16) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // A connected socket hears of a closed port at once.
    socket.connect(server).await?;
    socket.send(wire).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer[..length].starts_with(&id.to_be_bytes()) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, wire: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(wire.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], wire].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    Ok(buffer)
}

/// Whether a server that gives these out gives out a record.
pub(super) fn holds(given: &[RData], record: &SrvRecord) -> Result<bool> {
    Ok(given.contains(&record.to_wire()?.data))
}

/// How far the server's clock, which it tells in six bytes, is from ours.
fn apart(told: &[u8], seconds: u64) -> String {
    match <[u8; 6]>::try_from(told) {
        Ok([a, b, c, d, e, f]) => {
            let apart = u64::from_be_bytes([0, 0, a, b, c, d, e, f]).abs_diff(seconds);
            format!("differ by {apart} seconds, and may by {FUDGE}")
        }
        Err(_) => format!("differ by more than {FUDGE} seconds"),
    }
}

/// As administrators know it: REFUSED, NOTAUTH.
fn mnemonic(code: ResponseCode) -> String {
    format!("{code:?}").to_ascii_uppercase()
}

fn shown(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("a DNS message cannot be made ({error})"), "please report this")
}

const BY_HAND: &str = "add the record by hand (`quorate-host dns show`)";
const LONGEST_DATAGRAM: usize = 512;
const PATIENCE: Duration = Duration::from_secs(5);
