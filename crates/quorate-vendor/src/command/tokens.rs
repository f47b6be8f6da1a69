//! `token`: what programs sign in with.

use super::output::Output;
use crate::access::Scope;
use crate::service::Service;
use crate::store::tokens::TokenRecord;
use crate::view::TokenView;
use clap::Subcommand;
use quorate_core::{Interval, Result};
use std::collections::BTreeSet;
use std::io::Write;

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token for a program that uses the interface. It is shown this once: only its hash is kept.
    Add {
        /// What will use it.
        name: String,
        /// What it permits; may be given more than once.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// For how many days it lasts; for ever, unless told.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: Option<u32>,
    },
    /// List the tokens.
    List,
    /// Take a token back.
    Revoke {
        /// Its number, as `token list` shows it.
        #[arg(value_name = "NUMBER")]
        id: i64,
    },
}

impl TokenCommand {
    pub fn run<W: Write>(self, service: &Service, output: &mut Output<'_, W>) -> Result<()> {
        match self {
            Self::Add { name, scopes, days } => {
                let scopes = BTreeSet::from_iter(scopes);
                let (record, token) = service.add_token(&name, &scopes, days.map(Interval::days))?;
                let (about, token) = (TokenView::from(&record), token.reveal());
                output.say(&serde_json::json!({ "about": about, "token": token }), || token.to_owned())
            }
            Self::List => output.list::<_, TokenView>("tokens", &service.tokens()?, line),
            Self::Revoke { id } => {
                let before = service.tokens()?.into_iter().find(|token| token.id == id);
                let record = service.revoke_token(id)?;
                output.say(&TokenView::from(&record), || match before.and_then(|before| before.revoked) {
                    Some(at) => {
                        format!("Token {id} ({}) was taken back {at:.0}; nothing changed.", record.name)
                    }
                    None => format!("Token {id} ({}) is taken back.", record.name),
                })
            }
        }
    }
}

fn line(token: &TokenRecord) -> String {
    let state = match (token.revoked, token.expires) {
        (Some(at), _) => format!("  taken back {at:.0}"),
        (None, Some(at)) => format!("  until {at:.0}"),
        (None, None) => String::new(),
    };
    format!("{:>4}  {:<24} {}{state}", token.id, token.name, token.scopes)
}
