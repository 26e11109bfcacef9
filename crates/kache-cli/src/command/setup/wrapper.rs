//! `build.rustc-wrapper` in the text of Cargo's configuration: put in, and taken out again.
//!
//! Promise: nothing else in the text changes, comments and order included, and what was put in comes out to the byte. Pure.

use crate::cargo_config::{CargoConfigError, is_ours, parse, wrapper_of};
use std::path::Path;
use toml_edit::{DocumentMut, Item, TableLike};

const MADE: &str = "# made by `kache setup`\n";
const ADDED: &str = "\n# added by `kache setup`\n";

/// What is to be done with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// It is as it should be.
    Nothing,
    /// It should hold this.
    Write(String),
    /// It holds nothing any more, and was made by [`set`].
    Delete,
    /// It names a wrapper that isn't ours to touch.
    Another(String),
}

/// Has the file name `shim`. `text` is `None` if there is no file.
pub(crate) fn set(path: &Path, text: Option<&str>, shim: &str) -> Result<Edit, CargoConfigError> {
    let block = format!("[build]\nrustc-wrapper = {}\n", toml_edit::Value::from(shim));
    let Some(text) = text else { return Ok(Edit::Write(format!("{MADE}{block}"))) };
    let mut document = parse(path, text)?;
    match wrapper_of(&document) {
        // A bare name is found in PATH, and somebody wanted that.
        Some(present) if present == shim || present == "kache-shim" => return Ok(Edit::Nothing),
        Some(present) if !is_ours(present) => return Ok(Edit::Another(present.to_owned())),
        _ => {}
    }
    let Some(build) = build_of(&mut document) else { return Ok(Edit::Write(format!("{text}{ADDED}{block}"))) };
    match build.get_mut("rustc-wrapper").and_then(Item::as_value_mut) {
        Some(value) => {
            let decor = value.decor().clone();
            *value = shim.into();
            *value.decor_mut() = decor;
        }
        None => {
            build.insert("rustc-wrapper", toml_edit::value(shim));
        }
    }
    Ok(Edit::Write(document.to_string()))
}

/// Has the file name no wrapper, if [`set`] had it name one.
pub(crate) fn unset(path: &Path, text: Option<&str>) -> Result<Edit, CargoConfigError> {
    let Some(text) = text else { return Ok(Edit::Nothing) };
    let mut document = parse(path, text)?;
    let Some(present) = wrapper_of(&document) else { return Ok(Edit::Nothing) };
    if !(present.starts_with('/') && present.ends_with("/kache-shim")) {
        return Ok(Edit::Another(present.to_owned()));
    }
    let block = format!("[build]\nrustc-wrapper = {}\n", toml_edit::Value::from(present));
    if text == format!("{MADE}{block}") {
        return Ok(Edit::Delete);
    }
    if let Some((before, after)) = text.split_once(&format!("{ADDED}{block}"))
        && begins_a_table(after)
    {
        return Ok(Edit::Write(format!("{before}{after}")));
    }
    if let Some(build) = document.get_mut("build").and_then(Item::as_table_like_mut) {
        build.remove("rustc-wrapper");
    }
    Ok(Edit::Write(document.to_string()))
}

/// The table `build`, if it has a place of its own in the text: `[build.x]` alone gives it none.
fn build_of(document: &mut DocumentMut) -> Option<&mut dyn TableLike> {
    let build = document.get_mut("build")?;
    if build.as_table().is_some_and(|table| table.is_implicit() && !table.is_dotted()) {
        return None;
    }
    build.as_table_like_mut()
}

/// Whether no key of the table before stands at the beginning of `text`.
fn begins_a_table(text: &str) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.take(1).all(|line| line.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIM: &str = "/home/u/.cargo/bin/kache-shim";

    fn set(text: Option<&str>) -> Edit {
        super::set(Path::new("f"), text, SHIM).unwrap()
    }

    fn unset(text: &str) -> Edit {
        super::unset(Path::new("f"), Some(text)).unwrap()
    }

    #[test]
    fn what_is_put_in_comes_out_to_the_byte() {
        for (before, after) in [
            ("", "\n# added by `kache setup`\n[build]\nrustc-wrapper = \"SHIM\"\n"),
            ("# mine\n", "# mine\n\n# added by `kache setup`\n[build]\nrustc-wrapper = \"SHIM\"\n"),
            ("[net]\nretry = 3 # often", "[net]\nretry = 3 # often\n# added by `kache setup`\n[build]\nrustc-wrapper = \"SHIM\"\n"),
            (
                "[build] # here\n  jobs = 2   # two\n# a remark\n\n[net]\noffline = true\n",
                "[build] # here\n  jobs = 2   # two\nrustc-wrapper = \"SHIM\"\n# a remark\n\n[net]\noffline = true\n",
            ),
            ("[build]\n", "[build]\nrustc-wrapper = \"SHIM\"\n"),
            ("build.jobs = 2\n", "build.jobs = 2\nbuild.rustc-wrapper = \"SHIM\"\n"),
            ("build = { jobs = 2 }\n", "build = { jobs = 2 , rustc-wrapper = \"SHIM\" }\n"),
            ("[build.x]\ny = 1\n", "[build.x]\ny = 1\n\n# added by `kache setup`\n[build]\nrustc-wrapper = \"SHIM\"\n"),
        ] {
            let expected = after.replace("SHIM", SHIM);
            assert_eq!(set(Some(before)), Edit::Write(expected.clone()), "{before:?}");
            assert_eq!(set(Some(&expected)), Edit::Nothing, "twice is once");
            assert_eq!(unset(&expected), Edit::Write(before.to_owned()), "{before:?}");
        }
    }

    #[test]
    fn a_file_that_was_made_is_removed_again() {
        let Edit::Write(made) = set(None) else { panic!() };
        assert_eq!(made, format!("# made by `kache setup`\n[build]\nrustc-wrapper = \"{SHIM}\"\n"));
        assert_eq!((set(Some(&made)), unset(&made)), (Edit::Nothing, Edit::Delete));
        let grown = made.clone() + "jobs = 2\n";
        assert_eq!(unset(&grown), Edit::Write("# made by `kache setup`\n[build]\njobs = 2\n".to_owned()));
        assert_eq!(super::unset(Path::new("f"), None).unwrap(), Edit::Nothing);
    }

    #[test]
    fn what_was_added_to_later_keeps_the_additions() {
        let Edit::Write(added) = set(Some("[net]\nretry = 3\n")) else { panic!() };
        assert_eq!(
            unset(&(added + "jobs = 2\n")),
            Edit::Write("[net]\nretry = 3\n\n# added by `kache setup`\n[build]\njobs = 2\n".to_owned())
        );
    }

    #[test]
    fn a_wrapper_of_somebody_else_is_left_alone() {
        let text = "[build]\nrustc-wrapper = \"sccache\"\n";
        assert_eq!((set(Some(text)), unset(text)), (Edit::Another("sccache".into()), Edit::Another("sccache".into())));
        let bare = "[build]\nrustc-wrapper = \"kache-shim\"\n";
        assert_eq!((set(Some(bare)), unset(bare)), (Edit::Nothing, Edit::Another("kache-shim".into())));
    }

    #[test]
    fn an_older_place_is_replaced_where_it_stands() {
        let text = "[build]\nrustc-wrapper = '/old/kache-shim' # the cache\njobs = 1\n";
        assert_eq!(set(Some(text)), Edit::Write(format!("[build]\nrustc-wrapper = \"{SHIM}\" # the cache\njobs = 1\n")));
    }
}
