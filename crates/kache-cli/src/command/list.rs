//! `kache list`: what the store holds.

use crate::args::List;
use crate::error::Error;
use crate::holder::{Holder, Item};
use crate::show::{self, BOLD};
use kache_config::ByteSize;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn run(options: &List) -> Result<ExitCode, Error> {
    let items = Holder::find()?.list(options.name.as_deref())?;
    if let (false, true, Some(name)) = (options.json, items.is_empty(), &options.name) {
        show::answer(nothing_of(name));
    } else if options.json {
        let json = serde_json::to_string(&items).map_err(|error| Error::Store(error.to_string()))?;
        show::answer(json);
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        show::answer(table(&items, now));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said of a crate that the store doesn't know.
pub(super) fn nothing_of(name: &str) -> String {
    format!("nothing of a crate {name} is stored")
}

fn table(items: &[Item], now_millis: u64) -> String {
    let mut out = String::new();
    let width =
        |heading: &str, of: fn(&Item) -> &str| items.iter().map(|item| of(item).chars().count()).max().unwrap_or(0).max(heading.len());
    let (packages, crates) = (width("Package", |item| &item.package), width("Crate", |item| &item.crate_name));
    if !items.is_empty() {
        let _ = writeln!(out, "{BOLD}{:<packages$}  {:<crates$}  {:>10}  {:>9}{BOLD:#}", "Package", "Crate", "Size", "Used");
    }
    for Item { package, crate_name, output_bytes, used_millis, .. } in items {
        let (size, age) = (ByteSize(*output_bytes), show::age(now_millis.saturating_sub(*used_millis) / 1000));
        let _ = writeln!(out, "{package:<packages$}  {crate_name:<crates$}  {size:>10}  {age:>9}");
    }
    let bytes = items.iter().map(|item| item.output_bytes).sum();
    let _ = write!(out, "{}, {}", show::count(items.len() as u64, "artifact", "artifacts"), ByteSize(bytes));
    out
}
