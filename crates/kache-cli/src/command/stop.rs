//! `kache stop`: asks the daemon to finish what it holds and end, and waits until its process is gone.

use super::status::Status;
use crate::client::SHORT;
use crate::error::Error;
use crate::{place, progress, show};
use rustix::process::Pid;
use std::process::ExitCode;
use std::time::Duration;

/// A daemon ends within 10 s.
const BOUND: Duration = Duration::from_secs(15);

pub(crate) fn run() -> Result<ExitCode, Error> {
    let client = place::client()?;
    let status: Status = match client.get_json("/v1/status") {
        Ok(status) => status,
        Err(Error::NotRunning { .. }) => {
            show::answer("kached isn't running");
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error),
    };
    let process = Process::open(status.pid);
    client.post("/v1/stop", Some(SHORT))?;
    if !progress::during("kached finishes what it holds", |_| process.wait(BOUND)) {
        return Err(Error::StillRunning { pid: status.pid, after: BOUND });
    }
    show::answer(format_args!("kached stopped (pid {})", status.pid));
    if status.activated {
        show::note("its service starts it again for the next build; to end that: `systemctl --user stop kached.socket`");
    }
    Ok(ExitCode::SUCCESS)
}

/// A process that isn't our child.
#[cfg(target_os = "linux")]
struct Process(Option<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Process {
    fn open(pid: i32) -> Self {
        let pid = Pid::from_raw(pid);
        Self(pid.and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()))
    }

    /// Whether it ended within `bound`. One that nobody has reaped yet has ended.
    fn wait(&self, bound: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(fd) = &self.0 else { return true };
        let Ok(bound) = Timespec::try_from(bound) else { return false };
        matches!(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&bound)), Ok(1))
    }
}

/// A process that isn't our child.
#[cfg(not(target_os = "linux"))]
struct Process(Option<Pid>);

#[cfg(not(target_os = "linux"))]
impl Process {
    fn open(pid: i32) -> Self {
        Self(Pid::from_raw(pid))
    }

    /// Whether it ended within `bound`.
    fn wait(&self, bound: Duration) -> bool {
        let Some(pid) = self.0 else { return true };
        let begin = std::time::Instant::now();
        while begin.elapsed() < bound {
            if rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}
