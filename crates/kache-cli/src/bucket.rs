//! The bucket that kached uses, as `/v1/status` tells it, and whether it is the one that this environment names.

use crate::client::Client;
use crate::command::Status;
use crate::{place, show};
use kache_config::{Config, RemoteMode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What to do where it isn't.
pub(crate) const ADVICE: &str = "put it into config.toml, or the variables into ~/.config/kache/environment if kached is a service; else restart kached from here: `kache stop`, then `kache start`";

/// Fields beside the mode are absent where no bucket is used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bucket {
    /// `none`, `off`, `read-only`, `read-write`.
    pub(crate) mode: String,
    pub(crate) name: Option<String>,
    pub(crate) endpoint: String,
    pub(crate) credentials: String,
    pub(crate) queued_uploads: u64,
    pub(crate) refused_uploads: u64,
    pub(crate) indexes: u64,
    pub(crate) breaker: BTreeMap<String, String>,
    pub(crate) last_error: Option<LastError>,
    /// Older daemons don't say.
    pub(crate) ignored_input_sets: u64,
    pub(crate) refused_artifacts: u64,
    pub(crate) last_oddity: Option<String>,
}

/// What last went wrong.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LastError {
    pub(crate) what: String,
    pub(crate) secs_ago: u64,
}

/// That this environment names a bucket which kached doesn't use: it was started with other variables.
pub(crate) fn gap(config: &Config, status: &Status) -> Option<String> {
    let wanted = config.cache.remote.as_ref().filter(|remote| remote.mode != RemoteMode::Off)?;
    let kacheds = status.bucket.as_ref()?;
    let named = format!("{} ({})", wanted.bucket, config.origin("cache.remote.bucket"));
    match (kacheds.mode.as_str(), &kacheds.name) {
        // It knows by itself that the file names another one by now.
        _ if status.restart_to_apply.iter().any(|key| key.starts_with("cache.remote")) => None,
        ("none", _) => Some(format!("kached was started without the bucket that is configured here: {named}")),
        ("off", _) => Some(format!("kached has its bucket switched off (mode = \"off\"), the configuration here uses {named}")),
        (_, Some(name)) if *name != wanted.bucket => Some(format!("kached uses the bucket {name}, the configuration here names {named}")),
        _ => None,
    }
}

/// The same, found out here and now; whoever can't be asked has nothing to say.
pub(crate) fn gap_here(client: &Client) -> Option<String> {
    let config = place::config().ok().filter(|config| config.cache.remote.is_some())?;
    gap(&config, &client.get_json("/v1/status").ok()?)
}

/// `2 uploads waiting, writes are paused`: what isn't as it should be in the long run.
pub(crate) fn troubles(bucket: &Bucket) -> Vec<String> {
    let refused = if bucket.refused_uploads > 0 { format!(" ({} refused)", bucket.refused_uploads) } else { String::new() };
    let waiting = format!("{} waiting{refused}", show::count(bucket.queued_uploads, "upload", "uploads"));
    let waiting = (bucket.queued_uploads > 0).then_some(waiting);
    waiting.into_iter().chain(paused(&bucket.breaker)).collect()
}

/// What was found in it that no kache would have put there.
pub(crate) fn oddity(bucket: &Bucket) -> Option<String> {
    let Bucket { ignored_input_sets, refused_artifacts, last_oddity, .. } = bucket;
    let sets = (*ignored_input_sets > 0).then(|| format!("{} left alone", show::count(*ignored_input_sets, "input set", "input sets")));
    let artifacts = (*refused_artifacts > 0).then(|| format!("{} refused", show::count(*refused_artifacts, "artifact", "artifacts")));
    let counts = sets.into_iter().chain(artifacts).collect::<Vec<_>>();
    let last = last_oddity.as_ref().map(|last| format!("; last: {last}")).unwrap_or_default();
    (!counts.is_empty()).then(|| format!("{}{last}", counts.join(", ")))
}

/// That credentials and artifacts go to the bucket for everybody on the way to read, and to replace.
pub(crate) fn in_the_clear(endpoint: &str) -> Option<String> {
    let authority = endpoint.strip_prefix("http://")?.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => host.split(':').next()?,
    };
    let here = name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    (!here).then(|| format!("{host} is spoken to in the clear (http://): who is on the way can read what goes there, session tokens too, and replace what comes"))
}

/// What to do about it.
pub(crate) const ENCRYPT: &str = "use https:// in `endpoint`; a private certificate authority goes into SSL_CERT_FILE";

/// The breakers that let nothing through.
pub(crate) fn paused(breaker: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    breaker.iter().filter(|(_, state)| *state != "closed").map(|(name, state)| format!("{name}s paused ({state})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_be_spoken_to_in_the_clear() {
        for quiet in [
            "https://s3.example.com",
            "http://localhost:9000",
            "http://127.0.0.1:9000/x",
            "http://127.1.2.3",
            "http://[::1]:9000",
            "http://a.localhost",
            "",
        ] {
            assert_eq!(in_the_clear(quiet), None, "{quiet}");
        }
        for loud in [
            "http://s3.example.com",
            "http://10.0.0.1:9000",
            "http://[2001:db8::1]:9000",
            "http://127.0.0.1@evil.example",
            "http://localhost.example",
        ] {
            assert!(in_the_clear(loud).is_some(), "{loud}");
        }
    }
}
