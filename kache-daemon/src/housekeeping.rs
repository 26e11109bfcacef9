//! The store as people keep house in it, over HTTP: what it holds, and letting go of some of it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/artifacts?crate=NAME` | what the store holds (of one crate), most recently used first |
//! | `POST /v1/gc?max_bytes=N&max_age_secs=N&dry_run=1` | evicts what is too old and too much; without a limit, the configured one counts |
//! | `POST /v1/purge?crate=NAME&dry_run=1` | evicts everything (of one crate) |
//! | `POST /v1/verify?repair=1` | re-hashes the store; evicts what can't be restored |
//!
//! `dry_run` says what would go and lets nothing go. `kache` answers the same from a store that it holds itself.

use kache_model::ArtifactKey;
use kache_store::{Finding as Found, GcLimit, GcReport, Repair, Store, Summary};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a request says behind its `?`.
#[derive(Debug)]
pub(crate) struct Parameters<'a>(BTreeMap<&'a str, &'a str>);

/// A request that can't be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("unknown parameter {0}")]
    Unknown(String),
    #[error("{0}: a number")]
    NoNumber(&'static str),
    #[error(transparent)]
    Store(#[from] kache_store::StoreError),
}

impl<'a> Parameters<'a> {
    /// Reads `query`; names other than `known` are refused.
    pub(crate) fn parse(query: Option<&'a str>, known: &[&str]) -> Result<Self, Refusal> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs: BTreeMap<_, _> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "1"))).collect();
        match pairs.keys().find(|name| !known.contains(name)) {
            Some(name) => Err(Refusal::Unknown((*name).to_owned())),
            None => Ok(Self(pairs)),
        }
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Refusal> {
        self.0.get(name).map(|text| text.parse().map_err(|_| Refusal::NoNumber(name))).transpose()
    }

    fn is_set(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| *value == "1")
    }
}

#[derive(Serialize)]
pub(crate) struct Item {
    key: String,
    package: String,
    #[serde(rename = "crate")]
    crate_name: String,
    output_bytes: u64,
    used_millis: u64,
    pending_upload: bool,
    shareable: bool,
}

impl From<Summary> for Item {
    fn from(summary: Summary) -> Self {
        let Summary { key, package, crate_name, unit: _, output_bytes, used_millis, pending_upload, shareable } = summary;
        Self { key: key.to_string(), package, crate_name, output_bytes, used_millis, pending_upload, shareable }
    }
}

#[derive(Serialize)]
pub(crate) struct Gone {
    artifacts: u64,
    removed_bytes: u64,
    freed_bytes: u64,
}

impl From<GcReport> for Gone {
    fn from(report: GcReport) -> Self {
        let GcReport { artifacts, removed_bytes, freed_bytes } = report;
        Self { artifacts, removed_bytes, freed_bytes }
    }
}

#[derive(Serialize)]
pub(crate) struct Verified {
    blobs: u64,
    bytes: u64,
    evicted: u64,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    kind: &'static str,
    what: String,
}

pub(crate) fn list(store: &Store, query: Option<&str>) -> Result<Vec<Item>, Refusal> {
    let parameters = Parameters::parse(query, &["crate"])?;
    let mut items: Vec<Item> = of_crate(store, &parameters).map(Item::from).collect();
    items.reverse();
    Ok(items)
}

pub(crate) fn gc(store: &Store, query: Option<&str>) -> Result<Gone, Refusal> {
    let parameters = Parameters::parse(query, &["max_bytes", "max_age_secs", "dry_run"])?;
    let max_bytes = parameters.number("max_bytes")?.unwrap_or(store.usage().max_bytes);
    let limit = GcLimit { max_bytes, max_age: parameters.number("max_age_secs")?.map(Duration::from_secs) };
    Ok(if parameters.is_set("dry_run") { store.gc_preview(limit) } else { store.gc(limit)? }.into())
}

pub(crate) fn purge(store: &Store, query: Option<&str>) -> Result<Gone, Refusal> {
    let parameters = Parameters::parse(query, &["crate", "dry_run"])?;
    let keys: Vec<ArtifactKey> = of_crate(store, &parameters).map(|summary| summary.key).collect();
    Ok(if parameters.is_set("dry_run") { store.purge_preview(&keys) } else { store.purge(&keys)? }.into())
}

pub(crate) fn verify(store: &Store, query: Option<&str>) -> Result<Verified, Refusal> {
    let parameters = Parameters::parse(query, &["repair"])?;
    let repair = if parameters.is_set("repair") { Repair::Evict } else { Repair::No };
    let report = store.verify(repair, &mut |_| {})?;
    let findings = report.findings.iter().map(|finding| Finding { kind: kind(finding), what: finding.to_string() });
    Ok(Verified { blobs: report.blobs, bytes: report.bytes, evicted: report.evicted, findings: findings.collect() })
}

fn of_crate<'a>(store: &'a Store, parameters: &Parameters<'a>) -> impl Iterator<Item = Summary> + use<'a> {
    let name = parameters.0.get("crate").copied();
    store.artifacts().filter(move |summary| name.is_none_or(|name| summary.is_of(name)))
}

fn kind(finding: &Found) -> &'static str {
    match finding {
        Found::Blob { .. } => "blob",
        Found::Unreadable { .. } => "unreadable",
        Found::Artifact { .. } => "artifact",
        Found::Row { .. } => "row",
    }
}
