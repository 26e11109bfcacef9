//! `[rules]`: what holds for single crates. `[rules.NAME]` is about the package or the crate of that name (`-` and `_` are equal), `[rules."*"]` about
//! all.

use serde::de::{self, Deserialize, Deserializer, Unexpected};
use std::collections::BTreeMap;

/// What is declared of a crate.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// `bypass`: its compiles are left to rustc.
    pub bypass: bool,
    /// `env`: variables that count as its inputs.
    #[serde(deserialize_with = "names")]
    pub env: Vec<String>,
    /// `files`: paths and patterns below its package's directory that count as its inputs.
    #[serde(deserialize_with = "patterns")]
    pub files: Vec<String>,
    /// `salt`: goes into its keys, beside the one of `[cache]`.
    pub salt: String,
}

/// Both salts as one.
pub fn salted(salt: &str, more: &str) -> String {
    match (salt, more) {
        (salt, "") => salt.to_owned(),
        ("", more) => more.to_owned(),
        (salt, more) => format!("{salt}\n{more}"),
    }
}

/// All rules by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Rules(BTreeMap<String, Rule>);

impl Rules {
    /// What holds for a crate of a package, all rules taken together.
    pub fn of(&self, package: &str, crate_name: &str) -> Rule {
        let same = |name: &str, own: &str| name.replace('-', "_") == own.replace('-', "_");
        let mut all = Rule::default();
        for (_, rule) in self.0.iter().filter(|(name, _)| *name == "*" || same(name, package) || same(name, crate_name)) {
            let Rule { bypass, env, files, salt } = rule;
            all.bypass |= bypass;
            all.env.extend_from_slice(env);
            all.files.extend_from_slice(files);
            all.salt = salted(&all.salt, salt);
        }
        for list in [&mut all.env, &mut all.files] {
            list.sort();
            list.dedup();
        }
        all
    }

    /// Each with its name, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Rule)> {
        self.0.iter().map(|(name, rule)| (name.as_str(), rule))
    }
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let plain = |name: &str| !name.is_empty() && !name.contains(['=', '\0', '$', ' ']);
    checked(deserializer, plain, "names of variables such as DATABASE_URL")
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let sound = |pattern: &str| !pattern.is_empty() && glob::Pattern::new(pattern).is_ok();
    checked(deserializer, sound, "paths or patterns such as templates/**/*.html")
}

/// A list of texts that `accept` takes; the first that it doesn't take is named.
fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    accept: impl Fn(&str) -> bool,
    expected: &'static str,
) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    match list.iter().find(|text| !accept(text)) {
        Some(bad) => Err(de::Error::invalid_value(Unexpected::Str(bad), &expected)),
        None => Ok(list),
    }
}
