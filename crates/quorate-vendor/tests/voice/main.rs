//! The automated telephone line, as a telephony platform carries it: whole calls over real HTTPS, each request signed
//! by the platform and each answer followed as it says; and what is refused.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod platform;

use common::web::{Web, client_of, is_problem, parts};
use common::{HOST_KEYS, MAKS, SETUP_KEYS, Vendor, installation_id, vendor_program};
use platform::{FROM, PUBLIC, Platform, SECRET, Step, body, fields, hmac_sha1, sign};
use quorate_core::Timestamp;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::LicensePack;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_edge::files::{self, Access};
use quorate_vendor::store::activations::ActivationFilter;
use quorate_vendor::voice::signature::Secret;
use reqwest::Response;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_a_confirmation_id_that_opens_a_slot() {
    let (vendor, web) = vendor_with_telephone().await;
    let key = vendor.key(HOST_KEYS);
    let pack = vendor.service().pack(key.id(), 2).unwrap();
    let iid = installation_id(&key, 1);
    let groups = groups(&iid);

    let mut call = Platform::new(&web).call().await;
    call.hears("Welcome to the activation line of Contoso Ltd. ");
    call.types(&groups[0]).await;
    call.hears("Group 2, please.");
    call.types(&mistyped(&groups[1])).await;
    call.hears("Group 2 has a typing error. Group 2 again, please.");
    // The caller notices a mistake of his own.
    call.types(&format!("{}*", &groups[1][..4])).await;
    call.hears("Group 2 from its first digit, please.");
    call.types("").await;
    call.hears("Nothing was typed. Group 2, please.");
    for group in &groups[1..] {
        call.types(group).await;
    }
    call.hears("This is your Confirmation ID: ");
    let spoken = call.confirmation_id();
    call.types("1").await;
    assert_eq!(call.confirmation_id(), spoken);
    // Slowly, group by group, the third one twice.
    call.types("2").await;
    let mut slowly = vec![call.slow_group()];
    for keys in ["1", "1", "2", "1", "1", "1", "1", "1"] {
        call.types(keys).await;
        slowly.push(call.slow_group());
    }
    assert_eq!(slowly.remove(3), slowly[2]);
    assert_eq!(slowly, spoken);

    let confirmed: ConfirmationId = spoken.join("-").parse().unwrap();
    let (pack, _) = LicensePack::open(&pack, Timestamp::now()).unwrap();
    assert!(pack.unseal(&confirmed.reveal(&iid, &key.verifier())).is_some());
    // No URL that a platform could log holds the answer.
    assert!(call.urls.len() > 20);
    assert!(!call.urls.iter().any(|url| spoken.iter().any(|group| url.contains(group))));

    // It counts once, however often it is heard, and in another call as well.
    let mut again = Platform::new(&web).call().await;
    again.types_all(&groups).await;
    assert_eq!(again.confirmation_id(), spoken);
    let (service, of_key) =
        (vendor.service(), ActivationFilter { key: Some(key.id()), ..Default::default() });
    let activations = service.activations(&of_key, 9).unwrap();
    assert_eq!((activations.len(), activations[0].how.as_str()), (1, "phone"));
    let entries = service.audit(None, 9).unwrap();
    let who: Vec<&str> =
        entries.iter().filter(|entry| entry.action == "activation").map(|entry| entry.who.as_str()).collect();
    assert_eq!(who, ["telephone line"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_why_not_and_what_to_do() {
    let (vendor, web) = vendor_with_telephone().await;
    let used_up = vendor.key(HOST_KEYS);
    let service = vendor.service();
    service.pack(used_up.id(), 12).unwrap();
    for machine in 1..=6 {
        service.confirm(&installation_id(&used_up, machine)).unwrap();
    }
    let (blocked, without_pack, public) = (vendor.key(MAKS), vendor.key(MAKS), vendor.key(SETUP_KEYS));
    service.block_key(blocked.id()).unwrap();
    let unknown = ProductKey::new(KeyId::new(MAKS, 77).unwrap(), [1; 8]);
    let guessed = |key: &ProductKey| ProductKey::new(key.id(), [9; 8]);

    let nothing = "This Installation ID cannot be activated. The error is Q one oh four. Compare the product key on \
         the machine with the one that you were given, and type all nine groups in their order. Group 1, please.";
    for (key, said) in [
        (
            &used_up,
            "The activations of this product key are used up. Ask the vendor for more. The error is Q four oh three. \
             Goodbye.",
        ),
        (
            &without_pack,
            "The license pack of this product key is used up. Ask the vendor for a new license pack. The error is Q \
             four oh five. Goodbye.",
        ),
        (
            &public,
            "Nothing is activated with this product key by telephone. The error is Q one oh two. Goodbye.",
        ),
        (
            &blocked,
            "This product key is blocked. Ask the vendor why, or for another key. The error is Q four oh two. Goodbye.",
        ),
        // Whoever can't show that he holds a key hears the same, whether there is one, blocked or not.
        (&guessed(&blocked), nothing),
        (&guessed(&used_up), nothing),
        (&unknown, nothing),
    ] {
        let mut call = Platform::new(&web).call().await;
        call.types_all(&groups(&installation_id(key, 99))).await;
        assert_eq!(call.step.says, [said]);
        // Who has mistyped may go on.
        assert_eq!(call.step.hangs_up, said != nothing);
    }
    assert_eq!(service.usage(used_up.id()).unwrap().machines, 6);

    let mut call = Platform::new(&web).call().await;
    for _ in 0..3 {
        call.types("000001").await;
    }
    call.hears("Group 1 was wrong 3 times. ");
    assert!(call.step.hangs_up);
    let mut call = Platform::new(&web).call().await;
    for _ in 0..3 {
        call.types("").await;
    }
    call.hears("Nothing was typed. ");
    assert!(call.step.hangs_up);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_has_not_signed_is_refused() {
    let (vendor, web) = vendor_with_telephone().await;
    let (key, platform) = (vendor.key(HOST_KEYS), Platform::new(&web));
    vendor.service().pack(key.id(), 2).unwrap();
    let groups = groups(&installation_id(&key, 1));
    // The last step before a Confirmation ID is read.
    let url = format!("{PUBLIC}?turn=9&silent=0&wrong=0&groups={}", groups[..8].join("-"));
    let fields = fields(Some(&groups[8]));
    let changed = |name: &str, value: &str| {
        let mut fields = fields.clone();
        fields.insert(name.to_owned(), value.to_owned());
        fields
    };
    let (signed, none) = (sign(SECRET, &url, &fields), BTreeMap::new());
    let begin = format!("{PUBLIC}?turn=9&silent=0&wrong=0&groups={}", groups[..7].join("-"));
    let local = web.url("/voice");
    for (signature, url, fields) in [
        (None, &url, &fields),
        (Some(String::new()), &url, &fields),
        (Some("signed".to_owned()), &url, &fields),
        (Some(sign("another secret of the same length", &url, &fields)), &url, &fields),
        // A request that was recorded, with something else in it.
        (Some(signed.clone()), &url, &changed("Digits", "000000")),
        (Some(signed.clone()), &url, &changed("From", "+15550199")),
        (Some(signed.clone()), &url, &changed("More", "")),
        (Some(signed.clone()), &url, &none),
        (Some(signed.clone()), &begin, &fields),
        (Some(signed.clone()), &PUBLIC.to_owned(), &fields),
        (Some(signed.clone()), &format!("{url}&last=A"), &fields),
        // Signed for the address at which the service happens to listen.
        (Some(sign(SECRET, &local, &fields)), &PUBLIC.to_owned(), &fields),
    ] {
        is_unsigned(platform.send(url, &body(fields), signature).await).await;
    }
    // What is not text was not signed either, whatever the platform took it for.
    let raw = [b"Digits=".as_slice(), &[0xFF, 0xFE]].concat();
    let tag = hmac_sha1(SECRET, &[PUBLIC.as_bytes(), b"Digits", &[0xFF, 0xFE]].concat());
    is_unsigned(platform.send(PUBLIC, &raw, Some(tag)).await).await;
    assert_eq!(vendor.service().usage(key.id()).unwrap().machines, 0);

    let long = vec![b'x'; 64 * 1024 + 1];
    is_problem(
        parts(platform.send(PUBLIC, &long, None).await).await,
        413,
        "Q306",
        "A request lacks a field or carries one that cannot be.",
        "the request has more than 65536 bytes",
        "compare it with the description of the interface (GET /openapi.json)",
    );
    assert_eq!(web.get("/voice").await.status(), 405);

    // A platform that signs with the old secret still is answered as well.
    let old = sign(OLD_SECRET, PUBLIC, &fields);
    assert_eq!(platform.send(PUBLIC, &body(&fields), Some(old)).await.status(), 200);

    // As it was recorded, it is answered again, and counts once; the name by which it comes in does not matter.
    for _ in 0..2 {
        let answer = platform.send(&url, &body(&fields), Some(signed.clone())).await;
        assert_eq!(answer.status(), 200);
    }
    let request = web.client.post(web.url("/voice")).header("Host", "elsewhere.example");
    let request = request.header("X-Twilio-Signature", sign(SECRET, PUBLIC, &fields)).body(body(&fields));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(vendor.service().usage(key.id()).unwrap().machines, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_in_a_signed_request_is_silence_or_a_new_call() {
    let (_vendor, web) = vendor_with_telephone().await;
    let platform = Platform::new(&web);
    let ask = async |url: &str, fields: &BTreeMap<String, String>| {
        platform.send(url, &body(fields), Some(sign(SECRET, url, fields))).await
    };
    let welcome = "Welcome to the activation line";
    for (query, said) in [
        ("", welcome),
        ("?", welcome),
        ("?account=7", welcome),
        ("?turn=1&silent=0&wrong=0&groups=", "Nothing was typed. Group 1, please."),
    ] {
        let answer = ask(&format!("{PUBLIC}{query}"), &BTreeMap::new()).await;
        assert_eq!(answer.status(), 200, "{query}");
        let step = Step::read(&answer.text().await.unwrap());
        assert!(step.says[0].starts_with(said), "{query}: {:?}", step.says);
    }
    for query in ["?turn=x", "?turn=1", "?turn=1&silent=0&wrong=0&groups=000001"] {
        is_problem(
            parts(ask(&format!("{PUBLIC}{query}"), &fields(Some("1"))).await).await,
            400,
            "Q306",
            "A request lacks a field or carries one that cannot be.",
            "the query is not one that this service has given out",
            "let the call begin at the path without a query",
        );
    }
}

/// A star that nothing stands before begins the group again, and is no silence; where the platform does not tell of it, the
/// service cannot.
#[tokio::test(flavor = "multi_thread")]
async fn a_star_alone_is_no_silence() {
    let (_vendor, web) = vendor_with_telephone().await;
    let platform = Platform::new(&web);
    let mut call = platform.call().await;
    for _ in 0..4 {
        call.types("*").await;
        call.hears("Group 1 from its first digit, please.");
    }
    call.types("").await;
    call.hears("Nothing was typed. Group 1, please.");
    let mut call = Platform { tells_of_the_star: false, ..platform }.call().await;
    call.types("*").await;
    call.hears("Nothing was typed. Group 1, please.");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_line_without_a_secret() {
    let vendor = Vendor::new();
    let web = Web::serve(&vendor).await;
    let signed = Platform::new(&web).send(PUBLIC, &[], Some(sign(SECRET, PUBLIC, &BTreeMap::new()))).await;
    assert_eq!(parts(signed).await.0, 404);
}

/// The program itself: it refuses a secret that is none, and neither that nor any number of a call is in its log.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_keeps_its_secrets() {
    let vendor = telephone_vendor();
    let key = vendor.key(HOST_KEYS);
    vendor.pack(key.id(), 1).succeeds();
    let file = vendor.path("voice-secret");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--voice-secret-file", file.to_str().unwrap()];
    vendor.run(&serve).fails(
        &format!("Q601: {} cannot be read: no such file or directory", file.display()),
        "check the path",
    );
    let write = |content: &str| files::write(&file, content.as_bytes(), Access::Private).unwrap();
    write("hunter2\n");
    vendor.run(&serve).fails(
        &format!(
            "Q209 (0x8007000D): {} holds fewer than 16 characters in line 1, which could be guessed",
            file.display()
        ),
        "put the secret that the telephony platform signs with into the file, alone on a line",
    );
    write(&format!("{SECRET}\n"));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    vendor.run(&serve).fails(
        &format!("Q613: {} can be read by others than its owner (mode 644)", file.display()),
        &format!("chmod 600 {}; then let the platform make another secret", file.display()),
    );

    write(&format!("{SECRET}\n"));
    let mut program = vendor_program(&vendor.service_directory())
        .args(serve)
        .env("QUORATE_LOG", "debug")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut log = Vec::new();
    let address = loop {
        let line = lines.next().unwrap();
        let address = line.split_once("listening address=").map(|(_, address)| address.parse().unwrap());
        log.push(line);
        if let Some(address) = address {
            break address;
        }
    };
    let root = vendor.service().authority().root().clone();
    let web = Web { address, client: client_of(&root), root };
    let groups = groups(&installation_id(&key, 1));
    let mut call = Platform::new(&web).call().await;
    call.types_all(&groups).await;
    let spoken = call.confirmation_id();
    let mut refused = Platform::new(&web).call().await;
    refused.types_all(&self::groups(&installation_id(&key, 2))).await;
    refused.hears("The license pack of this product key is used up. ");

    let asked = Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap();
    assert!(asked.success() && program.wait().unwrap().success());
    log.extend(lines);
    let log = log.join("\n");
    assert!(log.contains("confirmed by telephone key=00096-000-000001"), "{log}");
    assert!(log.contains("not confirmed by telephone key=00096-000-000001 code=\"Q405\""), "{log}");
    for number in spoken.iter().chain(&groups).map(String::as_str).chain([SECRET, FROM]) {
        assert!(!log.contains(number), "{number} is in the log:\n{log}");
    }
}

/// A vendor whose service is reached through a proxy that hides its path and its port.
fn telephone_vendor() -> Vendor {
    let vendor = Vendor::nowhere();
    vendor.init("contoso", "https://127.0.0.1:8443/quorate/").succeeds();
    vendor.import(common::EXAMPLE.as_bytes()).succeeds();
    vendor
}

async fn vendor_with_telephone() -> (Vendor, Web) {
    let vendor = telephone_vendor();
    let file = vendor.path("voice-secret");
    files::write(&file, format!("{OLD_SECRET}\n{SECRET}\n").as_bytes(), Access::Private).unwrap();
    let web = Web::serve_with(vendor.service(), Some(Secret::read(&file).unwrap())).await;
    (vendor, web)
}

async fn is_unsigned(answer: Response) {
    assert_eq!(answer.headers().get("www-authenticate"), None);
    is_problem(
        parts(answer).await,
        403,
        "Q702",
        "The token or the role does not permit this.",
        "the request is not signed with the secret of the telephone line",
        "compare the platform's secret with the file of --voice-secret-file, and the URL that it asks with the service's",
    );
}

fn groups(iid: &InstallationId) -> Vec<String> {
    iid.to_string().split('-').map(str::to_owned).collect()
}

/// The group with its last digit wrong.
fn mistyped(group: &str) -> String {
    let last = if group.ends_with('9') { '0' } else { '9' };
    format!("{}{last}", &group[..5])
}

/// Of which the platform has just been given another.
const OLD_SECRET: &str = "fedcba9876543210fedcba9876543210";
