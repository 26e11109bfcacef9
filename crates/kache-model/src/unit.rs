//! Everything about an invocation that is known before any source file is read, as one plain struct.
//!
//! The key is a hash over *all* fields: [`UnitInputs::key`] destructures the struct in full, so a new field doesn't compile until
//! someone says how it is hashed. It holds values of variables, so it stays in this process; what is kept beside an artifact is its
//! [outline](UnitInputs::outline).

use crate::digest::{ContentKey, Digest, Encoder, UnitKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What decides, beside the contents of files, what rustc makes of a unit. All text is portable.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitInputs {
    /// `rustc -vV` and the identity of compiler, driver library and codegen backends.
    pub toolchain: Option<Digest>,
    /// Driver in front of rustc: clippy-driver's identity.
    pub driver: Option<Digest>,
    /// Package as in `Cargo.lock`.
    pub package: String,
    /// `--crate-name`.
    pub crate_name: String,
    /// `--crate-type`, in order.
    pub crate_types: Vec<String>,
    /// `--edition`.
    pub edition: Option<String>,
    /// `--test`.
    pub test: bool,
    /// `--emit` kinds.
    pub emit: BTreeSet<String>,
    /// The source file's portable path; `-` for standard input.
    pub source: String,
    /// The source, when it came on standard input.
    pub stdin: Option<Digest>,
    /// File name given by `-o`.
    pub output_name: Option<String>,
    /// `-C metadata`.
    pub metadata: Vec<String>,
    /// `-C extra-filename`.
    pub extra_filename: Option<String>,
    /// `--target`: a triple, or a specification's digest.
    pub target: Option<String>,
    /// `-C` options, canonical and in the order that counts.
    pub codegen: Vec<String>,
    /// `--cfg`, order-free.
    pub cfgs: BTreeSet<String>,
    /// `--check-cfg`, order-free.
    pub check_cfgs: BTreeSet<String>,
    /// Lint options in argv order.
    pub lints: Vec<String>,
    /// Other options that count, in argv order.
    pub options: Vec<String>,
    /// Whether rustc announces its artifacts on stderr.
    pub announces: bool,
    /// `--extern`s, in argv order.
    pub externs: Vec<ExternInput>,
    /// Native libraries and other files that options name: how they are named → content.
    pub named_files: BTreeMap<String, Digest>,
    /// Linker, CRT objects and libc, for what really links.
    pub linker: Option<Digest>,
    /// Untracked variables that count; unset ones are left out.
    pub environment: BTreeMap<String, String>,
    /// Files declared as inputs (rules, a build script's `rerun-if-changed`): portable path → content; `None` if missing.
    pub declared: BTreeMap<String, Option<Digest>>,
    /// Whether `-C incremental` is given.
    pub incremental: bool,
    /// Literal roots, when nothing may be remapped (coverage, opt-out).
    pub literal_roots: Vec<String>,
    /// The user's salt.
    pub salt: String,
}

/// One `--extern`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternInput {
    /// `noprelude`, `priv`, … as written, without the colon.
    pub modifiers: String,
    /// The name.
    pub name: String,
    /// What went into the library, and so into everything that it reaches: proc macros behind a re-export, and the
    /// native code of the whole closure. `None` for a crate of the sysroot (`--extern proc_macro`).
    pub content: Option<ContentKey>,
    /// Digest of the library's interface as dependents read it (its `.rmeta`, else its only output), so that a rustc or a
    /// macro that isn't deterministic can't pair libraries that don't fit. `None` when the output may differ between
    /// incremental sessions without meaning anything.
    pub interface: Option<Digest>,
}

/// Only what may be told.
impl fmt::Debug for UnitInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outline().fmt(f)
    }
}

impl UnitInputs {
    /// The unit key.
    pub fn key(&self) -> UnitKey {
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
            stdin,
            output_name,
            metadata,
            extra_filename,
            target,
            codegen,
            cfgs,
            check_cfgs,
            lints,
            options,
            announces,
            externs,
            named_files,
            linker,
            environment,
            declared,
            incremental,
            literal_roots,
            salt,
        } = self;
        let digest = |value: &Option<Digest>| value.map(|digest| digest.as_bytes().to_vec());
        let text = |value: &Option<String>| value.as_ref().map(|text| text.as_bytes().to_vec());
        let mut e = Encoder::new("kache.unit.v2");
        e.optional("toolchain", digest(toolchain).as_deref())
            .optional("driver", digest(driver).as_deref())
            .field("package", package.as_bytes())
            .field("crate_name", crate_name.as_bytes())
            .list("crate_types", crate_types)
            .optional("edition", text(edition).as_deref())
            .field("test", &[u8::from(*test)])
            .list("emit", emit)
            .field("source", source.as_bytes())
            .optional("stdin", digest(stdin).as_deref())
            .optional("output_name", text(output_name).as_deref())
            .list("metadata", metadata)
            .optional("extra_filename", text(extra_filename).as_deref())
            .optional("target", text(target).as_deref())
            .list("codegen", codegen)
            .list("cfgs", cfgs)
            .list("check_cfgs", check_cfgs)
            .list("lints", lints)
            .list("options", options)
            .field("announces", &[u8::from(*announces)])
            .list("externs", externs.iter().map(ExternInput::digest).map(|digest| *digest.as_bytes()))
            .list("named_files", named_files.keys())
            .list("named_digests", named_files.values().map(Digest::as_bytes))
            .optional("linker", digest(linker).as_deref())
            .list("environment", environment.keys())
            .list("values", environment.values())
            .list("declared", declared.keys());
        for content in declared.values() {
            e.optional("", digest(content).as_deref());
        }
        e.field("incremental", &[u8::from(*incremental)]).list("literal_roots", literal_roots).field("salt", salt.as_bytes());
        UnitKey(e.finish())
    }
}

impl ExternInput {
    fn digest(&self) -> Digest {
        let Self { modifiers, name, content, interface } = self;
        let mut e = Encoder::new("kache.extern.v1");
        e.field("modifiers", modifiers.as_bytes())
            .field("name", name.as_bytes())
            .optional("content", content.as_ref().map(|key| key.0.as_bytes().as_slice()))
            .optional("interface", interface.as_ref().map(|digest| digest.as_bytes().as_slice()));
        e.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One change per field, so that no field is forgotten in the hash.
    #[test]
    fn every_field_changes_the_key() {
        let some = Digest::of(b"x");
        let changes: Vec<fn(&mut UnitInputs)> = vec![
            |u| u.toolchain = Some(Digest::of(b"x")),
            |u| u.driver = Some(Digest::of(b"x")),
            |u| u.package = "x".into(),
            |u| u.crate_name = "x".into(),
            |u| u.crate_types.push("x".into()),
            |u| u.edition = Some("x".into()),
            |u| u.test = true,
            |u| {
                u.emit.insert("x".into());
            },
            |u| u.source = "x".into(),
            |u| u.stdin = Some(Digest::of(b"x")),
            |u| u.output_name = Some("x".into()),
            |u| u.metadata.push("x".into()),
            |u| u.extra_filename = Some("x".into()),
            |u| u.target = Some("x".into()),
            |u| u.codegen.push("x".into()),
            |u| {
                u.cfgs.insert("x".into());
            },
            |u| {
                u.check_cfgs.insert("x".into());
            },
            |u| u.lints.push("x".into()),
            |u| u.options.push("x".into()),
            |u| u.announces = true,
            |u| {
                u.named_files.insert("x".into(), Digest::of(b"x"));
            },
            |u| {
                u.named_files.insert("x".into(), Digest::of(b"y"));
            },
            |u| u.linker = Some(Digest::of(b"x")),
            |u| {
                u.environment.insert("x".into(), "x".into());
            },
            |u| {
                u.environment.insert("x".into(), "y".into());
            },
            |u| {
                u.declared.insert("x".into(), None);
            },
            |u| {
                u.declared.insert("x".into(), Some(Digest::of(b"x")));
            },
            |u| u.incremental = true,
            |u| u.literal_roots.push("x".into()),
            |u| u.salt = "x".into(),
        ];
        let mut keys = BTreeSet::from([UnitInputs::default().key()]);
        for (index, change) in changes.iter().enumerate() {
            let mut unit = UnitInputs::default();
            change(&mut unit);
            assert!(keys.insert(unit.key()), "change {index} did not change the key");
        }
        let base = ExternInput { modifiers: String::new(), name: "a".into(), content: None, interface: None };
        let externs = [
            base.clone(),
            ExternInput { modifiers: "priv".into(), ..base.clone() },
            ExternInput { name: "b".into(), ..base.clone() },
            ExternInput { content: Some(ContentKey(some)), ..base.clone() },
            ExternInput { interface: Some(some), ..base },
        ];
        for item in externs {
            assert!(keys.insert(UnitInputs { externs: vec![item], ..UnitInputs::default() }.key()));
        }
    }
}
