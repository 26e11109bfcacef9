//! The AWS files: where they are, when they change, which profiles they name. What is in a profile is aws-config's business.

use crate::renewing::Stamp;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// `~/.aws/credentials` and `~/.aws/config`, or what stands in for them.
#[derive(Clone, Debug)]
pub(super) struct Files {
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl Files {
    /// As the environment names them.
    pub(super) fn new(env: impl Fn(&str) -> Option<String>) -> Self {
        let home = env("HOME").filter(|home| !home.is_empty());
        let place = |variable: &str, name: &str| {
            let path = env(variable).filter(|path| !path.is_empty()).unwrap_or_else(|| format!("~/.aws/{name}"));
            match (path.strip_prefix("~/"), &home) {
                (Some(rest), Some(home)) => Some(PathBuf::from(home).join(rest)),
                (Some(_), None) => None,
                (None, _) => Some(PathBuf::from(path)),
            }
        };
        Self { credentials: place("AWS_SHARED_CREDENTIALS_FILE", "credentials"), config: place("AWS_CONFIG_FILE", "config") }
    }

    pub(super) fn stamp(&self) -> Stamp {
        let stamp = |path: &Option<PathBuf>| {
            let found = std::fs::metadata(path.as_ref()?).ok()?;
            Some((i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()), found.size(), found.ino()))
        };
        vec![stamp(&self.credentials), stamp(&self.config)]
    }

    /// Which of the files has profile `name`, for people.
    pub(super) fn that_have(&self, name: &str) -> String {
        let have = self.each().into_iter().filter(|(_, names)| names.contains(name)).map(|(path, _)| path.display().to_string());
        have.collect::<Vec<_>>().join(", ")
    }

    /// All profiles, and the files that were looked for, for people.
    pub(super) fn profiles(&self) -> (BTreeSet<String>, String) {
        let each = self.each();
        let looked = each.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(" and ");
        (each.into_iter().flat_map(|(_, names)| names).collect(), looked)
    }

    fn each(&self) -> Vec<(&PathBuf, BTreeSet<String>)> {
        let read = |path: &Option<PathBuf>| {
            let bytes = path.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let credentials = self.credentials.iter().map(|path| (path, names(&read(&self.credentials), false)));
        let config = self.config.iter().map(|path| (path, names(&read(&self.config), true)));
        credentials.chain(config).collect()
    }
}

/// The profiles of one file. In the config file all but `default` are called `profile name`; other sections are none.
fn names(text: &str, config: bool) -> BTreeSet<String> {
    let headers = text.lines().filter_map(|line| line.trim().strip_prefix('[')?.split_once(']').map(|(name, _)| name.trim()));
    let profile = |header: &str| match header.split_once(char::is_whitespace) {
        Some(("profile", name)) if config => Some(name.trim().to_owned()),
        None if !config || header == "default" => Some(header.to_owned()),
        _ => None,
    };
    headers.filter_map(profile).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_are_profiles_are_found() {
        let check = |text: &str, config: bool, expected: &[&str]| {
            assert_eq!(names(text, config).iter().map(String::as_str).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("[default]\na=b\n[ci]\n [ spaced ] # x\n", false, &["ci", "default", "spaced"]);
        check("[default]\n[profile ci]\n[profile\tdev ]\n[sso-session x]\n[ci2]\n[profile]\n", true, &["ci", "default", "dev"]);
        check("[]\n[unclosed\n]\n\0\u{fffd}[\n", false, &[]);
        check("", true, &[]);
    }

    #[test]
    fn files_are_where_the_environment_says() {
        let files = |env: &'static [(&str, &str)]| {
            let found = Files::new(|name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()));
            (found.credentials.map(|path| path.display().to_string()), found.config.map(|path| path.display().to_string()))
        };
        assert_eq!(files(&[("HOME", "/h")]), (Some("/h/.aws/credentials".into()), Some("/h/.aws/config".into())));
        assert_eq!(files(&[("HOME", "/h"), ("AWS_CONFIG_FILE", "~/c")]).1, Some("/h/c".into()));
        assert_eq!(files(&[("AWS_CONFIG_FILE", "/c")]), (None, Some("/c".into())));
    }
}
