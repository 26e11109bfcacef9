//! An HTTP server on a Unix socket with prepared answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Answers each of `METHOD target` from its list, in order; the last answer stays.
pub(crate) struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinHandle<()>,
}

/// What a question gets.
pub(crate) type Answers = Vec<(&'static str, Vec<(u16, String)>)>;

impl Fake {
    pub(crate) fn serve(socket: &Path, answers: Answers) -> Self {
        Self::serve_with(socket, answers, |_| ())
    }

    /// The same; `seen` hears of each question before it is answered.
    pub(crate) fn serve_with(socket: &Path, answers: Answers, seen: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let answer = Arc::new((Mutex::new(answers), seen));
        let server = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let head: Vec<String> = stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let Some(question) = head.first().and_then(|line| line.strip_suffix(" HTTP/1.1")).map(str::to_owned) else { continue };
                log.lock().unwrap().push(question.clone());
                let answer = Arc::clone(&answer);
                // One that waits keeps no other waiting.
                std::thread::spawn(move || {
                    let (answers, seen) = &*answer;
                    seen(&question);
                    let (status, body) = next(&mut answers.lock().unwrap(), &question);
                    let length = body.len();
                    let _ = write!(stream.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                });
            }
        });
        Self { asked, _server: server }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn next(answers: &mut Answers, question: &str) -> (u16, String) {
    if question == "GET /healthz" {
        return (200, "ok".into());
    }
    match answers.iter_mut().find(|(known, _)| *known == question) {
        Some((_, list)) if list.len() > 1 => list.remove(0),
        Some((_, list)) => list[0].clone(),
        None => (404, format!("no {question}")),
    }
}

/// `/v1/stats` with these outcomes.
pub(crate) fn stats(local_hit: u64, miss: u64, bypass: u64, saved: f64) -> (u16, String) {
    let body = format!(
        r#"{{"version":"0.1.0","pid":7,"uptime_secs":3725,"requests":20,
        "outcomes":{{"local_hit":{local_hit},"remote_hit":0,"joined":1,"miss":{miss},"bypass":{bypass},"failed":0}},
        "bypass_reasons":{{"emit_kind":{bypass},"reason_of_tomorrow":{bypass}}},"queries_answered":4,
        "restored_bytes":{{"reflink":0,"hardlink":3145728,"copy":1048576}},"saved_compile_secs":{saved},"compiled_secs":83.5,
        "store":{{"artifacts":3,"blobs":9,"bytes":5368709120,"max_bytes":10737418240,"evicted_artifacts":0}},
        "latency_us":{{"hit":{{"p50":180,"p90":250.5,"p99":1200}},"miss_overhead":{{"p50":null,"p90":null,"p99":null}}}},
        "field_of_tomorrow":1}}"#
    );
    (200, body)
}

/// `/v1/status` of the process `pid`.
pub(crate) fn status(pid: u32) -> (u16, String) {
    let body = format!(
        r#"{{"version":"0.1.0","pid":{pid},"uptime_secs":61.2,"socket":"/run/s","cache_dir":"/c",
        "unknown_variables":["KACHE_MAXSIZE (did you mean KACHE_MAX_SIZE?)"],"notices":["a notice"],"field_of_tomorrow":1}}"#
    );
    (200, body)
}

/// The same with results that weren't stored, and with a trouble.
pub(crate) fn stats_with_trouble(local_hit: u64, miss: u64, bypass: u64, not_stored: u64) -> (u16, String) {
    let (code, body) = stats(local_hit, miss, bypass, 0.0);
    let more = format!(
        r#"{{"bypass_details":{{"emit_kind":"mir"}},"not_stored":{{"truncated":{not_stored},"of_tomorrow":1}},
        "troubles":[{{"text":"the last 12 programs could not be stored: truncated (words)","reason":"truncated","count":12,"advice":"Do this."}}],"#
    );
    (code, body.replacen('{', &more, 1))
}
