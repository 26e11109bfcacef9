//! Two records, field by field.
//!
//! Promise: two records with different artifact keys differ in at least one [`Change`]; [`UnitInputs`] is taken apart in full, so a new field
//! doesn't compile until somebody says how its change reads.

use crate::change::{Change, FileChange, Setting};
use crate::record::{Kept, Record, Seen};
use crate::value::Value;
use kache_model::{Digest, ExternInput, MAX_BASES, RootKind, UnitInputs};
use std::collections::{BTreeMap, BTreeSet};

/// `-C` options that profiles set, with what is meant where one isn't given.
const PROFILE: [(&str, Option<&str>); 11] = [
    ("opt-level", Some("0")),
    ("debuginfo", Some("0")),
    ("debug-assertions", None),
    ("overflow-checks", None),
    ("panic", Some("unwind")),
    ("lto", Some("off")),
    ("embed-bitcode", None),
    ("linker-plugin-lto", None),
    ("codegen-units", None),
    ("strip", Some("none")),
    ("split-debuginfo", None),
];

/// What `new` has other than `old`; empty if both lead to one artifact.
pub fn between(old: &Record, new: &Record) -> Vec<Change> {
    let (Some(was), Some(is)) = (&old.seen, &new.seen) else { return Vec::new() };
    let mut changes = units(was, is);
    if was.has_contents() && is.has_contents() {
        contents(was, is, &mut changes);
    }
    roots(old, new, was, is, &mut changes);
    if (was.set.noisy || is.set.noisy) && was.diagnostics != is.diagnostics {
        changes.push(Change::Diagnostics);
    }
    changes
}

/// What is known before a source is read.
pub fn units(was: &Seen, is: &Seen) -> Vec<Change> {
    let mut list = Changes::default();
    list.units(was, is);
    list.tidy();
    list.all
}

#[derive(Default)]
struct Changes {
    all: Vec<Change>,
    cargo_hash: bool,
    known_cfgs: bool,
}

impl Changes {
    fn units(&mut self, was: &Seen, is: &Seen) {
        let UnitInputs {
            toolchain,
            driver,
            package,
            crate_name,
            crate_types,
            edition,
            test,
            emit,
            source,
            stdin,
            output_name,
            metadata,
            extra_filename,
            target,
            codegen,
            cfgs,
            check_cfgs,
            lints,
            options,
            announces,
            externs,
            named_files,
            linker,
            environment: _, // Beside them, without values.
            declared,
            incremental,
            literal_roots: _, // Compared with the roots.
            salt,
        } = &was.inputs;
        let new = &is.inputs;
        if *toolchain != new.toolchain {
            self.toolchain(&was.toolchain, &is.toolchain);
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let list = |values: &mut dyn Iterator<Item = &String>| values.map(String::as_str).collect::<Vec<_>>().join(", ");
        self.field("package", package.clone(), new.package.clone());
        self.field("crate name", crate_name.clone(), new.crate_name.clone());
        self.field("crate type", crate_types.join(", "), new.crate_types.join(", "));
        self.field("test harness", test.to_string(), new.test.to_string());
        self.field("source", source.clone(), new.source.clone());
        self.field("edition", text(edition), text(&new.edition));
        self.field("output kinds", list(&mut emit.iter()), list(&mut new.emit.iter()));
        self.field("output name", text(output_name), text(&new.output_name));
        self.field("target", text(target), text(&new.target));
        self.field("JSON notices", announces.to_string(), new.announces.to_string());
        self.tool("the source on standard input", stdin != &new.stdin);
        self.tool("clippy-driver", driver != &new.driver);
        self.codegen(codegen, &new.codegen);
        self.cfgs(cfgs, &new.cfgs);
        self.texts(lints, &new.lints, "lint options", |text, gained| Change::Lint { text, gained });
        self.options(options, &new.options);
        self.externs(externs, &new.externs);
        let new_platform = *toolchain != new.toolchain || *target != new.target;
        self.named(named_files, &new.named_files, new_platform);
        self.tool("the linker, or what comes with it,", linker != &new.linker);
        for (name, from, to) in union(&was.environment, &is.environment) {
            let value = |value: Option<&Value>| value.cloned().unwrap_or(Value::Unset);
            self.all.push(Change::Variable { name: name.clone(), from: value(from), to: value(to) });
        }
        for (path, from, to) in union(declared, &new.declared) {
            self.all.push(Change::Declared { path: path.clone(), how: how(from.copied().flatten(), to.copied().flatten()) });
        }
        if *incremental != new.incremental {
            self.all.push(Change::Incremental { on: new.incremental });
        }
        if *salt != new.salt {
            self.all.push(Change::Salt);
        }
        self.known_cfgs = check_cfgs != &new.check_cfgs;
        self.cargo_hash = metadata != &new.metadata || extra_filename != &new.extra_filename;
    }

    /// Cargo's hash and the known cfgs follow from almost anything else.
    fn tidy(&mut self) {
        let alone = self.all.is_empty();
        if alone && self.known_cfgs {
            self.all.push(Change::KnownCfgs);
        } else if alone && self.cargo_hash {
            self.all.push(Change::CargoHash);
        }
    }

    fn toolchain(&mut self, from: &str, to: &str) {
        if from.is_empty() && to.is_empty() {
            return self.all.push(Change::Tool("the toolchain"));
        }
        if from == to {
            return self.all.push(Change::Tool("the toolchain's files (of the same version)"));
        }
        self.all.push(Change::Toolchain { from: from.to_owned(), to: to.to_owned() });
    }

    fn field(&mut self, name: &'static str, from: String, to: String) {
        if from != to {
            self.all.push(Change::Field { name, from, to });
        }
    }

    fn tool(&mut self, name: &'static str, changed: bool) {
        if changed {
            self.all.push(Change::Tool(name));
        }
    }

    fn codegen(&mut self, was: &[String], is: &[String]) {
        let (mut lost, gained) = only(was, is);
        if lost.is_empty() && gained.is_empty() && was != is {
            return self.all.push(Change::Order("codegen options"));
        }
        let name = |text: &str| text.split_once('=').map_or(text, |(name, _)| name).to_owned();
        let mut pairs = Vec::new();
        for text in gained {
            let same = lost.iter().position(|old| name(old) == name(&text));
            pairs.push((same.map(|at| lost.remove(at)), Some(text)));
        }
        pairs.extend(lost.into_iter().map(|text| (Some(text), None)));
        let mut settings = Vec::new();
        for (from, to) in pairs {
            let own = name(from.as_deref().or(to.as_deref()).unwrap_or_default());
            match PROFILE.iter().find(|(known, _)| *known == own) {
                None => self.all.push(Change::Flag { from, to }),
                Some((_, default)) => {
                    let value = |text: Option<String>, side: &[String]| match text {
                        Some(text) => Some(text.split_once('=').map_or("on", |(_, value)| value).to_owned()),
                        None => default.or_else(|| by_level(&own, side)).map(str::to_owned),
                    };
                    let (from, to) = (value(from, was), value(to, is));
                    if from != to {
                        settings.push(Setting { name: own, from, to });
                    }
                }
            }
        }
        if !settings.is_empty() {
            settings.sort_by_key(|setting| PROFILE.iter().position(|(name, _)| *name == setting.name));
            self.all.push(Change::Profile(settings));
        }
    }

    fn cfgs(&mut self, was: &BTreeSet<String>, is: &BTreeSet<String>) {
        let sides = [(was.difference(is), false), (is.difference(was), true)];
        for (texts, gained) in sides {
            for text in texts {
                let feature = text.strip_prefix("feature=\"").and_then(|rest| rest.strip_suffix('"'));
                self.all.push(match feature {
                    Some(name) => Change::Feature { name: name.to_owned(), gained },
                    // Cargo says so for profiles without unwinding and the like; the profile's change is in the list already.
                    None => Change::Cfg { text: text.clone(), gained },
                });
            }
        }
    }

    fn texts(&mut self, was: &[String], is: &[String], what: &'static str, change: impl Fn(String, bool) -> Change) {
        let (lost, gained) = only(was, is);
        if lost.is_empty() && gained.is_empty() && was != is {
            self.all.push(Change::Order(what));
        }
        self.all.extend(lost.into_iter().map(|text| change(text, false)));
        self.all.extend(gained.into_iter().map(|text| change(text, true)));
    }

    fn options(&mut self, was: &[String], is: &[String]) {
        let value = |list: &[String], name: &str| list.iter().find_map(|text| text.strip_prefix(name).map(str::to_owned));
        for (name, front) in [("working directory", "cwd="), ("sysroot", "sysroot=")] {
            self.field(name, value(was, front).unwrap_or_default(), value(is, front).unwrap_or_default());
        }
        let rest = |list: &[String]| -> Vec<String> {
            list.iter().filter(|text| !text.starts_with("cwd=") && !text.starts_with("sysroot=")).cloned().collect()
        };
        let flag = |text: String, gained| {
            let text = Some(text);
            if gained { Change::Flag { from: None, to: text } } else { Change::Flag { from: text, to: None } }
        };
        self.texts(&rest(was), &rest(is), "options", flag);
    }

    fn externs(&mut self, was: &[ExternInput], is: &[ExternInput]) {
        let before = self.all.len();
        let find = |list: &[ExternInput], name: &str| list.iter().find(|item| item.name == name).cloned();
        for new in is {
            let name = new.name.clone();
            let change = match find(was, &name) {
                None => Change::Dependency { name, gained: true },
                Some(old) if old.content != new.content => Change::DependencyChanged { name, from: old.content, to: new.content },
                Some(old) if old.interface != new.interface => Change::DependencyDiffers { name },
                Some(old) if old.modifiers != new.modifiers => {
                    Change::Field { name: "the way in which a dependency is visible", from: old.modifiers, to: new.modifiers.clone() }
                }
                Some(_) => continue,
            };
            self.all.push(change);
        }
        let gone = was.iter().filter(|old| find(is, &old.name).is_none());
        self.all.extend(gone.map(|old| Change::Dependency { name: old.name.clone(), gained: false }));
        if self.all.len() == before && was != is {
            self.all.push(Change::Order("dependencies"));
        }
    }

    fn named(&mut self, was: &BTreeMap<String, Digest>, is: &BTreeMap<String, Digest>, new_platform: bool) {
        for (name, from, to) in union(was, is) {
            // These follow from what is in the list already.
            let follows = (name == "target libraries" && new_platform) || (name == "native cpu" && (from.is_none() || to.is_none()));
            if !follows {
                self.all.push(Change::Named { name: name.clone(), how: how(from.copied(), to.copied()) });
            }
        }
    }
}

/// What rustc takes an option for that isn't given, where that hangs on the optimisation level.
fn by_level(name: &str, options: &[String]) -> Option<&'static str> {
    let optimised = options.iter().any(|option| option.starts_with("opt-level=") && option != "opt-level=0");
    matches!(name, "debug-assertions" | "overflow-checks").then_some(if optimised { "off" } else { "on" })
}

/// Files and variables.
fn contents(was: &Seen, is: &Seen, changes: &mut Vec<Change>) {
    let files = |seen: &Seen| -> BTreeMap<String, Digest> { seen.files().map(|(path, digest)| (path.to_owned(), *digest)).collect() };
    for (path, from, to) in union(&files(was), &files(is)) {
        changes.push(Change::File { path: path.clone(), how: how(from.copied(), to.copied()) });
    }
    let vars = |seen: &Seen| -> BTreeMap<String, Value> { seen.variables().map(|var| (var.name.to_owned(), var.value.clone())).collect() };
    let (was_vars, is_vars) = (vars(was), vars(is));
    for (name, from, to) in union(&was_vars, &is_vars) {
        // One that only one of them read follows from what the sources say.
        if let (Some(from), Some(to)) = (from, to) {
            changes.push(Change::Variable { name: name.clone(), from: from.clone(), to: to.clone() });
        }
    }
    // A name that must be absent came or went with a file, as a rule.
    if changes.is_empty() && was.content != is.content {
        let absent = |seen: &Seen| -> BTreeMap<String, ()> { seen.set.absent.iter().map(|path| (path.0.clone(), ())).collect() };
        for (path, from, _) in union(&absent(was), &absent(is)) {
            let how = if from.is_some() { FileChange::Appeared } else { FileChange::Gone };
            changes.push(Change::File { path: path.clone(), how });
        }
    }
}

/// Paths, where they count.
fn roots(old: &Record, new: &Record, was: &Seen, is: &Seen, changes: &mut Vec<Change>) {
    let literal = was.inputs.literal_roots != is.inputs.literal_roots;
    let (mut spelled, mut bound) = (None, was.set.bound.union(is.set.bound));
    for kept in [&old.kept, &new.kept] {
        if let Kept::Bound { path, roots, .. } = kept {
            spelled = spelled.or_else(|| Some(path.clone()));
            bound = bound.union(*roots);
        }
    }
    let counts = |kind: RootKind| literal || bound.contains(kind);
    // The workspace is what people know; where a target directory is follows from it as a rule.
    let kinds = [RootKind::Workspace, RootKind::CargoHome, RootKind::Target];
    let bases = (0..MAX_BASES).filter_map(|place| u8::try_from(place).ok()).map(RootKind::Base);
    let paths = |seen: &Seen, kind: RootKind| -> Vec<String> {
        let path = |text: &String| text.strip_prefix(kind.placeholder())?.strip_prefix('=').map(str::to_owned);
        seen.roots.iter().filter_map(path).collect()
    };
    let mut differing = kinds.into_iter().chain(bases).filter(|kind| counts(*kind)).filter_map(|kind| {
        let (from, to) = (paths(was, kind), paths(is, kind));
        let other = |these: &[String], those: &[String]| these.iter().find(|path| !those.contains(path)).or(these.first()).cloned();
        (from != to).then(|| [other(&from, &to), other(&to, &from)].map(|path| path.unwrap_or_else(|| "elsewhere".to_owned())))
    });
    let Some([from, to]) = differing.next() else { return };
    // A variable that holds the path is how the path got in.
    let told = |change: &Change| matches!(change, Change::Variable { from: Value::Text(text), .. } if text.contains(&from));
    if changes.iter().any(told) {
        return;
    }
    changes.push(Change::Bound { path: spelled.or_else(|| (!literal).then(|| "a path".to_owned())), from, to });
}

fn how(from: Option<Digest>, to: Option<Digest>) -> FileChange {
    match (from, to) {
        (None, _) => FileChange::Appeared,
        (_, None) => FileChange::Gone,
        _ => FileChange::Changed,
    }
}

/// Keys whose values differ, with both values.
fn union<'a, V: PartialEq>(was: &'a BTreeMap<String, V>, is: &'a BTreeMap<String, V>) -> Vec<(&'a String, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    keys.into_iter().map(|key| (key, was.get(key), is.get(key))).filter(|(_, from, to)| from != to).collect()
}

/// What only one list has, repeats counted: of the first, of the second.
fn only(was: &[String], is: &[String]) -> (Vec<String>, Vec<String>) {
    let mut gained = is.to_vec();
    let mut lost = Vec::new();
    for text in was {
        match gained.iter().position(|other| other == text) {
            Some(at) => drop(gained.remove(at)),
            None => lost.push(text.clone()),
        }
    }
    (lost, gained)
}
