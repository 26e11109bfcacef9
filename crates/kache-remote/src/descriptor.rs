//! `artifact.json`, the first member of every artifact: what was made, from what, and what follows in the tarball.
//!
//! Promise: a [`Descriptor`] that [`Descriptor::read`] gives away answers the question that was asked ([`Asked`]): key, package and contents agree
//! with each other, its file names are plain and unique, its sizes are below the [`Limits`], and it is a result that may travel between
//! machines (not bound to a checkout's paths, not made by continuing an incremental session or over somebody else's libraries), which names nothing that no build has to do with
//! ([`kache_model::bounds`]) and says nothing that a terminal would obey ([`kache_model::terminal`]). Whether its outputs are those that a compile
//! expects can only be told by whoever knows the compile. The bytes of the outputs are checked by
//! [`unpack`](crate::unpack). Unknown fields are ignored, so that a later version may say more; an unknown `format` is refused.

use crate::error::{ErrorKind, RemoteError};
use crate::name::{ObjectName, PackageName};
use crate::text;
use kache_model::artifact::DepInfoText;
use kache_model::{
    Artifact, ArtifactKey, ContentKey, InputSet, Linked, Mentions, Output, RootKinds, Roots, Stays, UnitKey, UnitOutline, bounds, terminal,
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const FORMAT: u32 = 3;

/// Longest file name of an output, bytes: what filesystems take.
const MAX_NAME: usize = 255;

/// An artifact as it travels, without the bytes of its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its key.
    pub key: ArtifactKey,
    /// The result.
    pub artifact: Artifact,
    /// What the compile was seen to read.
    pub set: InputSet,
    /// What may be told of what the unit key was made from.
    pub outline: UnitOutline,
}

/// What a fetch asked for; anything else is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Package name as in `Cargo.lock`.
    pub package: PackageName,
    /// The artifact's key.
    pub key: ArtifactKey,
}

impl Asked {
    /// Where it stands in the bucket.
    pub fn object_name(&self) -> ObjectName {
        ObjectName::Artifact { package: self.package.clone(), key: self.key }
    }
}

/// Bounds on what an artifact may make this machine hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All outputs together, bytes.
    pub unpacked_bytes: u64,
    /// `artifact.json`, bytes. It is held in memory.
    pub descriptor_bytes: u64,
    /// Output files.
    pub outputs: usize,
}

const UNLIMITED: Limits = Limits { unpacked_bytes: u64::MAX, descriptor_bytes: u64::MAX, outputs: usize::MAX };

impl Default for Limits {
    /// 4 GiB in 64 files, described in 16 MiB.
    fn default() -> Self {
        Self { unpacked_bytes: 4 << 30, descriptor_bytes: 16 << 20, outputs: 64 }
    }
}

impl Descriptor {
    /// The text of `artifact.json`. Equal descriptors give equal bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if this result must not travel; see the module.
    pub fn write(&self) -> Result<Vec<u8>, RemoteError> {
        self.check(&UNLIMITED)?;
        serde_json::to_vec(&DescriptorJson::from(self)).map_err(|error| corrupt(format!("artifact.json can't be written: {error}")))
    }

    /// Reads `artifact.json` and checks it against what was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] for another artifact, [`ErrorKind::TooLarge`], else [`ErrorKind::Corrupt`].
    pub fn read(json: &[u8], asked: &Asked, limits: &Limits) -> Result<Self, RemoteError> {
        if json.len() as u64 > limits.descriptor_bytes {
            return Err(too_large("artifact.json", limits.descriptor_bytes));
        }
        check_format("artifact.json", json, FORMAT)?;
        let parsed: DescriptorJson = serde_json::from_slice(json).map_err(|error| corrupt(format!("artifact.json: {error}")))?;
        let descriptor = Self::try_from(parsed)?;
        if descriptor.key != asked.key || descriptor.artifact.package != asked.package.as_str() {
            let Self { key, artifact, .. } = &descriptor;
            let text = format!("it is {}/{key}, not {}/{}", artifact.package, asked.package, asked.key);
            return Err(RemoteError::new(ErrorKind::WrongKey, text));
        }
        descriptor.check(limits)?;
        Ok(descriptor)
    }

    fn check(&self, limits: &Limits) -> Result<(), RemoteError> {
        let Self { key, artifact, set, outline } = self;
        let agree = artifact.package == outline.package
            && artifact.crate_name == outline.crate_name
            && artifact.bound == set.bound
            // What shapes the key of a noisy or bound result beside its content isn't told here.
            && (set.noisy || !set.bound.is_empty() || *key == ArtifactKey::derive(&artifact.content, set, &Roots::default(), &[]));
        if !agree {
            return Err(RemoteError::new(ErrorKind::WrongKey, format!("the parts of {key} don't belong together")));
        }
        if !artifact.bound.travel() {
            return Err(corrupt(format!("{key} is bound to the paths of the checkout that made it")));
        }
        if artifact.stays != Stays::No {
            return Err(corrupt(format!("{key} is good on the machine only that made it")));
        }
        check_names(artifact, set)?;
        check_text(artifact)?;
        check_outputs(artifact, limits)
    }

    /// Whether others would take it, as far as can be told here.
    pub fn may_travel(&self) -> bool {
        self.check(&UNLIMITED).is_ok()
    }
}

fn check_names(artifact: &Artifact, set: &InputSet) -> Result<(), RemoteError> {
    let unsafe_names = |text: String| RemoteError::new(ErrorKind::UnsafeNames, text);
    bounds::check(set).map_err(|beyond| unsafe_names(format!("its input set is left alone: {beyond}")))?;
    match artifact.linked.names.iter().chain([&artifact.crate_name]).find(|name| !is_plain(name)) {
        Some(name) => Err(unsafe_names(format!("it names a crate or a library {:?}", name.chars().take(80).collect::<String>()))),
        None => Ok(()),
    }
}

fn check_text(artifact: &Artifact) -> Result<(), RemoteError> {
    let streams = [("standard output", &artifact.stdout), ("standard error", &artifact.stderr)];
    match streams.into_iter().find(|(_, text)| !terminal::is_harmless(text)) {
        Some((name, _)) => Err(RemoteError::new(ErrorKind::UnsafeText, format!("its {name} holds control sequences other than colours"))),
        None => Ok(()),
    }
}

fn check_outputs(artifact: &Artifact, limits: &Limits) -> Result<(), RemoteError> {
    if artifact.outputs.len() > limits.outputs {
        return Err(RemoteError::new(ErrorKind::TooLarge, format!("{} outputs, more than {}", artifact.outputs.len(), limits.outputs)));
    }
    let total = artifact.outputs.iter().try_fold(0_u64, |sum, output| sum.checked_add(output.len));
    if total.is_none_or(|total| total > limits.unpacked_bytes) {
        return Err(too_large("the outputs together", limits.unpacked_bytes));
    }
    let names = artifact.outputs.iter().map(|output| &output.name).chain(artifact.dep_info.iter().map(|dep_info| &dep_info.name));
    let mut seen = HashSet::new();
    for name in names {
        if !is_plain(name) || !seen.insert(name) {
            return Err(corrupt(format!("an output is named {:?}", name.chars().take(80).collect::<String>())));
        }
    }
    Ok(())
}

/// Whether `name` is a file name and nothing more.
fn is_plain(name: &str) -> bool {
    !["", ".", ".."].contains(&name) && name.len() <= MAX_NAME && !name.contains(['/', '\\']) && !name.contains(char::is_control)
}

/// Refuses JSON without the `format` that is `known`.
pub(crate) fn check_format(what: &str, json: &[u8], known: u32) -> Result<(), RemoteError> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    match serde_json::from_slice::<Versioned>(json) {
        Ok(Versioned { format }) if format == known => Ok(()),
        Ok(Versioned { format }) => Err(corrupt(format!("{what} has format {format}, this version reads {known}"))),
        Err(error) => Err(corrupt(format!("{what}: {error}"))),
    }
}

pub(crate) fn corrupt(text: String) -> RemoteError {
    RemoteError::new(ErrorKind::Corrupt, text)
}

pub(crate) fn too_large(what: &str, limit: u64) -> RemoteError {
    RemoteError::new(ErrorKind::TooLarge, format!("{what} would take more than {limit} bytes"))
}

/// `artifact.json`, field by field.
#[derive(Serialize, Deserialize)]
struct DescriptorJson {
    format: u32,
    key: ArtifactKey,
    artifact: ArtifactJson,
    set: InputSet,
    outline: UnitOutline,
}

/// [`Artifact`] with its bytes as text and its mentions by name.
#[derive(Serialize, Deserialize)]
struct ArtifactJson {
    package: String,
    crate_name: String,
    unit: UnitKey,
    content: ContentKey,
    outputs: Vec<Output>,
    dep_info: Option<DepInfoJson>,
    #[serde(with = "text")]
    stdout: Vec<u8>,
    #[serde(with = "text")]
    stderr: Vec<u8>,
    status: i32,
    compile_millis: u64,
    #[serde(default)]
    stays: Stays,
    #[serde(default)]
    bound: RootKinds,
    mentions: Vec<String>,
    runs_macros: bool,
    linked: Linked,
}

#[derive(Serialize, Deserialize)]
struct DepInfoJson {
    name: String,
    #[serde(with = "text")]
    text: Vec<u8>,
}

impl From<&Descriptor> for DescriptorJson {
    fn from(descriptor: &Descriptor) -> Self {
        let Descriptor { key, artifact, set, outline } = descriptor.clone();
        let Artifact {
            package,
            crate_name,
            unit,
            content,
            outputs,
            dep_info,
            stdout,
            stderr,
            status,
            compile_millis,
            stays,
            bound,
            mentions,
            runs_macros,
            linked,
        } = artifact;
        let dep_info = dep_info.map(|DepInfoText { name, text }| DepInfoJson { name, text });
        let mentions = mentions.names().map(str::to_owned).collect();
        let artifact = ArtifactJson {
            package,
            crate_name,
            unit,
            content,
            outputs,
            dep_info,
            stdout,
            stderr,
            status,
            compile_millis,
            stays,
            bound,
            mentions,
            runs_macros,
            linked,
        };
        Self { format: FORMAT, key, artifact, set, outline }
    }
}

impl TryFrom<DescriptorJson> for Descriptor {
    type Error = RemoteError;

    fn try_from(json: DescriptorJson) -> Result<Self, RemoteError> {
        let DescriptorJson { format: _, key, artifact, set, outline } = json;
        let ArtifactJson {
            package,
            crate_name,
            unit,
            content,
            outputs,
            dep_info,
            stdout,
            stderr,
            status,
            compile_millis,
            stays,
            bound,
            mentions: names,
            runs_macros,
            linked,
        } = artifact;
        let mut mentions = Mentions::NONE;
        for name in names {
            let index = Mentions::NAMES.iter().position(|known| *known == name);
            mentions.insert(index.ok_or_else(|| corrupt(format!("artifact.json mentions {name:?}, which this version doesn't know")))?);
        }
        let dep_info = dep_info.map(|DepInfoJson { name, text }| DepInfoText { name, text });
        let artifact = Artifact {
            package,
            crate_name,
            unit,
            content,
            outputs,
            dep_info,
            stdout,
            stderr,
            status,
            compile_millis,
            stays,
            bound,
            mentions,
            runs_macros,
            linked,
        };
        Ok(Self { key, artifact, set, outline })
    }
}
