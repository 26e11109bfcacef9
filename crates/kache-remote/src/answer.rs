//! What a server says when it refuses: status, code and sentence, and which kind of trouble that is.
//!
//! Servers differ, so a code decides before a status does. The body may be anything: it is searched for two elements and never trusted
//! further than that. Only the code and a short piece of the sentence are kept, because some servers answer with what they were sent.

use crate::error::{ErrorKind, RemoteError};
use hyper::HeaderMap;
use std::time::{Duration, SystemTime};

/// S3 refuses requests whose time is 15 minutes off.
const SKEW_LIMIT: Duration = Duration::from_secs(14 * 60);
const MAX_MESSAGE_CHARS: usize = 200;
const MAX_CODE_BYTES: usize = 60;

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
    skew: Option<Skew>,
}

/// How far this machine's clock is from the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skew {
    Behind(Duration),
    Ahead(Duration),
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Put,
    List,
}

impl Operation {
    /// As the subject of a message begins.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::List => "LIST",
        }
    }

    const fn permission(self) -> &'static str {
        match self {
            Self::Get => "s3:GetObject and s3:ListBucket",
            Self::Put => "s3:PutObject; to only fetch, set mode = \"read-only\"",
            Self::List => "s3:ListBucket",
        }
    }
}

impl Answer {
    /// Takes an answer apart. `now` is this machine's time.
    pub(crate) fn read(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let header = |name| headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
        let body = String::from_utf8_lossy(body);
        let code = element(&body, "Code").unwrap_or_default();
        let message = element(&body, "Message").unwrap_or_default();
        let region = header("x-amz-bucket-region").map(str::to_owned).or_else(|| element(&body, "Region"));
        Self {
            status,
            code: code.chars().filter(char::is_ascii_alphanumeric).take(MAX_CODE_BYTES).collect(),
            message: message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect(),
            region: region.filter(|region| is_region(region)),
            skew: header("date").and_then(|date| httpdate::parse_http_date(date).ok()).and_then(|date| skew(now, date)),
        }
    }

    /// The object isn't there.
    pub(crate) fn says_missing(&self) -> bool {
        self.status == 404 && self.code != "NoSuchBucket"
    }

    /// Something is there already, after a PUT that asked for nothing to be.
    pub(crate) fn says_already_there(&self) -> bool {
        self.status == 412
    }

    /// The server doesn't know what a conditional PUT is.
    pub(crate) fn says_not_implemented(&self) -> bool {
        self.status == 501 || self.code == "NotImplemented"
    }

    /// Where the bucket is, if the request went to the wrong place.
    pub(crate) fn right_region(&self) -> Option<&str> {
        (self.kind() == ErrorKind::WrongRegion).then_some(self.region.as_deref())?
    }

    /// Whether other credentials would be worth a try, and whether it is the credentials as such that were refused.
    pub(crate) fn refuses_credentials(&self) -> Option<Refused> {
        match self.code.as_str() {
            "InvalidAccessKeyId" | "NotSignedUp" | "InvalidToken" | "InvalidClientTokenId" => Some(Refused::Credentials),
            _ if self.kind() == ErrorKind::ExpiredCredentials => Some(Refused::Credentials),
            _ if self.kind() == ErrorKind::Forbidden => Some(Refused::Perhaps),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind_by_code().unwrap_or_else(|| self.kind_by_status())
    }

    fn kind_by_code(&self) -> Option<ErrorKind> {
        Some(match self.code.as_str() {
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "BandwidthLimitExceeded"
            | "ServiceUnavailable" => ErrorKind::Throttled,
            "RequestTimeTooSkewed" => ErrorKind::ClockSkew,
            "AccessDenied" | "SignatureDoesNotMatch" | "RequestExpired" if self.skew.is_some() => ErrorKind::ClockSkew,
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => ErrorKind::ExpiredCredentials,
            "InvalidAccessKeyId"
            | "InvalidToken"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "AccessDenied"
            | "NotSignedUp"
            | "AllAccessDisabled"
            | "AccountProblem" => ErrorKind::Forbidden,
            "NoSuchBucket" | "InvalidBucketName" => ErrorKind::NoSuchBucket,
            "PermanentRedirect" | "TemporaryRedirect" | "Redirect" | "IllegalLocationConstraintException" => ErrorKind::WrongRegion,
            "AuthorizationHeaderMalformed" if self.region.is_some() => ErrorKind::WrongRegion,
            "RequestTimeout" => ErrorKind::Timeout,
            "InternalError" | "OperationAborted" | "ConditionalRequestConflict" => ErrorKind::Server,
            "IncompleteBody" => ErrorKind::Truncated,
            "BadDigest" => ErrorKind::DigestMismatch,
            "EntityTooLarge" => ErrorKind::TooLarge,
            _ => return None,
        })
    }

    fn kind_by_status(&self) -> ErrorKind {
        match self.status {
            301 | 302 | 307 | 308 => ErrorKind::WrongRegion,
            400 if self.region.is_some() => ErrorKind::WrongRegion,
            401 | 403 if self.skew.is_some() => ErrorKind::ClockSkew,
            401 | 403 => ErrorKind::Forbidden,
            404 => ErrorKind::NoSuchBucket,
            408 => ErrorKind::Timeout,
            429 | 503 => ErrorKind::Throttled,
            400..=499 | 501 => ErrorKind::BadRequest,
            500..=599 => ErrorKind::Server,
            _ => ErrorKind::Other,
        }
    }

    /// The refusal in words. `credentials` is where they came from.
    pub(crate) fn into_error(self, operation: Operation, credentials: &str) -> RemoteError {
        let said = self.said();
        let kind = self.kind();
        let advice = match kind {
            ErrorKind::Forbidden => match self.code.as_str() {
                "InvalidAccessKeyId" | "NotSignedUp" => {
                    format!("the server doesn't know the access key (credentials: {credentials}); check that it belongs to this endpoint")
                }
                "SignatureDoesNotMatch" => {
                    format!("the secret key doesn't fit the access key (credentials: {credentials}); check both for missing characters")
                }
                "InvalidToken" | "InvalidClientTokenId" => format!("the session token is refused (credentials: {credentials}); renew it"),
                _ => format!("access denied (credentials: {credentials}); needs {}", operation.permission()),
            },
            ErrorKind::ExpiredCredentials => format!("the credentials have expired (credentials: {credentials}); renew them"),
            ErrorKind::ClockSkew => match self.skew {
                Some(Skew::Behind(by)) => format!("this machine's clock is {} behind the server's; set it right", spoken(by)),
                Some(Skew::Ahead(by)) => format!("this machine's clock is {} ahead of the server's; set it right", spoken(by)),
                None => "this machine's clock is too far from the server's; set it right".to_owned(),
            },
            ErrorKind::WrongRegion => match &self.region {
                Some(region) => format!("the bucket is in region {region}; set region = \"{region}\""),
                None => "the bucket is in another region; set `region` to the bucket's own".to_owned(),
            },
            ErrorKind::NoSuchBucket => "there is no such bucket at this endpoint; check `bucket` and `endpoint`".to_owned(),
            ErrorKind::Throttled => "the server asks to slow down".to_owned(),
            ErrorKind::Server => "the server failed".to_owned(),
            ErrorKind::DigestMismatch => "the bytes changed on their way to the server".to_owned(),
            _ => "the server refused the request".to_owned(),
        };
        RemoteError::new(kind, format!("{advice} [{said}]"))
    }

    fn said(&self) -> String {
        let mut said = self.status.to_string();
        if !self.code.is_empty() {
            said = format!("{said} {}", self.code);
        }
        if !self.message.is_empty() {
            said = format!("{said}: {}", self.message);
        }
        said
    }
}

/// How far a refusal concerns the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// They are what was refused.
    Credentials,
    /// They may be, or they aren't allowed to do this.
    Perhaps,
}

/// The text of the first element of that name.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain));
    Some(text.trim().to_owned())
}

/// A region becomes part of a host name.
fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 40 && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

fn skew(here: SystemTime, there: SystemTime) -> Option<Skew> {
    let skew = match here.duration_since(there) {
        Ok(ahead) => Skew::Ahead(ahead),
        Err(behind) => Skew::Behind(behind.duration()),
    };
    let (Skew::Ahead(by) | Skew::Behind(by)) = skew;
    (by >= SKEW_LIMIT).then_some(skew)
}

fn spoken(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match (minutes / (60 * 24), minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], code: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| (hyper::header::HeaderName::from_static(name), value.parse().unwrap())).collect();
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>it is &lt;so&gt;</Message></Error>");
        Answer::read(status, &headers, if code.is_empty() { b"" } else { body.as_bytes() }, at(0))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn codes_decide_before_statuses() {
        for (status, code, kind) in [
            (503, "SlowDown", "throttled"),
            (400, "SlowDown", "throttled"),
            (503, "", "throttled"),
            (429, "", "throttled"),
            (500, "InternalError", "server"),
            (500, "", "server"),
            (502, "", "server"),
            (504, "", "server"),
            (409, "ConditionalRequestConflict", "server"),
            (403, "AccessDenied", "forbidden"),
            (403, "SignatureDoesNotMatch", "forbidden"),
            (400, "InvalidToken", "forbidden"),
            (403, "", "forbidden"),
            (401, "", "forbidden"),
            (400, "ExpiredToken", "expired_credentials"),
            (403, "ExpiredTokenException", "expired_credentials"),
            (403, "RequestTimeTooSkewed", "clock_skew"),
            (404, "NoSuchBucket", "no_such_bucket"),
            (301, "PermanentRedirect", "wrong_region"),
            (307, "", "wrong_region"),
            (400, "RequestTimeout", "timeout"),
            (408, "", "timeout"),
            (400, "IncompleteBody", "truncated"),
            (400, "BadDigest", "digest_mismatch"),
            (400, "InvalidArgument", "bad_request"),
            (400, "", "bad_request"),
            (405, "MethodNotAllowed", "bad_request"),
            (501, "NotImplemented", "bad_request"),
            (100, "", "other"),
        ] {
            assert_eq!(answer(status, &[], code).kind().name(), kind, "{status} {code}");
        }
    }

    #[test]
    fn missing_is_a_404_about_the_object() {
        assert!(answer(404, &[], "NoSuchKey").says_missing() && answer(404, &[], "").says_missing());
        assert!(!answer(404, &[], "NoSuchBucket").says_missing() && !answer(403, &[], "NoSuchKey").says_missing());
    }

    #[test]
    fn the_right_region_comes_from_the_header_or_the_body() {
        let header = ("x-amz-bucket-region", "eu-west-1");
        for redirected in [answer(301, &[header], "PermanentRedirect"), answer(400, &[header], ""), answer(307, &[header], "")] {
            assert_eq!(redirected.right_region(), Some("eu-west-1"), "{redirected:?}");
            assert!(redirected.into_error(Operation::Get, "test").to_string().contains("region = \"eu-west-1\""));
        }
        let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>";
        let malformed = Answer::read(400, &HeaderMap::new(), body.as_bytes(), at(0));
        assert_eq!(malformed.right_region(), Some("eu-central-1"));
        assert_eq!(answer(403, &[header], "AccessDenied").right_region(), None);
        for hostile in ["evil.example/", "a.b", "-a", "A", "", &"a".repeat(41)] {
            assert_eq!(answer(301, &[("x-amz-bucket-region", hostile)], "").right_region(), None, "{hostile}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_said_with_numbers() {
        for (offset, direction) in [(3780, "1 h 3 min behind"), (900, "15 min behind"), (200_000, "2 d 7 h behind")] {
            let date = httpdate::fmt_http_date(at(offset));
            for code in ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "AccessDenied", ""] {
                let error = answer(403, &[("date", &date)], code).into_error(Operation::Put, "test");
                assert_eq!(error.kind(), ErrorKind::ClockSkew, "{code}");
                assert!(error.to_string().contains(direction), "{error}");
            }
        }
        let slightly = httpdate::fmt_http_date(at(60));
        assert_eq!(answer(403, &[("date", &slightly)], "AccessDenied").kind(), ErrorKind::Forbidden);
        let before = httpdate::fmt_http_date(at(0) - Duration::from_secs(3600));
        let error = answer(403, &[("date", &before)], "RequestTimeTooSkewed").into_error(Operation::Get, "test");
        assert!(error.to_string().contains("1 h 0 min ahead"), "{error}");
    }

    #[test]
    fn messages_say_what_to_do_and_repeat_little() {
        let denied = answer(403, &[], "AccessDenied").into_error(Operation::Put, "profile ci").to_string();
        for part in ["profile ci", "s3:PutObject", "read-only", "403 AccessDenied: it is <so>"] {
            assert!(denied.contains(part), "{denied}");
        }
        let long = format!("<Code>X\u{1b}[31m</Code><Message>{}\n</Message><StringToSign>secret</StringToSign>", "é".repeat(1000));
        let error = Answer::read(400, &HeaderMap::new(), long.as_bytes(), at(0)).into_error(Operation::Get, "test").to_string();
        assert!(error.chars().count() < 300 && !error.contains("secret") && !error.contains('\u{1b}'), "{error}");
        let binary = Answer::read(400, &HeaderMap::new(), &[0xff; 100], at(0));
        assert_eq!(binary.kind(), ErrorKind::BadRequest);
    }

    #[test]
    fn credentials_are_worth_renewing_when_they_may_be_the_reason() {
        for (status, code, refused) in [
            (403, "InvalidAccessKeyId", Some(Refused::Credentials)),
            (400, "ExpiredToken", Some(Refused::Credentials)),
            (400, "InvalidToken", Some(Refused::Credentials)),
            (403, "AccessDenied", Some(Refused::Perhaps)),
            (403, "", Some(Refused::Perhaps)),
            (404, "NoSuchBucket", None),
            (503, "SlowDown", None),
            (403, "RequestTimeTooSkewed", None),
        ] {
            assert_eq!(answer(status, &[], code).refuses_credentials(), refused, "{status} {code}");
        }
    }
}
