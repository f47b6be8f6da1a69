//! Bad input to the host's commands: product keys and license packs that are mistyped or mixed up, telephone
//! and online activation that go wrong. Each is met with a clear error, and nothing that was there is lost.
//!
//! The program is the real one; the vendor and the honest machines are those of the libraries.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{
    HOST_KEYS, MAKS, OFFICE_HOST, OFFICE_STANDARD, Site, assert_refused, finish, host_key_id, stderr, stdout,
};
use quorate_edge::clock::Clock;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[test]
fn a_mistyped_product_key_is_refused_and_not_repeated() {
    let site = Site::new();
    let key = site.key.reveal();
    let other = if key.starts_with('B') { "C" } else { "B" };
    for (typed, what) in [
        (format!("{other}{}", &key[1..]), "the product key has a typing error: its checksum does not match"),
        (key[..28].to_owned(), "the product key has 24 characters, not 25"),
        (format!("{key}B"), "the product key has 26 characters, not 25"),
        (format!("O{}", &key[1..]), "character 1 of the product key, 'O', is not used in product keys"),
        (String::new(), "the product key has 0 characters, not 25"),
    ] {
        let report = format!(
            "error Q101 (0xC004F050): {what}\nnext: compare the key with its certificate and type it again"
        );
        assert_refused(&site.install(&typed, &site.pack), &report);
    }
    site.refuses(&["dti"], NO_KEY);
}

/// In groups without dashes, the key is several arguments, none of which may stand in an error.
#[test]
fn a_product_key_may_be_typed_in_groups() {
    let site = Site::new();
    let key = site.key.reveal();
    let groups: Vec<&str> = key.split('-').collect();
    let install =
        |groups: &[&str]| finish(site.command().arg("ipk").args(groups).arg("--pack").arg(&site.pack));
    assert_refused(
        &install(&groups[..4]),
        "error Q101 (0xC004F050): the product key has 20 characters, not 25\n\
         next: compare the key with its certificate and type it again",
    );
    let installed = install(&groups);
    assert_eq!(stderr(&installed), "");
    assert!(installed.status.success());
}

#[test]
fn a_product_key_that_the_pack_is_not_for_is_refused() {
    let mut site = Site::new();
    let another = site.issue(HOST_KEYS);
    let mak = site.issue(MAKS);
    let mut other_vendor = Site::of_vendor("fabrikam", SERVICE);
    let fabrikams = other_vendor.issue(HOST_KEYS);
    for key in [another, mak, fabrikams] {
        let output = site.install(&key.reveal(), &site.pack);
        let report = format!(
            "error Q102 (0xC004F035): the license pack is for product key {}, the key given is {}\n{BELONG}",
            site.key.id(),
            key.id(),
        );
        assert_refused(&output, &report);
    }
    site.refuses(&["dti"], NO_KEY);
}

/// The pack says more of its key than the number.
#[test]
fn another_vendors_key_with_the_same_number_is_refused() {
    let site = Site::new();
    let other_vendor = Site::of_vendor("fabrikam", SERVICE);
    assert_eq!(other_vendor.key.id(), site.key.id());
    assert_refused(
        &site.install(&other_vendor.key.reveal(), &site.pack),
        "error Q102 (0xC004F035): the product key has the number 00096-000-000001, but is not the key of vendor contoso \
         with it\nnext: it is another vendor's, or the license pack is: use those that belong together",
    );
    site.refuses(&["dti"], NO_KEY);
}

#[test]
fn the_product_key_is_nowhere_in_what_the_host_prints_logs_or_keeps() {
    let site = Site::new();
    let installed = site.install(&site.key.reveal(), &site.pack);
    let host = {
        let mut command = site.command();
        command.env("QUORATE_LOG", "trace").args(["serve", "--listen", "127.0.0.1:0"]);
        common::Host::start(command)
    };
    let printed = [stdout(&installed), stdout(&site.run(&["dti"])), stdout(&site.run(&["dlv"])), host.log()];
    let mut kept = printed.map(String::into_bytes).to_vec();
    for file in std::fs::read_dir(site.host_directory()).unwrap() {
        kept.push(std::fs::read(file.unwrap().path()).unwrap());
    }
    assert!(kept.len() > 5, "database and journal are there");
    let key = site.key.reveal();
    let bare = key.replace('-', "");
    for content in kept {
        for secret in [&key.as_bytes()[..23], &bare.as_bytes()[..20], &key.as_bytes()[6..17]] {
            assert!(!content.windows(secret.len()).any(|window| window.eq_ignore_ascii_case(secret)));
        }
    }
}

#[test]
fn a_license_pack_that_cannot_be_read_is_refused() {
    let site = Site::new();
    let (missing, directory) =
        (site.directory.path().join("missing.pack"), site.directory.path().join("vendor"));
    let not_text = site.write("not-text.pack", b"\xff\xfe\x00\x01 garbage");
    let (missing_name, directory_name, not_text_name) =
        (missing.display(), directory.display(), not_text.display());
    for (pack, report) in [
        (
            &missing,
            format!(
                "error Q601: {missing_name} cannot be read: no such file or directory\nnext: check the path"
            ),
        ),
        (
            &directory,
            format!(
                "error Q601: {directory_name} cannot be read: is a directory\nnext: give a file, not a directory"
            ),
        ),
        (
            &not_text,
            format!(
                "error Q209 (0x8007000D): {not_text_name} is not a text file\nnext: give the file that was meant"
            ),
        ),
    ] {
        assert_refused(&site.install(&site.key.reveal(), pack), &report);
    }
}

#[test]
fn a_file_that_is_no_license_pack_is_refused() {
    let site = Site::new();
    let pack = std::fs::read_to_string(&site.pack).unwrap();
    let last_dot = pack.rfind('.').unwrap();
    for (name, content, why) in [
        ("empty", "", "InvalidToken"),
        ("garbage", "garbage", "InvalidToken"),
        ("cut-off-at-the-start", &pack[..100], "InvalidToken"),
        ("cut-off-in-the-middle", &pack[..pack.len() / 2], "InvalidToken"),
        ("cut-off-before-the-signature", &pack[..last_dot], "InvalidToken"),
        ("cut-off-by-one", &pack[..pack.len() - 1], "Base64 error: Invalid input length: 85"),
        ("catalog", &site.vendor.catalog_jws().unwrap(), "its type is \"quorate-catalog+jws\""),
    ] {
        let file = site.write(name, content.as_bytes());
        let report = format!(
            "error Q209 (0x8007000D): this is not a license pack ({why})\n\
             next: give the file or address of a license pack"
        );
        assert_refused(&site.install(&site.key.reveal(), &file), &report);
    }
}

#[test]
fn a_license_pack_whose_content_was_changed_is_refused() {
    let mut site = Site::new();
    let another = site.issue(HOST_KEYS);
    let pack = std::fs::read_to_string(&site.pack).unwrap();
    let parts: Vec<&str> = pack.split('.').collect();
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let changed = payload.replace(&site.key.id().to_string(), &another.id().to_string());
    assert_ne!(changed, payload);
    let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(changed), parts[2]);
    let forged = site.write("forged.pack", forged.as_bytes());
    assert_refused(
        &site.install(&another.reveal(), &forged),
        "error Q205: the signature of a license pack does not match: it was changed after signing\n\
         next: fetch it again; if this repeats, someone on the way is changing it",
    );
}

#[test]
fn another_keys_license_pack_is_refused() {
    let mut site = Site::new();
    let another = site.issue(HOST_KEYS);
    let pack = site.vendor.pack(another.id(), 1).unwrap();
    let pack = site.write("another.pack", pack.as_bytes());
    let report = format!(
        "error Q102 (0xC004F035): the license pack is for product key {}, the key given is {}\n{BELONG}",
        host_key_id(2),
        host_key_id(1)
    );
    assert_refused(&site.install(&site.key.reveal(), &pack), &report);
}

#[test]
fn a_license_pack_with_another_root_of_the_same_vendor_is_refused() {
    let site = Site::activated();
    let impostor = Site::new();
    let trusted = site.vendor.authority().root().fingerprint();
    let report = format!(
        "error Q201: the license pack brings another root for vendor contoso than the one trusted here ({}…)\n\
         next: ask the vendor; if it has a new root, remove its keys here first (`quorate-host upk`)",
        &trusted[..23]
    );
    assert_refused(&site.install(&impostor.key.reveal(), &impostor.pack), &report);
    // What was installed is still activated.
    assert_eq!(site.count(), "0");
}

#[test]
fn a_mistyped_confirmation_id_is_refused_and_the_group_named() {
    let mut site = Site::installed();
    let confirmation_id = site.confirmation_id();
    for (index, letter) in "ABCDEFGH".chars().enumerate() {
        let mut groups: Vec<String> = confirmation_id.split('-').map(str::to_owned).collect();
        let digit = if groups[index].starts_with('1') { "2" } else { "1" };
        groups[index].replace_range(..1, digit);
        let report = format!(
            "error Q105 (0xC004F01F): group {letter} of the Confirmation ID has a typing error\n{TYPE_AGAIN}"
        );
        site.refuses(&["atp", &groups.join("-")], &report);
    }
    site.refuses(
        &["atp", &confirmation_id[..51]],
        &format!("error Q105 (0xC004F01F): the Confirmation ID has 44 digits, not 48\n{TYPE_AGAIN}"),
    );
    site.refuses(
        &["atp", &confirmation_id.replace('-', "+")],
        &format!(
            "error Q105 (0xC004F01F): character 7 of the Confirmation ID, '+', is not a digit\n{TYPE_AGAIN}"
        ),
    );
    // The right one still works, in groups.
    let groups: Vec<&str> = confirmation_id.split('-').collect();
    let activated = finish(site.command().arg("atp").args(groups));
    assert_eq!(stderr(&activated), "");
    assert!(activated.status.success());
}

#[test]
fn a_confirmation_id_for_another_installation_id_is_refused() {
    let mut site = Site::installed();
    let confirmation_id = site.confirmation_id();
    let before = site.installation_id();
    assert!(site.install(&site.key.reveal(), &site.pack).status.success());
    assert_eq!(site.installation_id(), before, "installing again changes nothing");
    assert!(site.run(&["upk"]).status.success());
    assert!(site.install(&site.key.reveal(), &site.pack).status.success());
    let installation_id = site.installation_id();
    assert_ne!(before, installation_id, "a key that was removed gets a new Installation ID");
    let report = format!(
        "error Q105 (0xC004F01F): the Confirmation ID is not for Installation ID {installation_id}, \
         or not for this license pack\n\
         next: read the Installation ID to the phone desk again (`quorate-host dti`); \
         if the vendor has made a newer pack, install it first (`quorate-host ipk`)"
    );
    site.refuses(&["atp", &confirmation_id], &report);
}

#[test]
fn without_a_key_every_command_says_how_to_install_one() {
    let site = Site::installed();
    assert!(site.run(&["upk"]).status.success());
    for command in [&["dti"][..], &["ato"], &["dlv"], &["dlv", "all"], &["upk"], &["atp", "123456"]] {
        site.refuses(command, NO_KEY);
    }
}

/// A mistyped directory is not a host, nor does it become one.
#[test]
fn only_ipk_and_serve_make_a_directory() {
    let site = Site::new();
    let report = format!(
        "error Q605: there is no host in {}\n\
         next: install a host key (`quorate-host ipk KEY --pack FILE`), or name the host's directory with --dir",
        site.host_directory().display()
    );
    for command in [&["dti"][..], &["ato"], &["dlv"], &["dlv", "all"], &["upk"], &["atp", "123456"]] {
        site.refuses(command, &report);
    }
    for command in ["clients", "events"] {
        site.refuses(&[command], &report);
        let refused = site.run(&[command, "--json"]);
        let error: serde_json::Value = serde_json::from_slice(&refused.stderr).unwrap();
        assert_eq!(error["error"]["code"], "Q605", "{error}");
        assert!(refused.stdout.is_empty() && refused.status.code() == Some(1));
    }
    assert!(!site.host_directory().exists());
    drop(site.serve(&[]));
    site.refuses(&["dlv"], NO_KEY);
}

#[test]
fn a_key_that_is_not_here_is_refused() {
    let site = Site::activated();
    let (key, partial) = (site.key.id(), site.key.partial());
    let unknown = |name: &str| {
        format!(
            "error Q103 (0xC004F014): no host key is installed for {name}\n\
             next: name one of: {OFFICE_HOST}, {key}, …{partial}, Contoso Office, KMSHost edition"
        )
    };
    // Somebody may have typed a product key, so the text is not repeated.
    let malformed = "error Q106: what was given is not an activation id, a key id or the last five characters of a key\n\
         next: `quorate-host dlv all` shows those of the installed keys";
    let product_key = site.key.reveal();
    for command in ["dti", "ato", "dlv", "upk"] {
        site.refuses(&[command, OFFICE_STANDARD], &unknown(OFFICE_STANDARD));
        site.refuses(&[command, "00096-000-000009"], &unknown("00096-000-000009"));
        site.refuses(&[command, &product_key[..5]], &unknown("these five characters"));
        site.refuses(&[command, "office"], malformed);
        site.refuses(&[command, &product_key], malformed);
    }
    site.refuses(&["atp", "123456", OFFICE_STANDARD], &unknown(OFFICE_STANDARD));
    site.refuses(&["atp", "123456", "office"], malformed);
    assert_eq!(site.count(), "0");
}

#[test]
fn an_activation_service_that_cannot_be_reached_is_named_with_the_ways_around() {
    let site = Site::installed();
    let report = "the activation service https://127.0.0.1:1 cannot be reached: connection refused; trying again in 1 s\n\
         the activation service https://127.0.0.1:1 cannot be reached: connection refused; trying again in 3 s\n\
         error Q504 (0x80072EE7): the activation service https://127.0.0.1:1 cannot be reached: \
         connection refused\n\
         next: if this network needs a proxy, name it with --proxy or HTTPS_PROXY; or activate by telephone: \
         `quorate-host dti`, then `quorate-host atp`";
    site.refuses(&["ato", "--service", "https://127.0.0.1:1"], report);
    site.refuses(
        &["ato", "--service", "https://127.0.0.1:1", "--proxy", "http://user:secret@127.0.0.1:1"],
        "the activation service https://127.0.0.1:1 cannot be reached through the proxy that is set: connection \
         refused; trying again in 1 s\n\
         the activation service https://127.0.0.1:1 cannot be reached through the proxy that is set: connection \
         refused; trying again in 3 s\n\
         error Q504 (0x80072EE7): the activation service https://127.0.0.1:1 cannot be reached through the proxy \
         that is set: connection refused\n\
         next: check the proxy's URL (--proxy, HTTPS_PROXY, NO_PROXY); or activate by telephone: \
         `quorate-host dti`, then `quorate-host atp`",
    );
}

#[test]
fn a_malformed_service_or_proxy_is_refused_before_anything_is_sent() {
    let site = Site::installed();
    for service in
        ["", "nonsense", "http://activation.contoso.example", "https://", "ftp://127.0.0.1", "https://[::1"]
    {
        let report = format!(
            "error Q507: {service:?} is not the URL of an activation service\n\
             next: write it as in \"https://activation.contoso.example\""
        );
        site.refuses(&["ato", "--service", service], &report);
    }
    for proxy in [
        "",
        "nonsense",
        "proxy:3128",
        "user:secret@proxy",
        "http://",
        "http://proxy:99999",
        "ftp://proxy",
        "::::",
    ] {
        let report =
            "error Q507: the proxy is not given as a URL\nnext: write it as in \"http://proxy.example:3128\"";
        site.refuses(&["ato", "--proxy", proxy], report);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_in_the_place_of_an_activation_service_is_named() {
    let site = Site::installed();
    let tls = |site: &Site| site.vendor.authority().service_tls("127.0.0.1", Clock::system().now()).unwrap();
    let unreachable = |address: SocketAddr, why: &str| {
        let what = format!("the activation service https://{address} cannot be reached: {why}");
        format!(
            "{what}; trying again in 1 s\n{what}; trying again in 3 s\nerror Q504 (0x80072EE7): {what}\n\
             next: if this network needs a proxy, name it with --proxy or HTTPS_PROXY; or activate by \
             telephone: `quorate-host dti`, then `quorate-host atp`"
        )
    };
    let ask = |address: SocketAddr| site.run(&["ato", "--service", &format!("https://{address}")]);

    let mail = service(None, "220 mail.example ESMTP\r\n").await;
    assert_refused(&ask(mail), &unreachable(mail, "received corrupt message of type invalidcontenttype"));

    let plain = service(None, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_refused(&ask(plain), &unreachable(plain, "received corrupt message of type invalidcontenttype"));

    let silent_end = service(Some(tls(&site)), "").await;
    assert_refused(&ask(silent_end), &unreachable(silent_end, "connection closed before message completed"));

    let stranger = service(
        Some(tls(&Site::of_vendor("fabrikam", SERVICE))),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    assert_refused(
        &ask(stranger),
        &format!(
            "error Q201: what answers at https://{stranger} shows a certificate that is not trusted here: its issuer is \
             not known\n\
             next: compare the URL with the name in the certificate; it must chain to the vendor root, or to one that \
             this machine trusts"
        ),
    );

    for (status, answer) in [
        (200, "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<h1>Hello</h1"),
        (200, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"),
        (407, "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"),
        (404, "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found"),
    ] {
        let web = service(Some(tls(&site)), answer).await;
        let report = format!(
            "error Q505: what answers at https://{web} is not an activation service (HTTP status {status})\n\
             next: check the URL; a proxy may have answered in its place"
        );
        assert_refused(&ask(web), &report);
    }
    assert!(site.run(&["dti"]).status.success());
}

/// Something that answers every connection with these words, over TLS or not.
async fn service(tls: Option<rustls::ServerConfig>, words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tls.map(|mut tls| {
        tls.alpn_protocols.clear();
        TlsAcceptor::from(Arc::new(tls))
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The other side may go away at any time.
            let _ = match &acceptor {
                None => stream.write_all(words.as_bytes()).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(mut stream) => {
                        let _ = stream.read(&mut [0; 4096]).await;
                        let _ = stream.write_all(words.as_bytes()).await;
                        stream.shutdown().await
                    }
                    Err(error) => Err(error),
                },
            };
        }
    });
    address
}

const SERVICE: &str = "https://activation.fabrikam.example";
const NO_KEY: &str =
    "error Q103 (0xC004F014): no host key is installed\nnext: `quorate-host ipk KEY --pack FILE`";
const BELONG: &str = "next: use the product key and the license pack that belong together";
const TYPE_AGAIN: &str = "next: type the ID again, eight groups of six digits";
