//! The verify mode: compile although there is a hit, compare, and condemn what differs. The build gets rustc's own result; if that isn't what is
//! stored, the artifact goes out of the store and rustc's takes its place, in the bucket too.
//!
//! `KACHE_VERIFY=always` in the build's environment checks every hit, `sampled` one in sixteen.
//!
//! Compared are exit status, messages and outputs, byte by byte. An incremental library's (or archive's) objects are named by session: their names count
//! without it (`crate.UNIT.SESSION.rcgu.o`), their contents in full, and of the list of those names (`lib.rmeta-link`, since Rust 1.97)
//! nothing. Programs and shared objects of two fresh sessions are equal byte by byte; one whose session went on from an older one is
//! laid out by its history (debug information, mostly), so it isn't compared.

use crate::archive;
use crate::engine::Engine;
use crate::question::Question;
use kache_model::{Artifact, Digest, Output, Role, Spelling, Stays};
use kache_proto::{Report, Status};
use kache_rustc::Env;
use kache_store::Held;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which hits are compiled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyMode {
    /// None.
    Off,
    /// One in sixteen.
    Sampled,
    /// All.
    Always,
}

impl VerifyMode {
    /// What the build asks for.
    pub(crate) fn of(env: &Env) -> Self {
        match env.get("KACHE_VERIFY") {
            Some("always" | "1") => Self::Always,
            Some("sampled") => Self::Sampled,
            _ => Self::Off,
        }
    }

    /// Whether this hit is one of them.
    pub(crate) fn picks(self) -> bool {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Off => false,
            Self::Sampled => NEXT.fetch_add(1, Ordering::Relaxed).is_multiple_of(16),
            Self::Always => true,
        }
    }
}

/// What sets the result that rustc just made apart from the one that is stored; empty if nothing does.
pub(crate) fn compare(engine: &Engine, question: &Question, held: &Held, report: &Report, continued_session: bool) -> Vec<String> {
    let stored = held.artifact();
    let mut differences = Vec::new();
    if report.status != Status::Code(stored.status) {
        differences.push(format!("exit status {:?}, stored {}", report.status, stored.status));
    }
    let hide = |text: &[u8], spelling| question.compile.hide_name(question.compile.hide_roots(&question.roots, text, spelling));
    let said = [
        ("stdout", hide(&report.stdout, Spelling::Plain), &stored.stdout),
        ("stderr", hide(&report.stderr, question.compile.spelling()), &stored.stderr),
    ];
    differences.extend(said.into_iter().filter(|(_, now, then)| now != *then).map(|(name, ..)| format!("{name} differs")));
    // The inside of a probe with a random name is another draw each time.
    if question.compile.keyed_name() == question.compile.crate_name {
        let sessions = Sessions { incremental: question.inputs.incremental, fresh: !continued_session && stored.stays == Stays::No };
        differences.extend(question.compile.expected_outputs().iter().filter_map(|expected| {
            let path = question.out_dir().join(&expected.name);
            difference(engine, held, stored, sessions, (expected.role, &expected.name), &path)
        }));
    }
    for difference in &differences {
        tracing::warn!(krate = %question.compile.crate_name, unit = %question.unit, %difference, "verify: the stored artifact differs");
    }
    differences
}

/// What shaped both results.
#[derive(Clone, Copy)]
struct Sessions {
    incremental: bool,
    /// Both were begun from nothing.
    fresh: bool,
}

fn difference(
    engine: &Engine,
    held: &Held,
    stored: &Artifact,
    sessions: Sessions,
    (role, name): (Role, &str),
    path: &Path,
) -> Option<String> {
    // What rustc didn't leave, the exit status tells.
    let (_, digest) = engine.files.digest(path).ok()??;
    let Some(index) = stored.outputs.iter().position(|output| output.name == name) else { return Some(format!("{name} isn't stored")) };
    let output: &Output = &stored.outputs[index];
    if output.blob.0 == digest {
        return None;
    }
    if sessions.incremental && matches!(role, Role::Rlib | Role::Staticlib) {
        return match same_members(engine, held, index, path) {
            Ok(true) => None,
            Ok(false) => Some(format!("{name} differs in its members")),
            Err(error) => Some(format!("{name} can't be compared: {error}")),
        };
    }
    if sessions.incremental && !sessions.fresh && role != Role::Metadata {
        tracing::debug!(%name, "verify: shaped by its session's history, not compared");
        return None;
    }
    Some(format!("{name} differs"))
}

fn same_members(engine: &Engine, held: &Held, index: usize, path: &Path) -> io::Result<bool> {
    let scratch = engine.store.scratch();
    let mut blob = engine.store.open_output(held, index).map_err(io::Error::other)?;
    io::copy(&mut blob, &mut std::fs::File::create(scratch.path())?)?;
    Ok(normal(archive::digests(scratch.path())?) == normal(archive::digests(path)?))
}

/// Members without their session, in order.
fn normal(members: Vec<(String, Digest)>) -> Vec<(String, Option<Digest>)> {
    let mut members: Vec<_> = members.into_iter().map(|(name, digest)| (without_session(&name), Some(digest))).collect();
    for (name, digest) in &mut members {
        if name == "lib.rmeta-link" {
            *digest = None;
        }
    }
    members.sort();
    members
}

/// `crate.UNIT.rcgu.o` for `crate.UNIT.SESSION.rcgu.o`.
fn without_session(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        [krate, unit, _session, "rcgu", "o"] => format!("{krate}.{unit}.rcgu.o"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_compared_by_their_members_whatever_the_session_is_called() {
        let library = |session: &str, code: &[u8]| {
            let member = |name: String, bytes: &[u8]| (name, Digest::of(bytes));
            normal(vec![
                member(format!("l-1.02fo9ukd4pv0.{session}.rcgu.o"), code),
                member(format!("l-1.0coq21nem433.{session}.rcgu.o"), b"other"),
                member("lib.rmeta".to_owned(), b"metadata"),
                member("lib.rmeta-link".to_owned(), session.as_bytes()),
            ])
        };
        assert_eq!(library("0j1yq6z", b"code"), library("0bvc6k2", b"code"));
        assert_ne!(library("0j1yq6z", b"code"), library("0bvc6k2", b"cods"));
        assert_eq!(without_session("l.l.cgu.0.rcgu.o"), "l.l.cgu.0.rcgu.o");
    }
}
