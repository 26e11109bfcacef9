//! A sample artifact, an intake in memory, and tar members made by hand.

use kache_model::artifact::DepInfoText;
use kache_model::{
    Artifact, ArtifactKey, BlobId, ContentKey, Digest, InputSet, Linked, Mentions, Output, PortablePath, Role, Roots, UnitKey, UnitOutline,
};
use kache_remote::{Asked, Descriptor, ErrorKind, Intake, Limits, PackageName, Packed, RemoteError, Unpacked, pack, unpack};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Takes bytes into memory and counts what is alive.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) alive: Arc<AtomicUsize>,
    pub(crate) disk_is_full: bool,
}

/// What it took in.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Intake for Memory {
    type Staged = Taken;

    fn stage(&self, _: &Output, bytes: &mut dyn Read) -> io::Result<Taken> {
        if self.disk_is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut taken = Vec::new();
        bytes.read_to_end(&mut taken)?;
        self.alive.fetch_add(1, Ordering::Relaxed);
        Ok(Taken { bytes: taken, alive: Arc::clone(&self.alive) })
    }

    fn id(staged: &Taken) -> BlobId {
        BlobId(Digest::of(&staged.bytes))
    }
}

/// The descriptor of a result with these outputs.
pub(crate) fn descriptor(outputs: &[(Role, &str, &[u8])]) -> Descriptor {
    let outline = UnitOutline { package: "serde".into(), crate_name: "serde".into(), ..UnitOutline::default() };
    let set = InputSet { files: vec![PortablePath("/proc/self/cwd/src/lib.rs".into())], ..InputSet::default() };
    let content = ContentKey(Digest::of(b"content"));
    let output = |(role, name, bytes): &(Role, &str, &[u8])| Output {
        role: *role,
        name: (*name).to_owned(),
        executable: *role == Role::Executable,
        blob: BlobId(Digest::of(bytes)),
        len: bytes.len() as u64,
    };
    let mut mentions = Mentions::NONE;
    mentions.insert(2);
    let artifact = Artifact {
        package: "serde".into(),
        crate_name: "serde".into(),
        unit: UnitKey(Digest::of(b"unit")),
        content,
        outputs: outputs.iter().map(output).collect(),
        dep_info: Some(DepInfoText { name: "serde.d".into(), text: b"serde: \xff\n".to_vec() }),
        stdout: b"out".to_vec(),
        stderr: b"{\"a\":1}\n\x1b[1mb\x1b[0m".to_vec(),
        status: 0,
        compile_millis: 1234,
        stays: kache_model::Stays::No,
        bound: kache_model::RootKinds::NONE,
        mentions,
        runs_macros: true,
        linked: Linked { names: ["z".to_owned()].into(), by_macro: false },
    };
    let key = ArtifactKey::derive(&content, &set, &Roots::default(), &[]);
    Descriptor { key, artifact, set, outline }
}

/// Two outputs, one of them without bytes.
pub(crate) const OUTPUTS: [(Role, &str, &[u8]); 3] =
    [(Role::Metadata, "libserde-1.rmeta", b"metadata"), (Role::Rlib, "libserde-1.rlib", &[7; 3000]), (Role::Executable, "main", b"")];

/// The sample's descriptor.
pub(crate) fn sample() -> Descriptor {
    descriptor(&OUTPUTS)
}

/// What a fetch of the sample asks for.
pub(crate) fn asked() -> Asked {
    Asked { package: PackageName::new("serde").unwrap(), key: sample().key }
}

/// The object of `descriptor`, whose outputs have these bytes.
pub(crate) fn packed(descriptor: &Descriptor, bytes: &[&[u8]]) -> Result<(Vec<u8>, Packed), RemoteError> {
    let outputs = descriptor.artifact.outputs.iter().cloned().zip(bytes.iter().copied());
    let mut object = Vec::new();
    let packed = pack(descriptor, outputs, 3, &mut object)?;
    Ok((object, packed))
}

/// The sample's object.
pub(crate) fn sample_object() -> Vec<u8> {
    packed(&sample(), &OUTPUTS.map(|(_, _, bytes)| bytes)).unwrap().0
}

/// Unpacks `object` as the answer to [`asked`]; a refusal leaves nothing staged.
pub(crate) fn unpacked(object: &[u8]) -> Result<Unpacked<Taken>, RemoteError> {
    let intake = Memory::default();
    let result = unpack(object, &asked(), &Limits::default(), &intake);
    if result.is_err() {
        assert_eq!(intake.alive.load(Ordering::Relaxed), 0, "a refused artifact left something behind");
    }
    result
}

/// Requires that `object` is refused in this way.
#[track_caller]
pub(crate) fn refused(object: &[u8], kind: ErrorKind) {
    match unpacked(object) {
        Ok(_) => panic!("accepted, where {} was expected", kind.name()),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

/// A frame around `bytes` as [`pack`] makes one.
pub(crate) fn compressed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

/// What is in the frame.
pub(crate) fn decompressed(object: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(object).unwrap()
}
