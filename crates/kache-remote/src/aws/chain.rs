//! The sources themselves, asked through aws-config: every lookup starts afresh, so that changed files and tokens count.

use super::profiles::Files;
use crate::error::{ErrorKind, RemoteError};
use crate::renewing::{Loaded, Source, Stamp};
use aws_config::BehaviorVersion;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::imds;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials as AwsCredentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::tls;
use aws_types::region::Region;
use futures_util::future::BoxFuture;
use std::fmt::Write as _;
use std::time::Duration;

/// A machine that isn't on EC2 has no route to IMDS; one that is answers within a millisecond.
const IMDS_CONNECT: Duration = Duration::from_millis(300);
const IMDS_ANSWER: Duration = Duration::from_secs(1);
const IMDS_ATTEMPTS: u32 = 2;

/// Where STS and SSO are asked when nothing says otherwise.
const REGION: &str = "us-east-1";

/// A named profile, or the standard chain.
#[derive(Debug)]
pub(super) struct Chain {
    profile: Option<String>,
    region: Option<String>,
    files: Files,
}

impl Chain {
    pub(super) fn new(profile: Option<String>, region: Option<String>) -> Self {
        Self { profile, region, files: Files::new(variable) }
    }

    async fn ask(&self) -> Result<Loaded, RemoteError> {
        let config = self.config().await;
        match &self.profile {
            Some(name) => self.ask_profile(name, &config).await,
            None => self.ask_all(&config).await,
        }
    }

    async fn config(&self) -> ProviderConfig {
        let client = aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring));
        let config =
            ProviderConfig::without_region().with_behavior_version(Some(BehaviorVersion::latest())).with_http_client(client.build_https());
        let mut profile = ProfileFileRegionProvider::builder().configure(&config);
        if let Some(name) = &self.profile {
            profile = profile.profile_name(name);
        }
        let fallback = Region::new(self.region.clone().unwrap_or_else(|| REGION.to_owned()));
        let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile.build()).or_else(fallback);
        let region = chain.region().await;
        config.with_region(region)
    }

    async fn ask_profile(&self, name: &str, config: &ProviderConfig) -> Result<Loaded, RemoteError> {
        let provider = ProfileFileCredentialsProvider::builder().configure(config).profile_name(name).build();
        match provider.provide_credentials().await {
            Ok(found) => Ok(loaded(&found, self.name_of(name))),
            Err(error) => Err(self.missing(name).unwrap_or_else(|| refused(&format!("profile {name}"), &error))),
        }
    }

    /// What to say about a profile that isn't there.
    fn missing(&self, name: &str) -> Option<RemoteError> {
        let (there, looked) = self.files.profiles();
        if there.contains(name) {
            return None;
        }
        let list = there.into_iter().collect::<Vec<_>>().join(", ");
        let list = if list.is_empty() { format!("there are none in {looked}") } else { format!("{looked} have: {list}") };
        Some(RemoteError::new(ErrorKind::Configuration, format!("there is no AWS profile {name:?}; {list}")))
    }

    fn name_of(&self, profile: &str) -> String {
        format!("profile {profile} ({})", self.files.that_have(profile))
    }

    async fn ask_all(&self, config: &ProviderConfig) -> Result<Loaded, RemoteError> {
        let imds = imds::Client::builder()
            .configure(config)
            .connect_timeout(IMDS_CONNECT)
            .read_timeout(IMDS_ANSWER)
            .max_attempts(IMDS_ATTEMPTS)
            .build();
        let default = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let links: [(String, Box<dyn ProvideCredentials>); 5] = [
            ("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(), Box::new(EnvironmentVariableCredentialsProvider::new())),
            (self.name_of(&default), Box::new(ProfileFileCredentialsProvider::builder().configure(config).build())),
            ("web identity".to_owned(), Box::new(WebIdentityTokenCredentialsProvider::builder().configure(config).build())),
            ("container endpoint".to_owned(), Box::new(EcsCredentialsProvider::builder().configure(config).build())),
            (
                "EC2 instance role (IMDSv2)".to_owned(),
                Box::new(imds::credentials::ImdsCredentialsProvider::builder().configure(config).imds_client(imds).build()),
            ),
        ];
        let (mut lacking, last) = (String::new(), links.len() - 1);
        for (index, (name, link)) in links.into_iter().enumerate() {
            match link.provide_credentials().await {
                Ok(found) => return Ok(loaded(&found, name)),
                // Many networks answer at the address of EC2's metadata, if only to forbid it.
                Err(error) if matches!(error, CredentialsError::CredentialsNotLoaded(_)) || index == last => {
                    let _ = write!(lacking, "; {name}: {}", in_words(&error));
                }
                Err(error) => return Err(refused(&name, &error)),
            }
        }
        Err(RemoteError::new(ErrorKind::NoCredentials, format!("no AWS credentials were found{lacking}")))
    }
}

impl Source for Chain {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, RemoteError>> {
        Box::pin(self.ask())
    }

    fn stamp(&self) -> Stamp {
        self.files.stamp()
    }

    fn name(&self) -> String {
        self.profile.as_ref().map_or_else(|| "the AWS default chain".to_owned(), |name| format!("profile {name}"))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn loaded(found: &AwsCredentials, source: String) -> Loaded {
    Loaded {
        access_key: found.access_key_id().to_owned(),
        secret_key: found.secret_access_key().to_owned(),
        session_token: found.session_token().map(str::to_owned),
        expires: found.expiry(),
        source,
    }
}

fn refused(name: &str, error: &CredentialsError) -> RemoteError {
    let kind = if matches!(error, CredentialsError::InvalidConfiguration(_)) { ErrorKind::Configuration } else { ErrorKind::NoCredentials };
    RemoteError::new(kind, format!("{name}: {}", in_words(error)))
}

/// The innermost causes: the outer ones say nothing but that there are some.
fn in_words(error: &CredentialsError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}
