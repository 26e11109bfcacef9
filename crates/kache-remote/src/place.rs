//! Where a bucket is: endpoint and region.
//!
//! Addresses are path-style everywhere, also on AWS. Regions are names that aren't looked up in any table, because tables age.

use crate::error::{ErrorKind, RemoteError};
use hyper::Uri;
use rusoto_core::Region;

const DEFAULT_REGION: &str = "us-east-1";

/// An endpoint and the region that requests to it are signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    aws: bool,
}

impl Place {
    /// The place that a configuration describes. No endpoint means AWS; no region means one that every such service takes.
    pub(crate) fn new(endpoint: Option<&str>, region: Option<&str>) -> Result<Self, RemoteError> {
        let region = region.unwrap_or(DEFAULT_REGION).to_owned();
        match endpoint {
            Some(endpoint) => Ok(Self { endpoint: checked(endpoint)?, region, aws: is_aws(endpoint) }),
            None => Ok(Self { endpoint: checked(&aws_endpoint(&region))?, region, aws: true }),
        }
    }

    /// The place after the server said where the bucket really is. Only AWS has an endpoint for each region.
    pub(crate) fn moved_to(&self, region: &str) -> Self {
        let endpoint = if self.aws { aws_endpoint(region) } else { self.endpoint.clone() };
        Self { endpoint, region: region.to_owned(), aws: self.aws }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.endpoint.starts_with("https://")
    }

    pub(crate) fn as_rusoto(&self) -> Region {
        Region::Custom { name: self.region.clone(), endpoint: self.endpoint.clone() }
    }
}

fn aws_endpoint(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{china}")
}

/// Whether it is one of AWS's own endpoints for a region, which differ by region in nothing but the name.
fn is_aws(endpoint: &str) -> bool {
    let host = endpoint.trim_start_matches("https://").trim_end_matches('/');
    let inner = host.strip_prefix("s3.").and_then(|rest| rest.trim_end_matches(".cn").strip_suffix(".amazonaws.com"));
    host == "s3.amazonaws.com" || inner.is_some_and(|region| !region.contains(['.', '/']))
}

fn checked(endpoint: &str) -> Result<String, RemoteError> {
    let refuse = |why: &str| Err(RemoteError::new(ErrorKind::Configuration, format!("the endpoint {why}")));
    let trimmed = endpoint.trim_end_matches('/');
    let Ok(uri) = trimmed.parse::<Uri>() else { return refuse("isn't a URL such as https://s3.example.com") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return refuse("must begin with https:// or http://");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse("holds a user name; credentials have variables and profiles of their own");
    }
    if uri.query().is_some() {
        return refuse("holds a query");
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_regions_have_defaults() {
        for (endpoint, region, expected) in [
            (None, None, ("https://s3.us-east-1.amazonaws.com", "us-east-1")),
            (None, Some("eu-west-1"), ("https://s3.eu-west-1.amazonaws.com", "eu-west-1")),
            (None, Some("cn-north-1"), ("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1")),
            (None, Some("mx-central-7"), ("https://s3.mx-central-7.amazonaws.com", "mx-central-7")),
            (Some("https://x.r2.cloudflarestorage.com/"), Some("auto"), ("https://x.r2.cloudflarestorage.com", "auto")),
            (Some("http://127.0.0.1:9000"), None, ("http://127.0.0.1:9000", "us-east-1")),
            (Some("https://gate.example.com:8443/s3//"), Some("ceph"), ("https://gate.example.com:8443/s3", "ceph")),
        ] {
            let place = Place::new(endpoint, region).unwrap();
            assert_eq!((place.endpoint.as_str(), place.region.as_str()), expected);
        }
    }

    #[test]
    fn only_aws_has_an_endpoint_for_each_region() {
        for (endpoint, moved) in [
            (None, "https://s3.eu-west-1.amazonaws.com"),
            (Some("https://s3.us-west-2.amazonaws.com"), "https://s3.eu-west-1.amazonaws.com"),
            (Some("https://s3.amazonaws.com"), "https://s3.eu-west-1.amazonaws.com"),
            (Some("https://s3.amazonaws.com.evil.example"), "https://s3.amazonaws.com.evil.example"),
            (Some("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com"), "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com"),
            (Some("http://127.0.0.1:9000"), "http://127.0.0.1:9000"),
        ] {
            let place = Place::new(endpoint, Some("us-west-2")).unwrap().moved_to("eu-west-1");
            assert_eq!((place.endpoint.as_str(), place.region.as_str()), (moved, "eu-west-1"));
        }
    }

    #[test]
    fn endpoints_that_cannot_work_are_refused_without_being_repeated() {
        for bad in ["", "s3.example.com", "ftp://s3.example.com", "https://user:hunter2@s3.example.com", "https://x/?a=b", "https://"] {
            let error = Place::new(Some(bad), None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
