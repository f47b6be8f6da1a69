//! A PostgreSQL that several programs share: a connection that is made anew when it breaks, with its failures in our
//! words.
//!
//! A connection string may name several servers; the one that takes writes is used, so that a standby that was
//! promoted is found by itself.

use postgres::config::TargetSessionAttrs;
use postgres::{Client, Config};
use quorate_core::{Code, Error, Result};
use std::time::{Duration, Instant};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A connection to the shared database.
pub struct Server {
    config: Config,
    tls: MakeRustlsConnect,
    client: Option<Client>,
    failed: Option<(Instant, Error)>,
}

impl Server {
    /// Reads the connection string, and connects at the first use. The database's administrator sees the connection
    /// under the name of the program.
    pub fn new(url: &str, program: &str) -> Result<Self> {
        let mut config = parse(url)?;
        config
            .application_name(program)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(PATIENCE)
            .tcp_user_timeout(PATIENCE)
            .keepalives_idle(PATIENCE);
        Ok(Self { config, tls: tls()?, client: None, failed: None })
    }

    /// Does something with the connection; one that has broken is made anew the next time.
    pub fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Client) -> std::result::Result<T, postgres::Error>,
    ) -> Result<T> {
        // A server that is not there is not asked for each of those who wait.
        if let Some((at, error)) = &self.failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let done = self.connected().and_then(work);
        let error = match done {
            Ok(value) => {
                self.failed = None;
                return Ok(value);
            }
            Err(error) => error,
        };
        // Whatever went wrong, a new connection is the better one: this may be a server that takes no writes now.
        self.client = None;
        let said = explain(&error);
        if error.as_db_error().is_none() {
            self.failed = Some((Instant::now(), said.clone()));
        }
        Err(said)
    }

    fn connected(&mut self) -> std::result::Result<&mut Client, postgres::Error> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => {
                let mut client = self.config.connect(self.tls.clone())?;
                // Acknowledged is durable, whatever the server's defaults are; and nobody waits for ever.
                client.batch_execute(
                    "SET synchronous_commit = on; SET statement_timeout = 10000; SET lock_timeout = 5000",
                )?;
                client
            }
        };
        Ok(self.client.insert(client))
    }
}

/// Finds out whether this is a connection string, without connecting.
pub fn check(url: &str) -> Result<()> {
    parse(url).map(drop)
}

fn parse(url: &str) -> Result<Config> {
    url.parse().map_err(|_| {
        Error::new(
            Code::AddressInvalid,
            // It may hold a password, so it is not repeated.
            "the database is not given as a PostgreSQL connection string",
            "write it as in \"postgresql://quorate@db1.example,db2.example/quorate?sslmode=require\"",
        )
    })
}

/// What is wrong with the database, for whoever runs it.
pub(crate) fn explain(error: &postgres::Error) -> Error {
    let (what, next) = match error.as_db_error() {
        Some(refusal) => (
            format!("the shared database refuses: {} ({})", refusal.message(), refusal.code().code()),
            "see its log; service goes on by itself when it takes writes again",
        ),
        None => {
            let mut cause: &dyn std::error::Error = error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            (
                format!("the shared database cannot be reached: {cause}"),
                "see that it runs and that this machine reaches it; service goes on by itself when it is back",
            )
        }
    };
    Error::new(Code::DatabaseUnavailable, what, next)
}

/// Servers are verified against the roots that this machine trusts, where the connection string wants TLS.
fn tls() -> Result<MakeRustlsConnect> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            Error::new(Code::Internal, format!("TLS is not available ({error})"), "please report this")
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A server that does not answer is given up after this time, and another is tried.
const PATIENCE: Duration = Duration::from_secs(3);
/// Those who ask meanwhile are told the same, without a new attempt.
const PAUSE: Duration = Duration::from_millis(500);
