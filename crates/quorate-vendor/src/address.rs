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
    let url = Url::parse(text).ok()?;
    let typed = text.get(url.scheme().len()..)?.strip_prefix("://")?;
    let typed = typed.split(['/', '?', '#']).next()?;
    let (host, port) = match typed.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (typed, None),
    };
    let is_typed = match (url.host()?, url.host_str()?) {
        // It has many forms, all in brackets.
        (Host::Ipv6(_), _) => host.starts_with('['),
        (_, read) => host.eq_ignore_ascii_case(read),
    };
    let is_typed = is_typed && port != Some("");
    let nobody = url.username().is_empty() && url.password().is_none();
    (is_typed && nobody && url.port() != Some(0)).then_some(url)
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
}
