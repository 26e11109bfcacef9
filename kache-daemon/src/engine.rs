//! The way of one invocation, from the shim's question to the artifact in the store. Read this first.
//!
//! ```text
//! ask      judge the command line ......... bypass: rustc runs as if there were no cache
//!          query (-vV, --print) ........... answered from memory
//!          question: toolchain, externs, linker, native libraries → unit key
//!          for each known input set: contents now → artifact key → local store → restore, replay   HIT
//!          lease: somebody compiles this already? wait for it and ask again
//!          look into the bucket, if there is one: fetched → restore, replay                        HIT
//!          plan ........................... the shim runs rustc                                    MISS
//! finish   rustc failed → nothing is stored (a probe's failure is a result like any other, if its source is to blame)
//!          capture what dependents need, then the shim may exit
//! publish  behind the reply: hash, scan for machine-local paths, store
//! ```
//!
//! Everything in here is synchronous and may touch the disk; [`crate::conversation`] calls it from blocking threads. No error of the cache's own
//! leaves this file as anything but a bypass, a miss or a line in the log.

use crate::bucket::{Bucket, Came};
use crate::capture::Captured;
use crate::files::{self, Files};
use crate::foreign::{Around, Foreign};
use crate::inflight::{Entry, InFlights};
use crate::journal::{self, Call, Ended, Journal};
use crate::landings::Landings;
use crate::lease::{Lease, Leases, Waited, Waiter};
use crate::leftovers::Leftovers;
use crate::linker::Linkers;
use crate::load::{Load, Running};
use crate::natives::Natives;
use crate::outputs::{Outputs, Recalled};
use crate::placeholders::Placeholders;
use crate::process;
use crate::queries::Queries;
use crate::question::Question;
use crate::restore::RestoreError;
use crate::settings::{InForce, Settings};
use crate::sources::{NotStored, Read};
use crate::spellings::Spellings;
use crate::stats::Stats;
use crate::toolchain::{Toolchain, ToolchainError, Toolchains};
use crate::verify::{self, VerifyMode};
use kache_journal::{Class, Moved};
use kache_model::{ArtifactKey, Bypass, BypassReason, Digest, Outcome};
use kache_proto::{Plan, Reply, Report, Request, Status, Stdin};
use kache_rustc::{Argfile, Compile, Env, Invocation, Shape, Source, Verdict};
use kache_store::{Held, KnownSet, PlaceError, Store};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Everything that an invocation meets.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) settings: InForce,
    /// The daemon's own path: shims without a standard library hand compiles over to it.
    runner: PathBuf,
    pub(crate) store: Arc<Store>,
    /// What the team shares; opened when a configuration first wants it.
    bucket: OnceLock<Arc<Bucket>>,
    pub(crate) files: Files,
    pub(crate) outputs: Outputs,
    foreign: Foreign,
    pub(crate) linkers: Linkers,
    pub(crate) natives: Natives,
    pub(crate) spellings: Spellings,
    pub(crate) placeholders: Placeholders,
    pub(crate) stats: Stats,
    /// What every invocation came to, for people.
    pub(crate) journal: Arc<Journal>,
    pub(crate) leases: Leases,
    pub(crate) landings: Landings,
    /// Questions that are worked on at one time.
    pub(crate) turns: Semaphore,
    pub(crate) toolchains: Toolchains,
    queries: Queries,
    inflight: InFlights,
    pub(crate) load: Load,
    /// Held by everything that is captured and not yet published.
    being_stored: Arc<()>,
}

/// What becomes of a question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The last word.
    Reply(Reply),
    /// The shim runs rustc and reports.
    Compile(Box<Ticket>, Plan),
    /// Somebody else is making it: wait, then ask again.
    Wait(Waiter),
    /// The team may have it: look, then go on with the question.
    Look(Box<Errand>),
}

/// A question that the local store has no answer to. Dropping it gives the lease back.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) question: Arc<Question>,
    /// The keys that known input sets lead to.
    pub(crate) candidates: Vec<ArtifactKey>,
    lease: Lease,
    waited: bool,
    start: Instant,
}

/// A compile that the shim was told to run. Dropping it gives the lease back.
#[derive(Debug)]
pub(crate) struct Ticket {
    task: Task,
    /// What the daemon took to get here.
    asked: Duration,
    _running: Running,
}

#[derive(Debug)]
enum Task {
    Query(Digest),
    Compile { question: Arc<Question>, lease: Lease, continued_session: bool, leftovers: Leftovers, _inflight: Entry },
    Verify { question: Arc<Question>, read: Box<Read>, held: Held, continued_session: bool, leftovers: Leftovers, _inflight: Entry },
}

impl Engine {
    pub(crate) fn new(settings: Settings, runner: PathBuf, store: Arc<Store>, journal: Arc<Journal>) -> Self {
        Self {
            settings: InForce::new(settings),
            runner,
            store,
            bucket: OnceLock::new(),
            files: Files::default(),
            outputs: Outputs::default(),
            foreign: Foreign::default(),
            linkers: Linkers::default(),
            natives: Natives::default(),
            spellings: Spellings::default(),
            placeholders: Placeholders::default(),
            stats: Stats::new(),
            journal,
            leases: Leases::default(),
            landings: Landings::default(),
            turns: Semaphore::new(2 * std::thread::available_parallelism().map_or(2, usize::from)),
            toolchains: Toolchains::default(),
            queries: Queries::default(),
            inflight: InFlights::default(),
            load: Load::default(),
            being_stored: Arc::default(),
        }
    }

    /// The team's bucket, if there is one and it is to be used.
    pub(crate) fn bucket(&self) -> Option<&Arc<Bucket>> {
        self.bucket.get().filter(|bucket| bucket.is_on())
    }

    /// The same, also while it isn't to be used.
    pub(crate) fn opened_bucket(&self) -> Option<&Arc<Bucket>> {
        self.bucket.get()
    }

    /// Begins to use a bucket. The first one stays for as long as the daemon runs.
    pub(crate) fn use_bucket(&self, bucket: Arc<Bucket>) {
        self.journal.use_bucket(Arc::clone(&bucket));
        let _first = self.bucket.set(bucket);
    }

    /// Artifacts that are captured and not yet published.
    pub(crate) fn being_stored(&self) -> usize {
        Arc::strong_count(&self.being_stored) - 1
    }

    /// Answers a shim.
    pub(crate) fn ask(&self, call: &Arc<Call>, waited: Waited) -> Answer {
        let (start, began) = (Instant::now(), files::now());
        match self.answer(call, waited, start, began) {
            Ok(answer) => answer,
            Err(bypass) => {
                tracing::debug!(%bypass, "bypass");
                self.stats.bypass(&bypass);
                let reply = Reply::Exec { reason: bypass.to_string() };
                call.bypassed(bypass);
                Answer::Reply(reply)
            }
        }
    }

    fn answer(&self, call: &Arc<Call>, waited: Waited, start: Instant, began: i128) -> Result<Answer, Bypass> {
        let request = &call.request;
        same_filesystem(call)?;
        let env: Env = request.env.iter().map(|(name, value)| (name, value)).collect();
        let stdin = match &request.stdin {
            Stdin::NotRead => None,
            Stdin::Bytes(bytes) => Some(bytes.as_slice()),
            Stdin::TooLarge => return Err(Bypass::new(BypassReason::StdinTooLarge, "")),
        };
        let invocation = Invocation { argv: &request.argv, cwd: &request.cwd, env: &env, stdin };
        match kache_rustc::judge(&invocation, &mut |path| std::fs::read(path)) {
            Verdict::Bypass(bypass) => Err(bypass),
            Verdict::Query(query) => {
                let _begun = self.bucket().map(|bucket| bucket.session(self, request, &query.compiler, false));
                let key = query.key(&self.toolchain(&query.compiler, &env, &request.cwd)?.identity);
                if let Some(reply) = self.queries.get(&key) {
                    self.stats.query();
                    return Ok(Answer::Reply(reply));
                }
                let argfiles = snapshots(&query.argfiles);
                let plan = Plan { runner: self.runner.clone(), insert_at: 1, argfiles, capture: true, ..Plan::default() };
                Ok(Answer::Compile(Box::new(Ticket { task: Task::Query(key), asked: start.elapsed(), _running: self.load.begin() }), plan))
            }
            Verdict::Compile(mut compile) => {
                let settings = self.settings.now();
                compile.remapped &= settings.remap;
                self.refuse_open_probe(&compile, request)?;
                let question = Question::new(self, &settings, call, compile, env, began)?;
                Ok(self.find_or_compile(question, waited, start))
            }
        }
    }

    fn find_or_compile(&self, question: Question, before: Waited, start: Instant) -> Answer {
        let mut question = Arc::new(question);
        let waited = before != Waited::No;
        let mut found = if self.placeholders.is_known(&question.unit) { Err(Vec::new()) } else { self.find(&question, waited, start) };
        if found.is_err()
            && (self.placeholders.is_known(&question.unit) || self.placeholders.before(self, &question))
            && let Ok(literal) = question.without_remapping(self)
        {
            question = Arc::new(literal);
            found = self.find(&question, waited, start);
        }
        if let Ok(found) = found {
            return self.hit_or_verify(found, question, start);
        }
        let lease = match self.leases.take(question.lease, question.call.peer, before) {
            Ok(lease) => lease,
            Err(waiter) => return Answer::Wait(waiter),
        };
        // Whoever held the lease until just now may have published.
        match self.find(&question, waited, start) {
            Ok(found) => self.hit_or_verify(found, question, start),
            // What is made over libraries of somebody else's is nowhere but here.
            Err(candidates) if question.session.is_some() && !question.closure.foreign => {
                Answer::Look(Box::new(Errand { question, candidates, lease, waited, start }))
            }
            Err(_) => self.compile(question, lease, start),
        }
    }

    /// Goes on with a question after the look into the bucket.
    pub(crate) fn resume(&self, errand: Errand) -> Answer {
        let Errand { question, candidates: _, lease, waited, start } = errand;
        match self.find(&question, waited, start) {
            Ok(found) => self.hit_or_verify(found, question, start),
            Err(_) => self.compile(question, lease, start),
        }
    }

    fn compile(&self, question: Arc<Question>, lease: Lease, start: Instant) -> Answer {
        tracing::debug!(krate = %question.compile.crate_name, unit = %question.unit, "miss");
        tracing::trace!(inputs = ?question.inputs, "miss");
        let plan = self.plan(&question);
        let continued_session = continues_session(&question);
        question.call.compiles(&question);
        let inflight = self.inflight.begin(&question);
        let leftovers = Leftovers::before(&question);
        let task = Task::Compile { question, lease, continued_session, leftovers, _inflight: inflight };
        Answer::Compile(Box::new(Ticket { task, asked: start.elapsed(), _running: self.load.begin() }), plan)
    }

    /// Looks for an artifact of this question and, unless it is to be verified, restores it. Where there is none: under which keys one would be
    /// found.
    fn find(&self, question: &Arc<Question>, waited: bool, start: Instant) -> Result<Found, Vec<ArtifactKey>> {
        let mut candidates = Vec::new();
        let sets = self.store.known_sets(&question.unit).unwrap_or_else(|error| {
            tracing::warn!(%error, "input sets");
            Vec::new()
        });
        for (index, set) in sets.into_iter().enumerate() {
            let Some(read) = self.read(question, set) else { continue };
            let key = ArtifactKey::derive(&read.contents.content, &read.set, &question.roots, &question.compile.diagnostics());
            let held = match self.store.find(&key) {
                Ok(Some(held)) => held,
                Ok(None) => {
                    candidates.push(key);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%key, %error, "lookup");
                    continue;
                }
            };
            if VerifyMode::of(&question.env).picks() {
                return Ok(Found::Verify(held, Box::new(read)));
            }
            match self.restore(question, read.contents, &held) {
                Ok((reply, restored)) => {
                    let outcome = self.hit_outcome(question, &held, waited);
                    let saved = Duration::from_millis(held.artifact().compile_millis);
                    tracing::debug!(krate = %question.compile.crate_name, %key, outcome = outcome.name(), "hit");
                    self.stats.hit(outcome, restored, saved, start.elapsed());
                    if index > 0 {
                        // The set that hit is the first to be tried next time.
                        self.store.prefer_set(&question.unit, read.set.clone());
                    }
                    question.call.ended(question, Ended::hit(outcome, &held, restored, read));
                    return Ok(Found::Replayed(reply));
                }
                Err(RestoreError::Unexpected(why)) => self.refuse(&key, &why),
                Err(RestoreError::AskerGone) => {
                    tracing::debug!(krate = %question.compile.crate_name, %key, "given up: nobody waits");
                    return Ok(Found::GivenUp);
                }
                Err(RestoreError::Place(PlaceError::Damaged { blob, .. })) => {
                    tracing::warn!(%key, "damaged blob evicted");
                    self.outputs.damaged_blob(blob.0);
                }
                Err(error) => tracing::warn!(%key, %error, "not restored"),
            }
        }
        Err(candidates)
    }

    fn hit_outcome(&self, question: &Question, held: &Held, waited: bool) -> Outcome {
        let came = self.bucket().map(|bucket| bucket.used(question, held.key(), held.artifact(), waited));
        match came {
            Some(Came::Fetched) => Outcome::RemoteHit,
            _ if waited => Outcome::Joined,
            _ => Outcome::LocalHit,
        }
    }

    /// The keys that `sets` lead to as things are now.
    pub(crate) fn keys(&self, question: &Question, sets: Vec<KnownSet>) -> Vec<ArtifactKey> {
        let key = |known: KnownSet| {
            let read = self.read(question, known)?;
            Some(ArtifactKey::derive(&read.contents.content, &read.set, &question.roots, &question.compile.diagnostics()))
        };
        sets.into_iter().filter_map(key).collect()
    }

    fn hit_or_verify(&self, found: Found, question: Arc<Question>, start: Instant) -> Answer {
        match found {
            Found::Replayed(reply) => Answer::Reply(reply),
            Found::GivenUp => Answer::Reply(Reply::Exec { reason: "the build is gone".into() }),
            Found::Verify(held, read) => {
                let plan = self.plan(&question);
                question.call.compiles(&question);
                let inflight = self.inflight.begin(&question);
                let (continued_session, leftovers) = (continues_session(&question), Leftovers::before(&question));
                let task = Task::Verify { question, read, held, continued_session, leftovers, _inflight: inflight };
                Answer::Compile(Box::new(Ticket { task, asked: start.elapsed(), _running: self.load.begin() }), plan)
            }
        }
    }

    fn plan(&self, question: &Question) -> Plan {
        Plan {
            runner: self.runner.clone(),
            extra_args: question.compile.extra_args(&question.roots),
            insert_at: u32::try_from(question.compile.insert_at).unwrap_or(1),
            argfiles: snapshots(&question.compile.argfiles),
            show: question.compile.shown(&question.roots),
            capture: true,
        }
    }

    /// Takes the shim's report. What is returned is to be published behind the reply.
    pub(crate) fn finish(&self, ticket: Ticket, report: Report) -> Option<Captured> {
        let start = Instant::now();
        let Ticket { task, asked, _running } = ticket;
        let success = matches!(report.status, Status::Code(0));
        match task {
            Task::Query(key) => {
                if success && !report.truncated {
                    self.queries.insert(key, report.stdout, report.stderr);
                }
                None
            }
            Task::Verify { question, read, held, continued_session, leftovers, _inflight } => {
                self.stats.hit(Outcome::LocalHit, Moved::default(), Duration::ZERO, asked);
                question.call.ended(&question, Ended::hit(Outcome::LocalHit, &held, Moved::default(), *read));
                // First, for it takes what is compared off the session's inodes, and tells dependents whose files these are.
                let code = if let Status::Code(code) = report.status { code } else { 1 };
                let captured = (code == 0 || question.compile.shape == Shape::Probe)
                    .then(|| self.capture(&question, report.clone(), code, None, continued_session, &leftovers))
                    .transpose();
                let differences = verify::compare(self, &question, &held, &report, continued_session);
                self.stats.verified(&question.compile.crate_name, !differences.is_empty());
                if differences.is_empty() {
                    return None;
                }
                if let Some(bucket) = self.bucket() {
                    bucket.condemn(*held.key());
                }
                if let Err(error) = self.store.evict(held.key()) {
                    tracing::warn!(key = %held.key(), %error, "verify: not evicted");
                }
                captured.map_err(|reason| self.count_not_stored(&question, &reason)).ok().flatten()
            }
            Task::Compile { question, lease, continued_session, leftovers, _inflight } => {
                let rustc = Duration::from_millis(report.wall_millis);
                let code = match report.status {
                    Status::Code(code) if code == 0 || question.compile.shape == Shape::Probe => code,
                    _ => {
                        self.stats.compiled(Outcome::Failed, asked, rustc);
                        question.call.ended(&question, Ended::failed(rustc));
                        return None;
                    }
                };
                let captured = self.capture(&question, report, code, Some(lease), continued_session, &leftovers);
                self.stats.compiled(Outcome::Miss, asked + start.elapsed(), rustc);
                question.call.ended(&question, Ended::miss(rustc, captured.as_ref()));
                captured.map_err(|reason| self.count_not_stored(&question, &reason)).ok()
            }
        }
    }

    /// For what is captured and not yet published.
    pub(crate) fn storing(&self) -> Arc<()> {
        Arc::clone(&self.being_stored)
    }

    /// Publishes behind the reply.
    pub(crate) fn keep(&self, captured: Captured) {
        let question = captured.question();
        match self.publish(captured) {
            Ok((key, kept)) => {
                tracing::debug!(krate = %question.compile.crate_name, %key, "stored");
                self.stats.stored(class(&question));
                question.call.stored(key, kept);
            }
            Err(reason) => {
                self.count_not_stored(&question, &reason);
                question.call.not_stored(&reason);
            }
        }
    }

    fn count_not_stored(&self, question: &Question, reason: &NotStored) {
        tracing::info!(krate = %question.compile.crate_name, %reason, "not stored");
        self.stats.not_stored(class(question), reason.reason(), reason.to_string());
    }

    /// What the library at `path` is: just being made (Cargo starts dependents as soon as the metadata is there), known from an earlier
    /// compile or restore, or made by somebody else. It is known, or damaged.
    pub(crate) fn origin(&self, path: &Path, around: &Around) -> std::io::Result<Recalled> {
        let made = self.inflight.origin(self, path).map_or_else(|| self.outputs.recall(&self.store, &self.files, path), Recalled::Known);
        Ok(match made {
            Recalled::Unknown => Recalled::Known(self.foreign.origin(self, path, around)?),
            Recalled::Known(origin) if origin.foreign && around.gathers() => {
                Recalled::Known(self.foreign.with_code(self, origin, path, around)?)
            }
            known_or_damaged => known_or_damaged,
        })
    }

    pub(crate) fn toolchain(&self, compiler: &Path, env: &Env, cwd: &Path) -> Result<Arc<Toolchain>, Bypass> {
        let identified = self.toolchains.identify(compiler, env, cwd, &self.files, &self.store);
        identified.map_err(|error| match error {
            ToolchainError::Script(path) => Bypass::new(BypassReason::RustcScript, path.display().to_string()),
            error => Bypass::new(BypassReason::UnknownToolchain, error.to_string()),
        })
    }

    /// Without dep-info nobody knows what a compile read, unless its source can't have read anything else.
    fn refuse_open_probe(&self, compile: &Compile, request: &Request) -> Result<(), Bypass> {
        if compile.dep_info_name().is_some() || closed(compile, request) {
            return Ok(());
        }
        Err(Bypass::new(BypassReason::OpenProbe, compile.crate_name.clone()))
    }

    pub(crate) fn is_closed(&self, question: &Question) -> bool {
        closed(&question.compile, &question.call.request)
    }
}

enum Found {
    Replayed(Reply),
    /// There is one, but whoever asked is gone.
    GivenUp,
    Verify(Held, Box<Read>),
}

fn closed(compile: &Compile, request: &Request) -> bool {
    match (&compile.source, &request.stdin) {
        (Source::Stdin, Stdin::Bytes(text)) => kache_rustc::closed_source(text),
        (Source::Stdin, _) => false,
        (Source::Path(path), _) => std::fs::read(request.cwd.join(path)).is_ok_and(|text| kache_rustc::closed_source(&text)),
    }
}

/// A daemon outside a container sees other files under the same names.
fn same_filesystem(call: &Call) -> Result<(), Bypass> {
    let request = &call.request;
    if call.peer.is_none_or(process::shares_our_files) && files::is_at(&request.cwd, request.cwd_id) {
        return Ok(());
    }
    Err(Bypass::new(BypassReason::OtherFilesystem, request.cwd.display().to_string()))
}

/// Whether rustc will go on from an incremental session that is there already.
fn continues_session(question: &Question) -> bool {
    let Some(dir) = &question.compile.incremental else { return false };
    let front = format!("{}-", question.compile.crate_name);
    let entries = std::fs::read_dir(question.absolute(dir)).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&front))
}

/// What rustc is given in place of its `@file`s: the bytes that were judged.
fn snapshots(argfiles: &[Argfile]) -> Vec<(u32, Vec<u8>)> {
    argfiles.iter().filter_map(|file| Some((u32::try_from(file.index).ok()?, file.bytes.clone()))).collect()
}

/// What kind of result it is, of which toolchain.
fn class(question: &Question) -> Class {
    Class { kind: journal::kind(&question.compile), toolchain: question.toolchain.version.clone() }
}
