//! The verify mode: compile although there is a hit, compare, say what differs. The build gets rustc's own result.
//!
//! `KACHE_VERIFY=always` in the build's environment checks every hit, `sampled` one in sixteen.

use crate::engine::Engine;
use crate::question::{Interface, Question};
use crate::restore::detach;
use crate::sources::Observed;
use kache_model::{Artifact, Digest, FileStamp, Mentions, Role};
use kache_proto::{Report, Status};
use kache_rustc::Env;
use kache_store::Held;
use std::path::PathBuf;
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

/// Compares what rustc just made with what is stored. `true` if they differ.
pub(crate) fn compare(engine: &Engine, question: &Question, held: &Held, report: &Report) -> bool {
    let stored = held.artifact();
    let mut differences = Vec::new();
    if report.status != Status::Code(stored.status) {
        differences.push(format!("exit status {:?}, stored {}", report.status, stored.status));
    }
    let mut made = Vec::new();
    for expected in question.compile.expected_outputs() {
        let path = question.out_dir().join(&expected.name);
        if question.inputs.incremental && expected.role == Role::Metadata {
            let _best_effort = detach(question, &path);
        }
        if let Ok(Some((stamp, digest))) = engine.files.digest(&path) {
            made.push(Made { path, name: expected.name, role: expected.role, stamp, digest });
        }
    }
    differences.extend(made.iter().filter_map(|made| made.difference(stored, question)));
    let dep_info = question.dep_info_path().and_then(|path| std::fs::read(path).ok());
    if let (Status::Code(0), Some(dep_info)) = (report.status, dep_info) {
        match engine.confirmed(question, Some(&dep_info)) {
            Ok(observed) => remember(engine, question, &observed, stored.mentions, &made),
            Err(reason) => tracing::info!(krate = %question.compile.crate_name, %reason, "verify: unknown to dependents"),
        }
    }
    for difference in &differences {
        tracing::warn!(krate = %question.compile.crate_name, unit = %question.unit, %difference, "verify: the stored artifact differs");
    }
    !differences.is_empty()
}

/// Lets dependents know what was made. The files are rustc's own, so what dependents pin is theirs, not the stored artifact's.
fn remember(engine: &Engine, question: &Question, observed: &Observed, mentions: Mentions, made: &[Made]) {
    let interface = Interface::of(question, |role| made.iter().find(|made| made.role == role).map(|made| made.digest));
    for made in made.iter().filter(|made| matches!(made.role, Role::Metadata | Role::Rlib | Role::SharedObject)) {
        let origin = question.origin(observed.contents, interface, mentions, &observed.linked);
        if made.role == Role::SharedObject {
            engine.spellings.seen_at(made.digest, &made.path);
        }
        engine.outputs.remember(&engine.store, &made.path, made.stamp, Some(made.digest), origin);
    }
}

/// An output that rustc just left.
struct Made {
    path: PathBuf,
    name: String,
    role: Role,
    stamp: FileStamp,
    digest: Digest,
}

impl Made {
    /// How it differs from what is stored.
    fn difference(&self, stored: &Artifact, question: &Question) -> Option<String> {
        // Members of an incremental library are named by session; its metadata says whether it means the same.
        let by_session = question.inputs.incremental && self.role != Role::Metadata;
        // The inside of a probe with a random name is another draw each time.
        let by_chance = question.compile.keyed_name() != question.compile.crate_name;
        if by_session || by_chance {
            return None;
        }
        match stored.outputs.iter().find(|output| output.name == self.name) {
            Some(output) if output.blob.0 == self.digest => None,
            Some(_) => Some(format!("{} differs", self.name)),
            None => Some(format!("{} isn't stored", self.name)),
        }
    }
}
