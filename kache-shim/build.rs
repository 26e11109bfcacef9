//! Builds the shim's front (`front/`, no libc) where it can be had, tries it, and has the binary linked from it. Otherwise,
//! silently, the binary is the std wrapper: other systems, other linkers' moods, or `KACHE_SHIM_STD=1`.
//!
//! Promise: `cargo build`, `test` and `clippy` need nothing beyond stable Rust and its usual linker, whatever happens in here.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(kache_front)");
    println!("cargo::rerun-if-env-changed=KACHE_SHIM_STD");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=front");
    println!("cargo::rerun-if-changed=../crates/kache-proto/src/wire.rs");
    println!("cargo::rerun-if-changed=../crates/kache-proto/src/tool.rs");
    let wanted = env::var_os("KACHE_SHIM_STD").is_none_or(|value| value.is_empty() || value == "0");
    let Some(object) = (wanted && is_supported()).then(compile).flatten() else { return };
    let link_args = link_args(&object);
    if link_args.iter().all(|arg| arg.to_str().is_some()) && try_out(&link_args) {
        println!("cargo::rustc-cfg=kache_front");
        for arg in link_args {
            println!("cargo::rustc-link-arg-bins={}", arg.display());
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default())
}

/// Only where the front's system calls and the link arguments were written for.
fn is_supported() -> bool {
    variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu"
        && variable("CARGO_CFG_TARGET_ENDIAN") == "little"
        && variable("CARGO_CFG_TARGET_POINTER_WIDTH") == "64"
        && matches!(variable("CARGO_CFG_TARGET_ARCH").as_str(), "x86_64" | "aarch64")
}

/// The same rustc that compiles the rest, called without the wrappers and flags that the build has for it: the front is one
/// particular object, not a crate of the build.
fn rustc() -> Command {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--target", &variable("TARGET"), "-Cpanic=abort"]).stdin(Stdio::null());
    rustc
}

/// The front's object file.
fn compile() -> Option<PathBuf> {
    let object = out_dir().join("front.o");
    let mut rustc = rustc();
    rustc.args(["--crate-name=kache_front", "--crate-type=lib", "--emit=obj", "-Copt-level=3", "-Ccodegen-units=1"]);
    rustc.args(["-Crelocation-model=static", "-Cdebuginfo=0", "-o"]).arg(&object).arg("front/front.rs");
    (succeeds(&mut rustc) && fs::read(&object).is_ok_and(|elf| needs_nothing(&elf))).then_some(object)
}

/// Whether an ELF object refers to no symbol of others. One that does would be linked to std, which isn't there at run time.
fn needs_nothing(elf: &[u8]) -> bool {
    const SHT_SYMTAB: usize = 2;
    let (Some(table), Some(size), Some(count)) = (number(elf, 40, 8), number(elf, 58, 2), number(elf, 60, 2)) else { return false };
    let mut sections = (0..count).map(|index| table + index * size);
    let Some(symbols) = sections.find(|header| number(elf, header + 4, 4) == Some(SHT_SYMTAB)) else { return false };
    let (Some(start), Some(len)) = (number(elf, symbols + 24, 8), number(elf, symbols + 32, 8)) else { return false };
    // The first symbol is the null symbol. A section index of 0 means undefined.
    (start..start + len).step_by(24).skip(1).all(|symbol| number(elf, symbol + 6, 2).is_some_and(|section| section != 0))
}

/// A little-endian number of `len` bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    Some(bytes.get(at..at + len)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// An executable at a fixed address with an entry point of its own and no interpreter. rustc puts std on the linker's command
/// line whatever `src/main.rs` says, and a part of it stays in the file as ballast: never mapped in, never run. The front refers to
/// nothing of it, so its missing libc isn't missed.
fn link_args(object: &Path) -> Vec<PathBuf> {
    let flags = ["-nostartfiles", "-no-pie", "-Wl,--no-dynamic-linker", "-Wl,--gc-sections", "-Wl,-e,kache_start"];
    flags.iter().map(PathBuf::from).chain([object.to_owned()]).collect()
}

/// Links a program as Cargo will link the shim, and looks whether it came out as meant.
fn try_out(link_args: &[PathBuf]) -> bool {
    let (source, program) = (out_dir().join("trial.rs"), out_dir().join("trial"));
    // As `src/main.rs` is when it has nothing to say: std is linked, but not used.
    if fs::write(&source, "#![no_main]\n").is_err() {
        return false;
    }
    let mut rustc = rustc();
    rustc.args(variable("CARGO_ENCODED_RUSTFLAGS").split('\x1f').filter(|flag| !flag.is_empty()));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg([std::ffi::OsString::from("linker="), linker].into_iter().collect::<std::ffi::OsString>());
    }
    for arg in link_args {
        rustc.arg("-C").arg(format!("link-arg={}", arg.display()));
    }
    rustc.arg("-o").arg(&program).arg(&source);
    succeeds(&mut rustc) && fs::read(&program).is_ok_and(|elf| stands_alone(&elf)) && behaves(&program)
}

/// Whether an ELF program names no interpreter: then the kernel starts it at its entry point, and nobody looks for libraries.
fn stands_alone(elf: &[u8]) -> bool {
    const PT_INTERP: usize = 3;
    let (Some(table), Some(size), Some(count)) = (number(elf, 32, 8), number(elf, 54, 2), number(elf, 56, 2)) else { return false };
    (0..count).all(|index| number(elf, table + index * size, 4).is_some_and(|kind| kind != PT_INTERP))
}

/// Whether it runs as far as looking for a compiler that isn't there. A foreign target's program can't be asked.
fn behaves(program: &Path) -> bool {
    if variable("HOST") != variable("TARGET") {
        return true;
    }
    let status = Command::new(program).arg("/nonexistent/compiler").env("KACHE_DISABLED", "1").status();
    status.is_ok_and(|status| status.code() == Some(127))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
