//! Rate limits by source address: one that asks without end is slowed down, and nobody else notices.
//!
//! Each address has a bucket of tokens that fills at a steady rate. All that is kept of it is the moment at
//! which it will be full again; whoever's bucket is full is as good as never seen, so memory holds no more
//! than those who asked lately.

use quorate_core::{Code, Error, Result, words};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much one address may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Without end.
    pub per_second: u32,
    /// At once, after it has been quiet.
    pub burst: u32,
}

impl Rate {
    /// So many a second, and ten times as many at once: a whole site behind one address starts in the same
    /// minute. None limits nothing.
    pub fn per_second(per_second: u32) -> Option<Self> {
        (per_second > 0).then(|| Self { per_second, burst: per_second.saturating_mul(BURST) })
    }

    /// How long a bucket takes to get one token back.
    fn token(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    /// How long an empty bucket takes to fill.
    fn whole(self) -> Duration {
        self.token() * self.burst.max(1)
    }
}

/// The buckets of all addresses. A function of what it is told: it reads no clock.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    /// When each bucket that is not full will be.
    full_at: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
    most: usize,
}

impl Buckets {
    /// Full buckets for everybody.
    pub fn new(rate: Rate) -> Self {
        Self { rate, full_at: HashMap::new(), swept: None, most: MOST_ADDRESSES }
    }

    /// Takes a token of this address, or says how long it has to wait for one.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let source = source(address);
        if !self.full_at.contains_key(&source) && !self.has_place(now) {
            // More addresses than anybody can remember ask at once; other limits hold them.
            return Ok(());
        }
        let full_at = self.full_at.entry(source).or_insert(now);
        let next = (*full_at).max(now) + self.rate.token();
        let wait = next.saturating_duration_since(now + self.rate.whole());
        if wait > Duration::ZERO {
            return Err(wait);
        }
        *full_at = next;
        Ok(())
    }

    /// Whether one more address can be remembered, after forgetting those whose buckets are full again. It
    /// looks through them at most once a second, lest looking be what costs.
    fn has_place(&mut self, now: Instant) -> bool {
        let due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY);
        if self.full_at.len() >= self.most && due {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept = Some(now);
        }
        self.full_at.len() < self.most
    }
}

/// Buckets that several tasks share; or no limit at all.
#[derive(Debug)]
pub struct Limiter(Option<Mutex<Buckets>>);

impl Limiter {
    /// A limiter by this rate.
    pub fn new(rate: Option<Rate>) -> Self {
        Self(rate.map(|rate| Mutex::new(Buckets::new(rate))))
    }

    /// Takes a token of this address, or says how long it has to wait for one.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        match &self.0 {
            Some(buckets) => buckets.lock().unwrap_or_else(PoisonError::into_inner).take(address, now),
            None => Ok(()),
        }
    }
}

/// What a client over its limit is told.
pub fn over_limit(wait: Duration) -> Error {
    // A shorter time than a second is not worth a decimal point.
    let seconds = words::counted(wait.as_secs().max(1), "second");
    Error::new(
        Code::Busy,
        format!("this address sends more requests than the host takes from one; retry after {seconds}"),
        "wait: the client tries again by itself",
    )
}

/// What counts as one address. Who has an IPv6 address has the 2⁶⁴ beside it as well.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << HOST_BITS))),
    }
}

const BURST: u32 = 10;
const HOST_BITS: u32 = 64;
/// Some megabytes at the most.
const MOST_ADDRESSES: usize = 64 * 1024;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 30 };
    const TENTH: Duration = Duration::from_millis(100);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many tokens it gets at this moment, and how long it has to wait then.
    fn drain(buckets: &mut Buckets, address: IpAddr, now: Instant) -> (u32, Duration) {
        let mut taken = 0;
        loop {
            match buckets.take(address, now) {
                Ok(()) => taken += 1,
                Err(wait) => return (taken, wait),
            }
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let (mut buckets, start) = (Buckets::new(RATE), Instant::now());
        let one = address("192.0.2.1");
        assert_eq!(drain(&mut buckets, one, start), (30, TENTH));
        assert_eq!(drain(&mut buckets, one, start + TENTH / 4), (0, TENTH * 3 / 4));
        assert_eq!(drain(&mut buckets, one, start + TENTH), (1, TENTH));
        assert_eq!(drain(&mut buckets, one, start + TENTH * 11), (10, TENTH));
        // However long it was quiet, no more than the burst.
        assert_eq!(drain(&mut buckets, one, start + TENTH * 10_000), (30, TENTH));
    }

    #[test]
    fn one_address_does_not_use_up_another() {
        let (mut buckets, start) = (Buckets::new(RATE), Instant::now());
        drain(&mut buckets, address("192.0.2.1"), start);
        assert_eq!(drain(&mut buckets, address("192.0.2.2"), start).0, 30);
        // The same address, as a socket for both families shows it.
        assert_eq!(drain(&mut buckets, address("::ffff:192.0.2.1"), start).0, 0);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address() {
        let (mut buckets, start) = (Buckets::new(RATE), Instant::now());
        drain(&mut buckets, address("2001:db8:0:1::1"), start);
        assert_eq!(drain(&mut buckets, address("2001:db8:0:1:ffff::2"), start).0, 0);
        assert_eq!(drain(&mut buckets, address("2001:db8:0:2::1"), start).0, 30);
    }

    #[test]
    fn memory_is_bounded_and_idle_addresses_are_forgotten() {
        let (mut buckets, start) = (Buckets { most: 100, ..Buckets::new(RATE) }, Instant::now());
        let numbered = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..100 {
            drain(&mut buckets, numbered(number), start);
        }
        // No place for these; they pass, and those that are known stay limited.
        for number in 100..200 {
            assert_eq!(buckets.take(numbered(number), start), Ok(()));
        }
        assert_eq!(buckets.full_at.len(), 100);
        assert_eq!(drain(&mut buckets, numbered(7), start).0, 0);
        let later = start + RATE.whole();
        assert_eq!(drain(&mut buckets, numbered(200), later).0, 30);
        assert_eq!(buckets.full_at.len(), 1);
    }

    #[test]
    fn none_a_second_is_no_limit() {
        let limiter = Limiter::new(Rate::per_second(0));
        let now = Instant::now();
        assert!((0..100_000).all(|_| limiter.take(address("192.0.2.1"), now).is_ok()));
        assert_eq!(Rate::per_second(200), Some(Rate { per_second: 200, burst: 2_000 }));
    }

    #[test]
    fn a_client_over_its_limit_is_told_when_to_come_back() {
        let what = |millis| over_limit(Duration::from_millis(millis)).what;
        assert!(what(5).ends_with("retry after 1 second"));
        assert!(what(2_500).ends_with("retry after 2 seconds"));
    }
}
