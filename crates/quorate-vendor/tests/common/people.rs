//! People who sign in to a vendor's portal, one of each role.

use super::place::{Place, in_both};
use super::web::Web;
use quorate_vendor::accounts::Role;
use quorate_vendor::service::Service;

pub const PASSWORD: &str = "correct horse battery";

pub fn people(service: &Service) {
    service.add_customer("Fabrikam", "by invoice").unwrap();
    service.add_customer("Northwind", "").unwrap();
    for (name, role, customer) in [
        ("alice", Role::Admin, None),
        ("sam", Role::Support, None),
        ("rita", Role::ReadOnly, None),
        ("frank", Role::Customer, Some("Fabrikam")),
    ] {
        service.add_account(name, role, customer, Some(PASSWORD)).unwrap();
    }
}

/// Runs a test against the portal with its people, in SQLite and in PostgreSQL.
pub fn over_https(test: impl AsyncFn(&Web, &Place)) {
    in_both(|place| {
        people(&place.service());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let web = Web::serve_service(place.ask(Service::clone)).await;
            test(&web, place).await;
        });
    });
}
