//! `-C rpath`: what links learns the way from its own place to the toolchain's libraries, and to the other dynamic libraries that it uses.
//!
//! The way to the toolchain is another one where the target directory stands at another depth, so it is in the key. The ways to what Cargo
//! built lead from one place in the target directory to another. What somebody else links against dynamic libraries of his own is declined.

use crate::compile::{Compile, Shape};
use kache_model::{Bypass, BypassReason};
use std::path::{Path, PathBuf};

impl Compile {
    /// Whether the ways of this unit can't be told.
    pub(crate) fn refuse_rpath(&self) -> Result<(), Bypass> {
        let alone = self.search.is_empty() && self.externs.iter().all(|item| item.path.is_none());
        if !self.has_rpath() || self.shape == Shape::CargoUnit || alone {
            return Ok(());
        }
        Err(Bypass::new(BypassReason::LinkArg, "-C rpath"))
    }

    /// Whether the linker is told where libraries are.
    pub fn has_rpath(&self) -> bool {
        self.links() && self.codegen.on("rpath")
    }
}

/// The way from one directory to another, both absolute and canonical.
pub fn way(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(common).map(|_| Path::new(".."));
    up.chain(to.components().skip(common).map(|part| Path::new(part.as_os_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_go_up_and_down() {
        let check = |from: &str, to: &str, expected: &str| assert_eq!(way(Path::new(from), Path::new(to)), Path::new(expected));
        check("/w/target/debug/deps", "/home/u/.rustup", "../../../../home/u/.rustup");
        check("/home/u/w/target/debug/deps", "/home/u/.rustup", "../../../../.rustup");
        check("/a", "/a", "");
    }
}
