//! This process: the entry point, its arguments and its environment, where the kernel put them.

use crate::wire;
use core::ffi::CStr;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl kache_start",
    "kache_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call kache_front",
    "ud2",
    options(att_syntax)
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl kache_start", "kache_start:", "mov x29, #0", "mov x30, #0", "mov x0, sp", "bl kache_front", "brk #1");

/// Arguments and environment.
pub struct Process {
    /// The first argument after our own name (and after wrappers of our own name); null-terminated.
    argv: *const *const u8,
    envp: *const *const u8,
}

impl Process {
    /// # Safety
    /// To be called once, with the stack pointer as the kernel set it: argc, argv, null, environment, null.
    pub unsafe fn from_stack(stack: *const usize) -> Self {
        // SAFETY: the kernel's layout; `argc` may be 0, then the null that ends the arguments comes at once.
        unsafe {
            let argc = stack.read();
            let argv = stack.add(1).cast::<*const u8>();
            Self { argv: without_ourselves(argv.add(usize::from(argc > 0))), envp: argv.add(argc + 1) }
        }
    }

    /// The compiler and its arguments.
    pub fn argv(&self) -> Strings {
        Strings(self.argv)
    }

    /// The environment's entries.
    pub fn environment(&self) -> Strings {
        Strings(self.envp)
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&'static [u8]> {
        self.environment().find_map(|entry| entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// For the kernel.
    pub fn raw(&self) -> (*const *const u8, *const *const u8) {
        (self.argv, self.envp)
    }
}

/// # Safety
/// `argv` must be a null-terminated array of terminated strings.
unsafe fn without_ourselves(mut argv: *const *const u8) -> *const *const u8 {
    for argument in Strings(argv) {
        if !wire::is_own_name(argument.to_bytes()) {
            break;
        }
        // SAFETY: an element was there, so the next one, or the null, is too.
        argv = unsafe { argv.add(1) };
    }
    argv
}

/// A null-terminated array of terminated strings, which the kernel laid out and which nobody changes.
pub struct Strings(*const *const u8);

impl Iterator for Strings {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        // SAFETY: up to and including the null there is an element.
        let element = unsafe { self.0.read() };
        if element.is_null() {
            return None;
        }
        // SAFETY: not the null, so another one follows; elements are terminated strings that live as long as the process.
        unsafe {
            self.0 = self.0.add(1);
            Some(CStr::from_ptr(element.cast()))
        }
    }
}
