//! What the address of a page says, with our errors in place of the framework's.

use super::fault::Fault;
use crate::api::Web;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use quorate_core::{Code, Error};
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// What stands in the path.
pub struct Named<T>(pub T);

impl<T: FromStr> FromRequestParts<Web> for Named<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Fault> {
        let text = Path::<String>::from_request_parts(parts, web).await.ok();
        // It may be a product key in the wrong place, so it is not repeated.
        text.and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(|| nothing_here().into())
    }
}

/// What stands behind the question mark.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Web> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Fault> {
        match Query::<T>::from_request_parts(parts, web).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => {
                let what = format!("the address cannot be read: {}", error.body_text());
                Err(Error::new(Code::RequestInvalid, what, "go to the page by its links and forms").into())
            }
        }
    }
}

/// Nothing has this address.
pub(crate) fn nothing_here() -> Error {
    Error::new(Code::NotFound, "there is nothing at this address", "go on from the first page")
}

/// The address is where a form goes, and no page.
pub(crate) fn no_page() -> Error {
    let what = "this address takes what a form sends, and shows nothing by itself";
    Error::new(Code::RequestInvalid, what, "go back to the form, or on from the first page")
}
