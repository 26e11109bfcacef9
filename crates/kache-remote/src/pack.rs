//! Packing an artifact into the bytes of its object: `artifact.json`, then the outputs in the descriptor's order, as a tar in one zstd frame.
//!
//! Promises: equal artifacts packed at the same level by the same zstd give equal bytes; memory doesn't grow with the outputs; bytes that aren't
//! what the descriptor says are never packed, so that a blob that rotted on this disk doesn't become everybody's.

use crate::descriptor::Descriptor;
use crate::error::{ErrorKind, RemoteError};
use crate::tar::{BLOCK, MAX_LEN, descriptor_header, output_header, padding};
use kache_model::{Digest, Output};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;

/// What came out of [`pack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Bytes written.
    pub len: u64,
    /// Their MD5, for `Content-MD5`.
    pub md5: [u8; 16],
}

/// Writes the object of `descriptor` to `into`. `outputs` gives each output of the descriptor, in its order, with its bytes. `level` is zstd's.
///
/// # Errors
/// [`ErrorKind::DigestMismatch`] for an output that isn't what the descriptor says, [`ErrorKind::Disk`] when reading or writing fails,
/// [`ErrorKind::TooLarge`] for an output of 8 GiB or more, [`ErrorKind::Corrupt`] for a descriptor that must not travel.
pub fn pack<R: Read>(
    descriptor: &Descriptor,
    outputs: impl IntoIterator<Item = (Output, R)>,
    level: i32,
    into: impl Write,
) -> Result<Packed, RemoteError> {
    let json = descriptor.write()?;
    let mut encoder = encoder(Measured { into, len: 0, md5: Md5::new() }, level).map_err(disk)?;
    let mut put = |bytes: &[u8]| encoder.write_all(bytes).map_err(disk);
    put(&descriptor_header(json.len() as u64))?;
    put(&json)?;
    put(&[0; BLOCK][..padding(json.len() as u64)])?;
    let mut outputs = outputs.into_iter();
    for expected in &descriptor.artifact.outputs {
        match outputs.next() {
            Some((output, bytes)) if output == *expected => put_output(&output, bytes, &mut put)?,
            _ => return Err(mismatch(format!("the bytes of {:?} were not handed in", expected.name))),
        }
    }
    put(&[0; 2 * BLOCK])?;
    let measured = encoder.finish().map_err(disk)?;
    Ok(Packed { len: measured.len, md5: measured.md5.finalize().into() })
}

fn encoder<W: Write>(into: W, level: i32) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(into, level)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

fn put_output(output: &Output, mut bytes: impl Read, put: &mut impl FnMut(&[u8]) -> Result<(), RemoteError>) -> Result<(), RemoteError> {
    if output.len > MAX_LEN {
        return Err(RemoteError::new(ErrorKind::TooLarge, format!("{:?} has 8 GiB or more", output.name)));
    }
    put(&output_header(output))?;
    let mut hasher = Sha256::new();
    let mut left = output.len;
    let mut chunk = vec![0; CHUNK];
    loop {
        // One byte more than is expected, to notice that there is more.
        let want = usize::try_from(left.saturating_add(1)).unwrap_or(CHUNK).min(CHUNK);
        let got = match bytes.read(&mut chunk[..want]) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(disk(error)),
        };
        if got == 0 {
            break;
        }
        left =
            left.checked_sub(got as u64).ok_or_else(|| mismatch(format!("{:?} has more bytes than its descriptor says", output.name)))?;
        hasher.update(&chunk[..got]);
        put(&chunk[..got])?;
    }
    if left > 0 || Digest::from_bytes(hasher.finalize().into()) != output.blob.0 {
        return Err(mismatch(format!("{:?} isn't blob {}", output.name, output.blob)));
    }
    put(&[0; BLOCK][..padding(output.len)])
}

fn disk(error: io::Error) -> RemoteError {
    RemoteError::new(ErrorKind::Disk, format!("packing failed: {error}"))
}

fn mismatch(text: String) -> RemoteError {
    RemoteError::new(ErrorKind::DigestMismatch, text)
}

/// Counts and digests what passes.
struct Measured<W> {
    into: W,
    len: u64,
    md5: Md5,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.len += written as u64;
        self.md5.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}
