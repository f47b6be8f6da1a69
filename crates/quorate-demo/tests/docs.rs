//! The documentation holds together: every page is in the book once, and every link within it leads somewhere.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages of `docs`, with their text.
fn pages() -> BTreeMap<String, String> {
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Where the links of a text lead, but for those to other sites.
fn links(text: &str) -> Vec<String> {
    let link = regex::Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let links = link.captures_iter(text).map(|found| found[1].to_owned());
    links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
}

/// The anchors of a page, as the book and most viewers make them of its headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_page_is_in_the_book_once() {
    let pages = pages();
    let listed = links(&pages["SUMMARY.md"]);
    for name in pages.keys().filter(|name| *name != "SUMMARY.md") {
        assert_eq!(listed.iter().filter(|link| *link == name).count(), 1, "{name}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let docs = root().join("docs");
    let mut texts: Vec<(PathBuf, String, String)> =
        pages().into_iter().map(|(name, text)| (docs.clone(), name, text)).collect();
    for name in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        texts.push((root(), name.to_owned(), text));
    }
    let mut checked = 0;
    for (directory, name, text) in &texts {
        for link in links(text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { directory.join(name) } else { directory.join(file) };
            assert!(target.exists(), "{name}: {link}");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(anchors(&text).iter().any(|known| known == anchor), "{name}: {link}");
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}
