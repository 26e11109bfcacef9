//! The READMEs say what the code says: tables equal to the code's, and tests that exist.

use crate::Place;
use kache_config::VARIABLES;
use kache_model::{BypassReason, NotStoredReason};
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The text between a table's two comments in README.md has to be `table`. `KACHE_README=write` writes it.
fn check(begin: &str, end: &str, table: &str) {
    let path = workspace().join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(begin).unwrap();
    let (current, tail) = rest.split_once(end).unwrap();
    if std::env::var_os("KACHE_README").is_some_and(|value| value == "write") {
        std::fs::write(&path, format!("{head}{begin}\n{table}{end}{tail}")).unwrap();
        return;
    }
    assert_eq!(current.trim(), table.trim(), "write it anew: KACHE_README=write cargo test -p kache-cli readme -- --test-threads=1");
}

#[test]
fn the_bypass_reasons_are_the_models() {
    let rows = BypassReason::ALL.iter().map(|reason| format!("| `{}` | {} | {} |\n", reason.name(), reason.meaning(), reason.advice()));
    let table = format!("| reason | meaning | what to do |\n|---|---|---|\n{}", rows.collect::<String>());
    check("<!-- bypass reasons: kept equal to kache-model by a test -->", "<!-- end of bypass reasons -->", &table);
}

#[test]
fn the_reasons_not_to_store_are_the_models() {
    let rows = NotStoredReason::ALL.iter().map(|reason| format!("| `{}` | {} | {} |\n", reason.name(), reason.meaning(), reason.advice()));
    let table = format!("| reason | meaning | what to do |\n|---|---|---|\n{}", rows.collect::<String>());
    check("<!-- reasons not to store: kept equal to kache-model by a test -->", "<!-- end of reasons not to store -->", &table);
}

#[test]
fn the_variables_are_the_configurations() {
    let rows = VARIABLES.iter().map(|variable| {
        let key = variable.key.map(|key| format!("`{key}`")).unwrap_or_default();
        format!("| `{}` | {key} | {} |\n", variable.name, variable.meaning)
    });
    let table = format!("| variable | key | meaning |\n|---|---|---|\n{}", rows.collect::<String>());
    check("<!-- variables: kept equal to kache-config by a test -->", "<!-- end of variables -->", &table);
}

/// In `crates/README.md` a test is named as `path/of/file.rs`: `its_name`, `another`.
#[test]
fn tests_that_the_map_names_exist() {
    let text = std::fs::read_to_string(workspace().join("crates/README.md")).unwrap();
    let mut file: Option<String> = None;
    let mut found = 0;
    for word in text.split('`').skip(1).step_by(2) {
        if word.ends_with(".rs") {
            let source = std::fs::read_to_string(workspace().join(word)).unwrap_or_else(|error| panic!("{word}: {error}"));
            file = Some(source);
        } else if word.matches('_').count() >= 2 && !word.contains(['/', ' ', ':', '.']) {
            let source = file.as_ref().unwrap_or_else(|| panic!("{word} stands behind no file"));
            // A function, or a row of a table of tests.
            let named = [format!("fn {word}("), format!("(\"{word}\",")].iter().any(|text| source.contains(text));
            assert!(named, "{word} isn't where crates/README.md says");
            found += 1;
        }
    }
    assert!(found >= 16, "only {found} tests are named");
}

/// What stands between the README's ```yaml fences.
fn yaml() -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn commands_in_the_examples_for_ci_exist_with_their_options() {
    let place = Place::new();
    let mut seen = 0;
    for line in yaml().iter().flat_map(|text| text.lines()) {
        for command in line.split(['&', ';', '|']) {
            let command = command.trim().trim_start_matches("- ").trim_start_matches("run: ");
            let Some(rest) = command.strip_prefix("kache ") else { continue };
            let words: Vec<&str> = rest.split(' ').collect();
            let help = place.run(&[words[0], "--help"]);
            assert_eq!(help.code, Some(0), "{command}: {}", help.stderr);
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.stdout.contains(&format!(" {option} ")), "{command}: {}", help.stdout);
            }
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} commands");
}

/// Both services end a job at the first command that fails; only what comes after the job's script is free to.
#[test]
fn no_example_for_ci_fails_a_job_over_the_cache() {
    for (name, text) in ["GitHub", "GitLab"].iter().zip(yaml()) {
        let script = text.split("after_script:").next().unwrap();
        let of_kache = script.lines().map(|line| line.trim().trim_start_matches("- ")).filter(|line| line.starts_with("kache "));
        let bare: Vec<&str> = of_kache.filter(|line| !line.contains(" || true")).collect();
        assert_eq!(bare, [""; 0], "{name}");
    }
    let identity = yaml()[0].split("configure-aws-credentials").nth(1).unwrap().to_owned();
    assert_eq!(identity.lines().nth(1).map(|line| line.trim().starts_with("continue-on-error: true")), Some(true));
}

#[test]
fn variables_in_the_examples_for_ci_exist() {
    let text = yaml().concat();
    let names: Vec<&str> = text
        .split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
        .filter(|word| word.starts_with("KACHE_"))
        .collect();
    assert!(names.len() >= 6);
    for name in names {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
    }
}
