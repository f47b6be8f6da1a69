//! The story: from a product key to activated machines, told as it happens.

use crate::name_server::{DOMAIN, HOST};
use crate::stage::Stage;
use quorate_client::Client;
use quorate_client::activation::{Activator, ByHost};
use quorate_core::installation_id::InstallationId;
use quorate_core::license_state::LicenseStatus;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Interval, Result};
use quorate_edge::command_line::print;
use quorate_edge::machine::Machine;
use quorate_host::keys::{self, HostKey};
use quorate_host::report::Host;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is told.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// How many machines ask.
    pub clients: u32,
    /// Whether the host is activated by telephone instead of online.
    pub phone: bool,
    /// Whether the host key leaks in the end, and the vendor blocks it.
    pub leak: bool,
}

/// Tells the story on a stage, and gives the address of the host.
pub async fn tell(plot: Plot, stage: &mut Stage, out: &mut impl Write) -> Result<SocketAddr> {
    let mut say = |text: &str| print(out, text);

    say("1. The vendor: Contoso Ltd sells an office suite and an operating system.")?;
    let catalog = stage.vendor.catalog()?;
    say(&format!(
        "   Root and activation CA made, {} products signed as catalog {}; the service listens on {}.",
        catalog.products.skus.len(),
        catalog.number,
        catalog.service_url
    ))?;

    say("2. A customer buys the office suite and gets a host key with its license pack.")?;
    let (key, pack) = stage.issue_host_key()?;
    say(&format!("   Host key {}: shown this once; the vendor keeps only what verifies it.", key.reveal()))?;

    say("3. The customer's administrator installs the key on one machine, the activation host.")?;
    let host_key = stage.install_host_key(&key, &pack)?;
    say(&format!("   quorate-host ipk: …{} installed for {}.", key.partial(), host_key.sku.name))?;
    let host_key = if plot.phone {
        activate_by_phone(stage, host_key, &mut say)?
    } else {
        activate_online(stage, host_key, &mut say).await?
    };

    say("4. The host starts and publishes itself in DNS by a signed update (RFC 2136, TSIG).")?;
    let address = stage.start_host(plot.leak.then_some(AT_ONCE)).await?;
    wait_until_published(stage).await?;
    say(&format!("   {} 3600 IN SRV 0 0 {} {HOST}.", host_key.catalog.srv_name(DOMAIN), address.port()))?;

    let policy = host_key.catalog.products.policy(&host_key.sku);
    let interval = policy.activation_interval;
    // So that the move that is coming ends at the real time, and real commands can follow the story.
    stage.clock.set_back(interval);
    say(&format!("5. {}; the policy needs a count of {}.", they_ask(plot.clients), policy.threshold))?;
    let mut waiting = Vec::new();
    for number in 1..=plot.clients {
        let client = stage.install_product(number)?;
        if !ask(number, &client, &mut say).await? {
            waiting.push((number, client));
        }
    }

    if plot.clients >= policy.threshold {
        stage.clock.set_back(Interval::ZERO);
        say(&format!(
            "6. The clock is moved on by {}, to when the machines that wait ask again.",
            in_words(interval)
        ))?;
        for (number, client) in &waiting {
            ask(*number, client, &mut say).await?;
        }
    } else {
        stage.clock.set_back(Interval::ZERO);
        say(&format!(
            "6. No machine is activated: {} more must ask. Every machine works on in its grace meanwhile.",
            policy.threshold - plot.clients
        ))?;
    }
    if plot.leak {
        leak(stage, key.id(), &mut say).await?;
    }
    Ok(address)
}

/// A key in wrong hands is blocked, and what it activates dies at the next renewal.
async fn leak(stage: &Stage, key: KeyId, say: &mut impl FnMut(&str) -> Result<()>) -> Result<()> {
    say("7. The host key has leaked, and the vendor takes it back.")?;
    stage.vendor.block_key(key)?;
    say(&format!("   quorate-vendor key block {key}: signed in the next revocation list."))?;
    say("   Every host with the key learns it when it asks the vendor, which is daily; here, at once.")?;
    let (client, started) = (stage.open_client(1)?, Instant::now());
    loop {
        match client.activate().await {
            Err(error) if error.code == Code::Revoked => {
                say(&format!("   pc-1 asks at its next renewal, and is told: {}.", error.what))?;
                break;
            }
            Err(error) if started.elapsed() > Duration::from_secs(10) => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let status = client.status()?;
    say(&format!("   Its license status is {} from now on.", status.state.status))
}

/// What the two sides say at the end.
pub fn show(plot: Plot, stage: &Stage, out: &mut impl Write) -> Result<()> {
    let first = if plot.leak { 8 } else { 7 };
    let now = stage.clock.now();
    let store = stage.host_store()?;
    let mut book = stage.host_book()?;
    let host_key = HostKey::select(&store, None, now)?;
    let client = stage.open_client(1)?;
    let host =
        Host { hardware: Machine::read(None)?.components(), runs: stage.host_runs(), ..Host::default() };
    let text = format!(
        "{first}. The host, as `quorate-host dlv` shows it:\n\n{}\n{}. Machine 1, as `quorate status` shows it:\n\n{}\n",
        quorate_host::report::dlv(&store, &mut *book, &host_key, &host, now)?,
        first + 1,
        quorate_client::report::status(&client.status()?),
    );
    print(out, &text)
}

async fn activate_online(
    stage: &Stage,
    host_key: HostKey,
    say: &mut impl FnMut(&str) -> Result<()>,
) -> Result<HostKey> {
    let mut store = stage.host_store()?;
    let clock = stage.clock.clock();
    let host_key = keys::activate_online(&mut store, host_key, None, None, &clock).await?;
    say("   quorate-host ato: activated online. The product key did not leave the host.")?;
    Ok(host_key)
}

fn activate_by_phone(
    stage: &mut Stage,
    host_key: HostKey,
    say: &mut impl FnMut(&str) -> Result<()>,
) -> Result<HostKey> {
    let installation_id = host_key.installed.installation_id.to_string();
    say("   quorate-host dti: the administrator reads the Installation ID to the vendor's phone desk,")?;
    say(&format!("     {installation_id}"))?;
    let heard: InstallationId = installation_id.parse()?;
    let confirmation_id = stage.vendor.confirm(&heard)?.confirmation_id.to_string();
    say("   quorate-vendor confirm: which reads the Confirmation ID back,")?;
    say(&format!("     {confirmation_id}"))?;
    let host_key = keys::confirm(&mut stage.host_store()?, host_key, &confirmation_id, stage.clock.now())?;
    say(
        "   quorate-host atp: 48 digits have opened one credential of the license pack; the host is activated.",
    )?;
    Ok(host_key)
}

/// One machine asks. Gives whether it is activated.
async fn ask(number: u32, client: &Client, say: &mut impl FnMut(&str) -> Result<()>) -> Result<bool> {
    match client.activate().await {
        Ok(activated) => {
            let validity = in_words(client.status()?.policy.validity);
            if let Activator::Host(ByHost { host, count, threshold, .. }) = activated.by {
                say(&format!(
                    "   pc-{number} asks {host}: count {count} of {threshold}. Activated for {validity}."
                ))?;
            }
            Ok(true)
        }
        Err(error) if error.code == Code::CountTooLow => {
            let status = client.status()?;
            debug_assert_eq!(status.state.status, LicenseStatus::InitialGrace);
            let count = status.product.last.as_ref().and_then(|last| last.count).unwrap_or_default();
            let host = status.product.cached_host.as_ref().map(ToString::to_string).unwrap_or_default();
            say(&format!(
                "   pc-{number} asks {host}: count {count} of {}. In its grace for {}.",
                status.policy.threshold,
                in_words(status.policy.initial_grace)
            ))?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The host publishes itself in the background; the story waits until DNS gives the record out.
async fn wait_until_published(stage: &Stage) -> Result<()> {
    let catalog = stage.vendor.catalog()?;
    let started = Instant::now();
    loop {
        match stage.dns().hosts(&catalog, |_| 0).await {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > Duration::from_secs(10) => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn they_ask(count: u32) -> String {
    match count {
        1 => "Machine 1 finds the host in DNS and asks".to_owned(),
        count => format!("Machines 1 to {count} find the host in DNS and ask"),
    }
}

fn in_words(interval: Interval) -> String {
    match (interval.as_days(), interval.as_minutes()) {
        (0, minutes) if minutes % 60 == 0 => format!("{} hours", minutes / 60),
        (0, minutes) => format!("{minutes} minutes"),
        (days, _) => format!("{days} days"),
    }
}

/// A story needs a machine.
pub fn check(plot: Plot) -> Result<()> {
    if (1..=MOST_CLIENTS).contains(&plot.clients) {
        return Ok(());
    }
    Err(Error::new(
        Code::RequestInvalid,
        format!("{} machines cannot be played", plot.clients),
        format!("choose from 1 to {MOST_CLIENTS} with --clients"),
    ))
}

/// How often the host asks the vendor for news, so that nobody has to wait for a day.
const AT_ONCE: Duration = Duration::from_millis(200);
const MOST_CLIENTS: u32 = 1_000;
