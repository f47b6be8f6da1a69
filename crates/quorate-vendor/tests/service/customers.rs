//! Customers: their names, and files of them.

use crate::common::place::in_both;
use crate::refused;
use quorate_core::Code;

#[test]
fn customers_have_a_name_each() {
    in_both(|place| {
        let service = place.service();
        let fabrikam = service.add_customer("Fabrikam", "by invoice").unwrap();
        refused(
            service.add_customer("  fabrikam ", ""),
            Code::AlreadyThere,
            "there is a customer \"Fabrikam\" already",
        );
        refused(service.add_customer(" ", ""), Code::RequestInvalid, "a customer has no name");
        refused(
            service.add_customer("a\u{1b}[31m", ""),
            Code::RequestInvalid,
            "a customer's name or note holds a control character",
        );
        refused(
            service.add_customer(&"x".repeat(201), ""),
            Code::RequestInvalid,
            "a customer's name has 201 characters",
        );

        // A name that is longer than any is nobody's, in either database.
        let long = "x".repeat(60_000);
        refused(
            service.customer_named(&long),
            Code::CustomerUnknown,
            "there is no customer of a name with 60000 characters",
        );
        assert_eq!(service.customers(&long, "", 9).unwrap(), []);
        let error = service.customer_named("Fabri").unwrap_err();
        assert_eq!((error.code, error.next.as_str()), (Code::CustomerUnknown, "did you mean Fabrikam?"));
        let csv = "note,name\n,Northwind\n\"two\",\"Ärger & Söhne\"\n";
        assert_eq!(service.import_customers(csv.as_bytes(), "new.csv").unwrap(), 2);
        let names = |containing: &str, after: &str, most| {
            let customers = service.customers(containing, after, most).unwrap();
            customers.into_iter().map(|customer| customer.name).collect::<Vec<_>>()
        };
        assert_eq!(names("", "", 9), ["Fabrikam", "Northwind", "Ärger & Söhne"]);
        assert_eq!(names("", "Fabrikam", 1), ["Northwind"]);
        assert_eq!(names("ÄRGER", "", 9), ["Ärger & Söhne"]);
        // What would be a pattern is a text.
        assert_eq!(names("%", "", 9), [""; 0]);
        assert_eq!(names("_", "", 9), [""; 0]);

        let renamed = service.change_customer(fabrikam.id, Some("Fabrikam Inc"), None).unwrap();
        assert_eq!((renamed.name.as_str(), renamed.note.as_str()), ("Fabrikam Inc", "by invoice"));
        // Its own name, written otherwise, is not taken.
        service.change_customer(fabrikam.id, Some("FABRIKAM INC"), Some("")).unwrap();
        refused(
            service.change_customer(fabrikam.id, Some("northwind"), None),
            Code::AlreadyThere,
            "there is a customer \"Northwind\" already",
        );
        refused(service.customer(77), Code::CustomerUnknown, "there is no customer 77");
    });
}

#[test]
fn a_file_of_customers_is_taken_whole_or_not_at_all() {
    in_both(|place| {
        let service = place.service();
        service.add_customer("Fabrikam", "").unwrap();
        let refused = |csv: &[u8], what: &str| {
            refused(service.import_customers(csv, "new.csv"), Code::DocumentInvalid, what);
            assert_eq!(service.customers("", "", 9).unwrap().len(), 1);
        };
        refused(
            b"name\nNorthwind\n\"\"\nfabrikam\nNORTHWIND\nfine\n",
            "nothing of new.csv was taken: line 3: a customer has no name; \
             line 4: there is a customer \"Fabrikam\" already; line 5: \"NORTHWIND\" is in line 2 already",
        );
        refused(
            b"name,note\nNorthwind\nfine,\n",
            "nothing of new.csv was taken: line 2: it has 1 field, not 2",
        );
        // One fault hides no other.
        refused(
            b"name,note\nNorthwind\n,no name\nfabrikam,\n",
            "nothing of new.csv was taken: line 2: it has 1 field, not 2; line 3: a customer has no name; \
             line 4: there is a customer \"Fabrikam\" already",
        );
        refused(
            b"name,note\nNorthwind\n\"fine\",\"and\nnot closed,\nTailspin,\n",
            "nothing of new.csv was taken: line 2: it has 1 field, not 2; line 3: a quote that opens here is not closed",
        );
        refused(
            b"name,note\n\"Northwind,\nTailspin,\"quoted \"\"here\"\"\"\n,\n",
            "nothing of new.csv was taken: line 2: a quote that opens here is closed in a later line only; \
             line 4: a customer has no name",
        );
        // Empty lines are no rows, and count as lines.
        for ends in ["\n", "\r\n"] {
            let csv = "name,note\nA,x\n\n,empty\n\n\nB\n".replace('\n', ends);
            refused(
                csv.as_bytes(),
                "nothing of new.csv was taken: line 4: a customer has no name; line 7: it has 1 field, not 2",
            );
        }
        refused(
            b"name\nfine\n\"",
            "nothing of new.csv was taken: line 3: a quote that opens here is not closed",
        );
        refused(
            b"\"name\nfine\n",
            "nothing of new.csv was taken: line 1: a quote that opens here is not closed",
        );
        refused(b"name\nfine\n\xff\xfe\n", "nothing of new.csv was taken: line 3: it is not UTF-8");
        refused(b"name\n", "new.csv has no rows");
        refused(b"", "new.csv has no rows");
        let many: String = (0..12).fold("name\n".to_owned(), |csv, _| csv + "\"\"\n");
        let error = service.import_customers(many.as_bytes(), "new.csv").unwrap_err();
        assert!(error.what.ends_with("line 11: a customer has no name; and 2 more"), "{error}");
        let error = service.import_customers(b"customer\nfine\n", "new.csv").unwrap_err();
        assert_eq!(error.what, "line 1 of new.csv names the columns \"customer\"");
        assert_eq!(error.next, "write as its first line the columns: name, and if wanted note");
    });
}
