//! Who signs, in the order that users are promised: an explicit pair of keys; a named profile of the AWS files; the standard AWS chain, which is
//! the environment, the files' default profile, then the roles of the machine (web identity, container endpoint, EC2 with IMDSv2).
//!
//! Promises: the first source that has credentials wins and is named ([`ProvideCredentials::source`]); a source that was asked and
//! failed is an error, not a reason to go on to the next; no message holds a key, a secret or a token. Nothing is asked before the first request.
//!
//! The exception to this crate's rule: the standard chain *is* the environment, so this module reads the process's, and the files that it names.

mod chain;
mod profiles;

use crate::credential::{ProvideCredentials, StaticCredentials};
use crate::renewing::Renewing;
use chain::Chain;
use std::sync::Arc;

/// What decides who signs.
#[derive(Clone, Default)]
pub struct AwsOptions {
    /// Access key and secret key that win over everything.
    pub key_pair: Option<(String, String)>,
    /// A named profile of `~/.aws/credentials` or `~/.aws/config`.
    pub profile: Option<String>,
    /// The region for requests to STS and SSO, where environment and profile name none.
    pub region: Option<String>,
}

/// Credentials by these options, looked up when they are first needed. Must be used inside a Tokio runtime.
pub fn aws_credentials(options: AwsOptions) -> Arc<dyn ProvideCredentials> {
    let AwsOptions { key_pair, profile, region } = options;
    match key_pair {
        Some((access_key, secret_key)) => {
            Arc::new(StaticCredentials::new(access_key, secret_key, "KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY"))
        }
        None => Arc::new(Renewing::new(Chain::new(profile, region))),
    }
}

impl std::fmt::Debug for AwsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key_pair, profile, region } = self;
        let key_pair = key_pair.as_ref().map(|_| "…");
        f.debug_struct("AwsOptions").field("key_pair", &key_pair).field("profile", profile).field("region", region).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_do_not_show_their_keys() {
        let options = AwsOptions { key_pair: Some(("AKIDX".into(), "hunter2".into())), ..AwsOptions::default() };
        let shown = format!("{options:?} {:?}", aws_credentials(options.clone()));
        assert!(!shown.contains("AKIDX") && !shown.contains("hunter2"), "{shown}");
    }
}
