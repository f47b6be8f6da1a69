//! The tables: set up once, and left alone when they are of a newer program.

use crate::common::place::{Place, in_both};
use quorate_core::Code;
use quorate_edge::clock::Clock;
use quorate_vendor::service::Service;

#[test]
fn the_tables_are_set_up_once() {
    in_both(|place| {
        let Place { database, .. } = place;
        let directory = tempfile::tempdir().unwrap();
        let directories = quorate_vendor::authority::Directories {
            service: directory.path().join("vendor"),
            root: directory.path().join("root"),
        };
        let vendor = quorate_vendor::service::Vendor {
            id: "fabrikam".parse().unwrap(),
            name: "Fabrikam".to_owned(),
            url: "https://127.0.0.1".to_owned(),
        };
        let error = Service::create_in(&directories, database, None, &vendor, &Clock::system()).unwrap_err();
        assert_eq!(error.code, Code::AlreadyThere, "{error}");
        assert!(!directories.service.join("ca.pem").exists());
        place.service().catalog().unwrap();
        // A newer program's tables are left alone.
        place.meddle("UPDATE schema_form SET number = 7");
        let error = Service::open_in(&place.service_directory(), database, Clock::system()).err().unwrap();
        assert_eq!(error.what, "the tables are of form 7; this program knows forms up to 1");
    });
}
