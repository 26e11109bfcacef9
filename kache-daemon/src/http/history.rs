//! What builds did, over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/why?crate=NAME` | the last invocations of a package or crate, explained; 404 if it is unknown |
//! | `GET /v1/report?dir=PATH` | the last build at or above `dir`, else the last of all, in full; 404 if there is none |
//! | `GET /v1/events` | server-sent events from now on; what is under way comes first |
//!
//! The JSON is [`kache_journal::answer`].

use super::{Front, json, text};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;

/// The value of the only parameter that a query may have.
fn parameter(query: Option<&str>, name: &str) -> Result<Option<String>, String> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    match query.split_once('=') {
        Some((found, value)) if found == name && !value.contains('&') => {
            let value = percent_decode_str(value).decode_utf8().map_err(|_| format!("{name}: not UTF-8\n"))?;
            Ok(Some(value.into_owned()))
        }
        _ => Err(format!("expected {name}=…, found {query:?}\n")),
    }
}

pub(super) async fn why(front: &Front, query: Option<&str>) -> Response<Full<Bytes>> {
    let name = match parameter(query, "crate") {
        Ok(Some(name)) => name,
        Ok(None) => return text(StatusCode::BAD_REQUEST, "expected crate=NAME\n"),
        Err(wrong) => return text(StatusCode::BAD_REQUEST, &wrong),
    };
    let unknown = format!("no build that is remembered has asked for a crate {name}\n");
    let journal = Arc::clone(&front.engine.journal);
    answered(tokio::task::spawn_blocking(move || journal.why(&name)).await, &unknown)
}

pub(super) async fn report(front: &Front, query: Option<&str>) -> Response<Full<Bytes>> {
    let dir = match parameter(query, "dir") {
        Ok(dir) => dir,
        Err(wrong) => return text(StatusCode::BAD_REQUEST, &wrong),
    };
    let journal = Arc::clone(&front.engine.journal);
    answered(tokio::task::spawn_blocking(move || journal.report(dir.as_deref())).await, "no build is remembered\n")
}

fn answered<T: Serialize>(found: Result<Option<T>, tokio::task::JoinError>, none: &str) -> Response<Full<Bytes>> {
    match found {
        Ok(Some(found)) => json(&found),
        Ok(None) => text(StatusCode::NOT_FOUND, none),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

pub(super) async fn events(front: &Front) -> Response<BoxBody<Bytes, Infallible>> {
    let journal = Arc::clone(&front.engine.journal);
    let listener = match tokio::task::spawn_blocking(move || journal.listen()).await {
        Ok(listener) => listener,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")).map(BodyExt::boxed),
    };
    let frames = futures_util::stream::unfold(listener, async |mut listener| {
        let event = listener.next().await?;
        Some((Ok(Frame::data(event)), listener))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_one_parameter_and_it_is_decoded() {
        let read = |query| parameter(query, "dir");
        assert_eq!(read(None), Ok(None));
        assert_eq!(read(Some("dir=%2Fa%20b")), Ok(Some("/a b".to_owned())));
        for wrong in ["dir", "other=1", "dir=a&x=1"] {
            assert_eq!(read(Some(wrong)), Err(format!("expected dir=…, found {wrong:?}\n")));
        }
        assert_eq!(read(Some("dir=%ff")), Err("dir: not UTF-8\n".to_owned()));
    }
}
