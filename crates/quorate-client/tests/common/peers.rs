//! What may be at an address instead of an activation host.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use tokio::net::{TcpSocket, UdpSocket};

/// A port on which nobody listens, and which nobody else gets while this is held.
pub struct ClosedPort {
    pub address: SocketAddr,
    _socket: TcpSocket,
}

impl ClosedPort {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { address: socket.local_addr().unwrap(), _socket: socket }
    }
}

/// A port that accepts connections and says nothing: the system accepts, no program does.
pub struct SilentPort {
    pub address: SocketAddr,
    _listener: TcpListener,
}

impl SilentPort {
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { address: listener.local_addr().unwrap(), _listener: listener }
    }
}

/// A web server without TLS, which answers as such servers do.
pub fn plain_http() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // It lives as long as the program of tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut greeting = [0; 1024];
            // Whoever has gone again needs no answer.
            let _ = stream.read(&mut greeting);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    address
}

/// A way to a host on which its bytes come one by one, twenty a second.
pub fn slow(host: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // It lives as long as the program of tests; whoever has gone again needs nothing more.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut host) = (client.unwrap(), TcpStream::connect(host).unwrap());
            let (mut asked, mut asks) = (host.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asks, &mut asked));
            std::thread::spawn(move || {
                let mut byte = [0];
                while host.read_exact(&mut byte).and_then(|()| client.write_all(&byte)).is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    address
}

/// A name server that takes questions and never answers.
pub struct SilentNameServer {
    pub address: SocketAddr,
    _udp: UdpSocket,
    _tcp: TcpListener,
}

impl SilentNameServer {
    pub async fn new() -> Self {
        loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = tcp.local_addr().unwrap();
            if let Ok(udp) = UdpSocket::bind(address).await {
                return Self { address, _udp: udp, _tcp: tcp };
            }
        }
    }
}
