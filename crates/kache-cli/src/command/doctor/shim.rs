//! Which version of the protocol a kache-shim speaks. It has no words for people, so it is called as Cargo would call it, with a socket of ours, and
//! what it says first is looked at.

use kache_proto::wire;
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take.
const BOUND: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// That it speaks another version than this program. One that says nothing is left to those who look at what it does.
pub(super) fn stranger(shim: &Path) -> Option<String> {
    let version = protocol(shim).filter(|version| *version != wire::VERSION)?;
    let own = wire::VERSION;
    Some(format!("{} speaks protocol {version}, kache and kached {own}: builds run without the cache", shim.display()))
}

fn protocol(shim: &Path) -> Option<u32> {
    let place = tempfile::Builder::new().prefix("kache-doctor").tempdir().ok()?;
    let socket = place.path().join("s");
    let listener = UnixListener::bind(&socket).ok()?;
    listener.set_nonblocking(true).ok()?;
    let mut command = Command::new(shim);
    command.args(["/bin/sh", "-c", ":"]).env("KACHE_SOCKET", &socket).env_remove("KACHE_DISABLED");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let version = called(&listener, &mut child).and_then(preamble);
    let _over = child.kill();
    let _reaped = child.wait();
    version
}

/// Its connection, unless it ends without one.
fn called(listener: &UnixListener, child: &mut Child) -> Option<UnixStream> {
    let begin = Instant::now();
    loop {
        let ended = child.try_wait().ok()?.is_some();
        match listener.accept() {
            Ok((stream, _)) => return Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock && !ended && begin.elapsed() < BOUND => std::thread::sleep(LOOK_EVERY),
            Err(_) => return None,
        }
    }
}

fn preamble(mut stream: UnixStream) -> Option<u32> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(BOUND)).ok()?;
    let mut bytes = [0; wire::PREAMBLE_LEN];
    stream.read_exact(&mut bytes).ok()?;
    let (magic, version) = bytes.split_at(wire::MAGIC.len());
    (magic == wire::MAGIC).then(|| version.try_into().ok().map(u32::from_le_bytes))?
}
