//! Which files a compile leaves, by name: what is captured, and what an artifact must hold to be restored.

use crate::compile::{Compile, CrateType, Origin};
use crate::target::Family;
use kache_model::Role;

/// One output file, dep-info apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What it is.
    pub role: Role,
    /// File name in [`Compile::out_dir`].
    pub name: String,
    /// Whether a compile that succeeded without leaving it isn't one that kache understands: nothing is stored then.
    pub required: bool,
}

impl Compile {
    /// The output files, dep-info and [debug objects](Compile::is_debug_object) apart. All but `.dwp` are required: where a source names its crate
    /// itself (`#![crate_name]`), the name is another, and nothing is stored.
    pub fn expected_outputs(&self) -> Vec<Expected> {
        let mut out = Vec::new();
        for kind in &self.emit {
            match kind.as_str() {
                "metadata" => self.expect(&mut out, Role::Metadata, format!("lib{}.rmeta", self.stem())),
                "obj" => self.expect(&mut out, Role::Object, format!("{}.o", self.stem())),
                "asm" => self.expect(&mut out, Role::Assembly, format!("{}.s", self.stem())),
                "llvm-ir" => self.expect(&mut out, Role::LlvmIr, format!("{}.ll", self.stem())),
                "link" => self.expect_linked(&mut out),
                _ => {}
            }
        }
        out
    }

    fn expect_linked(&self, out: &mut Vec<Expected>) {
        let family = Family::of(self.target.as_deref());
        for kind in self.linked_types() {
            let role = match kind {
                CrateType::Lib | CrateType::Rlib => Role::Rlib,
                CrateType::Staticlib => Role::Staticlib,
                CrateType::Bin => Role::Executable,
                CrateType::Dylib | CrateType::Cdylib | CrateType::ProcMacro => Role::SharedObject,
            };
            if let Some(name) = family.linked(kind, &self.stem()) {
                let debug = self.debug_package(role, &self.output_name().unwrap_or_else(|| name.clone()));
                self.expect(out, role, name);
                // There is none where nothing that is linked has debug information.
                out.extend(debug.map(|name| Expected { role: Role::Debuginfo, name, required: false }));
            }
        }
    }

    fn expect(&self, out: &mut Vec<Expected>, role: Role, name: String) {
        let name = self.output_name().unwrap_or(name);
        if !out.iter().any(|known| known.name == name) {
            out.push(Expected { role, name, required: true });
        }
    }

    /// What is really linked: a test harness is a program whatever its crate type.
    pub(crate) fn linked_types(&self) -> Vec<CrateType> {
        if self.test { vec![CrateType::Bin] } else { self.crate_types.clone() }
    }

    /// The dep-info file's name in [`Compile::out_dir`], if one is asked for.
    pub fn dep_info_name(&self) -> Option<String> {
        self.has_dep_info().then(|| self.output_name().unwrap_or_else(|| format!("{}.d", self.stem())))
    }

    /// Whether an output of that role may be one inode for several target directories: only what Cargo never looks at by its time,
    /// the `.rlib` of a registry or git unit that has an `.rmeta` beside it.
    pub fn placement_shared(&self, role: Role) -> bool {
        role == Role::Rlib && matches!(self.origin, Origin::Registry | Origin::Git) && self.emit.contains("metadata")
    }

    /// The file name given by `-o`.
    pub(crate) fn output_name(&self) -> Option<String> {
        self.output_file.as_ref()?.file_name()?.to_str().map(str::to_owned)
    }

    /// The front of every output's name.
    pub(crate) fn stem(&self) -> String {
        format!("{}{}", self.crate_name, self.codegen.extra_filename.as_deref().unwrap_or_default())
    }
}
