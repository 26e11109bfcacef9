//! One field in which two records differ, and how people read it.

use crate::value::Value;
use kache_model::ContentKey;
use std::fmt;

/// See the module. `gained` is what the new record has and the old one hasn't.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields that bear their variant's meaning")]
pub enum Change {
    /// Another compiler.
    Toolchain { from: String, to: String },
    /// Another compiler of the same name, or another clippy-driver.
    Tool(&'static str),
    /// A field of plain text.
    Field { name: &'static str, from: String, to: String },
    /// Options that a profile sets.
    Profile(Vec<Setting>),
    /// `-C` options that no profile sets.
    Flag { from: Option<String>, to: Option<String> },
    /// The same options in another order.
    Order(&'static str),
    /// A Cargo feature.
    Feature { name: String, gained: bool },
    /// Another `--cfg`.
    Cfg { text: String, gained: bool },
    /// The cfgs that are known.
    KnownCfgs,
    /// A lint's level.
    Lint { text: String, gained: bool },
    /// A dependency that there was, or there is.
    Dependency { name: String, gained: bool },
    /// A dependency made from something else.
    DependencyChanged { name: String, from: Option<ContentKey>, to: Option<ContentKey> },
    /// A dependency made from the same, and different all the same.
    DependencyDiffers { name: String },
    /// A native library or another file that an option names.
    Named { name: String, how: FileChange },
    /// A file that counts because somebody declared it.
    Declared { path: String, how: FileChange },
    /// A source file.
    File { path: String, how: FileChange },
    /// A variable.
    Variable { name: String, from: Value, to: Value },
    /// The artifact is good for the paths of another checkout only.
    Bound { path: Option<String>, from: String, to: String },
    /// How warnings are printed.
    Diagnostics,
    /// Incremental compilation was switched.
    Incremental { on: bool },
    /// Cargo's own hash of the unit, when nothing else explains it.
    CargoHash,
    /// The configured salt.
    Salt,
    /// Something that artifacts don't tell of: a value of these variables, or another value.
    Untold { variables: Vec<String> },
}

/// An option of a profile, `None` where it isn't given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// The value before.
    pub from: Option<String>,
    /// The value now.
    pub to: Option<String>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Other contents.
    Changed,
    /// There was none.
    Appeared,
    /// There is none.
    Gone,
}

impl FileChange {
    fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Appeared => "is new",
            Self::Gone => "is gone",
        }
    }
}

impl Change {
    /// How far apart it sets two records: what isn't the same thing at all is far, a file that was edited is near.
    pub fn weight(&self) -> u32 {
        match self {
            Self::Field { .. } => 50,
            Self::Toolchain { .. } | Self::Tool(_) => 20,
            Self::CargoHash | Self::Salt | Self::Incremental { .. } | Self::Bound { .. } => 5,
            Self::Profile(settings) => 4 * u32::try_from(settings.len()).unwrap_or(8),
            Self::Flag { .. } | Self::Feature { .. } | Self::Cfg { .. } | Self::Dependency { .. } => 4,
            Self::Order(_) | Self::KnownCfgs | Self::Lint { .. } | Self::Named { .. } | Self::Declared { .. } => 2,
            Self::DependencyChanged { .. } | Self::DependencyDiffers { .. } | Self::Variable { .. } => 2,
            Self::File { .. } | Self::Diagnostics | Self::Untold { .. } => 1,
        }
    }

    /// The change as part of a sentence on the crate that it is in: "`src/lib.rs` of `a` changed".
    pub fn of(&self, crate_name: &str) -> String {
        match self {
            Self::File { path, how } => format!("{} of `{crate_name}` {}", local(path), how.word()),
            Self::Feature { name, gained } => format!("feature `{name}` of `{crate_name}` was {}", added(*gained)),
            Self::Dependency { name, gained } => {
                format!("`{crate_name}` {} the dependency `{name}`", if *gained { "gained" } else { "lost" })
            }
            other => format!("{other} (in `{crate_name}`)"),
        }
    }
}

/// A portable path as people know it.
pub fn local(path: &str) -> String {
    let fronts = [
        ("/proc/self/cwd/", ""),
        ("/@kache/target/", "target/…/"),
        ("/@kache/cargo/registry/src/", ""),
        ("/@kache/cargo/git/checkouts/", ""),
    ];
    let found = fronts.iter().find_map(|(front, shown)| Some((path.strip_prefix(front)?, front, shown)));
    match found {
        // index.crates.io-…/serde-1.0.0/src/lib.rs
        Some((rest, front, _)) if front.contains("registry") => rest.split_once('/').map_or(rest, |(_, rest)| rest).to_owned(),
        Some((rest, _, shown)) => format!("{shown}{rest}"),
        None => {
            path.replace("/@kache/toolchain", "<toolchain>").replace("/@kache/cargo", "<cargo home>").replace("/@kache/target", "<target>")
        }
    }
}

fn added(gained: bool) -> &'static str {
    if gained { "added" } else { "removed" }
}

/// An option as it is written, from its canonical text.
fn option(text: &str) -> String {
    if text.starts_with("-Z") || text.starts_with("-l") { format!("`{text}`") } else { format!("`-C{text}`") }
}

fn shown(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("unset")
}

fn lint(text: &str) -> String {
    let (level, name) = text.split_once('=').unwrap_or(("lint", text));
    match level {
        "allow" => format!("`-A{name}`"),
        "warn" => format!("`-W{name}`"),
        "deny" => format!("`-D{name}`"),
        "forbid" => format!("`-F{name}`"),
        other => format!("`--{other} {name}`"),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toolchain { from, to } => write!(f, "toolchain changed: {from} → {to}"),
            Self::Tool(name) => write!(f, "{name} changed"),
            Self::Field { name, from, to } => write!(f, "{name} changed: {} → {}", local(from), local(to)),
            Self::Profile(settings) => {
                let all: Vec<String> =
                    settings.iter().map(|Setting { name, from, to }| format!("{name} {} → {}", shown(from), shown(to))).collect();
                write!(f, "profile: {}", all.join(", "))
            }
            Self::Flag { from, to } => {
                let text = from.as_deref().or(to.as_deref()).unwrap_or_default();
                let whose = if text.starts_with("link-arg") { "linker arguments (RUSTFLAGS or a build script)" } else { "RUSTFLAGS" };
                match (from, to) {
                    (Some(from), Some(to)) => write!(f, "{whose}: {} → {}", option(from), option(to)),
                    (Some(from), None) => write!(f, "{whose} lost {}", option(from)),
                    (_, to) => write!(f, "{whose} gained {}", option(to.as_deref().unwrap_or_default())),
                }
            }
            Self::Order(what) => write!(f, "the order of {what} changed"),
            Self::Feature { name, gained } => write!(f, "feature `{name}` {}", added(*gained)),
            Self::Cfg { text, gained } => write!(f, "cfg `{text}` {} (RUSTFLAGS or a build script)", added(*gained)),
            Self::KnownCfgs => f.write_str("the features or cfgs that Cargo.toml or a build script declares changed (--check-cfg)"),
            Self::Lint { text, gained } => write!(f, "lint option {} {} (RUSTFLAGS or [lints])", lint(text), added(*gained)),
            Self::Dependency { name, gained } => write!(f, "dependency `{name}` {}", added(*gained)),
            Self::DependencyChanged { name, .. } => write!(f, "dependency `{name}` changed"),
            Self::DependencyDiffers { name } => {
                write!(f, "dependency `{name}` was compiled again and came out different, though all that went into it is the same")
            }
            Self::Named { name, how } => write!(f, "{} {}", local(name), how.word()),
            Self::Declared { path, how } => write!(f, "{} {} (declared as an input)", local(path), how.word()),
            Self::File { path, how } => write!(f, "{} {}", local(path), how.word()),
            Self::Variable { name, from, to } => variable(f, name, from, to),
            Self::Bound { path: Some(path), from, to } => {
                write!(f, "bound to its path: the known artifact spells {path}, so it is good for {from} only, and this is {to}")
            }
            Self::Bound { path: None, from, to } => write!(f, "bound to its path, because nothing is remapped: {from} → {to}"),
            Self::Diagnostics => f.write_str("it has warnings, and the way in which they are printed changed"),
            Self::Incremental { on: true } => f.write_str("incremental compilation was switched on"),
            Self::Incremental { on: false } => f.write_str("incremental compilation was switched off"),
            Self::CargoHash => {
                f.write_str("Cargo gave the unit another hash (-C metadata): its path, version, source or Cargo itself changed")
            }
            Self::Salt => f.write_str("the configured salt changed"),
            Self::Untold { variables } => {
                f.write_str("something changed that artifacts don't tell of: ")?;
                if !variables.is_empty() {
                    write!(f, "the value of a variable ({}), ", variables.join(", "))?;
                }
                f.write_str("what is set behind an option or a cfg, a declared file, or the salt")
            }
        }
    }
}

fn variable(f: &mut fmt::Formatter<'_>, name: &str, from: &Value, to: &Value) -> fmt::Result {
    let text = |value: &Value| match value {
        Value::Unset => "unset".to_owned(),
        Value::Text(text) if text.is_empty() => "empty".to_owned(),
        Value::Text(text) => local(text),
        Value::Hidden(_) => "(hidden)".to_owned(),
        Value::Untold => "set".to_owned(),
    };
    match (from, to) {
        (Value::Hidden(_), Value::Hidden(_)) => write!(f, "env {name} changed (its values aren't shown)"),
        _ => write!(f, "env {name}: {} → {}", text(from), text(to)),
    }
}
