//! The files and the commands of a user's service: systemd's units, launchd's agent.
//!
//! What is written is what stands in `systemd/` and `launchd/` of the repository, with this machine's paths.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOCKET: &str = include_str!("../../../../../systemd/kached.socket");
const SERVICE: &str = include_str!("../../../../../systemd/kached.service");
const AGENT: &str = include_str!("../../../../../launchd/dev.kache.kached.plist");
const EXEC_START: &str = "ExecStart=";

/// A command line.
pub(crate) type Words = Vec<String>;

/// How a service manager is told about kached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// Each with its text.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// Succeeds if there is a service manager for this user.
    pub(crate) probe: Words,
    /// Succeed if it listens already.
    pub(crate) listens: Vec<Words>,
    /// Has it read the files again.
    pub(crate) reload: Option<Words>,
    /// Has it listen, now and from the next login on.
    pub(crate) enable: Words,
    /// Has a kached of older files replaced.
    pub(crate) restart: Option<Words>,
    /// Has it stop both, for good.
    pub(crate) disable: Words,
}

impl Units {
    /// For `kached`, with the configuration files of the user's in `config_home`.
    pub(crate) fn systemd(config_home: &Path, kached: &Path) -> Self {
        let dir = config_home.join("systemd/user");
        let service: String = SERVICE
            .lines()
            .map(|line| if line.starts_with(EXEC_START) { format!("{EXEC_START}{}\n", quoted(kached)) } else { format!("{line}\n") })
            .collect();
        let systemctl = |words: &[&str]| ["systemctl", "--user"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        Self {
            files: vec![(dir.join("kached.socket"), SOCKET.to_owned()), (dir.join("kached.service"), service)],
            probe: systemctl(&["show", "--property=Version"]),
            listens: vec![systemctl(&["--quiet", "is-enabled", "kached.socket"]), systemctl(&["--quiet", "is-active", "kached.socket"])],
            reload: Some(systemctl(&["daemon-reload"])),
            enable: systemctl(&["enable", "--now", "kached.socket"]),
            restart: Some(systemctl(&["try-restart", "kached.service"])),
            disable: systemctl(&["disable", "--now", "kached.socket", "kached.service"]),
        }
    }

    /// For `kached` of the user `uid`.
    pub(crate) fn launchd(home: &Path, kached: &Path, uid: u32) -> Self {
        let path = home.join("Library/LaunchAgents/dev.kache.kached.plist");
        let escape = |path: &Path| path.display().to_string().replace('&', "&amp;").replace('<', "&lt;");
        // Without the comment that says how to do this by hand.
        let (head, rest) = AGENT.split_once("<!--").unwrap_or((AGENT, ""));
        let text = format!("{head}{}", rest.split_once("-->\n").map_or("", |(_, rest)| rest));
        let text = text.replace("HOME/.cargo/bin/kached", &escape(kached)).replace(">HOME/", &format!(">{}/", escape(home)));
        let domain = format!("gui/{uid}");
        let launchctl = |words: &[&str]| std::iter::once(&"launchctl").chain(words).map(|word| (*word).to_owned()).collect();
        let service = format!("{domain}/dev.kache.kached");
        Self {
            probe: launchctl(&["print", &domain]),
            listens: vec![launchctl(&["print", &service])],
            reload: None,
            enable: launchctl(&["bootstrap", &domain, &path.display().to_string()]),
            restart: None,
            disable: launchctl(&["bootout", &service]),
            files: vec![(path, text)],
        }
    }

    /// Whether `text` is what some installation would write to `path`, so that it may be removed.
    pub(crate) fn is_ours(&self, path: &Path, text: &str) -> bool {
        let own = |line: &&str| !line.starts_with(EXEC_START) && !line.trim_start().starts_with("<string>");
        let known = self.files.iter().find(|(known, _)| known == path);
        known.is_some_and(|(_, known)| known.lines().filter(own).eq(text.lines().filter(own)))
    }
}

/// A path as systemd reads it in a command line.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if text.contains([' ', '\t', '\'', '"', ';']) { format!("\"{text}\"") } else { text }
}

/// Runs a command; what it said if it failed.
pub(crate) fn run(words: &Words) -> Result<(), String> {
    let [program, arguments @ ..] = words.as_slice() else { return Ok(()) };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).map_or_else(|| output.status.to_string(), str::to_owned);
    Err(format!("{}: {last}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_starts_the_kached_beside_kache() {
        let units = Units::systemd(Path::new("/h/.config"), Path::new("/opt/a b/100%/kached"));
        let [(socket, text), (service, service_text)] = units.files.as_slice() else { panic!() };
        assert_eq!((socket.to_str(), text.as_str()), (Some("/h/.config/systemd/user/kached.socket"), SOCKET));
        assert!(service_text.contains("\nExecStart=\"/opt/a b/100%%/kached\"\n"), "{service_text}");
        assert_eq!(service_text.lines().count(), SERVICE.lines().count());
        assert!(units.is_ours(service, SERVICE) && units.is_ours(service, service_text) && units.is_ours(socket, SOCKET));
        assert!(!units.is_ours(service, &SERVICE.replace("WatchdogSec=60", "WatchdogSec=61")) && !units.is_ours(socket, SERVICE));
    }

    #[test]
    fn the_agent_has_this_machines_paths() {
        let units = Units::launchd(Path::new("/Users/u"), Path::new("/Users/u/a&b/kached"), 501);
        let (path, text) = &units.files[0];
        assert_eq!(path.to_str(), Some("/Users/u/Library/LaunchAgents/dev.kache.kached.plist"));
        assert!(text.contains("<string>/Users/u/a&amp;b/kached</string>") && !text.contains("HOME"), "{text}");
        assert!(text.contains("<string>/Users/u/Library/Caches/kache/kached.sock</string>"), "{text}");
        assert!(text.starts_with("<?xml") && units.is_ours(path, text));
        assert_eq!(units.enable.join(" "), "launchctl bootstrap gui/501 /Users/u/Library/LaunchAgents/dev.kache.kached.plist");
    }
}
