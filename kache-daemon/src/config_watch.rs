//! The configuration's files, watched while the daemon runs.
//!
//! Promises: a build that begins after a file was written is answered by what stands there; a question that is being worked on ends under the
//! settings under which it began; a file that can't be used changes nothing at all and is named in [`ConfigWatch::notices`] until it is mended.
//!
//! Watching is a `stat` of each file once a second, and once for every process that asks for the first time. That is a few microseconds, and it is
//! right where a notification is not: behind symlinks (people keep such files in a repository of theirs), on network filesystems, and for
//! directories that don't exist yet. Editors empty a file before they fill it, or take it away before they put the new one there: so a change counts
//! when it stands still for [`SETTLE`].

use crate::bucket;
use crate::engine::Engine;
use crate::log::{Log, LogError};
use crate::settings::Settings;
use kache_config::{Change, Config, ConfigError, Environment, Files, RemoteConfig, RemoteMode};
use kache_proto::Parent;
use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a file has to stay as it is before it is read.
const SETTLE: Duration = Duration::from_millis(50);
/// Looks for a file that stays as it is; one that is written all the time is read at the next occasion.
const MAX_LOOKS: usize = 20;
/// Processes that are remembered to have asked before.
const KNOWN: usize = 64;

/// A new configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefusedConfig {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("[cache.remote]: {0}")]
    Remote(#[from] kache_remote::RemoteError),
    #[error("size of the disk below {dir}: {source}")]
    Disk { dir: String, source: std::io::Error },
}

/// What tells one state of a file from the next; `None` where there is none.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// See the module.
#[derive(Debug)]
pub(crate) struct ConfigWatch {
    env: Environment,
    files: Files,
    engine: Arc<Engine>,
    log: Log,
    /// Held by whoever looks and takes over.
    looking: Mutex<Seen>,
    said: Mutex<Said>,
    met: Mutex<VecDeque<Parent>>,
}

#[derive(Debug)]
struct Seen {
    stamps: Vec<Stamp>,
    /// What counts.
    config: Config,
    /// The bucket that is open.
    opened: Option<RemoteConfig>,
}

/// What people are told.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Of the configuration that counts.
    notices: Vec<String>,
    /// `None`: it names no bucket.
    bucket: Option<RemoteMode>,
    /// Why the files as they are don't count.
    refused: Option<String>,
    restart: Vec<&'static str>,
}

impl ConfigWatch {
    /// Makes `config`, which was read from `files`, count for `engine`. To be called within the runtime.
    pub(crate) fn begin(env: Environment, files: Files, config: Config, log: Log, engine: Arc<Engine>) -> Result<Self, RefusedConfig> {
        let stamps = stamps(&files);
        let opened = open_bucket(&config, &engine)?;
        let said = Said { notices: config.notices.clone(), bucket: bucket_mode(&config), ..Said::default() };
        let looking = Mutex::new(Seen { stamps, config, opened });
        Ok(Self { env, files, engine, log, looking, said: Mutex::new(said), met: Mutex::default() })
    }

    /// Looks now and then, until the daemon ends.
    pub(crate) async fn keep_looking(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let watch = Arc::clone(&self);
            let _looked = tokio::task::spawn_blocking(move || watch.look()).await;
        }
    }

    /// Looks if nothing has been asked for by this process before, so that no build has to wait for the next look.
    pub(crate) fn meet(&self, asking: Parent) {
        let mut met = lock(&self.met);
        if met.contains(&asking) {
            return;
        }
        if met.len() == KNOWN {
            met.pop_front();
        }
        met.push_back(asking);
        drop(met);
        self.look();
    }

    /// What people should know of the configuration.
    pub(crate) fn notices(&self) -> Vec<String> {
        let Said { notices, refused, bucket: _, restart: _ } = lock(&self.said).clone();
        let refused = refused.map(|why| format!("the configuration was changed and can't be used, so the one before still counts: {why}"));
        notices.into_iter().chain(refused).collect()
    }

    /// What may be done with a bucket; `none` where none is configured.
    pub(crate) fn bucket(&self) -> &'static str {
        lock(&self.said).bucket.map_or("none", RemoteMode::name)
    }

    /// Keys whose values count from the next start on.
    pub(crate) fn restart_to_apply(&self) -> Vec<&'static str> {
        lock(&self.said).restart.clone()
    }

    /// Takes over what has changed. May wait for a file that is being written.
    fn look(&self) {
        let mut seen = lock(&self.looking);
        for _ in 0..MAX_LOOKS {
            let before = stamps(&self.files);
            if before == seen.stamps {
                return;
            }
            std::thread::sleep(SETTLE);
            let read = Config::load_files(&self.files, &self.env);
            if stamps(&self.files) != before {
                continue;
            }
            seen.stamps = before;
            self.said(read.map_err(RefusedConfig::from).and_then(|config| self.take_over(config, &mut seen)));
            return;
        }
    }

    /// Everything that can fail comes before anything counts.
    fn take_over(&self, config: Config, seen: &mut Seen) -> Result<Change, RefusedConfig> {
        let change = Change::new(&seen.config, seen.opened.as_ref(), config);
        let config = &change.config;
        let limit = config.cache.size_limit();
        let limit = limit.map_err(|source| RefusedConfig::Disk { dir: config.cache.dir.display().to_string(), source })?;
        if seen.opened.is_none() {
            seen.opened = open_bucket(config, &self.engine)?;
        }
        self.log.set(&config.log)?;
        match (self.engine.opened_bucket(), &config.cache.remote) {
            (Some(bucket), Some(remote)) => bucket.adjust(remote),
            // The table is gone: as if it said `mode = "off"`.
            (Some(bucket), None) => bucket.rest(),
            (None, _) => {}
        }
        self.engine.store.set_max_bytes(limit.0);
        self.engine.settings.replace(Settings::from(config));
        for key in changed(&seen.config, config) {
            tracing::info!("configuration: {key} changed");
        }
        seen.config = config.clone();
        Ok(change)
    }

    fn said(&self, outcome: Result<Change, RefusedConfig>) {
        let mut said = lock(&self.said);
        match outcome {
            Ok(Change { config, restart }) => {
                *said = Said { bucket: bucket_mode(&config), notices: config.notices, refused: None, restart };
            }
            Err(error) => said.refused = Some(error.to_string()),
        }
        drop(said);
        for notice in self.notices() {
            tracing::warn!("{notice}");
        }
        for key in self.restart_to_apply() {
            tracing::warn!("restart kached to apply: {key}");
        }
    }
}

/// Opens the bucket that `config` wants to be used, and has the engine use it.
fn open_bucket(config: &Config, engine: &Arc<Engine>) -> Result<Option<RemoteConfig>, RefusedConfig> {
    let Some(remote) = config.cache.remote.as_ref().filter(|remote| remote.mode != RemoteMode::Off) else { return Ok(None) };
    engine.use_bucket(bucket::connect(remote, &engine.store, &engine.load)?);
    Ok(Some(remote.clone()))
}

fn bucket_mode(config: &Config) -> Option<RemoteMode> {
    config.cache.remote.as_ref().map(|remote| remote.mode)
}

/// The keys whose values differ.
fn changed(old: &Config, new: &Config) -> Vec<String> {
    let values = |config: &Config| config.settings().into_iter().map(|setting| (setting.name, setting.value)).collect::<Vec<_>>();
    let (old, new) = (values(old), values(new));
    let mut keys: Vec<String> = old.iter().filter(|value| !new.contains(value)).map(|(name, _)| name.clone()).collect();
    keys.extend(new.iter().filter(|value| !old.contains(value)).map(|(name, _)| name.clone()));
    keys.sort();
    keys.dedup();
    keys
}

fn stamps(files: &Files) -> Vec<Stamp> {
    let stamp = |path: &std::path::PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    };
    files.paths().iter().map(stamp).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
