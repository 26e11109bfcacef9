//! Generates a constant.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(Path::new(&out).join("generated.rs"), "pub const SIX: u32 = 6;\n").unwrap();
}
