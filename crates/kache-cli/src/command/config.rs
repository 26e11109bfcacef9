//! `kache config`: what the configuration says, where it stands, and whether it is right.
//!
//! It is the configuration of a daemon that is started from here. One that runs already may have been started with other variables.

use super::status::Status;
use crate::args::ConfigQuestion;
use crate::error::Error;
use crate::show::DIM;
use crate::{outdated, place, show};
use kache_config::{Config, Files, Setting};
use std::fmt::Write as _;
use std::process::ExitCode;

pub(crate) fn run(question: &ConfigQuestion) -> Result<ExitCode, Error> {
    match question {
        ConfigQuestion::Show { json: true } => show::answer(json(&place::config()?.settings())?),
        ConfigQuestion::Show { json: false } => show_all(&place::config()?),
        ConfigQuestion::Path => show::answer(paths()),
        ConfigQuestion::Check => check(&place::config()?),
    }
    Ok(ExitCode::SUCCESS)
}

fn show_all(config: &Config) {
    show::answer(table(&config.settings()));
    // What a running daemon has to add; one that isn't there or doesn't answer has nothing.
    let status = place::client().and_then(|client| client.get_json::<Status>("/v1/status"));
    if let Some(keys) = status.ok().and_then(|status| outdated::settings(&status)) {
        show::note(keys);
    }
}

fn table(settings: &[Setting]) -> String {
    let width = |of: fn(&Setting) -> &str| settings.iter().map(|setting| of(setting).chars().count()).max().unwrap_or(0);
    let (names, values) = (width(|setting| &setting.name), width(|setting| &setting.value));
    let mut out = String::new();
    for Setting { name, value, origin } in settings {
        let _ = writeln!(out, "{name:<names$}  {value:<values$}  {DIM}{origin}{DIM:#}");
    }
    out.truncate(out.trim_end().len());
    out
}

fn json(settings: &[Setting]) -> Result<String, Error> {
    let item = |Setting { name, value, origin }: &Setting| serde_json::json!({"name": name, "value": value, "origin": origin.to_string()});
    serde_json::to_string(&settings.iter().map(item).collect::<Vec<_>>()).map_err(|error| Error::Setup(error.to_string()))
}

/// The files, in order of rising weight.
fn paths() -> String {
    let files = Files::from_environment(&place::environment());
    let line = |file: &std::path::PathBuf| format!("{}{}", file.display(), if file.exists() { "" } else { "  (absent)" });
    files.paths().iter().map(line).collect::<Vec<_>>().join("\n")
}

fn check(config: &Config) {
    for variable in &config.unknown_variables {
        show::warning(format_args!("unknown variable {variable}"));
    }
    for notice in &config.notices {
        show::warning(notice);
    }
    show::answer(format_args!("the configuration is good ({} read)", show::count(config.files.len() as u64, "file", "files")));
}
