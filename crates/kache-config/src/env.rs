//! The variables: which ones exist, what they stand for, and the environment that a caller hands in.

use crate::UnknownVariable;
use crate::error::{ConfigError, nearest};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// Names and values, as the process got them or as a test made them up. An empty value counts as unset.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

/// Names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// A variable of kache's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedVariable {
    /// Its name.
    pub name: &'static str,
    /// The key that it overrides, if it stands for one.
    pub key: Option<&'static str>,
    /// What it says, as a sentence.
    pub meaning: &'static str,
    pub(crate) kind: Kind,
}

/// How a variable's text becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    /// Paths with colons in between.
    Paths,
    /// Anything but `0`, `false`, `no` and `off` sets the key to `false`.
    Negated,
}

macro_rules! variables {
    ($($name:literal $key:expr, $kind:ident, $meaning:literal;)*) => {
        /// Every variable that means something, in the order in which people should read of them.
        pub const VARIABLES: &[NamedVariable] =
            &[$(NamedVariable { name: $name, key: $key, meaning: $meaning, kind: Kind::$kind },)*];
    };
}

variables! {
    "KACHE_CONFIG" None, Text, "The configuration file; replaces the standard ones.";
    "KACHE_SOCKET" None, Text, "The daemon's socket.";
    "KACHE_CACHE_DIR" Some("cache.dir"), Text, "Where the store lives.";
    "KACHE_MAX_SIZE" Some("cache.max_size"), Text, "How many bytes the store may take: `10GiB`, `500M`.";
    "KACHE_SALT" Some("cache.salt"), Text, "Goes into every key: caches with different salts share nothing.";
    "KACHE_NO_REMAP" Some("cache.remap"), Negated, "`1`, also in a build's environment: paths aren't remapped; artifacts serve one checkout path only.";
    "KACHE_LINKS" Some("cache.links"), Text, "`never`: no file in a target directory shares its inode with the store (default: `auto`).";
    "KACHE_BASE_DIRS" Some("cache.base_dirs"), Paths, "Directories that hold the same on other machines, with colons in between.";
    "KACHE_LOG" Some("log"), Text, "What the daemon logs: `info`, `debug`, `kached=trace,warn`.";
    "KACHE_DISABLED" None, Text, "`1` in a build's environment: rustc runs as if there were no cache. `0`, `false`, `no`, `off` mean nothing.";
    "KACHE_VERIFY" None, Text, "`always` or `sampled` in a build's environment: hits are recompiled and compared.";
    "KACHE_COMPRESSION_LEVEL" Some("cache.remote.compression_level"), Number, "zstd level of what is uploaded, 1 to 22.";
    "KACHE_REMOTE_MODE" Some("cache.remote.mode"), Text, "`read-write`, `read-only` or `off`.";
    "KACHE_S3_BUCKET" Some("cache.remote.bucket"), Text, "The bucket.";
    "KACHE_S3_ENDPOINT" Some("cache.remote.endpoint"), Text, "URL of an S3-compatible service.";
    "KACHE_S3_REGION" Some("cache.remote.region"), Text, "The bucket's region.";
    "KACHE_S3_PREFIX" Some("cache.remote.prefix"), Text, "What object names begin with.";
    "KACHE_S3_PROFILE" Some("cache.remote.profile"), Text, "The AWS profile whose credentials are used.";
    "KACHE_S3_ACCESS_KEY" None, Text, "Access key, together with `KACHE_S3_SECRET_KEY`.";
    "KACHE_S3_SECRET_KEY" None, Text, "Secret key, together with `KACHE_S3_ACCESS_KEY`.";
}

impl Environment {
    /// The value of `name`, unless it is unset or empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The same as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The same, if it is absolute: the XDG specification ignores others.
    pub fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.path(name).filter(|path| path.is_absolute())
    }

    /// The platform's directory for caches.
    pub fn cache_home(&self) -> Option<PathBuf> {
        let below_home = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        self.absolute("XDG_CACHE_HOME").or_else(|| self.absolute("HOME").map(|home| home.join(below_home)))
    }

    /// The same as text.
    pub(crate) fn text(&self, variable: &'static str) -> Result<Option<String>, ConfigError> {
        let read = |value: &OsStr| value.to_str().map(str::to_owned).ok_or(ConfigError::NonUtf8 { variable });
        self.get(variable).map(read).transpose()
    }

    /// What is wrong with variables that speak to builds, and so never keep a daemon from starting. As sentences.
    pub(crate) fn odd_values(&self) -> Option<String> {
        let verify = self.get("KACHE_VERIFY")?;
        let known = ["always", "1", "sampled", "off", "0"].iter().any(|known| verify == *known);
        (!known).then(|| format!("KACHE_VERIFY: expected always or sampled, found {verify:?}; nothing is verified"))
    }

    /// Names that begin with `KACHE_` and mean nothing, whatever their values. Sorted.
    pub fn unknown_variables(&self) -> Vec<UnknownVariable> {
        let known = || VARIABLES.iter().map(|variable| variable.name);
        self.0
            .keys()
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.starts_with("KACHE_") && !known().any(|known| known == name))
            .map(|name| UnknownVariable { nearest: nearest(&name, known()), name })
            .collect()
    }
}
