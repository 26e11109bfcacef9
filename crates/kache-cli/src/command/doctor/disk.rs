//! The disks: room for the store, and how its files get into this directory's target directory.

use super::Line;
use crate::cargo_config;
use kache_config::ByteSize;
use kache_store::{PlacedHow, probe_link};
use std::path::{Path, PathBuf};

/// Less than this is hardly enough for one build.
const SCARCE: u64 = 1 << 30;

pub(super) fn look(dir: &Path, cache: &Path) -> Vec<Line> {
    let mut lines = vec![space(cache)];
    let root = workspace(dir);
    if root.as_ref().is_some_and(|root| root.components().count() == 2) {
        let text =
            format!("the workspace's root {} has one component, which can't be told from other text in what is built", dir.display());
        lines.push(Line::warning("paths", text, "move the workspace one directory deeper"));
    }
    let Some(root) = root else { return lines };
    let target = target_of(&root);
    lines.push(link(cache, &target));
    lines
}

fn space(cache: &Path) -> Line {
    let there = existing(cache);
    match rustix::fs::statvfs(there) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("{} free for {}", ByteSize(free), cache.display());
            if free < SCARCE {
                Line::warning("disk", text, "make room, or lower cache.max_size and run `kache gc`")
            } else {
                Line::ok("disk", text)
            }
        }
        Err(error) => Line::problem("disk", format!("{}: {error}", there.display()), "set cache.dir to a directory on a local disk"),
    }
}

fn link(cache: &Path, target: &Path) -> Line {
    if !cache.exists() {
        return Line::ok("links", format!("not looked at: {} doesn't exist yet", cache.display()));
    }
    let to = existing(target);
    match probe_link(cache, to) {
        Ok(PlacedHow::Reflink) => Line::ok("links", format!("{} gets reflinks: no bytes are copied", target.display())),
        Ok(PlacedHow::Hardlink) => Line::ok(
            "links",
            format!("{} gets hard links where they are safe, and copies: no reflinks on this filesystem", target.display()),
        ),
        Ok(PlacedHow::Copy) => Line::warning(
            "links",
            format!("{} gets copies only: it is on another filesystem than {}", target.display(), cache.display()),
            "hits are faster with cache.dir and target directories on one filesystem",
        ),
        Err(error) => Line::warning("links", format!("{}: {error}", to.display()), "both directories have to be writable"),
    }
}

/// The nearest directory from `dir` upwards that has a `Cargo.lock`; else a `Cargo.toml`.
fn workspace(dir: &Path) -> Option<PathBuf> {
    let with = |name: &str| dir.ancestors().find(|dir| dir.join(name).is_file()).map(Path::to_owned);
    with("Cargo.lock").or_else(|| with("Cargo.toml"))
}

fn target_of(root: &Path) -> PathBuf {
    let variable = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"]
        .into_iter()
        .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    let configured = || cargo_config::target_dir(root, |name| std::env::var_os(name));
    root.join(variable.map(PathBuf::from).or_else(configured).unwrap_or_else(|| PathBuf::from("target")))
}

fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}
