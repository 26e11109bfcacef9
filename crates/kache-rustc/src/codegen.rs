//! `-C` options of one invocation, brought into one canonical form: `-O` and `-g` folded, the last one winning where rustc says so,
//! order kept where options add up.

use crate::flags::{self, Codegen};
use kache_model::{Bypass, BypassReason};
use std::collections::BTreeMap;

/// What the `-C` options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CodegenOptions {
    last: BTreeMap<&'static str, String>,
    adds: Vec<String>,
    pub(crate) metadata: Vec<String>,
    pub(crate) extra_filename: Option<String>,
    pub(crate) incremental: Option<String>,
    pub(crate) linker: Option<String>,
    pub(crate) link_args: Vec<String>,
    /// `-Z pre-link-arg`: what comes before rustc's own. Keyed with the other `-Z` options.
    pub(crate) pre_link_args: Vec<String>,
}

impl CodegenOptions {
    /// Takes one `-C` value.
    pub(crate) fn push(&mut self, text: &str) -> Result<(), Bypass> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let unknown = || Bypass::new(BypassReason::UnknownFlag, format!("-C {name}"));
        let (name, kind) = flags::codegen(name).ok_or_else(unknown)?;
        let needed = || value.ok_or_else(unknown);
        match kind {
            Codegen::Last
            | Codegen::TargetCpu
            | Codegen::Coverage
            | Codegen::LinkerPluginLto
            | Codegen::SplitDebuginfo
            | Codegen::Rpath
            | Codegen::SaveTemps => self.set(name, value),
            Codegen::Adds => self.adds.push(written(name, value)),
            Codegen::Dropped => {}
            Codegen::Metadata => self.metadata.push(needed()?.to_owned()),
            Codegen::ExtraFilename => self.extra_filename = Some(needed()?.to_owned()),
            Codegen::Incremental => self.incremental = Some(needed()?.to_owned()),
            Codegen::Linker => self.linker = Some(needed()?.to_owned()),
            Codegen::LinkArg if name == "link-arg" => self.link_args.push(needed()?.to_owned()),
            Codegen::LinkArg => self.link_args.extend(needed()?.split_whitespace().map(str::to_owned)),
            Codegen::LlvmArgs if needed()?.contains('/') => return Err(Bypass::new(BypassReason::UnknownFlag, format!("-C {text}"))),
            Codegen::LlvmArgs => self.adds.push(written(name, value)),
            Codegen::Help => return Err(Bypass::new(BypassReason::NotACompile, "-C help")),
        }
        Ok(())
    }

    /// Sets an option of which the last one counts.
    pub(crate) fn set(&mut self, name: &'static str, value: Option<&str>) {
        self.last.insert(name, written(name, value));
    }

    /// The value of an option of which the last one counts; `Some("")` if it was given without one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let text = self.last.get(name)?;
        Some(text.split_once('=').map_or("", |(_, value)| value))
    }

    /// Whether a switch is on: given without a value, or with anything that doesn't say no.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "no" | "n" | "off" | "false"))
    }

    /// Whether debug information is made.
    pub(crate) fn debuginfo(&self) -> bool {
        self.get("debuginfo").is_some_and(|value| !matches!(value, "0" | "none"))
    }

    /// Whether the code is made for whatever CPU this machine has.
    pub(crate) fn native_cpu(&self) -> bool {
        self.get("target-cpu") == Some("native")
    }

    /// What the user tells the linker, in order.
    pub(crate) fn linker_words(&self) -> Vec<String> {
        self.pre_link_args.iter().chain(&self.link_args).cloned().collect()
    }

    /// All that is keyed as text: first the options of which the last counts, by name, then those that add up, in order.
    pub(crate) fn canonical(&self) -> Vec<String> {
        let Self { last, adds, metadata: _, extra_filename: _, incremental: _, linker: _, link_args, pre_link_args: _ } = self;
        let link_args = link_args.iter().map(|arg| format!("link-arg={arg}"));
        last.values().cloned().chain(adds.iter().cloned()).chain(link_args).collect()
    }
}

fn written(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{name}={value}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<CodegenOptions, String> {
        let mut options = CodegenOptions::default();
        for text in texts {
            options.push(text).map_err(|bypass| bypass.to_string())?;
        }
        Ok(options)
    }

    #[test]
    fn the_last_one_wins_or_all_add_up() {
        let check = |texts: &[&str], canonical: &[&str]| assert_eq!(read(texts).unwrap().canonical(), canonical);
        check(&["opt-level=1", "debuginfo=2", "opt-level=3"], &["debuginfo=2", "opt-level=3"]);
        check(&["opt_level=1"], &["opt-level=1"]);
        check(&["link-arg=b", "link-args=a  c", "lto"], &["lto", "link-arg=b", "link-arg=a", "link-arg=c"]);
        check(&["target-feature=+a", "target-feature=-a"], &["target-feature=+a", "target-feature=-a"]);
        check(&["linker=/usr/bin/x", "incremental=/i", "metadata=m", "extra-filename=-x", "ar=x"], &[]);
    }

    #[test]
    fn unknown_options_and_missing_values_are_named() {
        assert_eq!(read(&["frob=1"]).unwrap_err(), "unknown_flag (-C frob)");
        assert_eq!(read(&["linker"]).unwrap_err(), "unknown_flag (-C linker)");
        assert_eq!(read(&["llvm-args=-o=/x"]).unwrap_err(), "unknown_flag (-C llvm-args=-o=/x)");
    }

    #[test]
    fn switches_are_read_as_rustc_does() {
        for (text, on) in [("rpath", true), ("rpath=yes", true), ("rpath=no", false), ("rpath=off", false)] {
            assert_eq!(read(&[text]).unwrap().on("rpath"), on, "{text}");
        }
    }
}
