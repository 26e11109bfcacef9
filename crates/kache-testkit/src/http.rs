//! One HTTP/1.1 GET over a Unix socket, written by hand so that the daemon's server isn't tested by its own library.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Status code and body of `GET target` on `socket`.
///
/// # Errors
/// If nobody listens, the answer isn't HTTP, or it takes more than 20 s.
pub fn http_get(socket: &Path, target: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: kache\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {:?}", String::from_utf8_lossy(&answer)));
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(bad)?;
    let head = std::str::from_utf8(&answer[..split]).map_err(|_| bad())?.to_ascii_lowercase();
    let body = &answer[split + 4..];
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(bad)?;
    let chunked = head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
    Ok((status, if chunked { dechunk(body).ok_or_else(bad)? } else { body.to_vec() }))
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        if len == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(end + 2..end + 2 + len)?);
        rest = rest.get(end + 2 + len + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn check(answer: &'static [u8], status: u16, body: &[u8]) {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; "GET /x HTTP/1.1\r\nHost: kache\r\nConnection: close\r\n\r\n".len()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        assert_eq!(http_get(&socket, "/x").unwrap(), (status, body.to_vec()));
        server.join().unwrap();
    }

    #[test]
    fn reads_plain_and_chunked_bodies() {
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi");
        check(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\n yo\r\n0\r\n\r\n", 404, b"hi yo");
    }
}
