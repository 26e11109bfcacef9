//! Command lines against the judge, sources against the lexer: no panic, one verdict per invocation, no option that vanishes.
//!
//! The input's lines are arguments; a line `NAME=value` in capitals is a variable; all behind an empty line is standard input and `@file`s.
#![no_main]

use kache_model::{Digest, Root, RootKind, Roots};
use kache_rustc::{Compile, Env, Invocation, Verdict, closed_source, judge, licence, streams};
use libfuzzer_sys::fuzz_target;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

fuzz_target!(|input: &[u8]| {
    let split = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let (head, text) = input.split_at(split);
    let mut argv = vec![OsString::from("rustc")];
    let mut vars = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        match line.iter().position(|byte| *byte == b'=') {
            Some(at) if line[..at].iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') => {
                vars.push((OsString::from_vec(line[..at].to_vec()), OsString::from_vec(line[at + 1..].to_vec())));
            }
            _ => argv.push(OsString::from_vec(line.to_vec())),
        }
    }
    let env: Env = vars.into_iter().collect();
    let inv = Invocation { argv: &argv, cwd: Path::new("/w"), env: &env, stdin: Some(text) };
    let mut read = |_: &Path| Ok(text.to_vec());
    match judge(&inv, &mut read) {
        Verdict::Bypass(bypass) => drop(bypass.to_string()),
        Verdict::Query(query) => {
            query.key(&Digest::of(text));
        }
        Verdict::Compile(unit) => {
            let again = judge(&inv, &mut read);
            let Verdict::Compile(again) = again else { panic!("another verdict: {again:?}") };
            assert_eq!(key(&unit), key(&again));
            assert!(unit.insert_at <= argv.len());
            let outputs = unit.expected_outputs();
            assert!(outputs.iter().all(|output| !output.name.contains('/')), "{outputs:?}");
            (unit.wants(), unit.diagnostics(), unit.spelling(), unit.dep_info_name());
        }
    }
    closed_source(text);
    licence::is_locator("OUT_DIR", &[text]);
    streams::has_diagnostics(text);
});

fn key(unit: &Compile) -> kache_model::UnitKey {
    let root = |(kind, path): (RootKind, PathBuf)| Root::new(kind, path.to_string_lossy(), path.to_string_lossy());
    let roots = Roots::new(unit.root_paths().into_iter().map(root).collect());
    unit.extra_args(&roots);
    unit.inputs(&roots).key()
}
