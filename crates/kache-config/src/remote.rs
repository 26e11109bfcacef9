//! `[cache.remote]`: the bucket that a team shares.
//!
//! Names and defaults are a contract with users. Which credentials win isn't decided here: only the explicit pair of variables is read.

use crate::env::Environment;
use crate::error::ConfigError;
use crate::layers::Layers;
use crate::secret::Secret;
use crate::size::ByteSize;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use std::num::NonZeroU32;
use std::time::Duration;

/// A bucket that a team shares.
#[derive(Clone, Debug)]
pub struct RemoteConfig {
    /// `bucket`.
    pub bucket: String,
    /// `endpoint`: URL of an S3-compatible service, without a trailing slash. `None`: AWS.
    pub endpoint: Option<String>,
    /// `region`; any non-empty text.
    pub region: Option<String>,
    /// `profile`: a named profile of the AWS files.
    pub profile: Option<String>,
    /// `prefix` of object names, without slashes at its ends. Never empty; `artifacts` by default.
    pub prefix: String,
    /// `mode`.
    pub mode: RemoteMode,
    /// `concurrency`: how many requests run at once, 64 by default.
    pub concurrency: NonZeroU32,
    /// `wait_ms`: how long a build waits for a fetch that makes no progress, 3 s by default.
    pub wait: Duration,
    /// `compression_level`.
    pub compression_level: CompressionLevel,
    /// `upload_rate`: bytes per second that all uploads together may send. `None`: as many as the line takes.
    pub upload_rate: Option<ByteSize>,
    /// `KACHE_S3_ACCESS_KEY` and `KACHE_S3_SECRET_KEY`.
    pub key_pair: Option<KeyPair>,
}

/// Credentials that win over every other source.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// Access key.
    pub access_key: Secret,
    /// Secret key.
    pub secret_key: Secret,
}

/// What the daemon may do with the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteMode {
    /// Fetch and upload.
    #[default]
    ReadWrite,
    /// Fetch.
    ReadOnly,
    /// Neither.
    Off,
}

impl RemoteMode {
    /// Whether anything may be stored in the bucket.
    pub fn writes(self) -> bool {
        self == Self::ReadWrite
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Off => "off",
        }
    }
}

/// zstd level, 1 to 22.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionLevel(i32);

impl CompressionLevel {
    /// `level`, if it is one.
    pub fn new(level: i32) -> Option<Self> {
        (1..=22).contains(&level).then_some(Self(level))
    }

    /// As zstd takes it.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl Default for CompressionLevel {
    fn default() -> Self {
        Self(3)
    }
}

/// `[cache.remote]` as it stands in a layer: everything may come from another one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RemoteValues {
    r#type: Option<RemoteType>,
    #[serde(deserialize_with = "bucket")]
    bucket: Option<String>,
    #[serde(deserialize_with = "endpoint")]
    endpoint: Option<String>,
    #[serde(deserialize_with = "non_empty")]
    region: Option<String>,
    #[serde(deserialize_with = "non_empty")]
    profile: Option<String>,
    #[serde(deserialize_with = "prefix")]
    prefix: Option<String>,
    mode: RemoteMode,
    #[serde(deserialize_with = "concurrency")]
    concurrency: Option<NonZeroU32>,
    #[serde(deserialize_with = "millis")]
    wait_ms: Option<u64>,
    compression_level: CompressionLevel,
    #[serde(deserialize_with = "rate")]
    upload_rate: Option<ByteSize>,
}

/// The kinds of remote.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RemoteType {
    S3,
}

impl RemoteValues {
    pub(crate) fn complete(self, layers: &Layers, env: &Environment) -> Result<RemoteConfig, ConfigError> {
        let origin = || layers.origin("cache.remote");
        let Some(bucket) = self.bucket else {
            return Err(ConfigError::Missing { origin: origin(), key: "cache.remote.bucket", expected: "the bucket's name" });
        };
        if self.r#type.is_none() && matches!(layers.origin("cache.remote.bucket"), crate::Origin::File(_)) {
            return Err(ConfigError::Missing { origin: origin(), key: "cache.remote.type", expected: "\"s3\"" });
        }
        Ok(RemoteConfig {
            bucket,
            endpoint: self.endpoint,
            region: self.region,
            profile: self.profile,
            prefix: self.prefix.unwrap_or_else(|| "artifacts".to_owned()),
            mode: self.mode,
            concurrency: self.concurrency.unwrap_or(NonZeroU32::MIN.saturating_add(63)),
            wait: Duration::from_millis(self.wait_ms.unwrap_or(3000)),
            compression_level: self.compression_level,
            upload_rate: self.upload_rate,
            key_pair: key_pair(env)?,
        })
    }
}

fn key_pair(env: &Environment) -> Result<Option<KeyPair>, ConfigError> {
    const NAMES: [&str; 2] = ["KACHE_S3_ACCESS_KEY", "KACHE_S3_SECRET_KEY"];
    match (env.text(NAMES[0])?, env.text(NAMES[1])?) {
        (Some(access), Some(secret)) => Ok(Some(KeyPair { access_key: Secret::new(access), secret_key: Secret::new(secret) })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::HalfPair { set: NAMES[0], missing: NAMES[1] }),
        (None, Some(_)) => Err(ConfigError::HalfPair { set: NAMES[1], missing: NAMES[0] }),
    }
}

/// Text that `accept` takes, perhaps after a touch.
fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    accept: impl Fn(&str) -> Option<&str>,
) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match accept(&text) {
        Some(accepted) => Ok(Some(accepted.to_owned())),
        None => Err(D::Error::invalid_value(Unexpected::Str(&text), &expected)),
    }
}

fn non_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer, "a non-empty text", |text| (!text.is_empty()).then_some(text))
}

fn bucket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let plain = |text: &str| !text.is_empty() && !text.contains(|c: char| c == '/' || c.is_whitespace());
    text(deserializer, "a bucket's name, without slashes", |text| plain(text).then_some(text))
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer, "a URL such as https://s3.example.com", |text| {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        (!host.trim_matches('/').is_empty() && !host.contains(char::is_whitespace)).then_some(text.trim_end_matches('/'))
    })
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer, "a prefix such as artifacts or team/artifacts", |text| {
        let trimmed = text.trim_matches('/');
        trimmed.split('/').all(|part| !["", ".", ".."].contains(&part)).then_some(trimmed)
    })
}

/// A whole number that `accept` takes.
fn number<'de, D: Deserializer<'de>, T>(deserializer: D, expected: &'static str, accept: impl Fn(i64) -> Option<T>) -> Result<T, D::Error> {
    struct NumberVisitor<F>(&'static str, F);

    impl<T, F: Fn(i64) -> Option<T>> serde::de::Visitor<'_> for NumberVisitor<F> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
            (self.1)(number).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self.0))
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
            let accepted = i64::try_from(number).ok().and_then(&self.1);
            accepted.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self.0))
        }
    }

    deserializer.deserialize_any(NumberVisitor(expected, accept))
}

/// Slower than this, eight uploads side by side would look like stalled ones.
const SLOWEST_RATE: ByteSize = ByteSize(128 << 10);

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let rate = ByteSize::deserialize(deserializer)?;
    if rate < SLOWEST_RATE {
        return Err(D::Error::invalid_value(Unexpected::Other(&rate.to_string()), &"at least 128KiB, which is per second"));
    }
    Ok(Some(rate))
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    let accept = |number: i64| u32::try_from(number).ok().filter(|number| *number <= 1024).and_then(NonZeroU32::new);
    number(deserializer, "a whole number from 1 to 1024", accept).map(Some)
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer, "a number of milliseconds, 0 or more", |number| u64::try_from(number).ok()).map(Some)
}

impl<'de> Deserialize<'de> for CompressionLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number(deserializer, "a whole number from 1 to 22", |number| i32::try_from(number).ok().and_then(Self::new))
    }
}
