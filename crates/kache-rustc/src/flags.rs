//! What kache knows about rustc's command line: one row per option, with what becomes of it.
//!
//! Read it as documentation: a row says how the option takes its value, and whether it is keyed, dropped, looked up or
//! declined. An option without a row is never ignored: the invocation is bypassed and the option named. A test compares
//! these tables with what the installed rustc lists. The rows for `-C` are further below, those for `-Z` in [`mod@crate::unstable`].
//!
//! What the verdicts mean for one invocation stands in [`crate::judge`]; nothing in here looks at values.

/// How an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Never a value.
    Nothing,
    /// Always a value: `--name value`, `--name=value`, `-nvalue`, `-n value`.
    Value,
}

/// What an option is to kache. The reader of the command line matches on this in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// Prints something and ends: nothing to keep.
    Help,
    /// `-V`: a query.
    Version,
    /// `--print`: a query, or an addition to a compile.
    Print,
    /// `-v`.
    Verbose,
    /// `--cfg`, order-free.
    Cfg,
    /// `--check-cfg`, order-free.
    CheckCfg,
    /// `-L`: by kind dropped, resolved or listed.
    SearchPath,
    /// `-l`: keyed, and by kind looked up.
    NativeLibrary,
    /// `--crate-type`.
    CrateType,
    /// `--crate-name`.
    CrateName,
    /// `--edition`.
    Edition,
    /// `--emit`.
    Emit,
    /// `-g`: folded into `-C debuginfo=2`.
    DebugInfo,
    /// `-O`: a `-C opt-level` of its own.
    Optimize,
    /// `-o`: probes only.
    Output,
    /// `--out-dir`: not keyed.
    OutDir,
    /// `--test`.
    Test,
    /// `--target`: keyed; a specification file by content.
    Target,
    /// Lints, keyed in order.
    Lint(&'static str),
    /// `-C`, see [`CODEGEN`].
    Codegen,
    /// `-Z`, see [`mod@crate::unstable`].
    Unstable,
    /// `--extern`.
    Extern,
    /// `--sysroot`: keyed. The toolchain's identity has to be taken from it.
    Sysroot,
    /// Shapes what is printed, not what is compiled: keyed only when something was printed.
    Diagnostics(&'static str),
    /// `--json`: as [`Flag::Diagnostics`], but `artifacts` is keyed.
    Json,
    /// `--remap-path-prefix`: keyed with its left side made portable, in order.
    RemapPrefix,
    /// Keyed as it is, in order.
    Keyed(&'static str),
    /// Declined by name.
    Declined(&'static str),
}

/// One option: its names without dashes (short, long; either may be empty), how it takes a value, what it is.
pub(crate) struct Row(pub(crate) &'static str, pub(crate) &'static str, pub(crate) Takes, pub(crate) Flag);

use Takes::{Nothing, Value};

/// rustc's options.
#[rustfmt::skip]
pub(crate) const OPTIONS: &[Row] = &[
    // Not a compile
    Row("h", "help",              Nothing, Flag::Help),
    Row("V", "version",           Nothing, Flag::Version),
    Row("",  "explain",           Value,   Flag::Help),
    Row("",  "print",             Value,   Flag::Print),
    // What is compiled
    Row("",  "cfg",               Value,   Flag::Cfg),
    Row("",  "check-cfg",         Value,   Flag::CheckCfg),
    Row("",  "crate-name",        Value,   Flag::CrateName),
    Row("",  "crate-type",        Value,   Flag::CrateType),
    Row("",  "edition",           Value,   Flag::Edition),
    Row("",  "test",              Nothing, Flag::Test),
    Row("",  "target",            Value,   Flag::Target),
    Row("",  "sysroot",           Value,   Flag::Sysroot),
    // What it is compiled with
    Row("",  "extern",            Value,   Flag::Extern),
    Row("L", "",                  Value,   Flag::SearchPath),
    Row("l", "",                  Value,   Flag::NativeLibrary),
    // How
    Row("C", "codegen",           Value,   Flag::Codegen),
    Row("Z", "",                  Value,   Flag::Unstable),
    Row("g", "",                  Nothing, Flag::DebugInfo),
    Row("O", "",                  Nothing, Flag::Optimize),
    Row("",  "remap-path-prefix", Value,   Flag::RemapPrefix),
    Row("",  "remap-path-scope",  Value,   Flag::Keyed("remap-path-scope")),
    Row("",  "env-set",           Value,   Flag::Declined("--env-set")),
    // Where to
    Row("",  "emit",              Value,   Flag::Emit),
    Row("o", "",                  Value,   Flag::Output),
    Row("",  "out-dir",           Value,   Flag::OutDir),
    // Lints
    Row("A", "allow",             Value,   Flag::Lint("allow")),
    Row("W", "warn",              Value,   Flag::Lint("warn")),
    Row("D", "deny",              Value,   Flag::Lint("deny")),
    Row("F", "forbid",            Value,   Flag::Lint("forbid")),
    Row("",  "force-warn",        Value,   Flag::Lint("force-warn")),
    Row("",  "cap-lints",         Value,   Flag::Lint("cap-lints")),
    // What is printed
    Row("v", "verbose",           Nothing, Flag::Verbose),
    Row("",  "error-format",      Value,   Flag::Diagnostics("error-format")),
    Row("",  "json",              Value,   Flag::Json),
    Row("",  "color",             Value,   Flag::Diagnostics("color")),
    Row("",  "diagnostic-width",  Value,   Flag::Diagnostics("diagnostic-width")),
];

/// What a `-C` option is to kache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codegen {
    /// Keyed; rustc takes the last one.
    Last,
    /// Keyed; occurrences add up, so their order counts.
    Adds,
    /// Deprecated and without effect, or known otherwise: not keyed.
    Dropped,
    /// `metadata`: keyed in a field of its own.
    Metadata,
    /// `extra-filename`: keyed in a field of its own.
    ExtraFilename,
    /// `incremental`: its presence is keyed, the directory isn't.
    Incremental,
    /// `linker`: the program's identity is keyed instead.
    Linker,
    /// `link-arg`, `link-args`: keyed, adds up; for what links, the files they name are looked up.
    LinkArg,
    /// `target-cpu`: keyed; `native` asks for the host CPU.
    TargetCpu,
    /// `instrument-coverage`: keyed; when on nothing is remapped.
    Coverage,
    /// `save-temps`: declined when on.
    SaveTemps,
    /// `linker-plugin-lto`: keyed; declined when on for what links. Cargo gives it to libraries of an LTO build, to which it only says
    /// that their objects are bitcode.
    LinkerPluginLto,
    /// `split-debuginfo`: keyed; the files that it leaves beside the outputs belong to them.
    /// Declined where those aren't known.
    SplitDebuginfo,
    /// `rpath`: keyed, for what links with the way to the toolchain.
    Rpath,
    /// `llvm-args`: keyed, adds up; declined when a path stands in it.
    LlvmArgs,
    /// `help`: not a compile.
    Help,
}

/// `-C` options.
#[rustfmt::skip]
pub(crate) const CODEGEN: &[(&str, Codegen)] = &[
    ("ar",                       Codegen::Dropped),
    ("code-model",               Codegen::Last),
    ("codegen-units",            Codegen::Last),
    ("collapse-macro-debuginfo", Codegen::Last),
    ("control-flow-guard",       Codegen::Last),
    ("debug-assertions",         Codegen::Last),
    ("debuginfo",                Codegen::Last),
    ("default-linker-libraries", Codegen::Last),
    ("dlltool",                  Codegen::Last),
    ("dwarf-version",            Codegen::Last),
    ("embed-bitcode",            Codegen::Last),
    ("extra-filename",           Codegen::ExtraFilename),
    ("force-frame-pointers",     Codegen::Last),
    ("force-unwind-tables",      Codegen::Last),
    ("help",                     Codegen::Help),
    ("incremental",              Codegen::Incremental),
    ("inline-threshold",         Codegen::Dropped),
    ("instrument-coverage",      Codegen::Coverage),
    ("jump-tables",              Codegen::Last),
    ("link-arg",                 Codegen::LinkArg),
    ("link-args",                Codegen::LinkArg),
    ("link-dead-code",           Codegen::Last),
    ("link-self-contained",      Codegen::Adds),
    ("linker",                   Codegen::Linker),
    ("linker-features",          Codegen::Adds),
    ("linker-flavor",            Codegen::Last),
    ("linker-plugin-lto",        Codegen::LinkerPluginLto),
    ("llvm-args",                Codegen::LlvmArgs),
    ("lto",                      Codegen::Last),
    ("metadata",                 Codegen::Metadata),
    ("no-prepopulate-passes",    Codegen::Last),
    ("no-redzone",               Codegen::Last),
    ("no-stack-check",           Codegen::Dropped),
    ("no-vectorize-loops",       Codegen::Last),
    ("no-vectorize-slp",         Codegen::Last),
    ("opt-level",                Codegen::Last),
    ("overflow-checks",          Codegen::Last),
    ("panic",                    Codegen::Last),
    ("passes",                   Codegen::Adds),
    ("prefer-dynamic",           Codegen::Last),
    // The directory is compiled into the program, the profile is listed in dep-info.
    ("profile-generate",         Codegen::Last),
    ("profile-use",              Codegen::Last),
    ("relocation-model",         Codegen::Last),
    ("relro-level",              Codegen::Last),
    ("remark",                   Codegen::Adds),
    ("rpath",                    Codegen::Rpath),
    ("save-temps",               Codegen::SaveTemps),
    ("soft-float",               Codegen::Last),
    ("split-debuginfo",          Codegen::SplitDebuginfo),
    ("strip",                    Codegen::Last),
    ("symbol-mangling-version",  Codegen::Last),
    ("target-cpu",               Codegen::TargetCpu),
    ("target-feature",           Codegen::Adds),
    ("unsafe-allow-abi-mismatch", Codegen::Adds),
];

/// Kinds of `--emit` that can be kept.
pub(crate) const EMIT: &[&str] = &["dep-info", "metadata", "link", "obj", "asm", "llvm-ir"];

/// `--print` requests that print on the way through a compile instead of ending it, and whether what they print is the same each time.
pub(crate) const PRINTS_ALONG: &[(&str, bool)] = &[("native-static-libs", true), ("link-args", false)];

/// The row of a long option.
pub(crate) fn long(name: &str) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| !row.1.is_empty() && row.1 == name)
}

/// The row of a short option.
pub(crate) fn short(letter: char) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.0.chars().eq([letter]))
}

/// The row of a `-C` option; rustc takes `_` for `-`.
pub(crate) fn codegen(name: &str) -> Option<(&'static str, Codegen)> {
    let name = name.replace('_', "-");
    CODEGEN.iter().find(|(known, _)| *known == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn rustc(args: &[&str]) -> String {
        let output = Command::new("rustc").args(args).output().expect("rustc runs");
        String::from_utf8(output.stdout).expect("rustc prints UTF-8")
    }

    /// `-C help` lists `    -C   name=val -- what it does`.
    #[test]
    fn every_codegen_option_of_the_installed_rustc_has_a_row() {
        let help = rustc(&["-C", "help"]);
        let names: Vec<&str> =
            help.lines().filter_map(|line| line.trim().strip_prefix("-C ")?.trim().split_once("=val")).map(|(name, _)| name).collect();
        assert!(names.len() > 40, "{help}");
        let missing: Vec<&&str> = names.iter().filter(|name| codegen(name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// `--help -v` lists `    -A, --allow <LINT>  …`.
    #[test]
    fn every_option_of_the_installed_rustc_has_a_row() {
        let help = rustc(&["--help", "-v"]);
        let mut seen = 0;
        let (options, _) = help.split_once("Additional help").expect("rustc lists more help behind its options");
        for line in options.lines().map(str::trim).filter(|line| line.starts_with('-')) {
            let mut words = line.split_whitespace();
            let mut takes = Nothing;
            let mut rows = Vec::new();
            for word in words.by_ref() {
                let name = word.trim_end_matches(',');
                if let Some(name) = name.strip_prefix("--") {
                    rows.push((name, long(name)));
                } else if let Some(letter) = name.strip_prefix('-').and_then(|name| name.chars().next()) {
                    rows.push((name, short(letter)));
                } else {
                    takes = if name.starts_with(['<', '[']) { Value } else { Nothing };
                    break;
                }
            }
            for (name, row) in rows {
                let row = row.unwrap_or_else(|| panic!("no row for {name}"));
                assert_eq!(row.2, takes, "{name}");
                seen += 1;
            }
        }
        assert!(seen > 40, "{help}");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = OPTIONS.iter().flat_map(|row| [row.0, row.1]).filter(|name| !name.is_empty()).collect();
        names.extend(CODEGEN.iter().map(|(name, _)| *name).filter(|name| *name != "help"));
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
