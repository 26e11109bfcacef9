//! What is kept of a unit's inputs beside its artifacts, in the store and in the bucket: enough to say in which way two units differ, and
//! nothing that could be a secret.
//!
//! Promise: no value of a variable is in an [`UnitOutline`], no salt, and no digest of either or of a file that somebody declared: whoever has a
//! digest of a short text can guess the text. An option that Cargo's profiles set has its value; of every other option, and of a `--cfg` that isn't a
//! feature, there is the name alone, since a build script may have put anything behind it. [`UnitInputs::outline`] takes the inputs apart in full,
//! so a new field doesn't compile until someone says what of it may travel.

use crate::digest::Digest;
use crate::unit::{ExternInput, UnitInputs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `-C` options that are told with their values: what these may be is a short list.
const WITH_VALUE: [&str; 16] = [
    "code-model",
    "codegen-units",
    "debug-assertions",
    "debuginfo",
    "embed-bitcode",
    "force-frame-pointers",
    "linker-plugin-lto",
    "lto",
    "opt-level",
    "overflow-checks",
    "panic",
    "relocation-model",
    "split-debuginfo",
    "strip",
    "target-cpu",
    "target-feature",
];

/// See the module. Fields are those of [`UnitInputs`] unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they bear their names there")]
pub struct UnitOutline {
    pub toolchain: Option<Digest>,
    pub driver: Option<Digest>,
    pub package: String,
    pub crate_name: String,
    pub crate_types: Vec<String>,
    pub edition: Option<String>,
    pub test: bool,
    pub emit: BTreeSet<String>,
    pub source: String,
    pub output_name: Option<String>,
    pub metadata: Vec<String>,
    pub extra_filename: Option<String>,
    pub target: Option<String>,
    /// Those of a profile whole, others by name.
    pub codegen: Vec<String>,
    /// Features whole, others by name.
    pub cfgs: BTreeSet<String>,
    pub lints: Vec<String>,
    /// By name; the working directory whole, with placeholders.
    pub options: Vec<String>,
    pub announces: bool,
    pub externs: Vec<ExternInput>,
    /// Names.
    pub named_files: BTreeSet<String>,
    pub linker: Option<Digest>,
    /// Names.
    pub environment: BTreeSet<String>,
    /// Names.
    pub declared: BTreeSet<String>,
    pub incremental: bool,
}

impl UnitInputs {
    /// What may be kept beside an artifact, and travel.
    pub fn outline(&self) -> UnitOutline {
        let Self {
            toolchain,
            driver,
            package,
            crate_name,
            crate_types,
            edition,
            test,
            emit,
            source,
            stdin: _,
            output_name,
            metadata,
            extra_filename,
            target,
            codegen,
            cfgs,
            check_cfgs: _,
            lints,
            options,
            announces,
            externs,
            named_files,
            linker,
            environment,
            declared,
            incremental,
            literal_roots: _,
            salt: _,
        } = self;
        let setting = |text: &String| if WITH_VALUE.contains(&name(text)) { text.clone() } else { name(text).to_owned() };
        let cfg = |text: &String| if text.starts_with("feature=") { text.clone() } else { name(text).to_owned() };
        let option = |text: &String| if text.starts_with("cwd=/proc/self/cwd") { text.clone() } else { name(text).to_owned() };
        UnitOutline {
            toolchain: *toolchain,
            driver: *driver,
            package: package.clone(),
            crate_name: crate_name.clone(),
            crate_types: crate_types.clone(),
            edition: edition.clone(),
            test: *test,
            emit: emit.clone(),
            source: source.clone(),
            output_name: output_name.clone(),
            metadata: metadata.clone(),
            extra_filename: extra_filename.clone(),
            target: target.clone(),
            codegen: codegen.iter().map(setting).collect(),
            cfgs: cfgs.iter().map(cfg).collect(),
            lints: lints.clone(),
            options: options.iter().map(option).collect(),
            announces: *announces,
            externs: externs.clone(),
            named_files: named_files.keys().cloned().collect(),
            linker: *linker,
            environment: environment.keys().cloned().collect(),
            declared: declared.keys().cloned().collect(),
            incremental: *incremental,
        }
    }
}

/// An option without what is set behind it.
fn name(text: &str) -> &str {
    text.split_once('=').map_or(text, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word that is nowhere but in values.
    const CANARY: &str = "c4n4ry";

    #[test]
    fn nothing_that_may_be_a_secret_is_in_an_outline() {
        let canary = CANARY.to_owned();
        let behind = |front: &str| format!("{front}{CANARY}");
        let inputs = UnitInputs {
            package: "a".into(),
            stdin: Some(Digest::of(CANARY.as_bytes())),
            codegen: vec!["opt-level=3".into(), behind("link-arg=-Wl,"), "relro-level=off".into(), "llvm-args=-x".into()],
            cfgs: ["feature=\"std\"".to_owned(), behind("token="), "unix".to_owned()].into(),
            check_cfgs: [behind("cfg(x, values(")].into(),
            options: vec!["cwd=/proc/self/cwd/a".into(), behind("-Zx="), behind("sysroot=/"), behind("-lstatic=")],
            named_files: [("native z".to_owned(), Digest::of(CANARY.as_bytes()))].into(),
            environment: [("API".to_owned(), canary.clone())].into(),
            declared: [(".env".to_owned(), Some(Digest::of(CANARY.as_bytes())))].into(),
            literal_roots: vec![behind("/home/")],
            salt: canary,
            ..UnitInputs::default()
        };
        let outline = inputs.outline();
        let json = serde_json::to_string(&outline).unwrap();
        assert!(!format!("{inputs:?}").contains(CANARY));
        assert!(!json.contains(CANARY) && !json.contains(&Digest::of(CANARY.as_bytes()).to_hex()), "{json}");
        assert_eq!(outline.codegen, ["opt-level=3", "link-arg", "relro-level", "llvm-args"]);
        assert_eq!(outline.cfgs, ["feature=\"std\"".to_owned(), "token".to_owned(), "unix".to_owned()].into());
        assert_eq!(outline.options, ["cwd=/proc/self/cwd/a", "-Zx", "sysroot", "-lstatic"]);
        assert_eq!((outline.environment, outline.declared), (["API".to_owned()].into(), [".env".to_owned()].into()));
    }
}
