//! What kache knows about `-Z` options, of rustc 1.95 and of the nightlies after it.
//!
//! Read it as documentation, as [`mod@crate::flags`]: every option that those compilers list has its row, also where the answer is no. An option
//! without a row belongs to a compiler that nobody has looked at, and the invocation is bypassed with the option's name.

/// What a `-Z` option is to kache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unstable {
    /// Changes what is made or said, by its own words alone: keyed in order.
    Keyed,
    /// `codegen-backend`: keyed; a library that is named by its path counts by content, one of the toolchain's is part of its identity.
    Backend,
    /// `tune-cpu`: keyed; `native` asks for the host CPU.
    TuneCpu,
    /// `debuginfo-compression`: keyed; where it is on, no scan sees what debug information says, so nothing is remapped.
    Compression,
    /// `pre-link-arg`, `pre-link-args`: keyed, and read like `-C link-arg`.
    LinkArg,
    /// `crate-attr`: keyed; declined where the attribute reads something or names the crate.
    CrateAttr,
    /// Prints or writes what no cache should replay: declined.
    Dumps,
    /// Ends before there is a result: not a compile.
    NotACompile,
    /// Loads code, reads or writes files of its own, tests the compiler, or changes what dep-info says: declined.
    Declined,
}

/// All that are known.
#[rustfmt::skip]
const OPTIONS: &[(Unstable, &[&str])] = &[
    // The language: what is accepted, and what it means.
    (Unstable::Keyed, &[
        "allow-features", "allow-partial-mitigations", "assume-incomplete-release", "assumptions-on-binders", "contract-checks",
        "deny-partial-mitigations", "disable-fast-paths", "enforce-type-length-limit", "experimental-default-bounds",
        "extra-const-ub-checks", "flatten-format-args", "fmt-debug", "force-unstable-if-unmarked", "has-thread-local",
        "higher-ranked-assumptions", "hint-mostly-unused", "hint-msrv", "location-detail", "min-recursion-limit", "namespaced-crates",
        "next-solver", "no-implied-bounds-compat", "no-leak-check", "panic-abort-tests", "panic-in-drop", "polonius",
        "precise-enum-drop-elaboration", "span-debug", "strict-init-checks", "tiny-const-eval-limit", "typing-mode-borrowck",
        "ub-checks", "uninit-const-chunk-threshold", "unleash-the-miri-inside-of-you", "unstable-options",
    ]),
    // What is said.
    (Unstable::Keyed, &[
        "check-cfg-all-expected", "deduplicate-diagnostics", "future-incompat-test", "identify-regions",
        "ignore-directory-in-diagnostics-source-blocks", "macro-backtrace", "move-size-limit", "proc-macro-backtrace",
        "span-free-formats", "teach", "terminal-urls", "trace-macros", "track-diagnostics", "translate-remapped-path-to-local-path",
        "trim-diagnostic-paths", "ui-testing", "verbose-internals", "write-long-types-to-disk",
    ]),
    // What is made of it, up to LLVM.
    (Unstable::Keyed, &[
        "always-encode-mir", "annotate-moves", "codegen-source-order", "cross-crate-inline-threshold", "embed-metadata",
        "human-readable-cgu-names", "incremental-verify-ich", "inline-mir", "inline-mir-forwarder-threshold",
        "inline-mir-hint-threshold", "inline-mir-preserve-debug", "inline-mir-threshold", "layout-seed", "link-directives",
        "link-native-libraries", "lint-llvm-ir", "lint-mir", "maximal-hir-to-mir-coverage", "mir-emit-retag", "mir-enable-passes",
        "mir-include-spans", "mir-opt-level", "mir-preserve-ub", "mir-strip-debuginfo", "no-parallel-backend", "no-steal-thir",
        "no-trait-vptr", "normalize-docs", "packed-bundled-libs", "proc-macro-execution-strategy", "randomize-layout",
        "saturating-float-casts", "share-generics", "src-hash-algorithm", "staticlib-allow-rdylib-deps",
        "staticlib-prefer-dynamic", "thinlto", "threads", "unsound-mir-opts", "validate-mir", "verify-llvm-ir",
    ]),
    // Machine code and linking.
    (Unstable::Keyed, &[
        "box-noalias", "branch-protection", "cf-protection", "coverage-options", "debug-info-for-profiling",
        "debug-info-type-line-numbers", "default-visibility", "direct-access-external-data", "dwarf-version", "dylib-lto",
        "ehcont-guard", "embed-source", "emit-stack-sizes", "emscripten-wasm-eh", "export-executable-symbols", "external-clangrt",
        "fewer-names", "fixed-x18", "function-return", "function-sections", "indirect-branch-cs-prefix", "inline-llvm",
        "instrument-mcount", "instrument-xray", "large-data-threshold", "llvm-module-flag", "llvm-writable", "merge-functions",
        "min-function-alignment", "mutable-noalias", "no-generate-arange-section", "no-profiler-runtime",
        "no-unique-section-names", "on-broken-pipe", "osx-rpath-install-name", "packed-stack", "patchable-function-entry", "plt",
        "reg-struct-return", "regparm", "relax-elf-relocations", "retpoline", "retpoline-external-thunk", "sanitizer",
        "sanitizer-cfi-canonical-jump-tables", "sanitizer-cfi-generalize-pointers", "sanitizer-cfi-normalize-integers",
        "sanitizer-kcfi-arity", "sanitizer-memory-track-origins", "sanitizer-recover", "small-data-threshold",
        "split-dwarf-inlining", "split-dwarf-kind", "split-lto-unit", "stack-protector", "tls-model", "trap-unreachable",
        "use-ctors-section", "use-sync-unwind", "verbose-asm", "virtual-function-elimination", "wasi-exec-model", "wasm-c-abi",
    ]),
    // Dep-info gets a line for each source, which only depends on what the source holds, so that a stored one is right wherever it is restored.
    (Unstable::Keyed, &["checksum-hash-algorithm"]),
    // It comes after our own mappings, and what it makes of a target directory in the working directory isn't in the key.
    (Unstable::Declined, &["remap-cwd-prefix"]),
    // Dep-info lists it.
    (Unstable::Keyed, &["profile-sample-use"]),
    (Unstable::Backend, &["codegen-backend"]),
    (Unstable::TuneCpu, &["tune-cpu"]),
    (Unstable::Compression, &["debuginfo-compression"]),
    (Unstable::LinkArg, &["pre-link-arg", "pre-link-args"]),
    (Unstable::CrateAttr, &["crate-attr"]),
    (Unstable::Dumps, &[
        "dump-dep-graph", "dump-mir", "dump-mir-dataflow", "dump-mir-dir", "dump-mir-exclude-alloc-bytes",
        "dump-mir-exclude-pass-number", "dump-mir-graphviz", "dump-mono-stats", "dump-mono-stats-format", "graphviz-dark-mode",
        "graphviz-font", "incremental-info", "input-stats", "llvm-time-trace", "macro-stats", "meta-stats", "metrics-dir",
        "mir-opt-bisect-limit", "nll-facts", "nll-facts-dir", "print-codegen-stats", "print-codegen-stats-json",
        "print-llvm-passes", "print-mono-items", "print-type-sizes", "profile-closures", "remark-dir", "self-profile",
        "self-profile-counter", "self-profile-events", "time-llvm-passes", "time-passes", "time-passes-format",
    ]),
    (Unstable::NotACompile, &["help", "link-only", "ls", "no-analysis", "no-codegen", "no-link", "parse-crate-root-only", "unpretty"]),
    // Code of others, in the compiler or in what is linked.
    (Unstable::Declined, &["autodiff", "llvm-plugins", "offload", "profiler-runtime"]),
    // Files of their own.
    (Unstable::Declined, &["build-sdylib-interface", "sanitizer-dataflow-abilist", "split-dwarf-out-dir", "temps-dir"]),
    // Dep-info: what isn't a source; no rule for itself.
    (Unstable::Declined, &["binary-dep-depinfo", "dep-info-omit-d-target"]),
    // How the command line itself is read, and what is loaded for whom.
    (Unstable::Declined, &["dual-proc-macros", "shell-argfiles", "simulate-remapped-rust-src-base"]),
    // Results of macros that a session keeps.
    (Unstable::Declined, &["cache-proc-macros"]),
    // For the compiler's own tests.
    (Unstable::Declined, &[
        "assert-incr-state", "eagerly-emit-delayed-bugs", "incremental-ignore-spans", "query-dep-graph", "treat-err-as-bug",
    ]),
];

/// The row of an option; rustc takes `_` for `-`.
pub(crate) fn unstable(name: &str) -> Option<Unstable> {
    OPTIONS.iter().find(|(_, names)| names.contains(&name)).map(|(what, _)| *what)
}

/// Whether an attribute for the whole crate says all that there is to it: it reads no file and no variable, and names and types stay.
pub(crate) fn plain_attribute(text: &str) -> bool {
    !["env", "include", "crate_name", "crate_type", "path", "link"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::process::Command;

    #[test]
    fn names_are_unique_and_written_with_dashes() {
        let mut seen = HashSet::new();
        assert!(OPTIONS.iter().flat_map(|(_, names)| *names).all(|name| seen.insert(name) && !name.contains('_')));
    }

    /// N of `rustc 1.N.…`.
    fn version(toolchain: &str) -> Option<u32> {
        let output = Command::new("rustc").args([toolchain, "-V"]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
    }

    /// `-Z help` lists `    -Z    name=val -- what it does`.
    fn undecided(toolchain: &[&str]) -> Option<Vec<String>> {
        let output = Command::new("rustc").args(toolchain).args(["-Z", "help"]).env("RUSTC_BOOTSTRAP", "1").output().ok()?;
        let help = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        let names: Vec<&str> =
            help.lines().filter_map(|line| line.trim().strip_prefix("-Z ")?.trim().split_once("=val")).map(|(name, _)| name).collect();
        assert!(names.len() > 100, "{help}");
        Some(names.into_iter().filter(|name| unstable(name).is_none()).map(str::to_owned).collect())
    }

    #[test]
    fn every_unstable_option_of_the_installed_compilers_is_decided() {
        assert_eq!(undecided(&[]).expect("rustc lists its options"), Vec::<String>::new());
        // Only where there is one that isn't newer than this table.
        if version("+nightly").is_some_and(|minor| minor <= 97) {
            assert_eq!(undecided(&["+nightly"]), Some(Vec::new()));
        }
    }

    #[test]
    fn attributes_that_read_something_are_noticed() {
        for (text, plain) in [
            ("feature(test)", true),
            ("no_std", true),
            ("doc=include_str!(\"x\")", false),
            ("doc=env!(\"OUT_DIR\")", false),
            ("crate_name=\"x\"", false),
        ] {
            assert_eq!(plain_attribute(text), plain, "{text}");
        }
    }
}
