//! How a command shows what it found: as text, product by product, or as one JSON document at its end.

use crate::activation::{Client, Status};
use quorate_core::license_state::Situation;
use quorate_core::{Code, Error, Result};
use quorate_edge::command_line::{self, Problem, print};
use serde::Serialize;
use serde_json::Value;
use std::io::Write;

/// What stands where a licensed product has no result: a failure takes nothing away.
const HOLDS: &str = "asked without success; the activation holds.";

/// What a command finds for a product, or altogether: what programs read is what people read.
pub trait Found: Serialize {
    /// What stands in the text where a product has no result.
    const NONE: Option<&'static str> = None;

    /// The text; `product` is the product's name, or empty.
    fn text(&self, product: &str) -> String;
}

/// Prints what a command finds.
pub struct Printer<'a, W> {
    out: &'a mut W,
    json: bool,
}

/// What came of a command for one product: a result, an error, or, for a way that was walked in part, both.
pub struct Outcome<T> {
    result: Option<T>,
    error: Option<Error>,
}

impl<'a, W: Write> Printer<'a, W> {
    /// A printer to `out`.
    pub fn new(out: &'a mut W, json: bool) -> Self {
        Self { out, json }
    }

    /// Prints all that a command found.
    pub fn print(&mut self, found: &impl Found) -> Result<()> {
        if self.json { self.document(&json(found)?) } else { print(self.out, &found.text("")) }
    }

    /// Does something for every product and prints what came of it. One that fails keeps no other from its
    /// turn, and each error is told.
    pub fn each<T: Found, O: Into<Outcome<T>>>(
        &mut self,
        clients: &[Client],
        job: impl FnMut(&Client, &Status) -> O,
    ) -> Result<()> {
        self.each_of(clients.iter().map(|client| (client, client.status())), job)
    }

    /// The same for products that have been looked at already.
    pub fn each_of<'c, T: Found, O: Into<Outcome<T>>>(
        &mut self,
        products: impl IntoIterator<Item = (&'c Client, Result<Status>)>,
        mut job: impl FnMut(&Client, &Status) -> O,
    ) -> Result<()> {
        let looked_at = products;
        let (mut products, mut failed) = (Vec::new(), None::<Error>);
        for (client, status) in looked_at {
            let (status, outcome) = match status {
                Ok(status) => {
                    let outcome = job(client, &status).into();
                    (Some(status), outcome)
                }
                Err(error) => (None, Outcome { result: None, error: Some(error) }),
            };
            // As it is now: what was tried may have changed it.
            let is_licensed = |status: Status| status.state.situation == Situation::Licensed;
            let licensed = outcome.result.is_none() && client.status().is_ok_and(is_licensed);
            let sku = status.map(|status| status.sku);
            if self.json {
                products.push(json(&Product {
                    vendor: client.vendor().catalog.vendor.to_string(),
                    application_id: client.store.application().to_string(),
                    sku_id: sku.as_ref().map(|sku| sku.id.to_string()),
                    name: sku.map(|sku| sku.name),
                    result: outcome.result,
                    error: outcome.error.as_ref().map(Problem::from),
                })?);
            } else if let Some(sku) = sku {
                match (&outcome.result, T::NONE) {
                    (Some(found), _) => print(self.out, &found.text(&sku.name))?,
                    (None, Some(none)) => {
                        let none = if licensed { HOLDS } else { none };
                        print(self.out, &format!("{}: {none}", sku.name))?;
                    }
                    (None, None) => {}
                }
            }
            if let Some(error) = outcome.error
                && let Some(earlier) = failed.replace(error)
            {
                self.tell(&earlier);
            }
        }
        if self.json {
            self.document(&json(&Products { products })?)?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Tells an error on standard error: to people, or as one line of JSON.
    pub fn tell(&self, error: &Error) {
        tell(error, self.json);
    }

    fn document(&mut self, value: &Value) -> Result<()> {
        print(self.out, &format!("{value:#}"))
    }
}

/// Tells an error on standard error: to people, or as one line of JSON.
pub fn tell(error: &Error, json: bool) {
    if json {
        command_line::tell_as_json(error);
    } else {
        command_line::tell(error);
    }
}

impl<T> From<Result<T>> for Outcome<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(result) => Self { result: Some(result), error: None },
            Err(error) => Self { result: None, error: Some(error) },
        }
    }
}

impl<T> Outcome<T> {
    /// A result, and what stopped it from being more.
    pub fn partial(result: T, error: Option<Error>) -> Self {
        Self { result: Some(result), error }
    }
}

#[derive(Serialize)]
struct Products {
    products: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Product<T> {
    vendor: String,
    application_id: String,
    sku_id: Option<String>,
    name: Option<String>,
    result: Option<T>,
    error: Option<Problem>,
}

fn json(found: &impl Serialize) -> Result<Value> {
    serde_json::to_value(found).map_err(|error| {
        Error::new(
            Code::Internal,
            format!("a result cannot be written as JSON ({error})"),
            "please report this",
        )
    })
}
