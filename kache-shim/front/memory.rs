//! Memory: one growing buffer, and the few functions that compiled Rust expects of a C library.

use crate::sys;
use crate::wire;
use core::cell::UnsafeCell;
use core::ffi::CStr;

/// Room for an ordinary request and an ordinary answer without asking the kernel: a request is 3.5 KB in the median.
const FIRST: usize = 64 << 10;

/// A buffer that grows. Starts in the program's own zeroed memory, which costs nothing until it is touched.
pub struct Buffer {
    start: *mut u8,
    len: usize,
    capacity: usize,
}

#[repr(align(64))]
struct First(UnsafeCell<[u8; FIRST]>);

// SAFETY: this program has one thread.
unsafe impl Sync for First {}

static FIRST_ROOM: First = First(UnsafeCell::new([0; FIRST]));

impl Buffer {
    /// An empty one.
    ///
    /// # Safety
    /// Only one may be in use at any time: all begin in the same memory.
    pub const unsafe fn new() -> Self {
        Self { start: FIRST_ROOM.0.get().cast(), len: 0, capacity: FIRST }
    }

    /// An empty one with memory of its own, which comes with the first byte.
    pub const fn mapped() -> Self {
        Self { start: core::ptr::dangling_mut(), len: 0, capacity: 0 }
    }

    /// Forgets the content, keeps the room.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The content.
    pub fn filled(&self) -> &'static [u8] {
        // SAFETY: `len` bytes are initialised, and memory is never given back. Content is only overwritten after `clear`,
        // which `talk.rs` calls between the request, which it has sent, and the answer.
        unsafe { core::slice::from_raw_parts(self.start, self.len) }
    }

    /// Content, to be patched.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed for as long.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// At least `more` bytes after the content, zero or stale. To be followed by [`Self::advance`].
    pub fn room(&mut self, more: usize) -> sys::Result<&mut [u8]> {
        if self.capacity - self.len < more {
            let capacity = (self.len + more).next_power_of_two().max(2 * self.capacity).max(FIRST);
            let start = sys::map(capacity)?;
            // SAFETY: fresh memory of at least `len` bytes; `len` bytes of the old are initialised.
            unsafe { core::ptr::copy_nonoverlapping(self.start, start, self.len) };
            (self.start, self.capacity) = (start, capacity);
        }
        // SAFETY: inside the capacity, all of which was zeroed at first.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.start.add(self.len), self.capacity - self.len) })
    }

    /// Appends a pointer as the kernel reads it from an array.
    pub fn put_pointer(&mut self, pointer: *const u8) -> sys::Result<()> {
        self.room(size_of::<*const u8>())?;
        // SAFETY: there is room; the place needn't be aligned.
        unsafe { self.start.add(self.len).cast::<*const u8>().write_unaligned(pointer) };
        self.advance(size_of::<*const u8>());
        Ok(())
    }

    /// Counts `len` bytes of the room as content.
    pub fn advance(&mut self, len: usize) {
        self.len = (self.len + len).min(self.capacity);
    }
}

/// Puts `from` into `to`, beginning at `at`. `None`, and nothing done, if it doesn't fit.
pub fn place(to: &mut [u8], at: usize, from: &[u8]) -> Option<()> {
    let room = to.get_mut(at..at.checked_add(from.len())?)?;
    room.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    Some(())
}

/// The text up to the first zero.
pub fn terminated(bytes: &[u8]) -> Option<&CStr> {
    let zero = bytes.iter().position(|byte| *byte == 0)?;
    // SAFETY: ends with its first zero.
    bytes.get(..=zero).map(|text| unsafe { CStr::from_bytes_with_nul_unchecked(text) })
}

impl wire::Sink for Buffer {
    type Error = sys::Errno;

    fn put(&mut self, bytes: &[u8]) -> sys::Result<()> {
        let room = self.room(bytes.len())?;
        // SAFETY: there is room for as many bytes, and it is nobody else's.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), room.as_mut_ptr(), bytes.len()) };
        self.advance(bytes.len());
        Ok(())
    }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise; the direction flag is clear by the calling convention.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for index in 0..len {
        // SAFETY: the caller's promise.
        unsafe { to.add(index).write(from.add(index).read()) };
    }
    to
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the caller's promise; copying forwards overwrites nothing that is still to be read.
        return unsafe { memcpy(to, from, len) };
    }
    for index in (0..len).rev() {
        // SAFETY: the caller's promise.
        unsafe { to.add(index).write(from.add(index).read()) };
    }
    to
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    for index in 0..len {
        // SAFETY: the caller's promise.
        unsafe { to.add(index).write(byte as u8) };
    }
    to
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for index in 0..len {
        // SAFETY: the caller's promise.
        let (a, b) = unsafe { (a.add(index).read(), b.add(index).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: passed on.
    unsafe { memcmp(a, b, len) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: the caller's promise: there is a terminator.
    while unsafe { text.add(len).read() } != 0 {
        len += 1;
    }
    len
}
