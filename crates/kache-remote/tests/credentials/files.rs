//! Keys in the environment and in the AWS files.

use crate::machine::Machine;

const TOKEN: &str = "IQoJb3JpZ2luX2VjE==/+trailing==";

#[test]
fn the_environments_keys_with_a_token_of_any_letters() {
    let machine = Machine::new().env("AWS_ACCESS_KEY_ID", "AKIDENV").env("AWS_SECRET_ACCESS_KEY", "s/e+c=r=t");
    machine.gives("AKIDENV", "s/e+c=r=t", None, "AWS_ACCESS_KEY_ID");
    machine.env("AWS_SESSION_TOKEN", TOKEN).gives("AKIDENV", "s/e+c=r=t", Some(TOKEN), "AWS_ACCESS_KEY_ID");
}

#[test]
fn keys_in_either_file_for_either_profile() {
    let keys = format!("aws_access_key_id = AKIDFILE\naws_secret_access_key=sec=ret/+\naws_session_token = {TOKEN}\n");
    for (file, section, profile, source) in [
        ("credentials", "default", None, "profile default (/"),
        ("config", "default", None, ".aws/config"),
        ("credentials", "ci", Some("ci"), "profile ci (/"),
        ("config", "profile ci", Some("ci"), ".aws/config"),
    ] {
        let machine = Machine::new().file(&format!(".aws/{file}"), &format!("# me\n[{section}]\nregion = eu-west-1\n{keys}"));
        machine.profile(profile).gives("AKIDFILE", "sec=ret/+", Some(TOKEN), source);
    }
}

#[test]
fn files_may_be_elsewhere() {
    let machine = Machine::new().file("elsewhere", "[default]\naws_access_key_id=AKIDELSE\naws_secret_access_key=s3cret\n");
    let path = machine.path("elsewhere").display().to_string();
    machine.env("AWS_SHARED_CREDENTIALS_FILE", &path).gives("AKIDELSE", "s3cret", None, &path);
}

#[test]
fn aws_profile_names_the_profile_of_the_standard_chain() {
    let text = "[default]\naws_access_key_id=A\naws_secret_access_key=a\n[dev]\naws_access_key_id=D\naws_secret_access_key=s3cret\n";
    let machine = Machine::new().file(".aws/credentials", text).env("AWS_PROFILE", "dev");
    machine.gives("D", "s3cret", None, "profile dev");
}

#[test]
fn a_program_that_prints_them() {
    let answer = format!(
        r#"{{"Version":1,"AccessKeyId":"AKIDPROC","SecretAccessKey":"p=","SessionToken":"{TOKEN}","Expiration":"2099-01-01T00:00:00Z"}}"#
    );
    let machine = Machine::new().file("print", &answer);
    let process = format!("[profile ci]\ncredential_process = cat {}\n", machine.path("print").display());
    machine.file(".aws/config", &process).profile(Some("ci")).gives("AKIDPROC", "p=", Some(TOKEN), "profile ci");
}

#[test]
fn a_program_that_fails_or_prints_something_else() {
    let machine = Machine::new().profile(Some("ci"));
    let process = |command: &str| format!("[profile ci]\ncredential_process = {command}\n");
    machine.write(".aws/config", &process("echo no ticket >&2; exit 3"));
    machine.refuses("no_credentials", &["profile ci", "no ticket"]);
    machine.write("print", r#"{"Version":1,"AccessKeyId":"AKIDPROC","SecretAccessKey":"hunter2""#);
    machine.write(".aws/config", &process(&format!("cat {}", machine.path("print").display())));
    let text = machine.refuses("no_credentials", &["profile ci"]);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_profile_that_is_not_there_lists_those_that_are() {
    let machine = Machine::new().profile(Some("cii"));
    machine.refuses("configuration", &["there is no AWS profile \"cii\"", "there are none in", ".aws/credentials"]);
    machine.write(".aws/credentials", "[default]\naws_access_key_id=AKIDX\naws_secret_access_key=hunter2\n[ci]\n");
    machine.write(".aws/config", "[profile dev]\n[sso-session corp]\n");
    let text = machine.refuses("configuration", &["there is no AWS profile \"cii\"", "have: ci, default, dev"]);
    assert!(!text.contains("hunter2") && !text.contains("corp"), "{text}");
}

#[test]
fn malformed_files_are_errors_and_never_panics() {
    for text in [
        "aws_access_key_id = AKIDX\n[default]\n",
        "[default\naws_access_key_id = AKIDX\n",
        "[default]\naws_access_key_id\n",
        "[default]\n= x\n",
        "[default]\n  continuation\n",
        "[default]\naws_access_key_id = AKIDX\n",
        "[default]\naws_secret_access_key = hunter2\n",
        "[default]\naws_access_key_id = AKIDX\naws_secret_access_key = hunter2\nrole_arn = arn\nsource_profile = nobody\n",
        "[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\n",
        "[default]\nsso_session = nobody\nsso_account_id = 1\nsso_role_name = x\n",
        "\u{feff}[default]\n",
        "[]\n[ ]\n[[[]]]\n====\n\0\0\0",
    ] {
        let machine = Machine::new().file(".aws/credentials", text).file(".aws/config", text);
        let answer = machine.current();
        assert!(answer.0["key"].is_null() && !answer.text("error").contains("hunter2"), "{text:?}: {answer:?}");
    }
    let machine = Machine::new();
    std::fs::write(machine.path(".aws/credentials"), b"[default]\naws_access_key_id = \xff\xfe\naws_secret_access_key = x\n").unwrap();
    assert!(machine.current().0["key"].is_null());
}

#[test]
fn a_changed_file_counts_while_the_process_runs() {
    let machine = Machine::new();
    let keys = |key: &str| format!("[default]\naws_access_key_id={key}\naws_secret_access_key=x\n");
    let mut process = machine.start();
    assert_eq!(process.current().text("kind"), "no_credentials");
    for key in ["FIRST", "SECOND!"] {
        machine.write(".aws/credentials", &keys(key));
        kache_testkit::until(key, std::time::Duration::from_secs(20), || (process.current().text("key") == key).then_some(()));
    }
    let generation = process.current().0["generation"].clone();
    assert_eq!(process.ask("renew 2").0["generation"], generation, "nothing newer, and it says so");
}
