//! Every way an invocation can end, every reason to decline one, and every reason not to store what it gave. Stats, docs, `kache why` and the tests
//! read these tables.

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

macro_rules! reasons {
    ($(#[$doc:meta])* $table:ident: $($variant:ident $name:literal $meaning:literal, $advice:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $table { $(#[doc = $meaning] $variant,)* }

        impl $table {
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

reasons! {
    /// Why an invocation was declined.
    BypassReason:
    NotACompile "not_a_compile" "The command line asks rustc for something other than a compile.", "Nothing to do.";
    UnknownFlag "unknown_flag" "rustc got a flag that kache doesn't know.", "Remove the flag, or report it so that kache learns it.";
    UnknownWrapper "unknown_wrapper" "Another program than rustc or clippy-driver stands in RUSTC_WORKSPACE_WRAPPER.", "Unset RUSTC_WORKSPACE_WRAPPER for builds that should be cached.";
    UnreadableArgfile "unreadable_argfile" "An @file of arguments could not be read or expanded.", "Look at the file's permissions and encoding.";
    SeveralInputs "several_inputs" "The command line names no source file, or more than one.", "Nothing to do.";
    EmitKind "emit_kind" "--emit asks for a kind of output that kache doesn't keep.", "Build without that --emit kind.";
    OutputPath "output_path" "An output is sent to a path of its own (-o, --emit kind=path).", "Use --out-dir.";
    CrateType "crate_type" "The crate type isn't one that kache keeps.", "Nothing to do.";
    SaveTemps "save_temps" "rustc is asked to keep temporary files, profiles or dumps.", "Build without that flag.";
    SplitDebuginfo "split_debuginfo" "Debug information goes to files whose names kache doesn't know.", "Use split-debuginfo = \"off\".";
    LinkerPluginLto "linker_plugin_lto" "The linker takes part in code generation.", "Nothing to do.";
    LinkArg "link_arg" "A linker argument may load code, write files, or read files that kache can't see.", "Name the file by its full path, or drop the argument.";
    LinkerUnknown "linker_unknown" "The linker could not be identified.", "Check that the linker runs: `cc --version`. A script in its place has to answer `-print-prog-name=ld` as the linker behind it does.";
    SearchDir "search_dir" "A -L directory holds crates that no --extern names.", "Pass the crates by --extern, or use -L dependency=.";
    NativeLibrary "native_library" "A native library could not be found or identified, or only names other files (a thin archive).", "Check the -L native= directories.";
    UnknownExtern "unknown_extern" "A dependency can't be read, so what it holds is unknown.", "Look at the file's permissions. `cargo clean` makes it anew.";
    BuildScript "build_script" "What the package's build script declared can't be read, or is more than 10,000 files.", "Have the build script print rerun-if-changed for what it reads, and nothing larger.";
    DamagedExtern "damaged_extern" "Somebody has written into a dependency's file in place, here or in a target directory that shares it.", "`kache doctor` names the files: `cargo clean -p` its package there. Tools that write in place want links = \"never\".";
    OpenProbe "open_probe" "A compile without dep-info whose source may read other files.", "Nothing to do.";
    StdinTooLarge "stdin_too_large" "The source on standard input is larger than 1 MiB.", "Nothing to do.";
    NonUtf8 "non_utf8" "An argument, path or variable that counts isn't UTF-8.", "Use UTF-8 names.";
    ReservedName "reserved_name" "The package has the name of one of kache's own objects.", "Rename the package.";
    UnknownToolchain "unknown_toolchain" "The compiler could not be identified.", "Check that the compiler runs: `rustc -vV`.";
    RustcScript "rustc_script" "A script stands in the compiler's place, and may read files and variables that kache can't see.", "Set RUSTC to the compiler behind it: `bin/rustc` below what `rustc --print sysroot` says.";
    RustcLog "rustc_log" "A variable has rustc print what it does while it compiles.", "Unset the variable for builds that should be cached.";
    ClippyConfig "clippy_config" "A configuration of clippy could not be read.", "Look at the permissions of clippy.toml, or take it away.";
    Rule "rule" "A rule in the configuration says so, or declares files that can't be read.", "Look at the [rules] in `kache config show`.";
    OtherFilesystem "other_filesystem" "The daemon sees another filesystem than the build.", "Run kached inside the same container.";
}

reasons! {
    /// Why rustc's result wasn't stored.
    NotStoredReason:
    NoDepInfo "no_dep_info" "rustc wrote no dep-info, or none that can be read, so what it read is unknown.", "Report it, with rustc's version.";
    Moved "moved" "An input or an output changed while rustc ran.", "Nothing to do, if something was saved meanwhile. If it is always so, the disk's clock and this machine's differ.";
    Unlasting "unlasting" "It read something that isn't a file on a disk.", "Nothing to do.";
    NonUtf8 "non_utf8" "A variable that it read isn't UTF-8.", "Use UTF-8 values.";
    OtherValue "other_value" "A variable had another value for rustc than for the build.", "Nothing to do, unless a program in front of rustc changes variables.";
    BuildScript "build_script" "What the package's build script declared can't be read.", "Look at the permissions of the file that `kache why CRATE` names.";
    DamagedLibrary "damaged_library" "Somebody has written into a library in place, and it may have been linked.", "`kache doctor` names the files: `cargo clean -p` its package there. Tools that write in place want links = \"never\".";
    NamesFile "names_file" "rustc's messages name a file that it left beside them.", "Nothing to do.";
    FailedOtherwise "failed_otherwise" "A probe failed, and not by what its source says.", "Nothing to do.";
    Unreadable "unreadable" "An input or an output can't be read.", "Look at the permissions of the file that `kache why CRATE` names.";
    OutputMissing "output_missing" "rustc didn't make an output that it was asked for.", "Report it, with rustc's version.";
    UnexplainedMember "unexplained_member" "A library holds a member that nothing on the command line explains.", "Name the static library on the command line: `cargo::rustc-link-lib=static=…`. If it is so for every library, report it, with rustc's version.";
    NativeLibrary "native_library" "A native library that the source names could not be found or identified.", "Check the -L native= directories.";
    Truncated "truncated" "rustc said more than can be kept.", "Nothing to do.";
    AmbiguousWords "ambiguous_words" "A source spells one of kache's own names for paths, and so do rustc's messages.", "Nothing to do: the next compile of it is stored.";
    Store "store" "The store couldn't take it.", "Look at `kache doctor`: is there room on the disk?";
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
        seen.clear();
        for reason in NotStoredReason::ALL {
            assert!(seen.insert(reason.name()));
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{}\"", reason.name()));
            assert!(reason.meaning().ends_with('.') && reason.advice().ends_with(['.', '?']), "{reason:?}");
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), format!("\"{}\"", outcome.name()));
        }
    }
}
