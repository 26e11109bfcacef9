//! `kache doctor`: looks whether everything is as it should be, a line for each thing, with what to do where it isn't.
//!
//! Promises: changes nothing (but for `--write`, and two small files that are gone afterwards), shows no secret, and its exit code is the worst
//! line's. Each look is bounded in time; a thing that can't be looked at because another is missing is left out.

mod daemon;
mod disk;
mod remote;
mod shim;
mod wrapper;

use crate::args::Doctor;
use crate::client::Client;
use crate::error::Error;
use crate::show::{self, DIM};
use crate::{exit, place, progress};
use anstyle::{AnsiColor, Style};
use kache_config::Config;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warning,
    Problem,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    topic: &'static str,
    level: Level,
    text: String,
    advice: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    worst: Level,
    lines: &'a [Line],
}

impl Line {
    fn ok(topic: &'static str, text: impl Into<String>) -> Self {
        Self { topic, level: Level::Ok, text: text.into(), advice: None }
    }

    fn warning(topic: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { topic, level: Level::Warning, text: text.into(), advice: Some(advice.into()) }
    }

    fn problem(topic: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { topic, level: Level::Problem, text: text.into(), advice: Some(advice.into()) }
    }
}

pub(crate) fn run(options: &Doctor) -> Result<ExitCode, Error> {
    let dir = std::env::current_dir().map_err(|source| Error::io("finding the current directory", source))?;
    let lines = progress::during("looking", |_| examine(&dir, options.write));
    let worst = lines.iter().map(|line| line.level).max().unwrap_or(Level::Ok);
    if options.json {
        let json = serde_json::to_string(&Report { worst, lines: &lines }).map_err(|error| Error::Setup(error.to_string()))?;
        show::answer(json);
    } else {
        show::answer(text(&lines));
    }
    Ok(match worst {
        Level::Ok => ExitCode::SUCCESS,
        Level::Warning => ExitCode::from(exit::WARNED),
        Level::Problem => ExitCode::from(exit::FAILED),
    })
}

fn examine(dir: &Path, write: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let config = configuration(&mut lines);
    lines.extend(programs());
    let client = socket(&mut lines);
    let status = client.as_ref().and_then(|client| daemon::look(client, config.as_ref(), dir, &mut lines));
    lines.extend(wrapper::look(dir));
    if let Some(config) = &config {
        let cache = status.as_ref().map_or_else(|| config.cache.dir.clone(), |status| PathBuf::from(&status.cache_dir));
        lines.extend(disk::look(dir, &cache));
    }
    if let (Some(client), Some(status)) = (&client, &status) {
        lines.extend(remote::look(client, config.as_ref(), status, write));
    } else if config.as_ref().is_some_and(|config| config.cache.remote.is_some()) {
        lines.push(Line::warning("bucket", "not looked at: kached isn't running", "start it, then ask again"));
    }
    lines
}

fn configuration(lines: &mut Vec<Line>) -> Option<Config> {
    let config = match place::config() {
        Ok(config) => config,
        Err(error) => {
            lines.push(Line::problem("config", error.to_string(), "correct it; `kache config path` says which files are read"));
            return None;
        }
    };
    lines.push(Line::ok("config", format!("{} read", show::count(config.files.len() as u64, "file", "files"))));
    for variable in &config.unknown_variables {
        lines.push(Line::warning("config", format!("unknown variable {variable}"), "unset it, or correct its name"));
    }
    for notice in &config.notices {
        lines.push(Line::warning("config", notice, "see `kache config show`"));
    }
    Some(config)
}

fn programs() -> Vec<Line> {
    let missing: Vec<Line> = ["kached", "kache-shim"]
        .into_iter()
        .filter_map(|name| place::beside(name).err())
        .map(|error| Line::problem("programs", error.to_string(), "install kache, kached and kache-shim side by side"))
        .collect();
    if !missing.is_empty() {
        return missing;
    }
    let shim = place::beside("kache-shim").ok().and_then(|shim| shim::stranger(&shim));
    if let Some(text) = shim {
        return vec![Line::problem("programs", text, "install kache, kached and kache-shim together")];
    }
    let dir = place::kache().ok().and_then(|kache| Some(kache.parent()?.display().to_string())).unwrap_or_default();
    vec![Line::ok("programs", format!("kache {}, kached and kache-shim in {dir}", env!("CARGO_PKG_VERSION")))]
}

fn socket(lines: &mut Vec<Line>) -> Option<Client> {
    let found = kache_proto::socket_path(|name| std::env::var_os(name));
    match found {
        Ok(path) => {
            let (len, max) = (path.as_os_str().len(), kache_proto::wire::MAX_SOCKET_PATH);
            lines.push(Line::ok("socket", format!("{} ({len} of {max} bytes)", path.display())));
            Some(Client::new(path))
        }
        Err(error) => {
            lines.push(Line::problem("socket", error.to_string(), "builds run without the cache until then"));
            None
        }
    }
}

fn text(lines: &[Line]) -> String {
    const GREEN: Style = AnsiColor::Green.on_default();
    const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
    const RED: Style = AnsiColor::Red.on_default().bold();
    let mut out = String::new();
    for Line { topic, level, text, advice } in lines {
        let (style, name) = match level {
            Level::Ok => (GREEN, "ok"),
            Level::Warning => (YELLOW, "warning"),
            Level::Problem => (RED, "problem"),
        };
        out += &format!("{style}{name:<7}{style:#}  {topic:<8}  {text}\n");
        if let Some(advice) = advice {
            out += &format!("{:19}{DIM}→ {advice}{DIM:#}\n", "");
        }
    }
    let number = |level: Level| lines.iter().filter(|line| line.level == level).count() as u64;
    let summary = match (number(Level::Problem), number(Level::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (0, warnings) => show::count(warnings, "warning", "warnings"),
        (problems, 0) => show::count(problems, "problem", "problems"),
        (problems, warnings) => {
            format!("{}, {}", show::count(problems, "problem", "problems"), show::count(warnings, "warning", "warnings"))
        }
    };
    out + &summary
}
