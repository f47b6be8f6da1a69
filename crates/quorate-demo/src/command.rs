//! The command line of `quorate-demo`.

use crate::name_server::DOMAIN;
use crate::stage::{OFFICE_STANDARD, Stage};
use crate::story::{self, Plot};
use clap::Parser;
use quorate_core::Result;
use quorate_edge::command_line::{self, print};
use quorate_edge::{files, server};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// The whole story on this machine: from a product key to activated machines.
#[derive(Parser)]
#[command(name = "quorate-demo", version)]
struct Arguments {
    /// How many machines ask the host.
    #[arg(long, value_name = "N", default_value_t = 5)]
    clients: u32,
    /// Stay up at the end, so that the commands can be tried from another terminal.
    #[arg(long)]
    keep: bool,
    /// Activate the host by telephone (Installation ID and Confirmation ID) instead of online.
    #[arg(long)]
    phone: bool,
    /// Let the host key leak at the end: the vendor blocks it, and it dies at the next renewal.
    #[arg(long)]
    leak: bool,
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = Arguments::parse_from(arguments);
    command_line::exit(run(&arguments, &mut command_line::standard_output()))
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let plot = Plot { clients: arguments.clients, phone: arguments.phone, leak: arguments.leak };
    story::check(plot)?;
    let directory = tempfile::Builder::new()
        .prefix("quorate-demo-")
        .tempdir()
        .map_err(|error| files::writing(&std::env::temp_dir(), &error))?;
    server::runtime()?.block_on(async {
        let mut stage = Stage::set_up(directory.path()).await?;
        story::tell(plot, &mut stage, out).await?;
        story::show(plot, &stage, out)?;
        if arguments.keep {
            print(out, &commands(&stage))?;
            quorate_edge::stop::asked().await;
            print(out, "\nStopped; the temporary state is removed.")?;
        } else {
            print(out, NEXT)?;
        }
        stage.strike().await;
        Ok(())
    })
}

/// The commands to try, with everything they need: they work as typed.
fn commands(stage: &Stage) -> String {
    let directory = stage.directory.display();
    let name_server = stage.name_server.address;
    let quorate = format!(
        "{} --dir {directory}/pc-1 --machine {directory}/pc-1.toml --dns-server {name_server} --domain {DOMAIN}",
        program("quorate")
    );
    let host = format!("{} --dir {directory}/host", program("quorate-host"));
    let vendor = format!("{} --dir {directory}/vendor", program("quorate-vendor"));
    // An editor that is licensed by Quorate: there after `cargo build --workspace --examples`.
    let inkpad = beside("examples/inkpad").map_or_else(String::new, |inkpad| {
        format!("QUORATE_DIR={directory}/inkpad {inkpad} {directory}/product {OFFICE_STANDARD} letter.txt\n")
    });
    format!(
        "The vendor's service, the host and the name server stay up. From another terminal:\n\n\
         {quorate} status\n\
         {quorate} activate\n\
         {quorate} discover\n\
         {host} dlv\n\
         {host} dti\n\
         {vendor} key list\n\
         dig @{ip} -p {port} SRV _contoso-kms._tcp.{DOMAIN} +short\n\
         {inkpad}\n\
         Ctrl-C stops everything and removes {directory}.",
        ip = name_server.ip(),
        port = name_server.port(),
    )
}

/// The program as it is beside this one, or by its name alone when it is not there.
fn program(name: &str) -> String {
    beside(name).unwrap_or_else(|| name.to_owned())
}

/// Where a program beside this one is, when it is there.
fn beside(name: &str) -> Option<String> {
    let path = std::env::current_exe().ok()?.parent()?.join(name);
    path.is_file().then(|| path.display().to_string())
}

const NEXT: &str = "\
What to type next:
  ./demo --keep        stay up, and print the commands to try against it
  ./demo --phone       activate the host by Installation ID and Confirmation ID
  ./demo --leak        let the host key leak, and see it die at the next renewal
  ./demo --clients 4   one machine too few";
