//! What a configuration means, and what an operator reads when it is wrong: exact texts.

use kache_config::{ByteSize, Change, Config, Environment, Files, Origin, RemoteMode};
use std::path::{Path, PathBuf};

/// A configuration directory with a system's and a user's file.
struct Setup(tempfile::TempDir);

impl Setup {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.path(name), text).unwrap();
        self
    }

    fn load(&self, vars: &[(&str, &str)]) -> Result<Config, String> {
        let vars = [("HOME", "/home/u")].iter().chain(vars);
        let env: Environment = vars.copied().collect();
        let files = Files::Standard(vec![self.path("system.toml"), self.path("user.toml")]);
        Config::load_files(&files, &env).map_err(|error| error.to_string().replace(&self.0.path().display().to_string(), "DIR"))
    }
}

fn error_of(user_file: &str) -> String {
    Setup::new().write("user.toml", user_file).load(&[]).unwrap_err()
}

#[test]
fn without_files_and_variables_the_defaults_count() {
    let config = Setup::new().load(&[]).unwrap();
    let home = if cfg!(target_os = "macos") { "/home/u/Library/Caches/kache" } else { "/home/u/.cache/kache" };
    assert_eq!(config.cache.dir, Path::new(home));
    assert_eq!((config.cache.max_size, config.cache.salt.as_str(), config.cache.remap), (None, "", true));
    assert_eq!(config.log, "info");
    assert!(config.cache.remote.is_none() && config.unknown_variables.is_empty() && config.notices.is_empty() && config.files.is_empty());
    assert_eq!(config.origin("cache.dir"), Origin::Default);
    assert!(config.cache.size_limit().unwrap() >= ByteSize(5 << 30));
}

#[test]
fn user_file_wins_over_system_file_and_variable_over_both() {
    let setup = Setup::new();
    setup
        .write("system.toml", "log = 'warn'\n[cache]\ndir = '/var/kache'\nmax_size = '10GiB'\nsalt = 'a'")
        .write("user.toml", "[cache]\nmax_size = 4194304\nsalt = 'b'\ndir = '~/k'");
    let config = setup.load(&[("KACHE_SALT", "c"), ("KACHE_NO_REMAP", "1")]).unwrap();
    assert_eq!(config.cache.dir, Path::new("/home/u/k"));
    assert_eq!((config.cache.max_size, config.cache.salt.as_str(), config.cache.remap), (Some(ByteSize(4 << 20)), "c", false));
    assert_eq!(config.log, "warn");
    assert_eq!(config.origin("log"), Origin::File(setup.path("system.toml")));
    assert_eq!(config.origin("cache.max_size"), Origin::File(setup.path("user.toml")));
    assert_eq!(config.origin("cache.salt"), Origin::Variable("KACHE_SALT".into()));
    assert_eq!(config.origin("cache.remote.prefix"), Origin::Default);
    assert_eq!(config.files, [setup.path("system.toml"), setup.path("user.toml")]);
}

#[test]
fn standard_files_are_found_from_the_environment_alone() {
    let files = |vars: &[(&str, &str)]| Files::from_environment(&vars.iter().copied().collect());
    let system = PathBuf::from("/etc/kache/config.toml");
    assert_eq!(files(&[("HOME", "/h")]), Files::Standard(vec![system.clone(), "/h/.config/kache/config.toml".into()]));
    assert_eq!(files(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), Files::Standard(vec![system.clone(), "/x/kache/config.toml".into()]));
    assert_eq!(files(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")]), files(&[("HOME", "/h")]));
    assert_eq!(files(&[]), Files::Standard(vec![system]));
    assert_eq!(files(&[("HOME", "/h"), ("KACHE_CONFIG", "/k.toml")]), Files::Named("/k.toml".into()));
}

#[test]
fn a_named_file_has_to_exist() {
    let env: Environment = [("HOME", "/h"), ("KACHE_CONFIG", "/nowhere/k.toml")].into_iter().collect();
    assert_eq!(
        Config::load(&env).unwrap_err().to_string(),
        "KACHE_CONFIG: /nowhere/k.toml can't be read: No such file or directory (os error 2)"
    );
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_the_nearest_known_one() {
    assert_eq!(error_of("[cache]\nmax_sise = 1"), "DIR/user.toml: unknown key `cache.max_sise`; did you mean `cache.max_size`?");
    assert_eq!(error_of("[cahce]\ndir = '/x'"), "DIR/user.toml: unknown key `cahce`; did you mean `cache`?");
    assert_eq!(error_of("[rules.app]\nfile = []"), "DIR/user.toml: unknown key `rules.app.file`; did you mean `rules.app.files`?");
    assert_eq!(error_of("[rule.app]\nbypass = true"), "DIR/user.toml: unknown key `rule`; did you mean `rules`?");
    assert_eq!(error_of("[cache]\nelephants = 1"), "DIR/user.toml: unknown key `cache.elephants`");
    assert_eq!(
        error_of("[cache.remote]\ntype = 's3'\nbucket = 'b'\nendpont = 'x'"),
        "DIR/user.toml: unknown key `cache.remote.endpont`; did you mean `cache.remote.endpoint`?"
    );
}

#[test]
fn an_error_in_a_hidden_layer_is_found_and_blamed_on_it() {
    let setup = Setup::new();
    setup.write("system.toml", "[cache]\nmax_size = 'lots'").write("user.toml", "[cache]\nmax_size = '1GiB'");
    assert_eq!(
        setup.load(&[]).unwrap_err(),
        "DIR/system.toml: `cache.max_size`: expected a size such as 10GiB, 500MB or a number of bytes, found \"lots\""
    );
}

#[test]
fn a_wrong_value_is_named_with_file_key_and_expectation() {
    for (file, message) in [
        ("log = 3", "`log`: expected a string, found 3"),
        (
            "log = 'kached=trcae,info'",
            "`log`: expected a level (off, error, warn, info, debug, trace), or such as kached=debug,warn, found \"kached=trcae,info\"",
        ),
        ("rules = 3", "`rules`: expected a table, found 3"),
        ("[rules]\nbypass = true", "`rules.bypass`: expected a table, found true"),
        ("[rules.app]\nbypass = 'yes'", "`rules.app.bypass`: expected true or false, found \"yes\""),
        ("[rules.app]\nenv = 'X'", "`rules.app.env`: expected a list, found \"X\""),
        ("[rules.app]\nenv = ['A=B']", "`rules.app.env`: expected names of variables such as DATABASE_URL, found \"A=B\""),
        ("[rules.app]\nenv = ['$HOME']", "`rules.app.env`: expected names of variables such as DATABASE_URL, found \"$HOME\""),
        ("[rules.app]\nsalt = 1", "`rules.app.salt`: expected a string, found 1"),
        ("[rules.app]\nfiles = ['a/**b']", "`rules.app.files`: expected paths or patterns such as templates/**/*.html, found \"a/**b\""),
        ("cache = 3", "`cache`: expected a table, found 3"),
        ("[cache]\nsalt = ['a']", "`cache.salt`: expected a string, found a list"),
        ("[cache]\nremap = 'yes'", "`cache.remap`: expected true or false, found \"yes\""),
        ("[cache]\ndir = 'here'", "`cache.dir`: expected an absolute path, found \"here\""),
        ("[cache]\nmax_size = -1", "`cache.max_size`: expected a size such as 10GiB, 500MB or a number of bytes, found -1"),
        ("[cache]\nmax_size = 0", "`cache.max_size`: expected at least 1MiB, such as 10GiB, found 0 B"),
        ("[cache]\nmax_size = 20", "`cache.max_size`: expected at least 1MiB, such as 10GiB, found 20 B"),
        ("[cache.remote]\ntype = 'ftp'", "`cache.remote.type`: expected \"s3\", found \"ftp\""),
        ("[cache.remote]\nbucket = 'a/b'", "`cache.remote.bucket`: expected a bucket's name, without slashes, found \"a/b\""),
        (
            "[cache.remote]\nendpoint = 's3.local'",
            "`cache.remote.endpoint`: expected a URL such as https://s3.example.com, found \"s3.local\"",
        ),
        ("[cache.remote]\nregion = ''", "`cache.remote.region`: expected a non-empty text, found \"\""),
        ("[cache.remote]\nprefix = 'a//b'", "`cache.remote.prefix`: expected a prefix such as artifacts or team/artifacts, found \"a//b\""),
        ("[cache.remote]\nmode = 'ro'", "`cache.remote.mode`: expected \"read-write\" or \"read-only\" or \"off\", found \"ro\""),
        ("[cache.remote]\nconcurrency = 0", "`cache.remote.concurrency`: expected a whole number from 1 to 1024, found 0"),
        ("[cache.remote]\nwait_ms = -5", "`cache.remote.wait_ms`: expected a number of milliseconds, 0 or more, found -5"),
        (
            "[cache.remote]\nupload_rate = '100KiB'",
            "`cache.remote.upload_rate`: expected at least 128KiB, which is per second, found 100 KiB",
        ),
        ("[cache]\nbase_dirs = '/a/b'", "`cache.base_dirs`: expected a list, found \"/a/b\""),
        ("[cache]\nbase_dirs = ['a/b']", "`cache.base_dirs`: expected an absolute path, found \"a/b\""),
        ("[cache]\nbase_dirs = ['/opt/']", "`cache.base_dirs`: expected paths of at least two components, found \"/opt/\""),
        ("[cache.remote]\ncompression_level = 23", "`cache.remote.compression_level`: expected a whole number from 1 to 22, found 23"),
        ("[cache.remote]\ncompression_level = '3'", "`cache.remote.compression_level`: expected a whole number from 1 to 22, found \"3\""),
    ] {
        assert_eq!(error_of(file), format!("DIR/user.toml: {message}"));
    }
}

#[test]
fn a_file_that_is_no_toml_is_named_with_line_and_column() {
    let message = "TOML parse error at line 2, column 12\n  |\n2 | max_size = = 3\n  |            ^\ninvalid string\nexpected `\"`, `'`";
    assert_eq!(error_of("[cache]\nmax_size = = 3"), format!("DIR/user.toml: {message}"));
}

#[test]
fn a_wrong_variable_is_named() {
    let setup = Setup::new();
    assert_eq!(
        setup.load(&[("KACHE_MAX_SIZE", "10 elephants")]).unwrap_err(),
        "KACHE_MAX_SIZE: expected a size such as 10GiB, 500MB or a number of bytes, found \"10 elephants\""
    );
    for (name, value, expected) in [
        ("KACHE_LOG", "inof", "a level (off, error, warn, info, debug, trace), or such as kached=debug,warn, found \"inof\""),
        ("KACHE_LOG", "info,", "a level (off, error, warn, info, debug, trace), or such as kached=debug,warn, found \"info,\""),
        ("KACHE_S3_BUCKET", "a b", "a bucket's name, without slashes, found \"a b\""),
        ("KACHE_S3_BUCKET", "s3://b", "a bucket's name, without slashes, found \"s3://b\""),
    ] {
        assert_eq!(setup.load(&[(name, value)]).unwrap_err(), format!("{name}: expected {expected}"));
    }
    for (name, value, expected) in [
        ("KACHE_REMOTE_MODE", "readonly", "\"read-write\" or \"read-only\" or \"off\", found \"readonly\""),
        ("KACHE_S3_ENDPOINT", "minio:9000", "a URL such as https://s3.example.com, found \"minio:9000\""),
        ("KACHE_S3_PREFIX", "../x", "a prefix such as artifacts or team/artifacts, found \"../x\""),
    ] {
        assert_eq!(setup.load(&[("KACHE_S3_BUCKET", "b"), (name, value)]).unwrap_err(), format!("{name}: expected {expected}"));
    }
    assert_eq!(setup.load(&[("KACHE_LOG", "kached=DEBUG, warn,h2::x=off")]).unwrap().log, "kached=DEBUG, warn,h2::x=off");
    assert_eq!(setup.load(&[("KACHE_CACHE_DIR", "here")]).unwrap_err(), "KACHE_CACHE_DIR: expected an absolute path, found \"here\"");
    assert_eq!(setup.load(&[("KACHE_MAX_SIZE", "")]).unwrap().cache.max_size, None, "empty is unset");
}

#[test]
fn without_home_the_cache_directory_has_to_be_said() {
    let load = |vars: &[(&str, &str)]| Config::load_files(&Files::Standard(vec![]), &vars.iter().copied().collect());
    assert_eq!(load(&[]).unwrap_err().to_string(), "no place for the cache: set KACHE_CACHE_DIR, or HOME");
    assert_eq!(load(&[("KACHE_CACHE_DIR", "~/c")]).unwrap_err().to_string(), "KACHE_CACHE_DIR: `~` needs HOME to be an absolute path");
    assert_eq!(load(&[("KACHE_CACHE_DIR", "/c")]).unwrap().cache.dir, Path::new("/c"));
    assert_eq!(load(&[("XDG_CACHE_HOME", "/x")]).unwrap().cache.dir, Path::new("/x/kache"));
}

#[test]
fn unknown_variables_are_collected_with_the_nearest_known_name() {
    let config = Setup::new().load(&[("KACHE_MAXSIZE", "1"), ("KACHE_ELEPHANTS", ""), ("KACHE_DISABLED", "1"), ("OTHER", "1")]).unwrap();
    let unknown: Vec<String> = config.unknown_variables.iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["KACHE_ELEPHANTS", "KACHE_MAXSIZE (did you mean KACHE_MAX_SIZE?)"]);
}

#[test]
fn a_remote_is_accepted_with_its_defaults() {
    let setup = Setup::new();
    setup.write("user.toml", "[cache.remote]\ntype = 's3'\nbucket = 'team'");
    let remote = setup.load(&[]).unwrap().cache.remote.unwrap();
    assert_eq!((remote.bucket.as_str(), remote.prefix.as_str(), remote.endpoint, remote.region), ("team", "artifacts", None, None));
    assert_eq!((remote.mode, remote.concurrency.get(), remote.wait.as_millis()), (RemoteMode::ReadWrite, 64, 3000));
    assert_eq!((remote.compression_level.get(), remote.profile, remote.key_pair.is_none()), (3, None, true));
}

#[test]
fn variables_win_over_the_remote_table_and_make_one_by_themselves() {
    let setup = Setup::new();
    setup.write("user.toml", "[cache.remote]\ntype = 's3'\nbucket = 'team'\nprefix = 'x'\nmode = 'off'");
    let vars = [("KACHE_S3_PREFIX", "/y/z/"), ("KACHE_REMOTE_MODE", "read-only"), ("KACHE_COMPRESSION_LEVEL", "19")];
    let remote = setup.load(&vars).unwrap().cache.remote.unwrap();
    assert_eq!((remote.prefix.as_str(), remote.mode, remote.compression_level.get()), ("y/z", RemoteMode::ReadOnly, 19));

    let vars = [("KACHE_S3_BUCKET", "b"), ("KACHE_S3_ENDPOINT", "http://localhost:9000/"), ("KACHE_S3_REGION", "auto")];
    let remote = Setup::new().load(&vars).unwrap().cache.remote.unwrap();
    assert_eq!(
        (remote.bucket, remote.endpoint.as_deref(), remote.region.as_deref()),
        ("b".into(), Some("http://localhost:9000"), Some("auto"))
    );
}

#[test]
fn an_incomplete_remote_is_an_error_that_says_what_is_missing() {
    assert_eq!(error_of("[cache.remote]\ntype = 's3'"), "DIR/user.toml: `cache.remote.bucket` is missing: expected the bucket's name");
    assert_eq!(error_of("[cache.remote]\nbucket = 'b'"), "DIR/user.toml: `cache.remote.type` is missing: expected \"s3\"");
    let half = |name| Setup::new().load(&[("KACHE_S3_BUCKET", "b"), (name, "very secret")]).unwrap_err();
    assert_eq!(half("KACHE_S3_ACCESS_KEY"), "KACHE_S3_ACCESS_KEY is set, but KACHE_S3_SECRET_KEY isn't: set both, or neither");
    assert_eq!(half("KACHE_S3_SECRET_KEY"), "KACHE_S3_SECRET_KEY is set, but KACHE_S3_ACCESS_KEY isn't: set both, or neither");
}

#[test]
fn a_variable_of_the_remote_without_a_bucket_is_a_notice() {
    let config = Setup::new().load(&[("KACHE_S3_REGION", "auto"), ("KACHE_COMPRESSION_LEVEL", "9")]).unwrap();
    assert!(config.cache.remote.is_none());
    assert_eq!(config.notices, ["KACHE_S3_REGION is set, but there is no bucket: set KACHE_S3_BUCKET or [cache.remote]"]);
}

#[test]
fn a_bad_compression_level_in_the_environment_keeps_the_configured_one() {
    let setup = Setup::new();
    setup.write("user.toml", "[cache.remote]\ntype = 's3'\nbucket = 'b'\ncompression_level = 7");
    for bad in ["0", "23", "fast"] {
        let config = setup.load(&[("KACHE_COMPRESSION_LEVEL", bad)]).unwrap();
        assert_eq!(config.cache.remote.unwrap().compression_level.get(), 7);
        let found = if bad == "fast" { "\"fast\"" } else { bad };
        assert_eq!(config.notices, [format!("KACHE_COMPRESSION_LEVEL: expected a whole number from 1 to 22, found {found}")]);
    }
}

#[test]
fn secrets_are_never_printed() {
    let vars = [("KACHE_S3_BUCKET", "b"), ("KACHE_S3_ACCESS_KEY", "hushhush"), ("KACHE_S3_SECRET_KEY", "hushhush")];
    let config = Setup::new().load(&vars).unwrap();
    let env: Environment = vars.into_iter().collect();
    assert!(!format!("{config:?} {env:?}").contains("hushhush"));
    assert_eq!(config.cache.remote.unwrap().key_pair.unwrap().secret_key.expose(), "hushhush");
}

#[test]
fn settings_are_listed_with_their_origins_and_without_secrets() {
    let setup = Setup::new();
    setup.write(
        "user.toml",
        "[cache]\nmax_size = '10GiB'\n[cache.remote]\ntype = 's3'\nbucket = 'team'\nendpoint = 'http://u:hunter2@h:1/x'",
    );
    let vars =
        [("KACHE_LOG", "warn"), ("KACHE_BASE_DIRS", "~/sdk:/opt/x"), ("KACHE_S3_ACCESS_KEY", "AKIA"), ("KACHE_S3_SECRET_KEY", "hunter3")];
    let settings = setup.load(&vars).unwrap().settings();
    let line = |setting: &kache_config::Setting| {
        format!("{} = {} ({})", setting.name, setting.value, setting.origin).replace(&setup.0.path().display().to_string(), "DIR")
    };
    let dir = if cfg!(target_os = "macos") { "/home/u/Library/Caches/kache" } else { "/home/u/.cache/kache" };
    assert_eq!(
        settings.iter().map(line).collect::<Vec<_>>(),
        [
            "log = \"warn\" (KACHE_LOG)",
            &format!("cache.dir = \"{dir}\" (default)"),
            "cache.max_size = \"10 GiB\" (DIR/user.toml)",
            "cache.salt = \"\" (default)",
            "cache.remap = true (default)",
            "cache.links = \"auto\" (default)",
            "cache.base_dirs = [\"/home/u/sdk\", \"/opt/x\"] (KACHE_BASE_DIRS)",
            "cache.remote.type = \"s3\" (DIR/user.toml)",
            "cache.remote.bucket = \"team\" (DIR/user.toml)",
            "cache.remote.endpoint = \"http://…@h:1/x\" (DIR/user.toml)",
            "cache.remote.region = - (default)",
            "cache.remote.profile = - (default)",
            "cache.remote.prefix = \"artifacts\" (default)",
            "cache.remote.mode = \"read-write\" (default)",
            "cache.remote.concurrency = 64 (default)",
            "cache.remote.wait_ms = 3000 (default)",
            "cache.remote.compression_level = 3 (default)",
            "cache.remote.upload_rate = - (default)",
            "KACHE_S3_ACCESS_KEY = (set) (KACHE_S3_ACCESS_KEY)",
            "KACHE_S3_SECRET_KEY = (set) (KACHE_S3_SECRET_KEY)",
        ]
    );
    assert_eq!(Setup::new().load(&[]).unwrap().settings().len(), 7, "no remote, nothing of it");
}

#[test]
fn rules_hold_for_packages_and_crates_and_add_up() {
    let setup = Setup::new();
    setup
        .write("system.toml", "[rules.'*']\nenv = ['B']\nsalt = 's'\n[rules.my-app]\nenv = ['C']")
        .write("user.toml", "[rules.my-app]\nenv = ['A', 'B']\nfiles = ['x/*.sql']\nsalt = 't'\n[rules.other]\nbypass = true");
    let config = setup.load(&[]).unwrap();
    let of = |package, krate| {
        let kache_config::Rule { bypass, env, files, salt } = config.rules.of(package, krate);
        (bypass, env.join(" "), files.join(" "), salt)
    };
    assert_eq!(
        of("my_app", "build_script_build"),
        (false, "A B".into(), "x/*.sql".into(), "s\nt".into()),
        "the user's list replaces the system's"
    );
    assert_eq!(of("x", "my_app"), (false, "A B".into(), "x/*.sql".into(), "s\nt".into()));
    assert_eq!((of("other", "o"), of("x", "y")), ((true, "B".into(), "".into(), "s".into()), (false, "B".into(), "".into(), "s".into())));
    let settings = config.settings();
    let shown: Vec<_> =
        settings[7..].iter().map(|setting| (setting.name.as_str(), setting.value.as_str(), setting.origin.clone())).collect();
    let (system, user) = (Origin::File(setup.path("system.toml")), Origin::File(setup.path("user.toml")));
    assert_eq!(
        shown,
        [
            ("rules.*", "{ env = [\"B\"], salt = \"s\" }", system),
            ("rules.my-app", "{ env = [\"A\", \"B\"], files = [\"x/*.sql\"], salt = \"t\" }", user.clone()),
            ("rules.other", "{ bypass = true }", user),
        ]
    );
}

#[test]
fn a_running_daemon_follows_what_it_can_and_keeps_the_rest() {
    let setup = Setup::new();
    let load = |file: &str| setup.write("user.toml", file).load(&[]).unwrap();
    let table = |bucket: &str, mode: &str| format!("[cache.remote]\ntype = 's3'\nbucket = '{bucket}'\nmode = '{mode}'");
    let running = load(&format!("[cache]\ndir = '/a'\n{}", table("team", "read-write")));
    let opened = running.cache.remote.as_ref();

    let Change { config, restart } = Change::new(
        &running,
        opened,
        load(&format!("log = 'debug'\n[rules.x]\nbypass = true\n[cache]\ndir = '/a'\nsalt = 's'\n{}", table("team", "off"))),
    );
    assert!(restart.is_empty() && config.rules.of("x", "x").bypass);
    assert_eq!((config.log.as_str(), config.cache.salt.as_str(), config.cache.remote.unwrap().mode), ("debug", "s", RemoteMode::Off));

    let Change { config, restart } = Change::new(&running, opened, load(&format!("[cache]\ndir = '/b'\n{}", table("other", "off"))));
    assert_eq!(restart, ["cache.dir", "cache.remote.bucket"]);
    let remote = config.cache.remote.unwrap();
    assert_eq!((config.cache.dir.as_path(), remote.bucket.as_str(), remote.mode), (Path::new("/a"), "team", RemoteMode::ReadWrite));

    let change = Change::new(&running, None, load(&format!("[cache]\ndir = '/a'\n{}", table("other", "off"))));
    assert!(change.restart.is_empty() && change.config.cache.remote.unwrap().bucket == "other", "none is open yet");
    for (line, key) in [
        ("endpoint = 'http://h'", "endpoint"),
        ("region = 'r'", "region"),
        ("profile = 'p'", "profile"),
        ("prefix = 'p'", "prefix"),
        ("concurrency = 1", "concurrency"),
    ] {
        let change = Change::new(&running, opened, load(&format!("[cache]\ndir = '/a'\n{}\n{line}", table("team", "read-write"))));
        assert_eq!(change.restart, [format!("cache.remote.{key}")]);
    }
}

#[test]
fn a_wrong_value_that_speaks_to_builds_is_a_notice() {
    let notices = |value| Setup::new().load(&[("KACHE_VERIFY", value)]).unwrap().notices;
    assert_eq!(notices("alway"), ["KACHE_VERIFY: expected always or sampled, found \"alway\"; nothing is verified"]);
    assert!(["always", "sampled", "1", "0", "off", ""].iter().all(|value| notices(value).is_empty()));
}
