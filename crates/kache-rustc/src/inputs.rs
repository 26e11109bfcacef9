//! What of a compile is in its unit key: everything that needs no look at a file. The daemon adds the rest: toolchain, driver,
//! what went into the externs, named files, linker, declared inputs.

use crate::compile::{Compile, Source};
use kache_model::{Digest, ExternInput, Roots, Spelling, UnitInputs};

impl Compile {
    /// The unit's inputs as far as the command line tells, with every machine-local path made portable.
    pub fn inputs(&self, roots: &Roots) -> UnitInputs {
        let hide = |text: &String| hide(roots, text);
        UnitInputs {
            toolchain: None,
            driver: None,
            package: self.package.clone(),
            crate_name: self.keyed_name().to_owned(),
            crate_types: self.crate_types.iter().map(|kind| kind.name().to_owned()).collect(),
            edition: self.edition.clone(),
            test: self.test,
            emit: self.emit.clone(),
            source: self.portable_source(roots),
            stdin: self.stdin.as_deref().map(Digest::of),
            output_name: self.output_name(),
            metadata: self.codegen.metadata.clone(),
            extra_filename: self.codegen.extra_filename.clone(),
            target: self.target.as_deref().map(portable_target),
            codegen: self.codegen.canonical().iter().map(hide).collect(),
            // Literal: `cfg!(dir = "…")` compares the text. Declared names and values (`check_cfgs`) only decide on warnings, which show it too.
            cfgs: self.cfgs.clone(),
            check_cfgs: self.check_cfgs.clone(),
            lints: self.lints.clone(),
            options: self.portable_options(roots),
            announces: self.announces,
            externs: self.externs.iter().map(extern_input).collect(),
            named_files: Default::default(),
            linker: None,
            // Literal: nobody can say what a macro or a linker makes of a value.
            environment: self.environment.clone(),
            declared: Default::default(),
            incremental: self.incremental.is_some(),
            literal_roots: self.literal_roots(roots),
            salt: String::new(),
        }
    }

    fn portable_source(&self, roots: &Roots) -> String {
        match &self.source {
            Source::Stdin => "-".into(),
            // As it is spelled: `src/lib.rs` and its absolute form are two things to `file!()`.
            Source::Path(path) => roots.to_portable(&path.to_string_lossy()).0,
        }
    }

    /// Options in argv order, then what else counts: the working directory, libraries by name, the sysroot.
    fn portable_options(&self, roots: &Roots) -> Vec<String> {
        let mut out: Vec<String> = self.options.iter().map(|text| portable_option(roots, text)).collect();
        out.push(format!("cwd={}", roots.to_portable(&self.cwd.to_string_lossy()).0));
        out.extend(self.libraries.iter().map(|library| format!("-l{}", library.text)));
        // How the words of rustc are stored that go with it.
        out.extend((!self.remapped).then(|| "words=literal".to_owned()));
        out.extend(self.sysroot.iter().map(|path| format!("sysroot={}", hide(roots, path))));
        out
    }
}

/// A specification file is keyed by content; its name is part of what rustc compiles in.
fn portable_target(target: &str) -> String {
    if target.ends_with(".json") { target.rsplit('/').next().unwrap_or(target).to_owned() } else { target.to_owned() }
}

fn portable_option(roots: &Roots, text: &str) -> String {
    match text.strip_prefix("remap-path-prefix=").and_then(|value| value.rsplit_once('=')) {
        Some((from, to)) => format!("remap-path-prefix={}={}", roots.to_portable(from).0, hide(roots, to)),
        None => hide(roots, text),
    }
}

fn hide(roots: &Roots, text: &str) -> String {
    String::from_utf8_lossy(&roots.hide(text.as_bytes(), Spelling::Plain)).into_owned()
}

/// Names only; what went into the library is the daemon's to say.
fn extern_input(item: &crate::compile::Extern) -> ExternInput {
    ExternInput { modifiers: item.modifiers.clone(), name: item.name.clone(), content: None, interface: None }
}
