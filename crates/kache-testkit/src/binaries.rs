//! Where `kache`, `kached` and `kache-shim` are. They are built once per test run, in the profile of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The three programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Those in `KACHE_TEST_BIN_DIR`, else those that Cargo builds now from this workspace, beside the tests.
    pub fn get() -> &'static Self {
        static FOUND: OnceLock<Binaries> = OnceLock::new();
        FOUND.get_or_init(|| Self {
            directory: std::env::var_os("KACHE_TEST_BIN_DIR")
                .map_or_else(build, |given| std::path::absolute(given).expect("KACHE_TEST_BIN_DIR as an absolute path")),
        })
    }

    /// `kache`.
    pub fn kache(&self) -> PathBuf {
        self.directory.join("kache")
    }

    /// `kached`.
    pub fn kached(&self) -> PathBuf {
        self.directory.join("kached")
    }

    /// `kache-shim`.
    pub fn shim(&self) -> PathBuf {
        self.directory.join("kache-shim")
    }
}

/// Builds the programs into the target directory that this test itself was built into.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.ancestors().nth(2).expect("a test stands in target/<profile>/deps").to_owned();
    let target = profile.parent().expect("a profile directory stands in a target directory");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/kache-testkit has a workspace");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).env("CARGO_TARGET_DIR", target);
    cargo.args(["build", "--quiet", "--locked", "-p", "kache-cli", "-p", "kache-daemon", "-p", "kache-shim", "--bins"]);
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("run cargo").success(), "kache's own programs did not build");
    profile
}
