//! Where a vendor is kept: the same tests run in SQLite and in PostgreSQL.

use super::EXAMPLE;
use super::cluster::Cluster;
use quorate_core::product_key::ProductKey;
use quorate_edge::clock::Clock;
use quorate_edge::sql::{Location, Sql};
use quorate_vendor::authority::Directories;
use quorate_vendor::keys::Issue;
use quorate_vendor::products;
use quorate_vendor::service::{self, Service, Vendor};
use std::path::PathBuf;
use std::sync::mpsc;
use tempfile::TempDir;

/// A vendor that has been set up with the products of the shipped example.
pub struct Place {
    directory: TempDir,
    pub database: Location,
    pub cluster: Option<Cluster>,
}

impl Place {
    fn new(cluster: Option<Cluster>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = match &cluster {
            Some(cluster) => Location::Postgres(cluster.url(&[])),
            None => service::own_database(&directory.path().join("vendor")),
        };
        let place = Self { directory, database, cluster };
        let directories =
            Directories { service: place.service_directory(), root: place.directory.path().join("root") };
        let vendor = Vendor {
            id: "contoso".parse().unwrap(),
            name: "Contoso Ltd".to_owned(),
            url: "https://127.0.0.1".to_owned(),
        };
        Service::create_in(&directories, &place.database, None, &vendor, &Clock::system()).unwrap();
        place.service().import(products::parse_products(EXAMPLE, "contoso.toml").unwrap()).unwrap();
        place
    }

    /// One in PostgreSQL.
    pub fn in_postgres() -> Self {
        Self::new(Some(Cluster::start()))
    }

    /// One in SQLite, for tests that have nothing to do with where it is kept.
    pub fn in_sqlite() -> Self {
        Self::new(None)
    }

    pub fn service_directory(&self) -> PathBuf {
        self.directory.path().join("vendor")
    }

    /// A replica of the service.
    pub fn service(&self) -> Service {
        self.service_at(Clock::system())
    }

    pub fn service_at(&self, clock: Clock) -> Service {
        Service::open_in(&self.service_directory(), &self.database, clock).unwrap()
    }

    /// Asks a replica, from within an asynchronous test.
    pub fn ask<T>(&self, question: impl FnOnce(&Service) -> T) -> T {
        tokio::task::block_in_place(|| question(&self.service()))
    }

    /// A path beside the vendor's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes the database behind the service's back.
    pub fn meddle(&self, statement: &str) {
        self.try_to_meddle(statement).unwrap();
    }

    /// The same, where the database may refuse it.
    pub fn try_to_meddle(&self, statement: &str) -> Result<(), String> {
        match &self.cluster {
            Some(cluster) => cluster.try_sql(statement).map(drop),
            None => {
                let file = self.service_directory().join("vendor.db");
                let file = rusqlite::Connection::open(file).unwrap();
                file.execute_batch(statement).map_err(|error| error.to_string())
            }
        }
    }

    /// Does something while somebody else has the turn at the database.
    pub fn during_a_turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let ((began, begun), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let sql = Sql::open(&self.database, "test").unwrap();
                sql.change(|_| {
                    began.send(()).unwrap();
                    let _ = ended.recv();
                    Ok(())
                })
                .unwrap();
            });
            begun.recv().unwrap();
            let done = work();
            drop(end);
            done
        })
    }

    /// Takes away what keeps the audit log, as somebody who owns the database can.
    pub fn let_the_audit_log_be_changed(&self) {
        match self.cluster {
            Some(_) => self.meddle("DROP TRIGGER audit_is_kept ON audit"),
            None => self.meddle(
                "DROP TRIGGER audit_is_not_updated; DROP TRIGGER audit_is_not_deleted;
                 DROP TRIGGER audit_is_not_replaced",
            ),
        }
    }
}

/// Runs a test in SQLite and in PostgreSQL.
pub fn in_both(test: impl Fn(&Place)) {
    test(&Place::new(None));
    test(&Place::new(Some(Cluster::start())));
}

/// One key of a group.
pub fn key(service: &Service, group: u16) -> ProductKey {
    service.issue_few(&Issue::of(group, 1)).unwrap().remove(0)
}
