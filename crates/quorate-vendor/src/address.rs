//! URLs as administrators type them, and as services of others name them.

use quorate_edge::https;
use url::{Host, Url};

/// Reads the URL of something in a network. The standard's parser mends much: it overlooks spaces, guesses slashes, and
/// reads numbers as addresses. A URL here is kept, signed and given on as it was typed, so one that was mended is none.
/// Nor is one with somebody's name or password, which would be kept and given on as well.
pub(crate) fn parse(text: &str) -> Option<Url> {
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return None;
    }
    let (url, typed) = (Url::parse(text).ok()?, Typed::of(text)?);
    let is_typed = match (url.host()?, url.host_str()?) {
        // It has many forms, all in brackets.
        (Host::Ipv6(_), _) => typed.host.starts_with('['),
        (_, host) => typed.host.eq_ignore_ascii_case(host),
    };
    let nobody = url.username().is_empty() && url.password().is_none();
    (is_typed && typed.port != Some("") && nobody && url.port() != Some(0)).then_some(url)
}

/// The pieces of a URL to the letter, as the standard's parser does not keep them.
pub(crate) struct Typed<'a> {
    pub(crate) scheme: &'a str,
    /// An IPv6 address is in brackets, which hold colons.
    pub(crate) host: &'a str,
    pub(crate) port: Option<&'a str>,
    /// The path, and what stands behind it.
    pub(crate) rest: &'a str,
}

impl<'a> Typed<'a> {
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        Some(Self { scheme, host, port, rest })
    }
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It holds a user's name.
    UserName,
    /// It is too long, or holds spaces.
    Characters,
    /// It holds letters that no URL has.
    Letters,
    /// What goes there could be read on its way.
    Plain,
    /// It is none.
    NoUrl,
}

/// Finds out whether something may be sent to a URL of others: it is secret or signed, so it goes by HTTPS, or stays on
/// this machine.
pub(crate) fn check(url: &str) -> Result<(), Flaw> {
    if url.contains('@') {
        return Err(Flaw::UserName);
    }
    if url.len() > 2_000 || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Flaw::Characters);
    }
    if !url.is_ascii() {
        return Err(Flaw::Letters);
    }
    let parsed = parse(url).ok_or(Flaw::NoUrl)?;
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if https::is_here(url) => Ok(()),
        "http" => Err(Flaw::Plain),
        _ => Err(Flaw::NoUrl),
    }
}

/// Whether a URL without TLS leads to this machine.
pub(crate) fn is_plain_here(url: &str) -> bool {
    parse(url).is_some_and(|parsed| parsed.scheme() == "http") && https::is_here(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_mended_is_no_url() {
        for (text, host) in [
            ("https://activation.contoso.example", "activation.contoso.example"),
            ("HTTPS://Activation.Contoso.example:8443/quorate/?a=b#c", "activation.contoso.example"),
            ("https://192.0.2.1:443", "192.0.2.1"),
            ("https://[2001:DB8:0:0::1]:8443/", "[2001:db8::1]"),
            ("http://localhost/a@b", "localhost"),
        ] {
            assert_eq!(parse(text).unwrap().host_str(), Some(host), "{text}");
        }
        for text in [
            "",
            "contoso.example",
            "//contoso.example",
            "https:contoso.example",
            "https:/contoso.example",
            "https:///contoso.example",
            "https:///[::1]",
            "https://",
            "https://:8443",
            "https://contoso.example:",
            "https://192.0.2.1.",
            "https://[::1",
            "https://192.0.2.256",
            "https://0x7f.1",
            "https://a%2eb",
            "https://contosö.example",
            "https://contoso.example:0",
            "https://contoso.example:65536",
            "https://contoso.example\\quorate",
            " https://contoso.example",
            "https://contoso.example/a b",
            "https://contoso\t.example",
            "https://a@a",
            "https://@a",
            "https://a:b@a",
            "mailto:a@b",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_secret_goes_by_https_or_stays_here() {
        for (url, flaw) in [
            ("https://shop.example/hook", None),
            ("http://127.0.0.1:8080/hook", None),
            ("http://[::1]/hook", None),
            ("http://shop.example/hook", Some(Flaw::Plain)),
            ("https://shop.example/a@b", Some(Flaw::UserName)),
            ("https://shop.example/a b", Some(Flaw::Characters)),
            ("https://müller.example/hook", Some(Flaw::Letters)),
            ("ftp://shop.example/hook", Some(Flaw::NoUrl)),
            ("shop.example", Some(Flaw::NoUrl)),
        ] {
            assert_eq!(check(url).err(), flaw, "{url}");
        }
    }
}
