//! How fast the activation host is, in ratios from one run on one machine: against servers that do less, so that
//! the machine's own speed does not matter. docs/performance.md says what is measured and how.
//!
//! Servers run as processes of their own (this program again, by another first argument), so that their
//! processor time can be told from that of the clients, which share the machine with them.

mod client;
mod process;
mod servers;
mod site;

use client::{Client, Work};
use process::{Process, thread_time};
use quorate_core::Result;
use quorate_core::activation::ActivationResponse;
use quorate_core::identifier::Cmid;
use quorate_core::{Interval, Timestamp};
use quorate_edge::random;
use servers::Kind;
use site::Site;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [kind, directory, rest @ ..] = arguments.as_slice()
        && Kind::named(kind).is_some()
    {
        return servers::run(kind, directory, rest);
    }
    // Quick shows that everything works, and no figures that mean anything.
    let (size, parts) = match arguments.as_slice() {
        ["--quick", parts @ ..] => (Size::QUICK, parts),
        parts => (Size::WHOLE, parts),
    };
    if !parts.iter().all(|part| PARTS.contains(part)) {
        eprintln!(
            "usage: quorate-bench [--quick] [a] [b] [d] [e] [f]\n\n(c) is measured with (a). Without parts: all."
        );
        return ExitCode::from(2);
    }
    match bench(&size, if parts.is_empty() { PARTS } else { parts }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.report());
            ExitCode::FAILURE
        }
    }
}

/// How much is done.
struct Size {
    round: Duration,
    rounds: u32,
    few: u32,
    many: u32,
    storm: u32,
    keys: u32,
}

impl Size {
    const WHOLE: Self = Self {
        round: Duration::from_secs(3),
        rounds: 4,
        few: 1_000,
        many: 1_000_000,
        storm: 10_000,
        keys: 1_000_000,
    };
    const QUICK: Self =
        Self { round: Duration::from_millis(200), rounds: 1, few: 100, many: 2_000, storm: 200, keys: 2_000 };
}

/// What can be asked for by itself.
const PARTS: &[&str] = &["a", "b", "d", "e", "f"];

fn bench(size: &Size, parts: &[&str]) -> Result<()> {
    let site = Site::new()?;
    let runtime = quorate_edge::server::runtime()?;
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_default();
    runtime.block_on(async {
        for part in parts {
            match *part {
                "a" => fresh(&site, size).await?,
                "b" => kept(&site, size).await?,
                "d" => tables(&site, size).await?,
                "e" => storm(&site, size).await?,
                _ => issue(&site, size)?,
            }
        }
        Ok(())
    })
}

/// Activations, each on a connection of its own, against handshakes with as many bytes.
async fn fresh(site: &Site, size: &Size) -> Result<()> {
    let directory = site.host("fresh")?;
    let host = Process::start(Kind::Host, &directory, NO_LIMITS)?;
    let activation = Client::new(site, host.address, Work::Activate(u128::MAX))?;
    let answer = activation.once().await?;
    let echo = format!("{} {}", answer.sent, answer.received);
    let bare = Process::start(Kind::Bare, &directory, &[&echo])?;
    let handshake = Client::new(site, bare.address, Work::Echo(answer))?;
    let (mut here, mut there) = (Sum::default(), Sum::default());
    for _ in 0..size.rounds {
        there.add(&bare, || handshake.fresh(CLIENTS, size.round)).await?;
        here.add(&host, || activation.fresh(CLIENTS, size.round)).await?;
    }
    println!(
        "(a) a connection for each activation, durable; {} bytes up, {} down",
        answer.sent, answer.received
    );
    ratio("activations", &here, "bare handshakes with an echo", &there, 0.80);
    let (whole, handshake, store) = (here.time(), there.time(), here.ledger());
    let sign = signing(site)?;
    println!("(c) processor time of the server for each activation, in µs");
    println!(
        "    handshake {handshake:.0}, sign {sign:.0}, store {store:.0}, rest {:.0}: {whole:.0}\n",
        whole - handshake - sign - store
    );
    Ok(())
}

/// Activations on connections that stay open, against calls of gRPC that do nothing.
async fn kept(site: &Site, size: &Size) -> Result<()> {
    let directory = site.host("kept")?;
    let host = Process::start(Kind::Host, &directory, NO_LIMITS)?;
    let empty = Process::start(Kind::Empty, &directory, &[])?;
    let activation = Client::new(site, host.address, Work::Activate(u128::MAX))?;
    let call = Client::new(site, empty.address, Work::Nothing)?;
    let (mut here, mut there) = (Sum::default(), Sum::default());
    for _ in 0..size.rounds {
        there.add(&empty, || call.kept(CLIENTS, size.round)).await?;
        here.add(&host, || activation.kept(CLIENTS, size.round)).await?;
    }
    println!("(b) on connections that stay open, durable");
    ratio("activations", &here, "empty gRPC calls", &there, 0.60);
    println!(
        "    server: {:.0} µs for each activation, {:.0} of them the store; {:.0} for each empty call\n",
        here.time(),
        here.ledger(),
        there.time()
    );
    Ok(())
}

/// A host that knows a million machines against one that knows a thousand.
async fn tables(site: &Site, size: &Size) -> Result<()> {
    let (small, large) = (site.host("small")?, site.host("large")?);
    site.fill(&small, size.few)?;
    let started = Instant::now();
    site.fill(&large, size.many)?;
    println!(
        "(d) a host that knows {} machines ({:.0} s to make them up)",
        size.many,
        started.elapsed().as_secs_f64()
    );
    let few = Process::start(Kind::Host, &small, NO_LIMITS)?;
    let started = Instant::now();
    let many = Process::start(Kind::Host, &large, NO_LIMITS)?;
    let listening = started.elapsed();
    let of_few = Client::new(site, few.address, Work::Activate(size.few.into()))?;
    let of_many = Client::new(site, many.address, Work::Activate(size.many.into()))?;
    of_many.once().await?;
    let answered = started.elapsed();
    println!(
        "    restart: listens after {:.2} s, first answer after {:.2} s (goal: within 3 s)",
        listening.as_secs_f64(),
        answered.as_secs_f64()
    );
    let (mut here, mut there) = (Sum::default(), Sum::default());
    for _ in 0..size.rounds {
        there.add(&few, || of_few.kept(CLIENTS, size.round)).await?;
        here.add(&many, || of_many.kept(CLIENTS, size.round)).await?;
    }
    let count = format!("activations with {}", size.few);
    ratio(&format!("activations with {}", size.many), &here, &count, &there, 0.90);
    println!(
        "    memory: {} MB, {} MB with {} (goal: at most 200 MB)\n",
        many.memory(),
        few.memory(),
        size.few
    );
    Ok(())
}

/// All machines of a network start in the same second. Clients and host share the processors here, so the host
/// gives a handshake more time than by default; its limits by address are those by default.
async fn storm(site: &Site, size: &Size) -> Result<()> {
    let host = Process::start(Kind::Host, &site.host("storm")?, &["--handshake-limit", "120"])?;
    let client = Client::new(site, host.address, Work::Activate(u128::MAX))?;
    let started = Instant::now();
    let mut waited = client.storm(size.storm).await?;
    let took = started.elapsed().as_secs_f64();
    waited.sort_unstable();
    let at = |part: f64| waited[((waited.len() - 1) as f64 * part) as usize].as_secs_f64();
    println!("(e) {} clients in the same second, each with a connection of its own", size.storm);
    println!(
        "    all answered, none refused, within {took:.1} s: p50 {:.2} s, p99 {:.2} s, {:.0} a second",
        at(0.50),
        at(0.99),
        f64::from(size.storm) / took
    );
    Ok(())
}

/// Product keys by the million, as the command writes them into a file.
fn issue(site: &Site, size: &Size) -> Result<()> {
    let started = Instant::now();
    site.issue(size.keys)?;
    let took = started.elapsed().as_secs_f64();
    println!("(f) {} product keys, each in the file before the database has its verifier", size.keys);
    println!("    {took:.1} s, {:.0} a second (goal: a million within 60 s)", f64::from(size.keys) / took);
    Ok(())
}

/// What several rounds come to.
#[derive(Default)]
struct Sum {
    done: u64,
    wall: Duration,
    processor: Duration,
    ledger: Duration,
}

impl Sum {
    async fn add<F: Future<Output = Result<u64>>>(
        &mut self,
        server: &Process,
        round: impl FnOnce() -> F,
    ) -> Result<()> {
        let (started, before) = (Instant::now(), server.processor_time());
        self.done += round().await?;
        self.wall += started.elapsed();
        let after = server.processor_time();
        self.processor += after.whole.saturating_sub(before.whole);
        self.ledger += after.ledger.saturating_sub(before.ledger);
        Ok(())
    }

    fn a_second(&self) -> f64 {
        self.done as f64 / self.wall.as_secs_f64()
    }

    /// Processor time for each, in µs.
    fn time(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.done as f64
    }

    fn ledger(&self) -> f64 {
        self.ledger.as_secs_f64() * 1e6 / self.done as f64
    }
}

fn ratio(what: &str, here: &Sum, against: &str, there: &Sum, goal: f64) {
    println!("    {what}: {:.0} a second; {against}: {:.0} a second", here.a_second(), there.a_second());
    println!("    ratio {:.2} (goal: at least {goal:.2})", here.a_second() / there.a_second());
}

/// Processor time of a signature, in µs.
fn signing(site: &Site) -> Result<f64> {
    let signer = site.signer()?;
    let response = ActivationResponse {
        application: site::APPLICATION,
        sku: site::EDITION,
        cmid: Cmid(random::cmid().0),
        hardware: site::hardware(1),
        nonce: random::nonce(),
        count: 1,
        host_pid: site.host_pid()?,
        host_time: Timestamp::UNIX_EPOCH,
        activation_interval: Interval::hours(2),
        renewal_interval: Interval::days(7),
        clone: false,
    };
    let before = thread_time();
    for _ in 0..SIGNATURES {
        signer.sign(&response)?;
    }
    Ok(thread_time().saturating_sub(before).as_secs_f64() * 1e6 / f64::from(SIGNATURES))
}

/// Clients at a time: enough that somebody always waits for the host.
const CLIENTS: usize = 64;
const SIGNATURES: u32 = 2_000;
/// All clients have one address here, which a limit must not slow down.
const NO_LIMITS: &[&str] = &["--connections-per-address", "0", "--requests-per-address", "0"];
