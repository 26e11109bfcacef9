//! Unpacking an artifact's object: bytes that anybody may have written, until their digests agree.
//!
//! Promises: nothing comes out of [`unpack`] unless all of it is what was asked for ([`Asked`]), byte for byte what its descriptor says, and the object
//! ends where it should. Memory is bounded by [`Limits::descriptor_bytes`], the decompression window (128 MiB at most, 2 MiB as we write it) and
//! fixed buffers; no bytes beyond [`Limits::unpacked_bytes`] are written. What was staged before a fault is dropped. Never panics.

use crate::descriptor::{Asked, Descriptor, Limits, corrupt, too_large};
use crate::error::{ErrorKind, RemoteError};
use crate::tar::{BLOCK, descriptor_header, output_header, padding, stated_len};
use kache_model::{BlobId, Output};
use std::io::{self, BufRead, BufReader, Read};

/// zstd window that is accepted, log2 of bytes: what level 22 uses at most.
const WINDOW_LOG: u32 = 27;

/// Compressed bytes held, as many as zstd likes to see at once.
const BUFFER: usize = 128 << 10;

/// Where outputs go: a store's staging.
pub trait Intake: Send + Sync + 'static {
    /// Bytes taken in and hashed. Dropping it forgets them.
    type Staged: Send + 'static;

    /// Takes in the bytes of `output` to their end. No name in `output` is a path, and its digest isn't to be believed: hash what comes.
    ///
    /// # Errors
    /// What `bytes` or the disk said.
    fn stage(&self, output: &Output, bytes: &mut dyn Read) -> io::Result<Self::Staged>;

    /// The digest of what was taken in.
    fn id(staged: &Self::Staged) -> BlobId;
}

/// An artifact that is what was asked for.
#[derive(Debug)]
pub struct Unpacked<S> {
    /// What it says about itself, checked.
    pub descriptor: Descriptor,
    /// Its outputs, in the descriptor's order.
    pub staged: Vec<S>,
}

/// Reads an artifact's object from `from` and stages its outputs.
///
/// # Errors
/// [`ErrorKind::Truncated`], [`ErrorKind::Corrupt`], [`ErrorKind::WrongKey`], [`ErrorKind::DigestMismatch`], [`ErrorKind::TooLarge`],
/// [`ErrorKind::Disk`] from the intake, or the [`RemoteError`] that `from` failed with.
pub fn unpack<I: Intake>(from: impl Read, asked: &Asked, limits: &Limits, intake: &I) -> Result<Unpacked<I::Staged>, RemoteError> {
    let mut members = Members::open(from)?;
    let descriptor = Descriptor::read(&members.descriptor(limits)?, asked, limits)?;
    let mut staged = Vec::with_capacity(descriptor.artifact.outputs.len());
    for output in &descriptor.artifact.outputs {
        staged.push(members.output(output, intake)?);
    }
    members.end()?;
    Ok(Unpacked { descriptor, staged })
}

/// The members of one object, in order.
struct Members<R: Read> {
    decoder: zstd::Decoder<'static, BufReader<Counted<R>>>,
    /// Decompressed bytes so far.
    seen: u64,
}

impl<R: Read> Members<R> {
    fn open(from: R) -> Result<Self, RemoteError> {
        let fail = |error| fault(error, 0);
        let buffered = BufReader::with_capacity(BUFFER, Counted { from, len: 0 });
        let mut decoder = zstd::Decoder::with_buffer(buffered).map_err(fail)?;
        decoder.window_log_max(WINDOW_LOG).map_err(fail)?;
        Ok(Self { decoder: decoder.single_frame(), seen: 0 })
    }

    fn exact(&mut self, into: &mut [u8]) -> Result<(), RemoteError> {
        let mut filled = 0;
        while filled < into.len() {
            match self.decoder.read(&mut into[filled..]) {
                Ok(0) => return Err(self.too_short()),
                Ok(got) => {
                    filled += got;
                    self.seen += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault(error, self.seen)),
            }
        }
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK], RemoteError> {
        let mut block = [0; BLOCK];
        self.exact(&mut block)?;
        Ok(block)
    }

    /// The zeros behind a member of `len` bytes.
    fn pad(&mut self, len: u64) -> Result<(), RemoteError> {
        let mut block = [0; BLOCK];
        let rest = &mut block[..padding(len)];
        self.exact(rest)?;
        if rest.iter().any(|byte| *byte != 0) { Err(corrupt("padding that isn't zero".into())) } else { Ok(()) }
    }

    fn descriptor(&mut self, limits: &Limits) -> Result<Vec<u8>, RemoteError> {
        let header = self.block()?;
        let len = stated_len(&header).filter(|len| header == descriptor_header(*len));
        let len = len.ok_or_else(|| corrupt("it doesn't begin with artifact.json".into()))?;
        if len > limits.descriptor_bytes {
            return Err(too_large("artifact.json", limits.descriptor_bytes));
        }
        let mut json = vec![0; usize::try_from(len).map_err(|_| too_large("artifact.json", limits.descriptor_bytes))?];
        self.exact(&mut json)?;
        self.pad(len)?;
        Ok(json)
    }

    fn output<I: Intake>(&mut self, output: &Output, intake: &I) -> Result<I::Staged, RemoteError> {
        if self.block()? != output_header(output) {
            return Err(corrupt(format!("the member of {:?} isn't what its descriptor says", output.name)));
        }
        let mut bytes = Member { members: self, left: output.len, fault: None };
        let staged = intake.stage(output, &mut bytes);
        let (left, fault) = (bytes.left, bytes.fault);
        let staged = match (staged, fault) {
            (_, Some(fault)) => return Err(fault),
            (Err(error), None) => return Err(RemoteError::new(ErrorKind::Disk, format!("{:?} can't be stored: {error}", output.name))),
            (Ok(staged), None) => staged,
        };
        if left > 0 || I::id(&staged) != output.blob {
            return Err(RemoteError::new(ErrorKind::DigestMismatch, format!("{:?} isn't blob {}", output.name, output.blob)));
        }
        self.pad(output.len)?;
        Ok(staged)
    }

    /// The end of the tar, of the frame (whose checksum is compared here) and of the object.
    fn end(mut self) -> Result<(), RemoteError> {
        for _ in 0..2 {
            if self.block()? != [0; BLOCK] {
                return Err(corrupt("more members than its descriptor says".into()));
            }
        }
        if self.more()? {
            return Err(corrupt("bytes behind the last member".into()));
        }
        let seen = self.seen;
        let mut rest = self.decoder.finish();
        match rest.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(corrupt("bytes behind the compressed frame".into())),
            Err(error) => Err(fault(error, seen)),
        }
    }

    fn more(&mut self) -> Result<bool, RemoteError> {
        loop {
            match self.decoder.read(&mut [0]) {
                Ok(got) => return Ok(got > 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault(error, self.seen)),
            }
        }
    }

    /// Nothing at all came, or the frame ended in good order before the tar did.
    fn too_short(&self) -> RemoteError {
        if self.decoder.get_ref().get_ref().len == 0 {
            return RemoteError::new(ErrorKind::Truncated, "it is empty".to_owned());
        }
        corrupt("it ends before its last member".into())
    }
}

/// The bytes of one output, and not one more.
struct Member<'a, R: Read> {
    members: &'a mut Members<R>,
    left: u64,
    /// What really happened, when the intake was told of an error.
    fault: Option<RemoteError>,
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let want = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = match self.members.decoder.read(&mut into[..want]) {
            Ok(0) => Err(self.members.too_short()),
            Ok(got) => Ok(got),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => Err(fault(error, self.members.seen)),
        };
        match got {
            Ok(got) => {
                self.left -= got as u64;
                self.members.seen += got as u64;
                Ok(got)
            }
            Err(error) => {
                let told = io::Error::other(error.to_string());
                self.fault = Some(error);
                Err(told)
            }
        }
    }
}

/// Counts what the object really has.
struct Counted<R> {
    from: R,
    len: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(into)?;
        self.len += got as u64;
        Ok(got)
    }
}

/// What an error of the decoder means: its source failed, the bytes ended inside a frame, or they are no good.
fn fault(error: io::Error, seen: u64) -> RemoteError {
    let text = format!("after {seen} bytes: {error}");
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return RemoteError::new(ErrorKind::Truncated, text);
    }
    match error.downcast::<RemoteError>() {
        Ok(error) => error,
        Err(error) if error.to_string().contains("too much memory") => RemoteError::new(ErrorKind::TooLarge, text),
        Err(_) => RemoteError::new(ErrorKind::Corrupt, text),
    }
}
