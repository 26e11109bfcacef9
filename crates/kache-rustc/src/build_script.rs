//! Reads what a build script told Cargo, as Cargo reads it: which variables it set, and what makes Cargo run it again.
//!
//! Whatever makes Cargo compile a package anew is there for something that the compile reads, and a proc macro may read it without a trace.
//!
//! Lines begin with `cargo::` or, of old, `cargo:`; blanks around a line vanish (a carriage return too), a line that isn't UTF-8 is passed over
//! alone, and so is what has no `=` (`BuildOutput::parse` in Cargo 1.95).

use std::path::{Path, PathBuf};

/// What the script said, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `rustc-env`: names of the variables that it sets for its package's units.
    pub sets: Vec<String>,
    /// `rerun-if-env-changed`: variables that it read.
    pub variables: Vec<String>,
    /// `rerun-if-changed`: files and directories, as they are spelled: relative to the package.
    pub paths: Vec<String>,
}

impl Declared {
    /// Reads the script's standard output.
    pub fn parse(output: &[u8]) -> Self {
        let mut declared = Self::default();
        for line in output.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
            let line = line.trim();
            let Some(said) = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:")) else { continue };
            let Some((key, value)) = said.split_once('=') else { continue };
            match key {
                "rustc-env" => declared.sets.extend(value.split_once('=').map(|(name, _)| name.to_owned())),
                "rerun-if-env-changed" => declared.variables.push(value.to_owned()),
                "rerun-if-changed" => declared.paths.push(value.to_owned()),
                _ => {}
            }
        }
        declared
    }

    /// Whether it said when it wants to run again. If not, Cargo watches every file of the package.
    pub fn says_when(&self) -> bool {
        !(self.variables.is_empty() && self.paths.is_empty())
    }
}

/// Where Cargo keeps the output of the script whose `OUT_DIR` this is: beside it, since build-dir layout v2 (Cargo 1.100) in `run`.
pub fn outputs_beside(out_dir: &Path) -> [PathBuf; 2] {
    [out_dir.with_file_name("output"), out_dir.with_file_name("run").join("stdout")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_cargo_reads_them() {
        let output = b"warning: x\n  cargo:rerun-if-changed=a b \r\ncargo::rerun-if-changed=c\n\xff\ncargo:rerun-if-env-changed=X\r\n\
            cargo::rustc-env=A=B=C\ncargo:rustc-env=BROKEN\ncargo:rerun-if-changed\nxcargo:rerun-if-changed=d\ncargo::metadata=rerun-if-changed=e";
        let declared = Declared::parse(output);
        let expected = Declared { sets: vec!["A".into()], variables: vec!["X".into()], paths: vec!["a b".into(), "c".into()] };
        assert_eq!(declared, expected);
        assert!(declared.says_when());
        assert!(!Declared::parse(b"cargo::rustc-env=A=1\ncargo::rustc-cfg=x").says_when());
    }

    #[test]
    fn both_layouts_are_known() {
        let [old, new] = outputs_beside(Path::new("/t/debug/build/a-0123/out"));
        assert_eq!(old, Path::new("/t/debug/build/a-0123/output"));
        assert_eq!(new, Path::new("/t/debug/build/a-0123/run/stdout"));
    }
}
