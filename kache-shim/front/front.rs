//! The shim without libc: connects, asks, and either prints the answer and exits or becomes another program.
//!
//! Why this exists: a warm build starts one shim per unit, and starting is most of what a hit costs. Measured with
//! `examples/start_cost.rs` (1,000 starts each, taken in turn on a busy two-core machine, so trust the ratios; minimum / median, µs):
//!
//! | program | bare | a hit, round trip included |
//! |---|---|---|
//! | this | 210 / 435 | 306 / 575 |
//! | empty static Rust program | 659 / 1349 | |
//! | the std wrapper, dynamic | 978 / 1790 | 1072 / 1907 |
//!
//! A process that maps no library, relocates nothing and initialises no runtime is nearly only the kernel's part. (The parts of std that
//! the linker leaves in the file cost nothing: linked without them, it starts in the same time.)
//!
//! What it does is the first half of `kache_proto::wrapper`, under the same promises and the same tests (`tests/behaviour.rs`); the
//! format itself is `kache_proto::wire`, the very file; so is the table of other compilers, `kache_proto::tool`. What it can't do (run rustc and watch it) it hands to the plan's runner by
//! exec, the socket being inherited. Every doubt ends in rustc with the caller's arguments.
//!
//! Nothing in here can panic: there is no panic handler, and the object that `build.rs` accepts has no undefined symbol. So no indexing, no unchecked arithmetic on lengths; `get` and `?` instead.
//!
//! `unsafe` is the element here: raw system calls, and the kernel's pointers to arguments and environment. It is kept to `sys.rs`,
//! `memory.rs` and `process.rs`; this file's and `talk.rs`'s logic is safe code. `build.rs` compiles it, tries it, and falls back to std.

#![no_std]
// No loop of `memory.rs` may be turned into a call of the very function that it implements.
#![no_builtins]
#![deny(unsafe_op_in_unsafe_fn)]

mod exec;
mod memory;
mod process;
mod stdin;
mod sys;
mod talk;
#[path = "../../crates/kache-proto/src/tool.rs"]
mod tool;
#[allow(dead_code, reason = "the front needs one direction of each")]
#[path = "../../crates/kache-proto/src/wire.rs"]
mod wire;

use exec::exec_compiler;
use process::Process;
use stdin::Stdin;
use talk::{Answer, Socket};

/// The story. Returns only if rustc can't be started, with the status to exit with.
fn run(process: &Process) -> i32 {
    if process.argv().next().is_none() {
        // Also what `cargo test --all-targets` calls, which links its harness for this binary like the binary.
        return 0;
    }
    if process.argv().next().is_some_and(|program| tool::is_tool(program.to_bytes())) {
        return exec_compiler(process);
    }
    let Some(mut socket) = Socket::reach(process) else {
        return exec_compiler(process);
    };
    let Ok(stdin) = Stdin::take(process) else {
        return exec_compiler(process);
    };
    let answer = socket.ask(process, &stdin);
    if let Answer::Replay { status, stdout, stderr } = answer {
        sys::write_all(1, stdout);
        sys::write_all(2, stderr);
        return status;
    }
    if !stdin.give_back() {
        return 1;
    }
    if let Answer::Compile { runner, remaining } = answer {
        exec::exec_runner(process, &socket, runner, remaining);
    }
    exec_compiler(process)
}

/// Where the assembly of `process.rs` goes: the kernel's stack is in `stack`.
///
/// # Safety
/// To be called once, first thing, with what the kernel left in the stack pointer.
#[unsafe(no_mangle)]
unsafe extern "C" fn kache_front(stack: *const usize) -> ! {
    // SAFETY: passed on.
    let process = unsafe { Process::from_stack(stack) };
    sys::exit(run(&process))
}
