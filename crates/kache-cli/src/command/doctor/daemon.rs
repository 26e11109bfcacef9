//! The daemon: there, of this version, with this configuration, on this filesystem, and with results that are worth something.

use super::Line;
use crate::client::{Client, SHORT};
use crate::command::status::Status;
use crate::error::Error;
use crate::outdated;
use crate::stats::Stats;
use kache_config::Config;
use serde::Serialize;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A directory as this process sees it.
#[derive(Serialize)]
struct Sight<'a> {
    path: &'a Path,
    device: u64,
    inode: u64,
}

pub(super) fn look(client: &Client, config: Option<&Config>, dir: &Path, lines: &mut Vec<Line>) -> Option<Status> {
    let status: Status = match client.get_json("/v1/status") {
        Ok(status) => status,
        Err(Error::NotRunning { .. }) => {
            let advice = "`kache start` starts it, `kache setup` has it started by the first build";
            lines.push(Line::problem("kached", "isn't running: builds run without the cache", advice));
            return None;
        }
        Err(error) => {
            lines.push(Line::problem("kached", error.to_string(), "`kache stop`, then `kache start`; its log says more"));
            return None;
        }
    };
    let how = if status.activated { ", a service" } else { "" };
    let answers = format!("{} answers (pid {}{how})", status.version, status.pid);
    lines.push(match outdated::version(&status.version) {
        None => Line::ok("kached", answers),
        Some(why) => Line::warning("kached", format!("{answers}, but {why}"), outdated::ADVICE),
    });
    let other_dir = config.map(|config| &config.cache.dir).filter(|dir| dir.as_path() != Path::new(&status.cache_dir));
    if let Some(own) = other_dir {
        let text = format!("its cache directory is {}, this environment's would be {}", status.cache_dir, own.display());
        lines.push(Line::warning("kached", text, "it was started with other settings; if they aren't meant, start it anew"));
    }
    let notices: Vec<String> = status.notices.iter().map(|notice| unsaid(notice, lines)).filter(|notice| !notice.is_empty()).collect();
    lines.extend(notices.into_iter().map(|notice| Line::warning("kached", notice, "see `kache config check`")));
    let outdated = outdated::program(&status).into_iter().chain(outdated::settings(&status));
    lines.extend(outdated.map(|why| Line::warning("kached", why, outdated::ADVICE)));
    lines.extend(status.damaged_libraries.iter().map(|path| {
        let advice =
            "`cargo clean -p` its package in that target directory; a tool that writes in place wants links = \"never\" in [cache]";
        Line::problem("libraries", format!("somebody has written into {path} in place"), advice)
    }));
    lines.extend(filesystem(client, dir));
    lines.extend(results(client));
    Some(status)
}

/// A notice without what a line about the configuration says already.
fn unsaid(notice: &str, lines: &[Line]) -> String {
    let mut said = lines.iter().filter(|line| line.topic == "config").map(|line| line.text.as_str());
    let rest = said.find_map(|text| notice.strip_suffix(text)).unwrap_or(notice);
    rest.trim_end_matches(": ").to_owned()
}

fn filesystem(client: &Client, dir: &Path) -> Option<Line> {
    let meta = std::fs::metadata(dir).ok()?;
    let sight = serde_json::to_string(&Sight { path: dir, device: meta.dev(), inode: meta.ino() }).ok()?;
    Some(match client.post_json::<bool>("/v1/sees", sight, Some(SHORT)) {
        Ok(true) => Line::ok("files", format!("kached sees {} as it is seen here", dir.display())),
        Ok(false) => Line::problem(
            "files",
            format!("kached doesn't see {} as it is seen here: compiles are bypassed", dir.display()),
            "run kached inside the same container or sandbox",
        ),
        Err(error) => Line::warning("files", format!("not looked at: {error}"), "`kache stop`, then `kache start`"),
    })
}

/// What became of the builds' results, if it must not go unnoticed.
fn results(client: &Client) -> Vec<Line> {
    let Ok(stats) = client.get_json::<Stats>("/v1/stats") else { return Vec::new() };
    let advice = "report it with what `kache why` says of the crate; until then, bypass it: [rules.NAME] bypass = true";
    let differed = stats.verify.trouble().map(|text| Line::problem("verify", text, advice));
    let troubles = stats.troubles.into_iter().map(|trouble| Line::warning("results", trouble.text, trouble.advice));
    differed.into_iter().chain(troubles).collect()
}
