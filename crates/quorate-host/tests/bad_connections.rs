//! Connections that are not a client's: garbage at every layer, an older TLS, silence at every layer, ten thousand
//! at once.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::AtWork;
use common::wire::{call, closed_within, handshake, message};
use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::test]
async fn garbage_closes_its_own_connection_and_no_other() {
    let mut at_work = AtWork::start(&["--handshake-limit", "1", "--idle-limit", "30"]).await;
    let (site, address) = (&at_work.site, at_work.host.address);
    let mut honest = site.http2(address).await;

    for garbage in [
        b"hello\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        vec![0; 4096],
        vec![0xFF; 100_000],
        noise(1, 4096),
        noise(2, 17),
        // A TLS record that announces more than it brings.
        b"\x16\x03\x01\xff\xffgarbage".to_vec(),
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec(),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The host may close before it has read all.
        let _ = stream.write_all(&garbage).await;
        closed_within(Duration::from_secs(3), &mut stream).await;
    }

    let mut hello = client_hello(site.tls(), &site.host_name());
    hello.extend(noise(3, 1000));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    closed_within(Duration::from_secs(3), &mut stream).await;

    for garbage in [
        b"hello, is this HTTP/2?\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec(),
        noise(4, 4096),
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), noise(5, 4096)].concat(),
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), vec![0xFF; 4096]].concat(),
    ] {
        let mut stream = site.connect(address).await;
        let _ = stream.write_all(&garbage).await;
        let _ = stream.flush().await;
        closed_within(Duration::from_secs(3), &mut stream).await;
    }

    let (status, _) = call(&mut honest, &message()).await;
    assert_eq!(status, "0", "a connection that was open all the while still works");
    at_work.counted_another();
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn a_client_that_speaks_an_older_tls_is_refused_at_the_handshake() {
    let mut at_work = AtWork::start(&[]).await;
    let (site, address) = (&at_work.site, at_work.host.address);
    let older = handshake(site.tls_of(&[&TLS12]), &site.host_name(), address).await;
    assert_eq!(older.err().unwrap().to_string(), "received fatal alert: ProtocolVersion");
    // One that speaks both is not held to the older.
    let both = handshake(site.tls_of(&[&TLS12, &TLS13]), &site.host_name(), address).await.unwrap();
    assert_eq!(both.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_time_limit() {
    let mut at_work = AtWork::start(&["--handshake-limit", "1"]).await;
    let started = Instant::now();
    let mut stream = TcpStream::connect(at_work.host.address).await.unwrap();
    assert_eq!(closed_within(Duration::from_secs(3), &mut stream).await, b"");
    assert!(started.elapsed() >= Duration::from_secs(1));

    // Half a greeting buys no more time.
    let hello = client_hello(at_work.site.tls(), &at_work.site.host_name());
    let mut stream = TcpStream::connect(at_work.host.address).await.unwrap();
    stream.write_all(&hello[..hello.len() / 2]).await.unwrap();
    closed_within(Duration::from_secs(3), &mut stream).await;
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn a_connection_that_is_silent_after_its_handshake_is_closed_after_the_time_limit() {
    let mut at_work = AtWork::start(&["--idle-limit", "1"]).await;
    let (site, address) = (&at_work.site, at_work.host.address);
    let started = Instant::now();
    let mut nothing = site.connect(address).await;
    let mut half_a_preface = site.connect(address).await;
    half_a_preface.write_all(b"PRI * HT").await.unwrap();
    // A preface and its settings, and then not even an answer to a ping.
    let mut preface = site.connect(address).await;
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let mut half_a_request = site.connect(address).await;
    half_a_request.write_all(b"POST / HTTP/1.1\r\nhost: ").await.unwrap();
    for stream in [&mut nothing, &mut half_a_preface, &mut preface, &mut half_a_request] {
        closed_within(Duration::from_secs(5), stream).await;
        assert!(started.elapsed() >= Duration::from_secs(1));
    }
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn ten_thousand_silent_connections_do_not_hold_up_a_client() {
    let permitted = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(
        permitted >= 11_000,
        "this test needs 11000 open files in each process, {permitted} are permitted: raise the hard limit (ulimit -Hn)"
    );
    let mut at_work = AtWork::start(&["--handshake-limit", "8"]).await;
    let before = at_work.host.open_files();
    let connected = connect(at_work.host.address, SILENT).await;
    let all_there = wait_until(Duration::from_secs(5), || at_work.host.open_files() >= SILENT).await;
    assert!(all_there, "the host has {} files open", at_work.host.open_files());

    at_work.counts_the_next_machine().await;
    at_work.counts_the_next_machine().await;
    assert!(at_work.host.open_files() >= SILENT, "they were all there all the while");

    for mut stream in connected {
        closed_within(Duration::from_secs(15), &mut stream).await;
    }
    let back = wait_until(Duration::from_secs(5), || at_work.host.open_files() <= before + 5).await;
    assert!(back, "{} files are open, {before} were before", at_work.host.open_files());
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

async fn connect(address: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let places = Arc::new(tokio::sync::Semaphore::new(200));
    let mut connecting = JoinSet::new();
    for _ in 0..count {
        let places = Arc::clone(&places);
        connecting.spawn(async move {
            let _place = places.acquire().await.unwrap();
            TcpStream::connect(address).await.unwrap()
        });
    }
    connecting.join_all().await
}

async fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if condition() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// The first bytes of an honest client.
fn client_hello(tls: rustls::ClientConfig, name: &str) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::new(tls), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// Bytes without any sense, the same at every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| byte()).collect()
}

const SILENT: usize = 10_000;
