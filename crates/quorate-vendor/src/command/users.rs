//! `user`: who signs in to the portal.

use super::output::Output;
use crate::accounts::Role;
use crate::service::Service;
use crate::store::accounts::AccountRecord;
use crate::view::UserView;
use clap::Subcommand;
use quorate_core::Result;
use quorate_edge::command_line::{or_standard_input, print};
use std::io::Write;
use zeroize::Zeroizing;

#[derive(Subcommand)]
pub enum UserCommand {
    /// Add somebody who signs in. The password is made and shown this once, unless one is given.
    Add {
        /// The name to sign in with; an address for mail is usual.
        name: String,
        /// What he may do.
        #[arg(long)]
        role: Role,
        /// For the role customer: whose keys are shown.
        #[arg(long, value_name = "NAME")]
        customer: Option<String>,
        /// Read the password from a line of standard input.
        #[arg(long)]
        password_from_stdin: bool,
    },
    /// List who signs in.
    List,
    /// Give somebody another password; who is signed in with the old one is so no more.
    Password {
        /// The name.
        name: String,
        /// Read the password from a line of standard input.
        #[arg(long)]
        password_from_stdin: bool,
    },
    /// Close somebody's account.
    Close {
        /// The name.
        name: String,
    },
    /// Open a closed account again.
    Open {
        /// The name.
        name: String,
    },
}

impl UserCommand {
    pub fn run<W: Write>(self, service: &Service, output: &mut Output<'_, W>) -> Result<()> {
        match self {
            Self::Add { name, role, customer, password_from_stdin } => {
                let given = given(password_from_stdin)?;
                let (account, made) = service.add_account(
                    &name,
                    role,
                    customer.as_deref(),
                    given.as_ref().map(|p| p.as_str()),
                )?;
                said(output, &account, made)
            }
            Self::List => output.list::<_, UserView>("users", &service.accounts()?, line),
            Self::Password { name, password_from_stdin } => {
                let given = given(password_from_stdin)?;
                let made = service.set_password(&name, given.as_ref().map(|p| p.as_str()))?;
                let made = made.as_ref().map(|made| made.as_str());
                output.say(&serde_json::json!({ "name": name, "password": made }), || {
                    made.map_or_else(|| format!("{name} has another password."), str::to_owned)
                })
            }
            Self::Close { name } => {
                let account = service.set_closed(&name, true)?;
                output.say(&UserView::from(&account), || format!("{name} cannot sign in any more."))
            }
            Self::Open { name } => {
                let account = service.set_closed(&name, false)?;
                output.say(&UserView::from(&account), || format!("{name} can sign in again."))
            }
        }
    }
}

fn given(from_stdin: bool) -> Result<Option<Zeroizing<String>>> {
    from_stdin.then(|| or_standard_input("-".to_owned()).map(Zeroizing::new)).transpose()
}

fn said<W: Write>(
    output: &mut Output<'_, W>,
    account: &AccountRecord,
    made: Option<Zeroizing<String>>,
) -> Result<()> {
    let made = made.as_ref().map(|made| made.as_str());
    if output.json {
        let document = serde_json::json!({ "user": UserView::from(account), "password": made });
        return output.say(&document, String::new);
    }
    match made {
        Some(password) => print(output.out, password),
        None => print(output.out, &format!("{} can sign in.", account.name)),
    }
}

fn line(account: &AccountRecord) -> String {
    let closed = account.closed.map(|at| format!("  closed {at:.0}")).unwrap_or_default();
    let by = if account.identity.is_some() { "  by OpenID Connect" } else { "" };
    format!("{:<32} {}{by}{closed}", account.name, account.role)
}
