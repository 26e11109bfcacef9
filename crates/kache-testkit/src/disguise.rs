//! A shell script in a program's clothes: kache declines scripts in a compiler's place, and a test may want one that behaves as it likes.

use crate::cargo::Cargo;
use std::fs;
use std::path::Path;

/// Makes a program at `path` that runs `script` by `sh`, with its own arguments.
///
/// # Panics
/// If the installed rustc doesn't compile it.
pub fn disguised(path: &Path, script: &str) {
    let (text, source) = (path.with_extension("sh"), path.with_extension("disguise.rs"));
    fs::write(&text, script).expect("write a script");
    let main = "use std::os::unix::process::CommandExt as _;\nfn main() {\n    let mut shell = std::process::Command::new(\"/bin/sh\");\n    \
                let error = shell.arg(SCRIPT).args(std::env::args_os().skip(1)).exec();\n    panic!(\"{error}\");\n}\n";
    fs::write(&source, format!("const SCRIPT: &str = {:?};\n{main}", text.display().to_string())).expect("write a program");
    let directory = path.parent().expect("a directory");
    Cargo::plain(directory, directory).program("rustc").args(["--crate-name", "disguise", "-o"]).args([path, &source]).ok();
}
