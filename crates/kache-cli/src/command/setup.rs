//! `kache setup`: the service, and `build.rustc-wrapper` in Cargo's configuration; `--remove` takes exactly that away again.
//!
//! First a plan is made of what is not as it should be, then it is shown, then it is carried out. So doing it twice changes nothing the second
//! time, and `--check` is the plan without the rest. What somebody else has set is told of, and left.

mod units;
mod wrapper;

use crate::args::Setup;
use crate::cargo_config::{self, is_ours};
use crate::client::{Client, SHORT};
use crate::error::Error;
use crate::show::{BOLD, DIM};
use crate::{consent, exit, place, show};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use units::{Units, Words};
use wrapper::Edit;

/// How it ends where somebody else's wrapper wins.
const IN_THE_WAY: &str = "kache isn't in front of builds: see the warning";

/// One thing to look after.
#[derive(Debug)]
enum Step {
    /// It is as it should be.
    Fine(String),
    /// It is left out, and nobody has to do anything.
    Skipped(String),
    /// It is left as it is, and kache isn't in front of builds because of it.
    InTheWay(String),
    /// It is to be changed.
    Change(String, Action),
}

#[derive(Debug)]
enum Action {
    Write(PathBuf, String),
    Delete(PathBuf),
    Run(Words),
    /// A kached that isn't the service's: it holds the cache directory.
    Stop(Client),
}

pub(crate) fn run(options: &Setup) -> Result<ExitCode, Error> {
    let steps = if options.remove { removal(options)? } else { installation(options)? };
    for step in &steps {
        show::answer(line(step));
    }
    let changes = steps.iter().filter(|step| matches!(step, Step::Change(..))).count();
    let in_the_way = steps.iter().any(|step| matches!(step, Step::InTheWay(_)));
    let is_served = !steps.iter().any(|step| matches!(step, Step::Skipped(_)));
    let end = |good: bool| if good { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) };
    if changes == 0 {
        show::answer(if in_the_way { IN_THE_WAY } else { "nothing to change" });
        return Ok(end(!in_the_way));
    }
    if options.check {
        show::answer(show::count(changes as u64, "change to make", "changes to make"));
        return Ok(end(false));
    }
    let question = format!("Make {}?", show::count(changes as u64, "this change", "these changes").replacen("1 ", "", 1));
    if !consent::given(options.yes, &question, "make the changes", "--check")? {
        show::answer("nothing was changed");
        return Ok(end(false));
    }
    for step in steps {
        if let Step::Change(_, action) = step {
            action.carry_out()?;
        }
    }
    show::answer(match (in_the_way, options.remove) {
        (true, _) => format!("done, but {IN_THE_WAY}"),
        (false, true) => "done".to_owned(),
        (false, false) => format!("done; next: {}`cargo build`, then `kache stats`", if is_served { "" } else { "`kache start`, " }),
    });
    Ok(end(!in_the_way))
}

fn line(step: &Step) -> String {
    match step {
        Step::Fine(what) => format!("{DIM}ok{DIM:#}       {what}"),
        Step::Skipped(what) => format!("{DIM}skipped{DIM:#}  {what}"),
        Step::InTheWay(what) => format!("{BOLD}warning{BOLD:#}  {what}"),
        Step::Change(what, _) => format!("{BOLD}change{BOLD:#}   {what}"),
    }
}

fn installation(options: &Setup) -> Result<Vec<Step>, Error> {
    let shim = place::beside("kache-shim")?;
    let shim = shim
        .to_str()
        .ok_or_else(|| Error::Setup(format!("{}: Cargo's configuration can't name a path that isn't UTF-8", shim.display())))?;
    let mut steps =
        if options.no_service { vec![Step::Skipped("the service; `kache start` starts kached".to_owned())] } else { service(&units()?)? };
    let path = cargo_config_file()?;
    let text = cargo_config::read(&path)?;
    let setting = format!("build.rustc-wrapper in {}", path.display());
    steps.push(match wrapper::set(&path, text.as_deref(), shim)? {
        Edit::Nothing | Edit::Delete => Step::Fine(setting),
        Edit::Write(text) => Step::Change(format!("set {setting} to {shim}"), Action::Write(path, text)),
        Edit::Another(other) => Step::InTheWay(format!("{setting} is {other:?}: left as it is; take it out, then run this again")),
    });
    steps.extend(variables_in_the_way());
    Ok(steps)
}

fn removal(options: &Setup) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let path = cargo_config_file()?;
    let text = cargo_config::read(&path)?;
    let setting = format!("build.rustc-wrapper in {}", path.display());
    steps.push(match wrapper::unset(&path, text.as_deref())? {
        Edit::Nothing => Step::Fine(format!("no {setting}")),
        Edit::Write(text) => Step::Change(format!("take out {setting}"), Action::Write(path, text)),
        Edit::Delete => Step::Change(format!("remove {}, which holds nothing else", path.display()), Action::Delete(path)),
        Edit::Another(other) => Step::Skipped(format!("{setting} is {other:?}, which this didn't set")),
    });
    if !options.no_service {
        steps.extend(no_service(&units()?));
    }
    Ok(steps)
}

/// What brings the service about. The wrapper works without it, too, so its absence is no reason to stop.
fn service(units: &Units) -> Result<Vec<Step>, Error> {
    if let Err(why) = units::run(&units.probe) {
        return Ok(vec![Step::Skipped(format!("the service: no service manager answers ({why}); `kache start` starts kached"))]);
    }
    let mut steps = Vec::new();
    let mut changed = false;
    for (path, text) in &units.files {
        let there = fs::read_to_string(path).is_ok_and(|there| there == *text);
        changed |= !there;
        steps.push(match there {
            true => Step::Fine(path.display().to_string()),
            false => Step::Change(format!("write {}", path.display()), Action::Write(path.clone(), text.clone())),
        });
    }
    let listens = units.listens.iter().all(|words| units::run(words).is_ok());
    let run = |words: &Words| Step::Change(format!("run `{}`", words.join(" ")), Action::Run(words.clone()));
    if changed {
        steps.extend(units.reload.as_ref().map(run));
    }
    if listens {
        steps.push(Step::Fine("the service manager listens for kached".to_owned()));
    } else {
        let client = place::client()?;
        if let Ok(status) = client.get_json::<super::status::Status>("/v1/status")
            && !status.activated
        {
            steps.push(Step::Change(format!("stop the kached that runs already (pid {})", status.pid), Action::Stop(client)));
        }
        steps.push(run(&units.enable));
    }
    if changed && listens {
        steps.extend(units.restart.as_ref().map(run));
    }
    Ok(steps)
}

fn no_service(units: &Units) -> Vec<Step> {
    let there: Vec<(&PathBuf, String)> = units.files.iter().filter_map(|(path, _)| Some((path, fs::read_to_string(path).ok()?))).collect();
    if there.is_empty() {
        return vec![Step::Fine("no service".to_owned())];
    }
    let mut steps = Vec::new();
    match units::run(&units.probe) {
        Ok(()) => steps.push(Step::Change(format!("run `{}`", units.disable.join(" ")), Action::Run(units.disable.clone()))),
        Err(why) => steps.push(Step::Skipped(format!("stopping the service: no service manager answers ({why})"))),
    }
    let managed = steps.iter().any(|step| matches!(step, Step::Change(..)));
    for (path, text) in there {
        steps.push(match units.is_ours(path, &text) {
            true => Step::Change(format!("remove {}", path.display()), Action::Delete(path.clone())),
            false => Step::Skipped(format!("{} has been edited; remove it by hand", path.display())),
        });
    }
    if let (true, Some(words)) = (managed, &units.reload) {
        steps.push(Step::Change(format!("run `{}`", words.join(" ")), Action::Run(words.clone())));
    }
    steps
}

/// Variables weigh more than Cargo's configuration.
fn variables_in_the_way() -> Vec<Step> {
    let variable = |name: &str| std::env::var_os(name);
    let wrapper = cargo_config::by_variable(Path::new("/"), variable).filter(|wrapper| !is_ours(&wrapper.value));
    let wrapper = wrapper.map(|wrapper| {
        Step::InTheWay(format!("{}={:?} in this environment wins over Cargo's configuration: unset it", wrapper.source, wrapper.value))
    });
    let socket = variable("KACHE_SOCKET").filter(|socket| !socket.is_empty());
    let socket =
        socket.map(|socket| Step::InTheWay(format!("KACHE_SOCKET={} in this environment: builds don't ask the service", socket.display())));
    wrapper.into_iter().chain(socket).collect()
}

fn units() -> Result<Units, Error> {
    let kached = place::beside("kached")?;
    let env = place::environment();
    let home = env.absolute("HOME").ok_or_else(|| Error::Setup("HOME isn't set to an absolute path".to_owned()))?;
    if cfg!(target_os = "macos") {
        return Ok(Units::launchd(&home, &kached, rustix::process::getuid().as_raw()));
    }
    Ok(Units::systemd(&env.absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")), &kached))
}

fn cargo_config_file() -> Result<PathBuf, Error> {
    let home = cargo_config::cargo_home(|name| std::env::var_os(name));
    Ok(cargo_config::file_in(&home.ok_or_else(|| Error::Setup("no place for Cargo's configuration: set CARGO_HOME, or HOME".to_owned()))?))
}

impl Action {
    fn carry_out(self) -> Result<(), Error> {
        match self {
            Self::Write(path, text) => replace(&path, &text).map_err(|source| Error::io(path.display().to_string(), source)),
            Self::Delete(path) => fs::remove_file(&path).map_err(|source| Error::io(path.display().to_string(), source)),
            Self::Run(words) => units::run(&words).map_err(Error::Setup),
            Self::Stop(client) => client.post("/v1/stop", Some(SHORT)).map(drop),
        }
    }
}

/// Puts `text` in the place of a file at once, so that a Cargo that reads it meanwhile finds one or the other. A symlink stays one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    let Ok(old) = fs::metadata(&path) else { return fs::write(&path, text) };
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(old.permissions())?;
    new.persist(&path)?;
    Ok(())
}
