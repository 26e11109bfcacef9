//! From the configuration to an open bucket.

use super::check::Whereabouts;
use super::{Bucket, Settings};
use kache_config::{Config, KeyPair, RemoteConfig, RemoteMode};
use kache_remote::{AwsOptions, ProvideCredentials, RemoteError, S3Options, S3Remote, aws_credentials};
use kache_store::Store;
use std::sync::Arc;

/// Opens the configured bucket, if there is one and it is to be used. To be called within the runtime. Nothing is sent yet: a bucket that is out of
/// reach must not keep the daemon from starting.
pub(crate) fn connect(config: &Config, store: &Arc<Store>) -> Result<Option<Arc<Bucket>>, RemoteError> {
    let Some(remote) = config.cache.remote.as_ref().filter(|remote| remote.mode != RemoteMode::Off) else { return Ok(None) };
    let writes = remote.mode.writes();
    let options = S3Options {
        endpoint: remote.endpoint.clone(),
        region: remote.region.clone(),
        prefix: remote.prefix.clone(),
        concurrency: remote.concurrency.get() as usize,
        read_only: !writes,
        ..S3Options::new(&remote.bucket, credentials(remote))
    };
    let s3 = Arc::new(S3Remote::new(options)?);
    let settings = Settings { writes, wait: remote.wait, concurrency: remote.concurrency.get() as usize, level: remote.compression_level };
    let whereabouts = Whereabouts { s3, bucket: remote.bucket.clone(), region: remote.region.clone() };
    Ok(Some(Bucket::open(settings, whereabouts, Arc::clone(store))))
}

fn credentials(remote: &RemoteConfig) -> Arc<dyn ProvideCredentials> {
    let expose = |pair: &KeyPair| (pair.access_key.expose().to_owned(), pair.secret_key.expose().to_owned());
    let (key_pair, profile) = (remote.key_pair.as_ref().map(expose), remote.profile.clone());
    aws_credentials(AwsOptions { key_pair, profile, region: remote.region.clone() })
}
