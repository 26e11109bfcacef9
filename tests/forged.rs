//! Objects in the bucket as somebody may write them who is allowed to write there and isn't kache: sound in form, and not to be obeyed.

use crate::team::{build, flush, member, number, remote};
use kache_testkit::{Machine, Outcomes, Project, S3Server, samples};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const BLOCK: usize = 512;

/// An artifact's object, taken apart.
struct Object {
    descriptor: Value,
    /// Headers and contents; the first one is the descriptor's.
    members: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Object {
    fn read(path: &Path) -> Self {
        let tar = zstd::decode_all(&*fs::read(path).unwrap()).unwrap();
        let mut members = Vec::new();
        let mut rest = &tar[..];
        while rest.len() >= BLOCK && rest[0] != 0 {
            let (header, body) = rest.split_at(BLOCK);
            let len = usize::from_str_radix(std::str::from_utf8(&header[124..135]).unwrap(), 8).unwrap();
            members.push((header.to_vec(), body[..len].to_vec()));
            rest = &body[len.next_multiple_of(BLOCK)..];
        }
        Self { descriptor: serde_json::from_slice(&members[0].1).unwrap(), members }
    }

    fn write(mut self, path: &Path) {
        self.members[0].1 = serde_json::to_vec(&self.descriptor).unwrap();
        let mut tar = Vec::new();
        for (mut header, body) in self.members {
            header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
            tar.extend(header);
            tar.extend(&body);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        tar.resize(tar.len() + 2 * BLOCK, 0);
        fs::write(path, zstd::encode_all(&*tar, 1).unwrap()).unwrap();
    }

    /// One more output, with the bytes of the first.
    fn add_output(&mut self, name: &str) {
        let outputs = self.descriptor["artifact"]["outputs"].as_array_mut().unwrap();
        let mut output = outputs[0].clone();
        output["name"] = name.into();
        outputs.push(output);
        let (mut header, body) = self.members[1].clone();
        header[..100].fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        self.members.push((header, body));
    }

    /// Has its input set name one more file.
    fn name(&mut self, file: &str) {
        self.descriptor["set"]["files"].as_array_mut().unwrap().push(file.into());
    }
}

/// A bucket in which one machine left what it made of a program of one unit.
struct Bucket {
    server: S3Server,
    first: Machine,
}

impl Bucket {
    fn new() -> Self {
        let server = S3Server::start();
        let first = member(&server, S3Server::OWNER, &[]);
        first.start();
        assert_eq!(build(&first, &program(&first), &["build"]).miss, 1);
        flush(&first);
        Self { server, first }
    }

    /// The object whose key ends like this.
    fn object(&self, ending: &str) -> PathBuf {
        let key = self.server.keys().into_iter().find(|key| key.contains("/prog/") && key.ends_with(ending));
        self.server.object(key.unwrap_or_else(|| panic!("no {ending} in {:?}", self.server.keys())))
    }

    /// Changes the artifact.
    fn forge(&self, change: impl FnOnce(&mut Object)) {
        let path = self.object(".tar.zst");
        let mut object = Object::read(&path);
        change(&mut object);
        object.write(&path);
    }

    /// Without an index nobody fetches ahead: units are found by their input sets.
    fn forget_indexes(&self) {
        fs::remove_dir_all(self.server.object("artifacts/_builds")).unwrap();
    }

    /// Changes the first of the unit's known input sets.
    fn forge_set(&self, honest: &Value, change: impl FnOnce(&mut Value)) {
        let mut inputs = honest.clone();
        change(&mut inputs["sets"][0]);
        fs::write(self.object(".json"), inputs.to_string()).unwrap();
    }

    fn sets(&self) -> Value {
        serde_json::from_slice(&fs::read(self.object(".json")).unwrap()).unwrap()
    }

    /// Another machine, with a daemon.
    fn reader(&self) -> Machine {
        let machine = member(&self.server, S3Server::READER, &[("KACHE_REMOTE_MODE", "read-only")]);
        machine.start();
        machine
    }
}

fn program(machine: &Machine) -> Project {
    samples::program(machine.path("ws"), "fn main() { let unused = 1; println!(\"hello\"); }\n")
}

/// What a build on a new machine comes to, and for how many artifacts it asked: three GETs are for indexes, one is for input sets.
fn asked(bucket: &Bucket, machine: &Machine, project: &Project) -> (Outcomes, u64) {
    let before = bucket.server.requests("GET");
    let seen = build(machine, project, &["build"]);
    (seen, bucket.server.requests("GET") - before - 4)
}

#[test]
fn names_from_the_bucket_lead_nowhere_but_into_the_build() {
    let bucket = Bucket::new();
    bucket.forget_indexes();
    let honest = bucket.sets();
    let reader = bucket.reader();
    let (seen, artifacts) = asked(&bucket, &reader, &program(&reader));
    assert_eq!((seen.remote_hit, artifacts), (1, 1), "{seen:?}\n{}", reader.log());
    assert_eq!(number(&remote(&reader), "ignored_input_sets"), 0);

    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("secret"), "pin=1111").unwrap();
    fs::create_dir(place.path().join("listed")).unwrap();
    let outside = |name: &str| place.path().join(name).display().to_string();
    let names = [
        outside("secret"),
        outside("listed"),
        "/proc/self/cwd/../secret".to_owned(),
        "/proc/self/cwd/away/secret".to_owned(),
        "/proc/self/cwd/.env".to_owned(),
        "../secret".to_owned(),
        "/proc/self/pagemap".to_owned(),
        "/dev/zero".to_owned(),
        "/@kache/cargo/credentials.toml".to_owned(),
        "/usr/../etc/hostname".to_owned(),
    ];
    for (list, name) in names.iter().map(|name| ("files", name)).chain([("absent", &outside("none")), ("absent", &names[2])]) {
        bucket.forge_set(&honest, |set| set[list].as_array_mut().unwrap().push(name.as_str().into()));
        let reader = bucket.reader();
        let project = program(&reader);
        symlink(place.path(), project.file("away")).unwrap();
        project.write(".env", "PASSWORD=x");
        fs::write(reader.path("secret"), "pin=2222").unwrap();
        fs::create_dir_all(reader.home().join(".cargo")).unwrap();
        fs::write(reader.home().join(".cargo/credentials.toml"), "[registry]\ntoken = \"t\"\n").unwrap();
        let (seen, artifacts) = asked(&bucket, &reader, &project);
        assert_eq!((seen.miss, artifacts), (1, 0), "{list} {name}: {seen:?}\n{}", reader.log());
        assert_eq!(number(&remote(&reader), "ignored_input_sets"), 1, "{list} {name}: {}", reader.log());
        let status = reader.kache(&["status"]).stdout;
        assert!(status.contains("1 input set left alone; last: an input set was left alone: it names"), "{status}");
    }
}

#[test]
fn a_secret_variable_is_looked_at_only_where_a_compile_was_seen_to_read_it() {
    let bucket = Bucket::new();
    bucket.forget_indexes();
    let honest = bucket.sets();
    for (name, looked) in [("RELEASE_TOKEN", 0), ("DATABASE_URL", 0), ("GREETING", 1), ("A B", 0)] {
        bucket.forge_set(&honest, |set| set["vars"].as_array_mut().unwrap().push(json!({"name": name, "keying": "literal"})));
        let reader = bucket.reader();
        let before = bucket.server.requests("GET");
        let cargo = reader.cargo(&program(&reader)).args(["build"]).env("CARGO_INCREMENTAL", "0");
        cargo.env("RELEASE_TOKEN", "1111").env("DATABASE_URL", "postgres://u:1111@h/d").env("GREETING", "1111").ok();
        assert_eq!(bucket.server.requests("GET") - before - 4, looked, "{name}\n{}", reader.log());
        assert_eq!(number(&remote(&reader), "ignored_input_sets"), 1 - looked, "{name}");
    }

    let server = S3Server::start();
    let with = |machine: &Machine, token: &str| {
        let project = samples::program(machine.path("ws"), "fn main() { println!(\"{}\", env!(\"RELEASE_TOKEN\").len()); }\n");
        let cargo = machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "0").env("RELEASE_TOKEN", token);
        let (_, seen) = machine.watch(|| cargo.ok());
        machine.settle();
        seen
    };
    let (first, second) = (member(&server, S3Server::OWNER, &[]), member(&server, S3Server::OWNER, &[]));
    first.start();
    assert_eq!(with(&first, "2222").miss, 1);
    flush(&first);
    fs::remove_dir_all(server.object("artifacts/_builds")).unwrap();
    second.start();
    assert_eq!(with(&second, "1111").miss, 1);
    assert_eq!(with(&second, "2222").remote_hit, 1, "{}", second.log());
}

#[test]
fn names_that_come_with_an_artifact_lead_no_further() {
    let bucket = Bucket::new();
    let place = tempfile::tempdir().unwrap();
    let secret = place.path().join("secret");
    fs::write(&secret, "pin=1111").unwrap();
    bucket.forge(|object| object.name(secret.to_str().unwrap()));
    // By the index, ahead of demand or on demand.
    let reader = bucket.reader();
    assert_eq!(build(&reader, &program(&reader), &["build"]).miss, 1, "{}", reader.log());
    let numbers = remote(&reader);
    assert!(number(&numbers, "ignored_input_sets") + number(&numbers, "refused_artifacts") > 0, "{numbers}\n{}", reader.log());

    // By a pull, which knows no build. What is stored then is looked at no more after the first time.
    let reader = bucket.reader();
    let pulled = reader.kache(&["sync", "--pull", "--all"]);
    assert!(pulled.stdout.contains("moved 1 artifact "), "{}{}", pulled.stdout, pulled.stderr);
    reader.restart();
    bucket.server.set_there(false);
    let project = program(&reader);
    assert_eq!(build(&reader, &project, &["build"]).miss, 1, "{}", reader.log());
    assert_eq!(number(&remote(&reader), "ignored_input_sets"), 1);
    fs::remove_dir_all(project.file("target")).unwrap();
    assert_eq!(build(&reader, &project, &["build"]).local_hit, 1, "{}", reader.log());
    assert_eq!(number(&remote(&reader), "ignored_input_sets"), 1);

    // What no build has to do with isn't even stored.
    bucket.server.set_there(true);
    bucket.forge(|object| object.name("/proc/self/pagemap"));
    let reader = bucket.reader();
    let pulled = reader.kache(&["sync", "--pull", "--all"]);
    assert!(pulled.stdout.contains("failed: 1 unsafe_names"), "{}{}", pulled.stdout, pulled.stderr);
    assert_eq!(reader.stats().store.artifacts, 0);
}

#[test]
fn an_artifact_with_other_outputs_than_expected_is_refused_and_replaced() {
    const OTHER: &str = "libserde-0123456789abcdef.rlib";
    let bucket = Bucket::new();
    let honest = Object::read(&bucket.object(".tar.zst")).members.len();
    bucket.forge(|object| object.add_output(OTHER));
    let planted = |project: &Project| project.file("target/debug/deps").join(OTHER).exists();
    let check = |reader: &Machine| {
        let project = program(reader);
        let seen = build(reader, &project, &["build"]);
        assert_eq!((seen.miss, planted(&project)), (1, false), "{seen:?}\n{}", reader.log());
        assert!(number(&remote(reader), "refused_artifacts") > 0, "{}\n{}", remote(reader), reader.log());
        fs::remove_dir_all(project.file("target")).unwrap();
        assert_eq!(build(reader, &project, &["build"]).local_hit, 1, "its own is there now\n{}", reader.log());
    };
    check(&bucket.reader());
    // On demand, and out of the store after a pull.
    let indexes = bucket.server.object("artifacts/_builds");
    fs::rename(&indexes, bucket.first.path("_builds")).unwrap();
    let reader = bucket.reader();
    check(&reader);
    assert_eq!(number(&remote(&reader)["errors"], "unexpected_outputs"), 1, "{}", remote(&reader));
    let reader = bucket.reader();
    assert!(reader.kache(&["sync", "--pull", "--all"]).stdout.contains("moved 1 artifact "));
    bucket.server.set_there(false);
    check(&reader);
    bucket.server.set_there(true);

    let writer = member(&bucket.server, S3Server::OWNER, &[]);
    writer.start();
    assert_eq!(build(&writer, &program(&writer), &["build"]).miss, 1);
    flush(&writer);
    assert_eq!(Object::read(&bucket.object(".tar.zst")).members.len(), honest);
    let reader = bucket.reader();
    assert_eq!(build(&reader, &program(&reader), &["build"]).remote_hit, 1, "{}", reader.log());
}

#[test]
fn messages_from_the_bucket_bring_colours_and_nothing_else() {
    let bucket = Bucket::new();
    let path = bucket.object(".tar.zst");
    let honest = fs::read(&path).unwrap();
    let warns = |reader: &Machine| {
        let project = program(reader);
        let cargo = reader.cargo(&project).args(["build", "--color", "always"]).env("CARGO_INCREMENTAL", "0");
        let (built, seen) = reader.watch(|| cargo.ok());
        assert!(built.stderr.contains("unused variable") && built.stderr.contains("\u{1b}["), "{}", built.stderr);
        assert!(!built.stderr.contains("\u{1b}]") && !built.stderr.contains('\u{7}'), "{:?}", built.stderr);
        seen
    };
    assert_eq!(warns(&bucket.reader()).remote_hit, 1, "what rustc says is harmless");

    let message = |rendered: &str| {
        let diagnostic = json!({"$message_type": "diagnostic", "message": "x", "code": null, "level": "warning", "spans": [], "children": [],
            "rendered": rendered});
        format!("{diagnostic}\n")
    };
    let evil = "warning: \u{1b}]0;title\u{7}\u{1b}[31mhello\u{1b}[0m\n";
    for (stream, text) in [("stderr", message(evil)), ("stderr", evil.to_owned()), ("stdout", "\u{1b}[2J".to_owned())] {
        fs::write(&path, &honest).unwrap();
        bucket.forge(|object| {
            let old = object.descriptor["artifact"][stream].as_str().unwrap().to_owned();
            object.descriptor["artifact"][stream] = (text + &old).into();
        });
        let reader = bucket.reader();
        assert_eq!(warns(&reader).miss, 1, "{}", reader.log());
        let numbers = remote(&reader);
        assert!(number(&numbers["errors"], "unsafe_text") > 0 && number(&numbers, "refused_artifacts") > 0, "{numbers}");
    }
}
