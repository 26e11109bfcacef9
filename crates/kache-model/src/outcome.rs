//! Every way an invocation can end, and every reason to decline one. Stats, docs, `kache why` and the tests read these tables.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a compile or a probe ended. Each invocation ends in exactly one of these; queries (`-vV`, `--print`) are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Restored from the local store.
    LocalHit,
    /// Restored from what the remote served, whether fetched ahead or on demand.
    RemoteHit,
    /// Restored from a compile that was running for somebody else when the question came.
    Joined,
    /// Compiled by rustc, which succeeded.
    Miss,
    /// Declined with a reason: rustc ran as if there were no cache.
    Bypass,
    /// Compiled by rustc, which failed; nothing stored.
    Failed,
}

impl Outcome {
    /// All of them, in the order in which people list them.
    pub const ALL: [Self; 6] = [Self::LocalHit, Self::RemoteHit, Self::Joined, Self::Miss, Self::Bypass, Self::Failed];

    /// The name in stats: `local_hit`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalHit => "local_hit",
            Self::RemoteHit => "remote_hit",
            Self::Joined => "joined",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Failed => "failed",
        }
    }
}

macro_rules! bypass_reasons {
    ($($variant:ident $name:literal $meaning:literal, $advice:literal;)*) => {
        /// Why an invocation was declined.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum BypassReason { $(#[doc = $meaning] $variant,)* }

        impl BypassReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in stats.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, as a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// What a person can do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

bypass_reasons! {
    NotACompile "not_a_compile" "The command line asks rustc for something other than a compile.", "Nothing to do.";
    UnknownFlag "unknown_flag" "rustc got a flag that kache doesn't know.", "Remove the flag, or report it so that kache learns it.";
    UnknownWrapper "unknown_wrapper" "Another program than rustc or clippy-driver stands in RUSTC_WORKSPACE_WRAPPER.", "Unset RUSTC_WORKSPACE_WRAPPER for builds that should be cached.";
    UnreadableArgfile "unreadable_argfile" "An @file of arguments could not be read or expanded.", "Look at the file's permissions and encoding.";
    SeveralInputs "several_inputs" "The command line names no source file, or more than one.", "Nothing to do.";
    EmitKind "emit_kind" "--emit asks for a kind of output that kache doesn't keep.", "Build without that --emit kind.";
    OutputPath "output_path" "An output is sent to a path of its own (-o, --emit kind=path).", "Use --out-dir.";
    CrateType "crate_type" "The crate type isn't one that kache keeps.", "Nothing to do.";
    SaveTemps "save_temps" "rustc is asked to keep temporary files, profiles or dumps.", "Build without that flag.";
    SplitDebuginfo "split_debuginfo" "Debug information goes to files beside the outputs.", "Use split-debuginfo = \"off\".";
    LinkerPluginLto "linker_plugin_lto" "The linker takes part in code generation.", "Nothing to do.";
    LinkArg "link_arg" "A linker argument may read files that kache can't see.", "Name the file by its full path, or drop the argument.";
    LinkerUnknown "linker_unknown" "The linker could not be identified.", "Check that the linker runs: `cc --version`. A script in its place has to answer `-print-prog-name=ld` as the linker behind it does.";
    SearchDir "search_dir" "A -L directory holds crates that no --extern names.", "Pass the crates by --extern, or use -L dependency=.";
    NativeLibrary "native_library" "A native library could not be found or identified, or only names other files (a thin archive).", "Check the -L native= directories.";
    UnknownExtern "unknown_extern" "A dependency was not built through this cache, so what it was made from is unknown.", "Run `cargo clean` once, or use a fresh target directory.";
    DamagedExtern "damaged_extern" "Somebody has written into a dependency's file in place, here or in a target directory that shares it.", "`kache doctor` names the files: `cargo clean -p` its package there. Tools that write in place want links = \"never\".";
    OpenProbe "open_probe" "A compile without dep-info whose source may read other files.", "Nothing to do.";
    StdinTooLarge "stdin_too_large" "The source on standard input is larger than 1 MiB.", "Nothing to do.";
    NonUtf8 "non_utf8" "An argument, path or variable that counts isn't UTF-8.", "Use UTF-8 names.";
    ReservedName "reserved_name" "The package has the name of one of kache's own objects.", "Rename the package.";
    UnknownToolchain "unknown_toolchain" "The compiler could not be identified.", "Check that the compiler runs: `rustc -vV`.";
    Rule "rule" "A rule in the configuration says so, or declares files that can't be read.", "Look at the [rules] in `kache config show`.";
    OtherFilesystem "other_filesystem" "The daemon sees another filesystem than the build.", "Run kached inside the same container.";
}

/// A bypass: the reason and, where there is one, the flag, path or name that caused it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// The kind of reason.
    pub reason: BypassReason,
    /// What caused it, for people; may be empty.
    pub detail: String,
}

impl Bypass {
    /// A bypass with its cause.
    pub fn new(reason: BypassReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.name())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_are_what_serde_writes() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in BypassReason::ALL {
            assert!(seen.insert(reason.name()));
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{}\"", reason.name()));
            assert!(reason.meaning().ends_with('.') && reason.advice().ends_with('.'), "{reason:?}");
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), format!("\"{}\"", outcome.name()));
        }
    }
}
