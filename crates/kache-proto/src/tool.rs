//! Which programs are compilers and tools of other languages, by name.
//!
//! Build scripts put a Rust compiler's wrapper in front of them, too (the `cc` crate does where it knows the wrapper's name, people write
//! `CC="kache cc"`). Nothing of theirs is cached, so they are run as they are and the daemon isn't asked. A name that isn't known here goes the way of
//! a compiler's: the daemon declines it, if it is none.
//!
//! Only `core`, no allocation: the shim's no-libc front compiles this very file.

/// Names without a target in front and a version behind.
pub const TOOLS: &[&[u8]] = &[
    // C, C++ and what is compiled like them.
    b"cc",
    b"c++",
    b"gcc",
    b"g++",
    b"clang",
    b"clang++",
    b"clang-cl",
    b"cpp",
    b"clang-cpp",
    b"cl",
    b"icc",
    b"icpc",
    b"icx",
    b"icpx",
    b"icx-cl",
    b"dpcpp",
    b"nvcc",
    b"nvc",
    b"nvc++",
    b"hipcc",
    b"amdclang",
    b"amdclang++",
    b"armclang",
    b"emcc",
    b"em++",
    b"qcc",
    b"q++",
    b"tcc",
    b"xlc",
    b"xlclang",
    b"xlclang++",
    b"zig",
    b"gfortran",
    b"flang",
    b"swiftc",
    // Assemblers.
    b"as",
    b"nasm",
    b"yasm",
    b"ml",
    b"ml64",
    b"armasm",
    b"armasm64",
    // What puts objects together.
    b"ar",
    b"emar",
    b"ranlib",
    b"emranlib",
    b"ld",
    b"ld.bfd",
    b"ld.gold",
    b"ld.lld",
    b"lld",
    b"nm",
    b"objcopy",
    b"strip",
    b"windres",
    // What others put in front of them.
    b"ccache",
    b"sccache",
    b"distcc",
    b"icecc",
    b"buildcache",
    b"cachepot",
];

/// Whether a program, called by name or path, is one of [`TOOLS`]: also with a target in front (`x86_64-linux-gnu-gcc`), a version behind
/// (`clang-17`, `gcc12`), or both.
pub fn is_tool(program: &[u8]) -> bool {
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or(program);
    let name = name.strip_suffix(b".exe").unwrap_or(name);
    let flavour: [&[u8]; 2] = [b"-posix", b"-win32"];
    let name = flavour.iter().find_map(|end| name.strip_suffix(*end)).unwrap_or(name);
    is_named(name) || is_named(without_version(name))
}

fn is_named(name: &[u8]) -> bool {
    TOOLS.iter().any(|tool| name == *tool || name.strip_suffix(*tool).is_some_and(is_target))
}

/// `x86_64-linux-gnu-`, `musl-`; no option.
fn is_target(front: &[u8]) -> bool {
    front.ends_with(b"-") && !front.starts_with(b"-")
}

fn without_version(mut name: &[u8]) -> &[u8] {
    while let [front @ .., b'0'..=b'9' | b'.'] = name {
        name = front;
    }
    name.strip_suffix(b"-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_known_with_targets_versions_and_paths() {
        for tool in [
            "cc",
            "c++",
            "gcc-12",
            "gcc12",
            "g++-12.2",
            "clang",
            "clang-17",
            "clang++-17",
            "clang-cl",
            "cl.exe",
            "x86_64-linux-gnu-gcc-12",
            "arm-none-eabi-g++",
            "aarch64-linux-android21-clang",
            "x86_64-w64-mingw32-gcc-12-posix",
            "musl-gcc",
            "emcc",
            "nvcc",
            "icpx",
            "zig",
            "ar",
            "llvm-ar-17",
            "gcc-ranlib",
            "ld.lld",
            "ml64.exe",
            "/usr/bin/cc",
            "/opt/cross bin/x86_64-unknown-linux-musl-cc",
            "./gcc",
            "ccache",
        ] {
            assert!(is_tool(tool.as_bytes()), "{tool}");
        }
        for other in [
            "",
            "/",
            "-",
            "17",
            "-cc",
            "--cc",
            "rustc",
            "/usr/bin/rustc",
            "rustc-1.97",
            "my-rustc",
            "rustc.exe",
            "clippy-driver",
            "rustdoc",
            "rustcc",
            "exec",
            "stats",
            "status",
            "gc",
            "/bin/sh",
            "kache",
            "kache-shim",
            "cargo",
            "cc/rustc",
        ] {
            assert!(!is_tool(other.as_bytes()), "{other}");
        }
    }
}
