//! A telephony platform, which carries calls: it asks the service for what it shall do, signs what it asks, and does what
//! it is told.

use crate::common::web::{Web, content_type};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion, escape};
use quorate_core::confirmation_id::ConfirmationId;
use reqwest::{Method, Response};
use std::collections::BTreeMap;

/// A telephony platform that has been told to ask the service for what it shall do.
#[derive(Clone, Copy)]
pub struct Platform<'w> {
    pub web: &'w Web,
    /// Whether it tells of a key that ended a group without any digit.
    pub tells_of_the_star: bool,
}

/// A call that the platform carries.
pub struct OngoingCall<'w> {
    platform: Platform<'w>,
    pub step: Step,
    pub urls: Vec<String>,
}

/// What the platform was told to do.
#[derive(Default)]
pub struct Step {
    pub says: Vec<String>,
    pub gather: Option<Gather>,
    pub redirect: Option<String>,
    pub hangs_up: bool,
}

pub struct Gather {
    keys: usize,
    finish: String,
    action: String,
}

impl<'w> Platform<'w> {
    pub fn new(web: &'w Web) -> Self {
        Self { web, tells_of_the_star: true }
    }

    /// Somebody calls.
    pub async fn call(self) -> OngoingCall<'w> {
        let mut call = OngoingCall { platform: self, step: Step::default(), urls: Vec::new() };
        call.go(PUBLIC.to_owned(), None, None).await;
        call
    }

    /// Asks a URL by the way that the vendor's proxy has set up.
    pub async fn send(&self, url: &str, body: &[u8], signature: Option<String>) -> Response {
        let path = url.strip_prefix(BASE).unwrap_or_else(|| panic!("{url} is not the service's"));
        let request = self.web.client.request(Method::POST, self.web.url(path));
        let request =
            request.header("Content-Type", "application/x-www-form-urlencoded").body(body.to_owned());
        let request = match signature {
            Some(signature) => request.header("X-Twilio-Signature", signature),
            None => request,
        };
        request.send().await.unwrap()
    }
}

impl OngoingCall<'_> {
    /// Asks what to do next.
    pub async fn go(&mut self, url: String, digits: Option<&str>, finish: Option<char>) {
        let mut fields = fields(digits);
        fields.extend(finish.map(|key| ("FinishedOnKey".to_owned(), key.to_string())));
        let answer = self.platform.send(&url, &body(&fields), Some(sign(SECRET, &url, &fields))).await;
        assert_eq!(
            (answer.status().as_u16(), content_type(&answer)),
            (200, "text/xml; charset=utf-8".to_owned())
        );
        assert_eq!(answer.headers()["cache-control"], "no-store");
        self.step = Step::read(&answer.text().await.unwrap());
        self.urls.push(url);
    }

    /// The caller types these keys, one after the other, until there are enough; then, or when he stops, the call goes
    /// on as the platform was told.
    pub async fn types(&mut self, keys: &str) {
        let gather = self.step.gather.take().unwrap_or_else(|| panic!("not asked: {:?}", self.step.says));
        let ends = |key: char| gather.finish.contains(key);
        let digits: String = keys.chars().take_while(|key| !ends(*key)).take(gather.keys).collect();
        let finish = keys.chars().nth(digits.len()).filter(|key| ends(*key));
        match digits.is_empty() && !(finish.is_some() && self.platform.tells_of_the_star) {
            false => self.go(gather.action, Some(&digits), finish).await,
            true => {
                let redirect = self.step.redirect.take().unwrap();
                self.go(redirect, None, None).await;
            }
        }
    }

    pub async fn types_all(&mut self, groups: &[String]) {
        for group in groups {
            self.types(group).await;
        }
    }

    #[track_caller]
    pub fn hears(&self, beginning: &str) {
        assert!(self.step.says[0].starts_with(beginning), "{:?}", self.step.says);
    }

    /// The eight groups, as somebody writes them down who hears them in one go.
    #[track_caller]
    pub fn confirmation_id(&self) -> Vec<String> {
        let [_, groups @ .., _] = self.step.says.as_slice() else { panic!("{:?}", self.step.says) };
        let letters = ConfirmationId::LETTERS.iter();
        let written = letters.zip(groups).map(|(letter, said)| {
            let digits =
                said.strip_prefix(&format!("Group {letter}: ")).and_then(|said| said.strip_suffix('.'));
            digits.unwrap().replace(", ", "")
        });
        assert_eq!(groups.len(), 8);
        written.collect()
    }

    /// A group, as somebody writes it down who hears it digit by digit.
    pub fn slow_group(&self) -> String {
        let [letter, digits @ .., _] = self.step.says.as_slice() else { panic!("{:?}", self.step.says) };
        assert!(letter.starts_with("Group "), "{letter}");
        digits.concat()
    }
}

impl Step {
    /// Reads TwiML, strictly: an element or an attribute that is not known here is a mistake.
    pub fn read(text: &str) -> Self {
        let (mut step, mut reader) = (Self::default(), Reader::from_str(text));
        let (mut inside, mut words) = (Vec::new(), String::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Decl(_) => assert!(inside.is_empty()),
                Event::Start(start) => {
                    inside.push(start.name().as_ref().to_owned());
                    words.clear();
                    step.begins(&inside, &attributes(&start));
                }
                Event::Empty(start) => {
                    inside.push(start.name().as_ref().to_owned());
                    step.begins(&inside, &attributes(&start));
                    inside.pop();
                }
                Event::Text(text) => words += &text.xml10_content(),
                Event::GeneralRef(name) => words += &format!("&{};", name.xml10_content()),
                Event::End(_) => {
                    let words = escape::unescape(&words).unwrap().into_owned();
                    match inside.pop().as_deref() {
                        Some("Say") => step.says.push(words),
                        Some("Redirect") => step.redirect = Some(words),
                        _ => {}
                    }
                }
                Event::Eof => break,
                event => panic!("{event:?}"),
            }
        }
        assert!(inside.is_empty() && step.gather.is_some() == step.redirect.is_some());
        // Silence and keys lead to the same place.
        assert!(step.gather.as_ref().is_none_or(|gather| Some(&gather.action) == step.redirect.as_ref()));
        assert!(step.hangs_up != step.gather.is_some());
        step
    }

    fn begins(&mut self, inside: &[String], attributes: &BTreeMap<String, String>) {
        let attribute = |name: &str| attributes[name].as_str();
        let named: Vec<&str> = attributes.keys().map(String::as_str).collect();
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        match inside.as_slice() {
            ["Response"] => assert!(named.is_empty()),
            ["Response", "Gather"] => {
                let known = [
                    "action",
                    "actionOnEmptyResult",
                    "finishOnKey",
                    "input",
                    "method",
                    "numDigits",
                    "timeout",
                ];
                assert_eq!(named, known);
                assert_eq!(attribute("actionOnEmptyResult"), "true");
                assert_eq!((attribute("input"), attribute("method")), ("dtmf", "POST"));
                assert_eq!(attribute("timeout"), "10");
                self.gather = Some(Gather {
                    keys: attribute("numDigits").parse().unwrap(),
                    finish: attribute("finishOnKey").to_owned(),
                    action: attribute("action").to_owned(),
                });
            }
            ["Response", "Gather", "Say"] | ["Response", "Say"] => assert_eq!(attribute("language"), "en-GB"),
            ["Response", "Gather", "Pause"] => assert_eq!(attribute("length"), "1"),
            ["Response", "Redirect"] => assert_eq!(attribute("method"), "POST"),
            ["Response", "Hangup"] => self.hangs_up = true,
            _ => panic!("{inside:?}"),
        }
    }
}

fn attributes(start: &BytesStart<'_>) -> BTreeMap<String, String> {
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.unwrap();
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap().into_owned();
        (attribute.key.as_ref().to_owned(), value)
    });
    attributes.collect()
}

/// What a platform sends with each request.
pub fn fields(digits: Option<&str>) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::from(
        [
            ("CallSid", "CA00000000000000000000000000000001"),
            ("AccountSid", "AC00000000000000000000000000000001"),
            ("From", FROM),
            ("To", "+441632960961"),
            ("CallStatus", "in-progress"),
            ("CallerName", "Grüße & Co = 100%"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    fields.extend(digits.map(|digits| ("Digits".to_owned(), digits.to_owned())));
    fields
}

pub fn body(fields: &BTreeMap<String, String>) -> Vec<u8> {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes()
}

/// The signature as platforms make it: of the URL and of each name and value, by the order of the names.
pub fn sign(secret: &str, url: &str, fields: &BTreeMap<String, String>) -> String {
    let fields: String = fields.iter().flat_map(|(name, value)| [name.as_str(), value]).collect();
    hmac_sha1(secret, format!("{url}{fields}").as_bytes())
}

pub fn hmac_sha1(secret: &str, message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    BASE64.encode(hmac::sign(&key, message))
}

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const FROM: &str = "+441632960960";
/// Where the service is reached, as it has been set up.
pub const BASE: &str = "https://127.0.0.1:8443/quorate";
/// Where the platform has been told to ask.
pub const PUBLIC: &str = "https://127.0.0.1:8443/quorate/voice";
