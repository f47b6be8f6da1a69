//! URLs of others that the service asks or tells something: what goes there is secret or signed, so it goes by HTTPS,
//! or stays on this machine.

use quorate_edge::https;

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It holds a user's name.
    UserName,
    /// It is too long, or holds spaces.
    Characters,
    /// What goes there could be read on its way.
    Plain,
    /// It is none.
    NoUrl,
}

/// Finds out whether something may be sent to a URL.
pub(crate) fn check(url: &str) -> Result<(), Flaw> {
    if url.contains('@') {
        return Err(Flaw::UserName);
    }
    if url.len() > 2_000 || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Flaw::Characters);
    }
    match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) if !host(rest).is_empty() => Ok(()),
        (_, Some(_)) if is_plain_here(url) => Ok(()),
        (_, Some(_)) => Err(Flaw::Plain),
        _ => Err(Flaw::NoUrl),
    }
}

/// Whether a URL without TLS leads to this machine.
pub(crate) fn is_plain_here(url: &str) -> bool {
    url.starts_with("http://") && https::is_here(url)
}

/// The host in what follows the scheme.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}
