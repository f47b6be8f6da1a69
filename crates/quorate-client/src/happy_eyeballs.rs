//! Happy Eyeballs (RFC 8305): a host with several addresses is reached by the first that answers.
//!
//! A name often has an IPv6 address that leads nowhere from where the machine is. So the addresses are tried
//! in turns of the two families, each a quarter of a second after the one before or at once when that has
//! failed, and the first TCP connection wins.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Puts addresses in the order in which to try them: the families in turn, IPv6 first; within a family as the
/// resolver gave them; each once.
pub fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6());
    let mut ordered: Vec<SocketAddr> = Vec::new();
    for place in 0..v6.len().max(v4.len()) {
        for address in [v6.get(place), v4.get(place)].into_iter().flatten() {
            if !ordered.contains(address) {
                ordered.push(*address);
            }
        }
    }
    ordered
}

/// The first connection to any of these addresses, tried in this order; or why each failed.
pub async fn connect(
    addresses: &[SocketAddr],
    patience: Duration,
) -> Result<(SocketAddr, TcpStream), Vec<(SocketAddr, String)>> {
    let mut waiting = addresses.iter().copied().enumerate();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        // One more starts; from here on this is the last one started.
        let more = match waiting.next() {
            Some((place, address)) => {
                attempts.spawn(async move { (place, address, attempt(address, patience).await) });
                waiting.len() > 0
            }
            None => false,
        };
        let next = Instant::now() + DELAY;
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((_, address, Ok(stream)))) => return Ok((address, stream)),
                Some(Ok((place, address, Err(why)))) => failures.push((place, address, why)),
                // An attempt neither panics nor is aborted while this waits for it.
                Some(Err(_)) => {}
                None => break,
            },
            () = sleep_until(next), if more => {}
        }
    }
    failures.sort_by_key(|(place, ..)| *place);
    Err(failures.into_iter().map(|(_, address, why)| (address, why)).collect())
}

async fn attempt(address: SocketAddr, patience: Duration) -> Result<TcpStream, String> {
    match timeout(patience, TcpStream::connect(address)).await {
        Err(_) => Err(format!("no connection within {} seconds", patience.as_secs())),
        Ok(connected) => connected.map_err(|error| quorate_edge::files::plain(&error)),
    }
}

/// RFC 8305's "Connection Attempt Delay".
const DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    const PATIENCE: Duration = Duration::from_secs(5);

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        for (given, ordered) in [
            (&[][..], &[][..]),
            (&["192.0.2.1:1"], &["192.0.2.1:1"]),
            (&["192.0.2.1:1", "[2001:db8::1]:1"], &["[2001:db8::1]:1", "192.0.2.1:1"]),
            (
                &["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "[2001:db8::1]:1", "[2001:db8::2]:1"],
                &["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "192.0.2.3:1"],
            ),
            (
                &["[2001:db8::2]:1", "[2001:db8::1]:1", "192.0.2.1:1"],
                &["[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8::1]:1"],
            ),
            (&["192.0.2.1:1", "192.0.2.1:1"], &["192.0.2.1:1"]),
        ] {
            assert_eq!(interleave(&addresses(given)), addresses(ordered));
        }
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_no_wait() {
        let closed = closed();
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let order = [closed.local_addr().unwrap(), open.local_addr().unwrap()];
        let started = Instant::now();
        let (address, _) = connect(&order, PATIENCE).await.unwrap();
        assert_eq!(address, order[1]);
        assert!(started.elapsed() < DELAY, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn an_address_that_is_silent_costs_a_quarter_of_a_second() {
        let (silent, _held) = silent().await;
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let order = [silent.local_addr().unwrap(), open.local_addr().unwrap()];
        let started = Instant::now();
        let (address, _) = connect(&order, PATIENCE).await.unwrap();
        assert_eq!(address, order[1]);
        assert!((DELAY..4 * DELAY).contains(&started.elapsed()), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn when_all_fail_each_says_why_in_the_order_tried() {
        let (silent, _held) = silent().await;
        let (silent, closed_socket) = (silent.local_addr().unwrap(), closed());
        let closed = closed_socket.local_addr().unwrap();
        let failures = connect(&[silent, closed], Duration::from_secs(1)).await.unwrap_err();
        let why = |address, why: &str| (address, why.to_owned());
        assert_eq!(
            failures,
            [why(silent, "no connection within 1 seconds"), why(closed, "connection refused")]
        );
        assert_eq!(connect(&[], PATIENCE).await.unwrap_err(), []);
    }

    /// A port on which nobody listens and which nobody else gets.
    fn closed() -> TcpSocket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    }

    /// A listener whose queue is full: the system drops what else knocks, as a firewall does.
    async fn silent() -> (TcpListener, Vec<tokio::task::JoinHandle<()>>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        loop {
            let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await else {
                return (listener, held);
            };
            let stream = connected.unwrap();
            held.push(tokio::spawn(async move {
                let _stream = stream;
                std::future::pending().await
            }));
        }
    }
}
