//! A DNS server for one zone on loopback; it refuses to answer for any other.

use hickory_proto::rr::{LowerName, Name};
use hickory_server::Server;
use hickory_server::store::file::{FileConfig, FileZoneHandler};
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use quorate_client::discovery::Dns;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// A running name server; it stops when this is dropped.
pub struct NameServer {
    pub address: SocketAddr,
    _server: Server<Catalog>,
}

/// The zone.
pub const DOMAIN: &str = "corp.test";

impl NameServer {
    /// Starts a server in whose zone these hosts are published, each as `(priority, name, port)`. Every name
    /// is loopback.
    pub async fn publishing(hosts: &[(u16, &str, u16)]) -> Self {
        let mut zone = format!(
            "$ORIGIN {DOMAIN}.\n@ 60 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 60 IN NS ns\nns 60 IN A 127.0.0.1\n"
        );
        for (priority, name, port) in hosts {
            zone += &format!("_contoso-kms._tcp 60 IN SRV {priority} 0 {port} {name}\n");
            zone += &format!("{name} 60 IN A 127.0.0.1\n");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), zone).unwrap();
        let origin = Name::from_ascii(format!("{DOMAIN}.")).unwrap();
        let handler = FileZoneHandler::try_from_config(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
            None,
            &FileConfig { zone_path: file.path().to_owned() },
            None,
        )
        .unwrap();
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Self { address, _server: server }
    }

    /// Where clients of this server look for their host.
    pub fn dns(&self) -> Dns {
        Dns { server: Some(self.address), domains: vec![DOMAIN.to_owned()] }
    }
}

/// UDP and TCP on one free port.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // Another test may have the same port for UDP.
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}
