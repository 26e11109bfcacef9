//! What an invocation leaves behind, and the record that is made of it.

use super::call::{Call, Ended};
use super::open::Open;
use crate::question::Question;
use crate::sources::Read;
use kache_journal::{HidingKey, Kept, Kind, Moved, Record, Seen, Value, record};
use kache_model::{ArtifactKey, Bypass, InputVar, Keying, NotStoredReason, Outcome};
use kache_rustc::{Compile, CrateType, Origin, Shape};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) enum Note {
    /// rustc runs.
    Begun { place: Place, question: Arc<Question> },
    /// An invocation that was understood has ended.
    Ended { place: Place, question: Arc<Question>, end: Box<Ended>, ended: Instant },
    /// One was declined.
    Bypassed { place: Place, call: Arc<Call>, bypass: Bypass, ended: Instant },
    /// What became of a result, behind the last answer.
    Kept { place: Place, key: Option<ArtifactKey>, kept: Kept, not_stored: Option<NotStoredReason> },
    /// One has gone without an end.
    Lost { place: Place },
}

/// Whose invocation it is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) open: Arc<Open>,
    pub(super) number: u64,
    pub(super) came: Instant,
}

impl Note {
    pub(super) fn place(&self) -> &Place {
        match self {
            Self::Begun { place, .. }
            | Self::Ended { place, .. }
            | Self::Bypassed { place, .. }
            | Self::Kept { place, .. }
            | Self::Lost { place } => place,
        }
    }
}

/// The record of an invocation that was understood.
pub(super) fn ended(place: &Place, question: &Question, seen: Arc<Seen>, end: Ended, at: Instant) -> Record {
    let Ended { outcome, rustc, restored, read: _, key, kept, not_stored } = end;
    let compile = &question.compile;
    Record {
        number: place.number,
        package: compile.package.clone(),
        crate_name: compile.keyed_name().to_owned(),
        kind: kind(compile),
        check: is_check(compile),
        outcome,
        bypass: None,
        began_micros: place.open.micros(place.came),
        ended_micros: place.open.micros(at),
        rustc_millis: u64::try_from(rustc.as_millis()).unwrap_or(u64::MAX),
        restored,
        seen: Some(seen),
        key,
        kept,
        not_stored,
        removal: None,
    }
}

/// The record of one that was declined: of it, only the command line is known.
pub(super) fn bypassed(place: &Place, call: &Call, bypass: Bypass, at: Instant) -> Record {
    let request = &call.request;
    let arguments: Vec<&OsStr> = request.argv.iter().map(|argument| argument.as_os_str()).collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| *argument == name)?;
        arguments.get(at + 1)?.to_str().map(str::to_owned)
    };
    let variable =
        |name: &str| request.env.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.to_str().map(str::to_owned));
    let crate_name = after("--crate-name").unwrap_or_default();
    let kind = match after("--crate-type").as_deref() {
        _ if crate_name.starts_with("build_script_") => Kind::BuildScript,
        _ if arguments.iter().any(|argument| *argument == "--test") => Kind::Test,
        Some("lib" | "rlib") => Kind::Lib,
        Some("bin") => Kind::Bin,
        Some("proc-macro") => Kind::ProcMacro,
        _ => Kind::Other,
    };
    let (began, ended) = (place.open.micros(place.came), place.open.micros(at));
    Record {
        number: place.number,
        package: variable("CARGO_PKG_NAME").unwrap_or_else(|| crate_name.clone()),
        crate_name,
        kind,
        check: false,
        outcome: Outcome::Bypass,
        bypass: Some(bypass),
        began_micros: began,
        ended_micros: ended,
        rustc_millis: 0,
        restored: Moved::default(),
        seen: None,
        key: None,
        kept: Kept::No,
        not_stored: None,
        removal: None,
    }
}

pub(crate) fn kind(compile: &Compile) -> Kind {
    match compile.crate_types.first() {
        _ if compile.shape == Shape::Probe => Kind::Probe,
        _ if compile.origin == Origin::Script || compile.crate_name.starts_with("build_script_") => Kind::BuildScript,
        _ if compile.is_proc_macro() => Kind::ProcMacro,
        _ if compile.test => Kind::Test,
        _ if compile.out_dir.ends_with("examples") => Kind::Example,
        Some(CrateType::Bin) => Kind::Bin,
        Some(CrateType::Lib | CrateType::Rlib) => Kind::Lib,
        _ => Kind::Other,
    }
}

fn is_check(compile: &Compile) -> bool {
    compile.shape != Shape::Probe && compile.emit.contains("metadata") && !compile.emit.contains("link")
}

/// What an invocation was keyed by, without what may be a secret.
pub(super) fn seen(question: &Question, read: Option<&Read>, roots: &[String], diagnostics: &[String], hiding: &HidingKey) -> Seen {
    let (inputs, environment) = record::without_values(question.inputs.clone(), hiding);
    let mut seen = Seen {
        unit: question.unit,
        inputs,
        environment,
        toolchain: question.toolchain.version.clone(),
        roots: roots.to_vec(),
        diagnostics: diagnostics.to_vec(),
        ..Seen::default()
    };
    if let Some(Read { set, digests, values, contents }) = read {
        let value = |(var, value): (&InputVar, &Option<String>)| match var.keying {
            Keying::Locator => Value::of(&var.name, value.as_ref().map(|value| question.roots.to_portable(value).0).as_deref(), hiding),
            Keying::Literal => Value::of(&var.name, value.as_deref(), hiding),
        };
        seen.values = set.vars.iter().zip(values).map(value).collect();
        (seen.set, seen.digests) = (set.clone(), digests.clone());
        (seen.content, seen.portable) = (Some(contents.content), Some(contents.portable));
    }
    seen
}
