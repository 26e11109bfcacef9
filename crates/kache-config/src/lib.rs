//! What a daemon is told: defaults < `/etc/kache/config.toml` < the user's `kache/config.toml` < `KACHE_*` variables.
//!
//! Promises: an error names where the value stands, its key and what was expected; an unknown key in a file is an error, an
//! unknown `KACHE_*` variable is collected in [`Config::unknown_variables`]; each value knows its [`Origin`]; a secret is never printed.
//!
//! Deliberately absent: reading the process environment. Callers pass an [`Environment`], so that a test or a daemon decides what
//! counts. The socket's path isn't configuration either: the shim has to find it without reading any file.

mod change;
mod env;
mod error;
mod layers;
mod log;
mod remote;
mod rules;
mod secret;
mod settings;
mod size;

pub use change::Change;
pub use env::{Environment, NamedVariable, VARIABLES};
pub use error::ConfigError;
pub use layers::Origin;
pub use remote::{CompressionLevel, KeyPair, RemoteConfig, RemoteMode};
pub use rules::{Rule, Rules, salted};
pub use secret::Secret;
pub use settings::Setting;
pub use size::{ByteSize, ParseSizeError, default_max_size};

use layers::Layers;
use remote::RemoteValues;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The configuration as it counts, with every default filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[cache]`.
    pub cache: CacheConfig,
    /// `[rules]`.
    pub rules: Rules,
    /// `log`, `KACHE_LOG`: filter directives as `tracing-subscriber` reads them.
    pub log: String,
    /// `KACHE_*` variables that mean nothing, with the nearest known name where one is near. Sorted.
    pub unknown_variables: Vec<UnknownVariable>,
    /// What an operator should hear of although it is no error, as sentences.
    pub notices: Vec<String>,
    /// The files that were read, in order of rising weight.
    pub files: Vec<PathBuf>,
    origins: BTreeMap<String, Origin>,
}

/// `[cache]`: the local store and what is keyed.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// `dir`, `KACHE_CACHE_DIR`: where the store lives. Absolute; need not exist.
    pub dir: PathBuf,
    /// `max_size`, `KACHE_MAX_SIZE`: bytes on disk that the store may take. `None`: see [`CacheConfig::size_limit`].
    pub max_size: Option<ByteSize>,
    /// `salt`, `KACHE_SALT`: goes into every key. Caches with different salts share nothing.
    pub salt: String,
    /// `remap`, negated by `KACHE_NO_REMAP`: whether rustc is told to spell machine-local roots as placeholders. Without it an
    /// artifact serves one checkout path only.
    pub remap: bool,
    /// `links`, `KACHE_LINKS`.
    pub links: Links,
    /// `base_dirs`: directories that lie elsewhere on other machines and hold the same there, such as an SDK or a checkout of data. The first of
    /// the list is taken for the first of theirs, and so on. Absolute, at least two components each, at most [`kache_model::MAX_BASES`].
    pub base_dirs: Vec<PathBuf>,
    /// `[cache.remote]`.
    pub remote: Option<RemoteConfig>,
}

/// Whether outputs in target directories may share inodes with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Links {
    /// Libraries of registry and git packages, where the filesystem has no reflinks: they take their bytes once, whatever the number of target
    /// directories. A tool that writes into one in place reaches all.
    #[default]
    Auto,
    /// Never: each target directory has its own copy.
    Never,
}

impl Links {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Never => "never",
        }
    }
}

/// A `KACHE_*` variable that means nothing to this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// A known name that differs by a few letters.
    pub nearest: Option<&'static str>,
}

impl std::fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.nearest {
            Some(nearest) => write!(f, "{} (did you mean {nearest}?)", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Which files to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// These, in order of rising weight; one that doesn't exist is left out.
    Standard(Vec<PathBuf>),
    /// This one, which has to exist.
    Named(PathBuf),
}

impl Files {
    /// The same, wherever the process goes from here.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn absolute(self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Named(path) => Self::Named(std::path::absolute(path)?),
            standard @ Self::Standard(_) => standard,
        })
    }

    /// The paths, in order of rising weight.
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Standard(paths) => paths,
            Self::Named(path) => std::slice::from_ref(path),
        }
    }

    /// `KACHE_CONFIG`, else the system's and the user's file.
    pub fn from_environment(env: &Environment) -> Self {
        if let Some(path) = env.path("KACHE_CONFIG") {
            return Self::Named(path);
        }
        let user = env.absolute("XDG_CONFIG_HOME").or_else(|| env.absolute("HOME").map(|home| home.join(".config")));
        let files = [Some(PathBuf::from("/etc/kache/config.toml")), user.map(|dir| dir.join("kache/config.toml"))];
        Self::Standard(files.into_iter().flatten().collect())
    }
}

impl Config {
    /// Reads the files that `env` leads to and the variables in it.
    ///
    /// # Errors
    /// A file that can't be read or parsed, an unknown key, a value of the wrong kind.
    pub fn load(env: &Environment) -> Result<Self, ConfigError> {
        Self::load_files(&Files::from_environment(env), env)
    }

    /// The same with files of the caller's choice.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn load_files(files: &Files, env: &Environment) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        match files {
            Files::Standard(paths) => paths.iter().try_for_each(|path| layers.file(path, false))?,
            Files::Named(path) => layers.file(path, true)?,
        }
        let mut notices = Vec::new();
        layers.variables(env, &mut notices)?;
        notices.extend(env.odd_values());
        let values = layers.values()?;
        let cache = values.cache;
        let dir = match cache.dir {
            Some(dir) => dir.resolve(env).ok_or_else(|| ConfigError::NoHome { origin: layers.origin("cache.dir") })?,
            None => env.cache_home().ok_or(ConfigError::NoCacheDir)?.join("kache"),
        };
        let base_dir = |dir: Dir| dir.resolve(env).ok_or_else(|| ConfigError::NoHome { origin: layers.origin("cache.base_dirs") });
        let base_dirs = cache.base_dirs.0.into_iter().map(base_dir).collect::<Result<_, _>>()?;
        let remote = cache.remote.map(|remote| remote.complete(&layers, env)).transpose()?;
        let rules = values.rules.iter().map(|(name, _)| format!("rules.{name}"));
        let keys = KEYS.iter().map(|key| (*key).to_owned()).chain(rules);
        Ok(Self {
            cache: CacheConfig {
                dir,
                max_size: cache.max_size,
                salt: cache.salt,
                remap: cache.remap,
                links: cache.links,
                base_dirs,
                remote,
            },
            log: values.log,
            unknown_variables: env.unknown_variables(),
            notices,
            origins: keys.map(|key| (key.clone(), layers.origin(&key))).collect(),
            rules: values.rules,
            files: layers.into_files(),
        })
    }

    /// Where the value of `key` (`cache.max_size`, one of [`KEYS`], or `rules.NAME`) comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

impl CacheConfig {
    /// The limit that counts: `max_size`, else [`default_max_size`] of the disk that holds (or will hold) `dir`.
    ///
    /// # Errors
    /// The filesystem doesn't answer.
    pub fn size_limit(&self) -> std::io::Result<ByteSize> {
        match self.max_size {
            Some(limit) => Ok(limit),
            None => disk_size(&self.dir).map(default_max_size),
        }
    }
}

/// Size of the filesystem that holds `path`, or its nearest ancestor that exists.
fn disk_size(path: &Path) -> std::io::Result<ByteSize> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(existing)?;
    Ok(ByteSize(stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Every key that a file may hold, `[rules]` apart.
pub const KEYS: &[&str] = &[
    "log",
    "cache.dir",
    "cache.max_size",
    "cache.salt",
    "cache.remap",
    "cache.links",
    "cache.base_dirs",
    "cache.remote.type",
    "cache.remote.bucket",
    "cache.remote.endpoint",
    "cache.remote.region",
    "cache.remote.profile",
    "cache.remote.prefix",
    "cache.remote.mode",
    "cache.remote.concurrency",
    "cache.remote.wait_ms",
    "cache.remote.compression_level",
    "cache.remote.upload_rate",
];

/// All layers together, before what depends on the environment is filled in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Values {
    #[serde(deserialize_with = "log::directives")]
    log: String,
    cache: CacheValues,
    rules: Rules,
}

impl Default for Values {
    fn default() -> Self {
        Self { log: "info".to_owned(), cache: CacheValues::default(), rules: Rules::default() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CacheValues {
    dir: Option<Dir>,
    #[serde(deserialize_with = "max_size")]
    max_size: Option<ByteSize>,
    salt: String,
    remap: bool,
    links: Links,
    base_dirs: BaseDirs,
    remote: Option<RemoteValues>,
}

impl Default for CacheValues {
    fn default() -> Self {
        Self {
            dir: None,
            max_size: None,
            salt: String::new(),
            remap: true,
            links: Links::Auto,
            base_dirs: BaseDirs::default(),
            remote: None,
        }
    }
}

/// A store smaller than this keeps nothing that is worth keeping: whoever writes less has forgotten a unit.
const SMALLEST_STORE: ByteSize = ByteSize(1 << 20);

fn max_size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    use serde::de::{Error, Unexpected};
    let size = ByteSize::deserialize(deserializer)?;
    if size < SMALLEST_STORE {
        return Err(D::Error::invalid_value(Unexpected::Other(&size.to_string()), &"at least 1MiB, such as 10GiB"));
    }
    Ok(Some(size))
}

/// A directory: absolute, or below the home directory (`~/…`).
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn resolve(self, env: &Environment) -> Option<PathBuf> {
        match self.0.strip_prefix("~") {
            Ok(rest) => env.absolute("HOME").map(|home| home.join(rest)),
            Err(_) => Some(self.0),
        }
    }
}

/// A list, or in a variable a text with colons in between.
#[derive(Debug, Default)]
struct BaseDirs(Vec<Dir>);

impl<'de> Deserialize<'de> for BaseDirs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error, Unexpected};
        let dirs = Vec::<Dir>::deserialize(deserializer)?;
        // A root of one component, `/opt`, is found in every other text.
        if let Some(Dir(short)) = dirs.iter().find(|Dir(dir)| dir.components().count() < if dir.starts_with("~") { 2 } else { 3 }) {
            return Err(D::Error::invalid_value(Unexpected::Str(&short.to_string_lossy()), &"paths of at least two components"));
        }
        if dirs.len() > kache_model::MAX_BASES {
            return Err(D::Error::invalid_length(dirs.len(), &"at most 8 paths"));
        }
        Ok(Self(dirs))
    }
}

impl<'de> Deserialize<'de> for Dir {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error, Unexpected};
        let text = String::deserialize(deserializer)?;
        let path = PathBuf::from(&text);
        if path.is_absolute() || path.starts_with("~") {
            return Ok(Self(path));
        }
        Err(D::Error::invalid_value(Unexpected::Str(&text), &"an absolute path"))
    }
}
