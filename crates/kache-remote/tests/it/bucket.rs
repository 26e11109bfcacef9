//! Against a server that is right: what is stored comes back, and what is refused says why.

use crate::scripted::{Act, Scripted, refusal};
use crate::server::Server;
use crate::support::{ACCESS_KEY, SECRET_KEY, artifact, bytes, check_error, get, inputs, options, package, remote};
use bytes::Bytes;
use kache_model::Digest;
use kache_remote::{Content, ErrorKind, ObjectName, PutOutcome, PutWhen, Remote, S3Options, S3Remote, Scope, StaticCredentials};
use std::fs;
use std::sync::Arc;

#[tokio::test]
async fn what_is_put_comes_back_and_lies_where_the_layout_says() {
    let server = Server::http().await;
    let remote = remote(&server.endpoint);
    let digest = Digest::of(b"x");
    for name in [artifact("serde", "a"), inputs("serde", "a"), ObjectName::Build(digest), ObjectName::Nearest(digest)] {
        assert_eq!(get(&remote, &name).await.unwrap(), None);
        assert_eq!(remote.put(&name, bytes(&name.to_string()), PutWhen::Always).await.unwrap(), PutOutcome::Stored);
        assert_eq!(get(&remote, &name).await.unwrap().unwrap(), name.to_string());
        assert_eq!(fs::read_to_string(server.path(&name.path("artifacts"))).unwrap(), name.to_string());
    }
    let seen = remote.snapshot();
    assert_eq!((seen.gets, seen.not_found, seen.puts, seen.lists, seen.retries), (8, 4, 4, 0, 0));
    assert_eq!(seen.get_bytes, seen.put_bytes);
    assert_eq!((seen.errors.len(), seen.connections_opened, seen.in_flight), (0, 1, 0));
    assert_eq!((seen.credential_loads, seen.credential_source.as_str()), (1, "the test"));
}

#[tokio::test]
async fn odd_but_legal_package_names_are_signed_as_they_are_sent() {
    let server = Server::http().await;
    let remote = remote(&server.endpoint);
    for name in ["Ünïcode", "名前", "7z", "_x", "a-b_c", "-", &"long".repeat(15)] {
        let name = artifact(name, "a");
        remote.put(&name, bytes("odd"), PutWhen::Always).await.unwrap();
        assert_eq!(get(&remote, &name).await.unwrap().unwrap(), "odd");
    }
    let listed = remote.list(&Scope::Package(package("Ünïcode")), None).await.unwrap();
    assert_eq!(listed.objects, [(artifact("Ünïcode", "a"), 3)]);
}

#[tokio::test]
async fn a_conditional_put_leaves_what_is_there() {
    let server = Server::http().await;
    let remote = remote(&server.endpoint);
    let name = artifact("serde", "a");
    assert_eq!(remote.put(&name, bytes("first"), PutWhen::Absent).await.unwrap(), PutOutcome::Stored);
    assert_eq!(remote.put(&name, bytes("second"), PutWhen::Absent).await.unwrap(), PutOutcome::AlreadyThere);
    assert_eq!(get(&remote, &name).await.unwrap().unwrap(), "first");
    assert_eq!(remote.put(&name, bytes("third"), PutWhen::Always).await.unwrap(), PutOutcome::Stored);
    assert_eq!(get(&remote, &name).await.unwrap().unwrap(), "third");
    assert_eq!(remote.snapshot().errors.len(), 0);
}

#[tokio::test]
async fn files_go_and_come_in_pieces() {
    let server = Server::http().await;
    let remote = remote(&server.endpoint);
    let content: Vec<u8> = (0..5_000_003_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = server.path("source");
    fs::write(&path, &content).unwrap();
    for (seed, len) in [("all", content.len()), ("some", 70_000), ("none", 0)] {
        let name = artifact("serde", seed);
        remote.put(&name, Content::File { path: path.clone(), len: len as u64, md5: None }, PutWhen::Absent).await.unwrap();
        assert_eq!(get(&remote, &name).await.unwrap().unwrap(), Bytes::copy_from_slice(&content[..len]), "{seed}");
    }
}

#[tokio::test]
async fn listings_come_in_pages_hold_only_what_is_ours_and_stay_in_their_scope() {
    let server = Server::http().await;
    let remote = remote(&server.endpoint);
    fs::create_dir_all(server.path("artifacts/serde")).unwrap();
    fs::create_dir_all(server.path("artifacts/_inputs/serde")).unwrap();
    for n in 0..2345_u32 {
        fs::write(server.path(&artifact("serde", n.to_le_bytes()).path("artifacts")), "four").unwrap();
    }
    fs::write(server.path(&inputs("serde", "a").path("artifacts")), "x").unwrap();
    fs::write(server.path("artifacts/serde/README.txt"), "x").unwrap();
    let (mut names, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = remote.list(&Scope::Package(package("serde")), after).await.unwrap();
        assert!(page.objects.iter().all(|(_, size)| *size == 4));
        names.extend(page.objects.into_iter().map(|(name, _)| name));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    names.sort();
    names.dedup();
    assert_eq!((names.len(), pages), (2345, 3));
    assert_eq!(remote.snapshot().lists, 3);
    let inputs_of_serde = remote.list(&Scope::Inputs(package("serde")), None).await.unwrap();
    assert_eq!(inputs_of_serde.objects, [(inputs("serde", "a"), 1)]);
    assert_eq!(remote.list(&Scope::Package(package("serd")), None).await.unwrap().objects, []);
}

fn with_keys(endpoint: &str, access_key: &str, secret_key: &str) -> S3Remote {
    let credentials = Arc::new(StaticCredentials::new(access_key, secret_key, "profile ci"));
    S3Remote::new(S3Options { credentials, ..options(endpoint) }).unwrap()
}

#[tokio::test]
async fn wrong_keys_are_refused_by_name() {
    let server = Server::http().await;
    fs::create_dir_all(server.path("artifacts/serde")).unwrap();
    let name = artifact("serde", "a");
    fs::write(server.path(&name.path("artifacts")), "x").unwrap();
    let wrong_secret = with_keys(&server.endpoint, ACCESS_KEY, "not the secret");
    let says = ["profile ci", "secret key doesn't fit", "GET http://127.0.0.1", "/team/artifacts/serde/"];
    check_error(&get(&wrong_secret, &name).await.unwrap_err(), ErrorKind::Forbidden, &says);
    let error = wrong_secret.list(&Scope::All, None).await.unwrap_err();
    check_error(&error, ErrorKind::Forbidden, &["LIST http", "profile ci"]);
    let unknown = with_keys(&server.endpoint, "AKIDOTHER", SECRET_KEY);
    check_error(&get(&unknown, &name).await.unwrap_err(), ErrorKind::Forbidden, &["profile ci", "access key"]);
    assert_eq!((unknown.snapshot().gets, unknown.snapshot().retries), (1, 0));
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let server = Server::http().await;
    let remote = S3Remote::new(S3Options { bucket: "elsewhere".to_owned(), ..options(&server.endpoint) }).unwrap();
    let error = remote.list(&Scope::All, None).await.unwrap_err();
    check_error(&error, ErrorKind::NoSuchBucket, &["no such bucket", "elsewhere"]);
    let server = Scripted::list(vec![Act::Answer(refusal("404 Not Found", "", "NoSuchBucket"))]).await;
    let remote = crate::support::remote(&server.endpoint);
    let error = remote.put(&artifact("serde", "a"), bytes("x"), PutWhen::Always).await.unwrap_err();
    check_error(&error, ErrorKind::NoSuchBucket, &["no such bucket"]);
    let error = get(&remote, &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::NoSuchBucket, &["no such bucket"]);
}

#[tokio::test]
async fn a_remote_for_reading_sends_no_put() {
    let server = Server::http().await;
    let remote = S3Remote::new(S3Options { read_only: true, ..options(&server.endpoint) }).unwrap();
    let name = artifact("serde", "a");
    check_error(&remote.put(&name, bytes("x"), PutWhen::Always).await.unwrap_err(), ErrorKind::ReadOnly, &["read-only"]);
    assert_eq!(get(&remote, &name).await.unwrap(), None);
    assert_eq!(remote.snapshot().connections_opened, 1);
}

#[tokio::test]
async fn nothing_that_signs_is_in_debug() {
    let server = Server::http().await;
    let remote = remote(&server.endpoint);
    remote.put(&artifact("serde", "a"), bytes("x"), PutWhen::Always).await.unwrap();
    let shown = format!("{remote:?} {:?}", options(&server.endpoint));
    assert!(shown.contains("team") && !shown.contains(ACCESS_KEY) && !shown.contains(SECRET_KEY), "{shown}");
}
