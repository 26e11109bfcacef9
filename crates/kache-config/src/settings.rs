//! The configuration as a list that people read: name, value, origin.
//!
//! Promise: a secret's value isn't in it, only whether there is one.

use crate::{Config, Origin, RemoteConfig, Rule};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key with the tables above it; for what has no key, the variable.
    pub name: String,
    /// As a file would spell it; what isn't said and has no default is `-`.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Config {
    /// Every value that counts, in the order of the keys. The remote's only if there is one.
    pub fn settings(&self) -> Vec<Setting> {
        let cache = &self.cache;
        let size = match cache.max_size {
            Some(size) => format!("\"{size}\""),
            // The disk decides; one that doesn't answer is said when the store is opened.
            None => cache.size_limit().map_or("-".to_owned(), |size| format!("\"{size}\"")),
        };
        // It may be what keeps others from guessing values by their keys.
        let salt = if cache.salt.is_empty() { quoted("") } else { "(set)".to_owned() };
        let mut all = vec![
            ("log", quoted(&self.log)),
            ("cache.dir", quoted(&cache.dir.display().to_string())),
            ("cache.max_size", size),
            ("cache.salt", salt),
            ("cache.remap", cache.remap.to_string()),
            ("cache.links", quoted(cache.links.name())),
            ("cache.base_dirs", format!("{:?}", cache.base_dirs)),
        ];
        all.extend(cache.remote.iter().flat_map(remote));
        let mut settings: Vec<Setting> =
            all.into_iter().map(|(name, value)| Setting { name: name.to_owned(), value, origin: self.origin(name) }).collect();
        if cache.remote.as_ref().is_some_and(|remote| remote.key_pair.is_some()) {
            for name in ["KACHE_S3_ACCESS_KEY", "KACHE_S3_SECRET_KEY"] {
                settings.push(Setting { name: name.to_owned(), value: "(set)".to_owned(), origin: Origin::Variable(name.to_owned()) });
            }
        }
        settings.extend(self.rules.iter().map(|(name, rule)| {
            let name = format!("rules.{name}");
            let origin = self.origin(&name);
            Setting { name, value: shown(rule), origin }
        }));
        settings
    }
}

fn shown(rule: &Rule) -> String {
    let Rule { bypass, env, files, salt } = rule;
    let parts = [
        bypass.then(|| "bypass = true".to_owned()),
        (!env.is_empty()).then(|| format!("env = {env:?}")),
        (!files.is_empty()).then(|| format!("files = {files:?}")),
        (!salt.is_empty()).then(|| format!("salt = {salt:?}")),
    ];
    format!("{{ {} }}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn remote(remote: &RemoteConfig) -> Vec<(&'static str, String)> {
    // The key pair is told apart from these: nothing of it may be shown.
    let RemoteConfig { bucket, endpoint, region, profile, prefix, mode, concurrency, wait, compression_level, upload_rate, key_pair: _ } =
        remote;
    let optional = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), quoted);
    vec![
        ("cache.remote.type", quoted("s3")),
        ("cache.remote.bucket", quoted(bucket)),
        ("cache.remote.endpoint", endpoint.as_deref().map_or("-".to_owned(), |url| quoted(&without_password(url)))),
        ("cache.remote.region", optional(region)),
        ("cache.remote.profile", optional(profile)),
        ("cache.remote.prefix", quoted(prefix)),
        ("cache.remote.mode", quoted(mode.name())),
        ("cache.remote.concurrency", concurrency.to_string()),
        ("cache.remote.wait_ms", wait.as_millis().to_string()),
        ("cache.remote.compression_level", compression_level.get().to_string()),
        ("cache.remote.upload_rate", upload_rate.map_or("-".to_owned(), |rate| quoted(&rate.to_string()))),
    ]
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// `https://user:password@host` without what stands before the `@`.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => url.to_owned(),
    }
}
