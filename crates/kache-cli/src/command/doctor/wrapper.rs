//! The wrapper that a build in this directory would have: there, and ours.

use super::{Line, shim};
use crate::cargo_config::{self, Declared, Wrapper};
use crate::place;
use std::ffi::OsString;
use std::path::Path;

pub(super) fn look(dir: &Path) -> Vec<Line> {
    let variable = |name: &str| std::env::var_os(name);
    let mut lines = match cargo_config::effective(dir, variable) {
        Ok(Some(wrapper)) => vec![judge(&wrapper, variable("PATH"))],
        Ok(None) => vec![Line::problem(
            "wrapper",
            format!("none: builds in {} don't ask kache", dir.display()),
            "`kache setup` sets it for all builds; `kache exec -- cargo build` for one",
        )],
        Err(error) => vec![Line::problem("wrapper", error.to_string(), "correct Cargo's configuration: cargo refuses it, too")],
    };
    if variable("KACHE_DISABLED").is_some_and(|value| kache_proto::wire::is_disabled(value.as_encoded_bytes())) {
        lines.push(Line::warning(
            "wrapper",
            "KACHE_DISABLED is set in this environment: builds run without the cache",
            "unset KACHE_DISABLED",
        ));
    }
    let declared = cargo_config::declared(dir, variable).into_iter();
    lines.extend(declared.filter(|declared| declared.force || variable(&declared.name).is_none()).filter_map(|declared| told(&declared)));
    let workspace = variable("RUSTC_WORKSPACE_WRAPPER").filter(|value| !value.is_empty());
    if let Some(other) = workspace.filter(|value| Path::new(value).file_stem().is_none_or(|stem| stem != "clippy-driver")) {
        let text = format!("RUSTC_WORKSPACE_WRAPPER={} in this environment: members' compiles are bypassed", other.display());
        lines.push(Line::warning("wrapper", text, "unset it for builds that should be cached"));
    }
    lines
}

/// What a variable does that Cargo's configuration sets: it reaches the wrapper as if whoever builds had set it, and the file may be a stranger's.
fn told(declared: &Declared) -> Option<Line> {
    let Declared { name, value, file, .. } = declared;
    let does = match name.as_str() {
        "KACHE_SOCKET" | "XDG_RUNTIME_DIR" | "XDG_CACHE_HOME" | "HOME" => "builds here look for their kached where it says",
        "KACHE_DISABLED" if kache_proto::wire::is_disabled(value.as_bytes()) => "builds here run without the cache",
        "KACHE_DISABLED" => "it does nothing: it switches nothing off",
        "KACHE_VERIFY" => "hits of builds here are compiled again, to compare",
        "KACHE_NO_REMAP" => "what is built here serves this checkout only",
        "KACHE_COMPRESSION_LEVEL" => "what is built here is packed at that level",
        other if other.starts_with("KACHE_") => "it does nothing: only kached's own environment counts for it",
        _ => return None,
    };
    let text = format!("{} sets {name}={value:?} for the builds in it: {does}", file.display());
    Some(Line::warning("wrapper", text, "if it isn't meant, take it out of [env] there"))
}

fn judge(wrapper: &Wrapper, path: Option<OsString>) -> Line {
    let Wrapper { value, source, .. } = wrapper;
    if !wrapper.is_ours() {
        let text = format!("{value:?} ({source}): builds here don't ask kache");
        return Line::problem("wrapper", text, format!("take it out of {source}, then run `kache setup`"));
    }
    let Some(program) = wrapper.program(path) else {
        let text = format!("{value:?} ({source}) isn't there: cargo can't start it");
        return Line::problem("wrapper", text, "install kache again, or run `kache setup --remove`");
    };
    let same = |own: &Path| own.canonicalize().ok() == program.canonicalize().ok();
    if ["kache-shim", "kache"].into_iter().any(|name| place::beside(name).is_ok_and(|own| same(&own))) {
        return Line::ok("wrapper", format!("{} ({source})", program.display()));
    }
    if let Some(text) = shim::stranger(&program) {
        return Line::problem("wrapper", format!("{text} ({source})"), "run `kache setup`, or install kache there anew");
    }
    let text = format!("{} ({source}) isn't the kache-shim of this installation", program.display());
    Line::warning("wrapper", text, "if they are of different versions, builds run without the cache; run `kache setup`")
}
