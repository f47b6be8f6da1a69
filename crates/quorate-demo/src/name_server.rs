//! A DNS server for one zone on loopback, which takes dynamic updates signed with one TSIG key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{LowerName, Name};
use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::store::sqlite::{SqliteConfig, SqliteZoneHandler, TsigKeyConfig};
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use quorate_core::{Code, Error, Result};
use quorate_edge::files::{self, Access};
use quorate_edge::random;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// A running name server; it stops when this is dropped.
pub struct NameServer {
    /// Where it answers, on UDP and TCP.
    pub address: SocketAddr,
    /// A file with the key for updates, in the form that `quorate-host serve --tsig-key` takes.
    pub key_file: PathBuf,
    _server: Server<Catalog>,
}

/// The zone.
pub const DOMAIN: &str = "demo.test";
/// The name of the activation host in it.
pub const HOST: &str = "kms.demo.test";

impl NameServer {
    /// Starts a server for [`DOMAIN`] in which [`HOST`] is on loopback. `directory` takes its files.
    pub async fn start(directory: &Path) -> Result<Self> {
        files::make_private_directory(directory)?;
        let zone = directory.join("zone");
        files::write(&zone, ZONE.as_bytes(), Access::Public)?;
        let secret: [u8; 32] = random::bytes();
        let secret_file = directory.join("tsig.secret");
        files::write(&secret_file, &secret, Access::Private)?;
        let key_file = directory.join("tsig.key");
        let key = format!("hmac-sha256:{KEY}:{}\n", BASE64.encode(secret));
        files::write(&key_file, key.as_bytes(), Access::Private)?;

        let origin =
            Name::from_ascii(DOMAIN).and_then(|name| name.append_domain(&Name::root())).map_err(failed)?;
        let config = SqliteConfig {
            zone_path: zone,
            // The zone is new at each start, so its journal need not outlive it.
            journal_path: PathBuf::from(":memory:"),
            allow_update: true,
            tsig_keys: vec![TsigKeyConfig {
                name: KEY.to_owned(),
                key_file: secret_file,
                algorithm: TsigAlgorithm::HmacSha256,
                fudge: 300,
            }],
        };
        let handler: SqliteZoneHandler<TokioRuntimeProvider> = SqliteZoneHandler::try_from_config(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
            false,
            None,
            &config,
            None,
        )
        .await
        .map_err(failed)?;
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);

        let (udp, tcp) = bind().await.map_err(failed)?;
        let address = udp.local_addr().map_err(failed)?;
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Ok(Self { address, key_file, _server: server })
    }
}

/// UDP and TCP on one free port.
async fn bind() -> std::io::Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..50 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Internal,
        format!("the demo's name server cannot be started ({error})"),
        "see that loopback is up and ports are free",
    )
}

const KEY: &str = "quorate-demo.";

const ZONE: &str = "\
$ORIGIN demo.test.
@   3600 IN SOA ns hostmaster 1 3600 600 86400 60
@   3600 IN NS  ns
ns  3600 IN A   127.0.0.1
kms 3600 IN A   127.0.0.1
";
