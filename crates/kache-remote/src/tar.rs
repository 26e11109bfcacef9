//! The one tar header that this crate writes, and the only one that it accepts.
//!
//! Plain ustar, regular files, everything that isn't name, length or executable bit fixed. A reader knows from the descriptor which header comes
//! next and compares all 512 bytes, so that links, devices, sparse files, pax and GNU extensions, absolute names and anything else that tar can say
//! is refused without being understood. `tar --zstd -x` reads it all the same.

use kache_model::{Output, Role};

/// Headers and padding come in blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// Name of the first member.
pub(crate) const DESCRIPTOR: &str = "artifact.json";

/// Most that a ustar header can say: eleven octal digits.
pub(crate) const MAX_LEN: u64 = 0o77_777_777_777;

/// 2000-01-01, which no extractor calls implausible.
const MTIME: u64 = 946_684_800;

/// Bytes of the header's name field.
const NAME: usize = 100;

/// The header of `artifact.json`.
pub(crate) fn descriptor_header(len: u64) -> [u8; BLOCK] {
    header("", DESCRIPTOR, len, false)
}

/// The header of an output: `role/name`. A name that is too long for the field is cut: the descriptor has the whole.
pub(crate) fn output_header(output: &Output) -> [u8; BLOCK] {
    header(directory(output.role), &output.name, output.len, output.executable)
}

/// The length that a header states; `None` if it isn't a number.
pub(crate) fn stated_len(header: &[u8; BLOCK]) -> Option<u64> {
    let digits = std::str::from_utf8(&header[124..135]).ok()?;
    u64::from_str_radix(digits, 8).ok()
}

/// Zero bytes that follow `len` bytes of content.
pub(crate) fn padding(len: u64) -> usize {
    (BLOCK - (len % BLOCK as u64) as usize) % BLOCK
}

fn directory(role: Role) -> &'static str {
    match role {
        Role::Metadata => "metadata",
        Role::Rlib => "rlib",
        Role::Staticlib => "staticlib",
        Role::SharedObject => "shared_object",
        Role::Executable => "executable",
        Role::Object => "object",
        Role::Assembly => "assembly",
        Role::LlvmIr => "llvm_ir",
    }
}

fn header(directory: &str, name: &str, len: u64, executable: bool) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, cut(name).as_bytes());
    put(100, if executable { b"0000755" } else { b"0000644" });
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", len.min(MAX_LEN)).as_bytes());
    put(136, format!("{MTIME:011o}").as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    put(345, directory.as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// As much of `name` as the field holds, whole characters.
fn cut(name: &str) -> &str {
    let end = (0..=name.len().min(NAME)).rev().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_states_its_length_and_sums_up() {
        for len in [0, 1, 511, 512, 513, 1 << 30, MAX_LEN] {
            let block = descriptor_header(len);
            assert_eq!(stated_len(&block), Some(len));
            assert_eq!((len + padding(len) as u64) % BLOCK as u64, 0);
            let sum: u32 = block.iter().enumerate().map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
            assert_eq!(u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8), Ok(sum));
        }
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        assert_eq!(cut(&"é".repeat(80)).len(), 100);
        assert_eq!(cut(&format!("a{}", "é".repeat(80))).len(), 99);
        assert_eq!(cut("short"), "short");
    }
}
