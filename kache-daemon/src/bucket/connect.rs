//! From the configuration to an open bucket.

use super::Bucket;
use super::check::Whereabouts;
use crate::load::Load;
use kache_config::{KeyPair, RemoteConfig};
use kache_remote::{AwsOptions, ProvideCredentials, RemoteError, S3Options, S3Remote, aws_credentials};
use kache_store::Store;
use std::sync::Arc;

/// Opens the bucket. To be called within the runtime. Nothing is sent yet: a bucket that is out of reach must not keep the daemon from starting.
pub(crate) fn connect(remote: &RemoteConfig, store: &Arc<Store>, load: &Load) -> Result<Arc<Bucket>, RemoteError> {
    let options = S3Options {
        endpoint: remote.endpoint.clone(),
        region: remote.region.clone(),
        prefix: remote.prefix.clone(),
        concurrency: remote.concurrency.get() as usize,
        read_only: !remote.mode.writes(),
        upload_rate: remote.upload_rate.map(|rate| rate.0),
        ..S3Options::new(&remote.bucket, credentials(remote))
    };
    let s3 = Arc::new(S3Remote::new(options)?);
    let whereabouts = Whereabouts { s3, bucket: remote.bucket.clone(), region: remote.region.clone() };
    Ok(Bucket::open(remote, whereabouts, Arc::clone(store), load.watch()))
}

fn credentials(remote: &RemoteConfig) -> Arc<dyn ProvideCredentials> {
    let expose = |pair: &KeyPair| (pair.access_key.expose().to_owned(), pair.secret_key.expose().to_owned());
    let (key_pair, profile) = (remote.key_pair.as_ref().map(expose), remote.profile.clone());
    aws_credentials(AwsOptions { key_pair, profile, region: remote.region.clone() })
}
