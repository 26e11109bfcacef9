//! Layers of values, each checked by itself before they are merged, so that an error names the file or the variable at fault even
//! when a weightier layer would have hidden it.

use crate::Values;
use crate::env::{Environment, Kind, NamedVariable, VARIABLES};
use crate::error::ConfigError;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// A variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// The values of one origin.
struct Layer {
    origin: Origin,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match &self.origin {
            Origin::Default => Metadata::named("default"),
            Origin::File(path) => Metadata::from("file", Source::File(path.clone())),
            Origin::Variable(name) => Metadata::from("variable", Source::Custom(name.clone())),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// What has been read so far, in order of rising weight.
#[derive(Default)]
pub(crate) struct Layers {
    merged: Figment,
    files: Vec<PathBuf>,
}

impl Layers {
    /// Adds a file; one that doesn't exist is left out unless it is `required`.
    pub(crate) fn file(&mut self, path: &Path, required: bool) -> Result<(), ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(()),
            Err(cause) => return Err(ConfigError::Read { path: path.to_owned(), named: required, cause }),
        };
        let values: Dict = Toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string().trim_end().to_owned() })?;
        self.add(Layer { origin: Origin::File(path.to_owned()), values })?;
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Adds the variables that stand for keys, one layer each.
    pub(crate) fn variables(&mut self, env: &Environment, notices: &mut Vec<String>) -> Result<(), ConfigError> {
        let has_remote = self.merged.contains("cache.remote") || env.get("KACHE_S3_BUCKET").is_some();
        for variable in VARIABLES {
            let (Some(key), Some(text)) = (variable.key, env.text(variable.name)?) else { continue };
            let remote = key.starts_with("cache.remote.");
            if remote && !has_remote {
                // A level or a mode in a machine's profile is no request for a remote.
                if variable.name.starts_with("KACHE_S3_") {
                    notices.push(format!("{} is set, but there is no bucket: set KACHE_S3_BUCKET or [cache.remote]", variable.name));
                }
                continue;
            }
            let added = self.add(variable.layer(key, &text));
            match added {
                // A build's environment may have become the daemon's, and there a bad level must disturb nothing.
                Err(error) if variable.name == "KACHE_COMPRESSION_LEVEL" => notices.push(error.to_string()),
                other => other?,
            }
        }
        Ok(())
    }

    fn add(&mut self, layer: Layer) -> Result<(), ConfigError> {
        Figment::from(&layer).extract::<Values>().map_err(|error| ConfigError::from_figment(layer.origin.clone(), error))?;
        self.merged = std::mem::take(&mut self.merged).merge(layer);
        Ok(())
    }

    /// All layers merged.
    pub(crate) fn values(&self) -> Result<Values, ConfigError> {
        self.merged.extract().map_err(|error| ConfigError::from_figment(Origin::Default, error))
    }

    /// Where the value of `key` comes from.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        match self.merged.find_metadata(key).and_then(|metadata| metadata.source.as_ref()) {
            Some(Source::File(path)) => Origin::File(path.clone()),
            Some(Source::Custom(name)) => Origin::Variable(name.clone()),
            _ => Origin::Default,
        }
    }

    pub(crate) fn into_files(self) -> Vec<PathBuf> {
        self.files
    }
}

impl NamedVariable {
    fn layer(&self, key: &str, text: &str) -> Layer {
        let value = match self.kind {
            Kind::Text => Value::from(text),
            Kind::Number => text.trim().parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
            Kind::Paths => Value::from(text.split(':').collect::<Vec<_>>()),
            Kind::Negated => Value::from(["0", "false", "no", "off"].contains(&text.to_ascii_lowercase().as_str())),
        };
        let (tables, last) = key.rsplit_once('.').unwrap_or(("", key));
        let leaf = Dict::from([(last.to_owned(), value)]);
        let nest = |inner: Dict, table: &str| Dict::from([(table.to_owned(), Value::from(inner))]);
        let values = tables.rsplit('.').filter(|table| !table.is_empty()).fold(leaf, nest);
        Layer { origin: Origin::Variable(self.name.to_owned()), values }
    }
}
