//! The one tar header that this crate writes, and the only one that it accepts.
//!
//! Plain ustar, regular files, everything that isn't name, length or executable bit fixed. A reader knows from the descriptor which header comes
//! next and compares all 512 bytes, so that links, devices, sparse files, pax and GNU extensions, absolute names and anything else that tar can say
//! is refused without being understood. `tar --zstd -x` reads it all the same.

use ::tar::{EntryType, Header};
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
    Header::from_byte_slice(header).entry_size().ok()
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
        Role::Debuginfo => "debuginfo",
    }
}

fn header(directory: &str, name: &str, len: u64, executable: bool) -> [u8; BLOCK] {
    let mut header = Header::new_ustar();
    // Two fields, so that a name of up to 100 bytes always fits.
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.name[..cut(name).len()].copy_from_slice(cut(name).as_bytes());
        ustar.prefix[..directory.len()].copy_from_slice(directory.as_bytes());
    }
    header.set_entry_type(EntryType::Regular);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header.set_size(len.min(MAX_LEN));
    header.set_cksum();
    *header.as_bytes()
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
            assert_eq!(Header::from_byte_slice(&block).cksum().unwrap(), sum);
        }
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        assert_eq!(cut(&"é".repeat(80)).len(), 100);
        assert_eq!(cut(&format!("a{}", "é".repeat(80))).len(), 99);
        assert_eq!(cut("short"), "short");
    }
}
