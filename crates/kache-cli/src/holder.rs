//! Who holds the store: a daemon that runs, or this process, under the store's lock.
//!
//! Promises: both say the same of the same store. A store that doesn't exist isn't made; it is empty.

use crate::client::{Client, parse};
use crate::error::{Error, chain};
use crate::{place, progress};
use indicatif::ProgressBar;
use kache_store::{GcLimit, GcReport, Options, Repair, Store, Summary};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) enum Holder {
    Daemon(Client),
    Here(Box<Store>),
    Nobody,
}

/// An artifact, as `/v1/artifacts` lists it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) package: String,
    #[serde(rename = "crate")]
    pub(crate) crate_name: String,
    pub(crate) output_bytes: u64,
    pub(crate) used_millis: u64,
    pub(crate) pending_upload: bool,
    pub(crate) shareable: bool,
}

/// What went, or would go.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Gone {
    pub(crate) artifacts: u64,
    pub(crate) removed_bytes: u64,
    pub(crate) freed_bytes: u64,
}

/// What a check of the store says.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) evicted: u64,
    pub(crate) findings: Vec<Finding>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
}

/// Whether something is done, or only said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Preview,
    Real,
}

/// How much may stay; what isn't said is as configured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_age: Option<Duration>,
}

impl Holder {
    pub(crate) fn find() -> Result<Self, Error> {
        let client = place::client()?;
        if client.is_up()? {
            return Ok(Self::Daemon(client));
        }
        let cache = place::config()?.cache;
        if !cache.dir.exists() {
            return Ok(Self::Nobody);
        }
        let limit = cache.size_limit().map_err(|source| Error::io(cache.dir.display().to_string(), source))?;
        let store = Store::open(&cache.dir, Options { max_bytes: limit.0 }).map_err(|error| Error::Store(chain(&error)))?;
        Ok(Self::Here(Box::new(store)))
    }

    /// All artifacts, or those of one crate; most recently used first.
    pub(crate) fn list(&self, name: Option<&str>) -> Result<Vec<Item>, Error> {
        match self {
            Self::Daemon(client) => {
                let target = with("/v1/artifacts", [name.map(|name| format!("crate={name}"))]);
                parse(&format!("GET {target}"), &client.get_for(&target, None)?)
            }
            Self::Here(store) => {
                let mut items: Vec<Item> = of_crate(store, name).map(Item::from).collect();
                items.reverse();
                Ok(items)
            }
            Self::Nobody => Ok(Vec::new()),
        }
    }

    /// Lets go of what is too old, and of what is too much.
    pub(crate) fn gc(&self, limits: Limits, mode: Mode) -> Result<Gone, Error> {
        match self {
            Self::Daemon(client) => {
                let bytes = limits.max_bytes.map(|bytes| format!("max_bytes={bytes}"));
                let age = limits.max_age.map(|age| format!("max_age_secs={}", age.as_secs()));
                post(client, &with("/v1/gc", [bytes, age, mode.parameter()]))
            }
            Self::Here(store) => {
                let limit = GcLimit { max_bytes: limits.max_bytes.unwrap_or(store.usage().max_bytes), max_age: limits.max_age };
                match mode {
                    Mode::Preview => Ok(store.gc_preview(limit).into()),
                    Mode::Real => store.gc(limit).map(Gone::from).map_err(|error| Error::Store(chain(&error))),
                }
            }
            Self::Nobody => Ok(Gone::default()),
        }
    }

    /// Lets go of everything, or of all that belongs to one crate.
    pub(crate) fn purge(&self, name: Option<&str>, mode: Mode) -> Result<Gone, Error> {
        match self {
            Self::Daemon(client) => post(client, &with("/v1/purge", [name.map(|name| format!("crate={name}")), mode.parameter()])),
            Self::Here(store) => {
                let keys: Vec<_> = of_crate(store, name).map(|summary| summary.key).collect();
                match mode {
                    Mode::Preview => Ok(store.purge_preview(&keys).into()),
                    Mode::Real => store.purge(&keys).map(Gone::from).map_err(|error| Error::Store(chain(&error))),
                }
            }
            Self::Nobody => Ok(Gone::default()),
        }
    }

    /// Hashes everything again.
    pub(crate) fn verify(&self, repair: Repair, bar: &ProgressBar) -> Result<Verdict, Error> {
        match self {
            Self::Daemon(client) => post(client, &with("/v1/verify", [(repair == Repair::Evict).then(|| "repair=1".to_owned())])),
            Self::Here(store) => {
                let report = store
                    .verify(repair, &mut |progress| progress::at(bar, progress.blobs, progress.all_blobs))
                    .map_err(|error| Error::Store(chain(&error)))?;
                let findings = report.findings.iter().map(|finding| Finding { what: finding.to_string() }).collect();
                Ok(Verdict { blobs: report.blobs, bytes: report.bytes, evicted: report.evicted, findings })
            }
            Self::Nobody => Ok(Verdict::default()),
        }
    }
}

impl Mode {
    fn parameter(self) -> Option<String> {
        (self == Self::Preview).then(|| "dry_run=1".to_owned())
    }
}

impl From<Summary> for Item {
    fn from(summary: Summary) -> Self {
        let Summary { key, package, crate_name, unit: _, output_bytes, used_millis, pending_upload, shareable } = summary;
        Self { key: key.to_string(), package, crate_name, output_bytes, used_millis, pending_upload, shareable }
    }
}

impl From<GcReport> for Gone {
    fn from(report: GcReport) -> Self {
        let GcReport { artifacts, removed_bytes, freed_bytes } = report;
        Self { artifacts, removed_bytes, freed_bytes }
    }
}

fn of_crate<'a>(store: &'a Store, name: Option<&'a str>) -> impl Iterator<Item = Summary> + use<'a> {
    store.artifacts().filter(move |summary| name.is_none_or(|name| summary.is_of(name)))
}

fn post<T: serde::de::DeserializeOwned>(client: &Client, target: &str) -> Result<T, Error> {
    parse(&format!("POST {target}"), &client.post(target, None)?)
}

/// `target` with the parameters that there are.
fn with<const N: usize>(target: &str, parameters: [Option<String>; N]) -> String {
    let parameters: Vec<String> = parameters.into_iter().flatten().collect();
    if parameters.is_empty() { target.to_owned() } else { format!("{target}?{}", parameters.join("&")) }
}
