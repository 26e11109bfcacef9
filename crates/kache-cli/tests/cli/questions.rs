//! `stats`, `status`, `verify`: what is asked and what is shown.

use crate::fake::{Fake, stats, stats_with_trouble, status};
use crate::{Place, check};

const NOT_RUNNING: &str = "kache: error: kached isn't running (no answer at DIR/s); start it by `kache start`";

#[test]
fn stats_are_a_table_with_reasons_and_advice() {
    let place = Place::new();
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", vec![stats(7, 1, 1, 83.5)])]);
    let table = "\
kached 0.1.0, pid 7, up 1 h 2 min

Since it started, or since --zero
  units                      10  20 requests
  hits                        8  80 % of units, 50 % of the time
    local_hit                 7  from the local store
    remote_hit                0  from the remote
    joined                    1  from a compile that was running already
  misses                      1  compiled and kept
  bypasses                    1  reasons below
  failed                      0  rustc reported an error
  queries answered            4  -vV, --print
  compiling saved    1 min 23 s  1 min 23 s spent

Bypassed
  emit_kind                   1  --emit asks for a kind of output that kache doesn't keep.
                                 Build without that --emit kind.
  reason_of_tomorrow          1

Store
  size                    5 GiB  of 10 GiB
  artifacts                   3  9 blobs
  evicted                     0
  restored                4 MiB  3 MiB by hard link, 1 MiB by copy

Time in kached         median       90 %       99 %
  hit                  180 µs     250 µs     1.2 ms
  miss, on top              -          -          -";
    check(&place.run(&["stats"]), 0, table, "");
}

#[test]
fn what_is_never_stored_is_told_with_reasons_and_advice() {
    let place = Place::new();
    let answers = vec![("GET /v1/stats", vec![stats_with_trouble(7, 12, 0, 12)]), ("GET /v1/status", vec![status(7)])];
    let _fake = Fake::serve(&place.path("s"), answers);
    let said = place.run(&["stats"]).stdout;
    assert!(said.contains("\nTrouble\n  the last 12 programs could not be stored: truncated (words)\n    Do this.\n"), "{said}");
    assert!(said.contains("\n  misses                     12  compiled; 13 not stored, reasons below\n"), "{said}");
    let table = "
Compiled, and not stored
  truncated                  12  rustc said more than can be kept.
                                 Nothing to do.
  of_tomorrow                 1
";
    assert!(said.contains(table), "{said}");
    let said = place.run(&["status"]).stdout;
    assert!(said.ends_with("\n  trouble    the last 12 programs could not be stored: truncated (words): Do this\n"), "{said}");
}

#[test]
fn stats_as_json_are_what_the_daemon_said() {
    let place = Place::new();
    let answer = stats(7, 1, 1, 83.5);
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", vec![answer.clone()])]);
    check(&place.run(&["stats", "--json"]), 0, &answer.1, "");
}

#[test]
fn zeroing_shows_the_counters_and_then_resets_them() {
    let place = Place::new();
    let fake = Fake::serve(
        &place.path("s"),
        vec![("GET /v1/stats", vec![stats(7, 1, 0, 1.0)]), ("POST /v1/stats/zero", vec![(204, String::new())])],
    );
    let said = place.run(&["stats", "--zero"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), "kache: counting from zero\n"));
    assert!(said.stdout.starts_with("kached 0.1.0, pid 7"));
    assert_eq!(fake.asked(), ["GET /v1/stats", "POST /v1/stats/zero"]);
}

#[test]
fn status_shows_where_things_are_and_what_is_odd() {
    let place = Place::new();
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", vec![stats(0, 0, 0, 0.0)]), ("GET /v1/status", vec![status(7)])]);
    let text = "\
kached 0.1.0, pid 7, up 1 min 1 s
  socket     /run/s
  cache dir  /c
  store      5 GiB of 10 GiB (50 %), 3 artifacts
  unknown    KACHE_MAXSIZE (did you mean KACHE_MAX_SIZE?)
  unknown    KACHE_ELEPHANTS
  notice     a notice";
    let output = place.kache(&["status"]).env("KACHE_MAXSIZE", "1").env("KACHE_ELEPHANTS", "1").output().unwrap();
    check(&place.said(output), 0, text, "");
}

#[test]
fn the_status_as_json_is_what_the_daemon_said() {
    let place = Place::new();
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/status", vec![status(7)])]);
    check(&place.run(&["status", "--json"]), 0, &status(7).1, "");
}

#[test]
fn without_a_daemon_questions_end_with_three() {
    let place = Place::new();
    check(&place.run(&["status", "--json"]), 3, "", NOT_RUNNING);
    check(&place.run(&["stats"]), 3, "", NOT_RUNNING);
    check(&place.run(&["status"]), 3, "kached isn't running\n  socket     DIR/s", "");
    check(&place.run(&["stop"]), 0, "kached isn't running", "");
}

#[test]
fn a_left_over_socket_counts_as_not_running() {
    let place = Place::new();
    drop(std::os::unix::net::UnixListener::bind(place.path("s")).unwrap());
    check(&place.run(&["stats"]), 3, "", NOT_RUNNING);
}

#[test]
fn a_verdict_with_findings_lists_them_and_ends_with_one() {
    let place = Place::new();
    let found = r#"{"blobs":2,"bytes":2048,"findings":[{"kind":"blob","what":"blob ab12: wrong bytes"}]}"#;
    let clean = r#"{"blobs":1,"bytes":512,"findings":[]}"#;
    let _fake = Fake::serve(&place.path("s"), vec![("POST /v1/verify", vec![(200, found.into()), (200, clean.into())])]);
    check(&place.run(&["verify"]), 1, "blob ab12: wrong bytes\n2 blobs checked, 2 KiB: 1 finding", "");
    check(&place.run(&["verify"]), 0, "1 blob checked, 512 B: nothing found", "");
}

#[test]
fn a_refusal_and_an_answer_without_sense_are_told_as_they_are() {
    let place = Place::new();
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", vec![(503, "draining\n".into()), (200, "{}".into())])]);
    check(&place.run(&["stats"]), 1, "", "kache: error: kached answered GET /v1/stats with 503: draining");
    let said = place.run(&["stats"]);
    assert!(said.stderr.starts_with("kache: error: kached's answer to GET /v1/stats makes no sense: missing field `version`"), "{said:?}");
}

#[test]
fn without_a_daemon_the_store_is_checked_under_its_lock() {
    let place = Place::new();
    check(&place.run(&["verify"]), 0, "0 blobs checked, 0 B: nothing found", "");
    assert!(!place.path("cache").exists(), "a check makes no store");
    let options = kache_store::Options { max_bytes: 1 << 30 };
    let store = kache_store::Store::open(&place.path("cache"), options).unwrap();
    check(&place.run(&["verify"]), 1, "", "kache: error: another kached uses DIR/cache; stop it, or choose another cache directory");
    drop(store);
    check(&place.run(&["verify"]), 0, "0 blobs checked, 0 B: nothing found", "");
}
