//! Work that no build waits for: packing. It runs on threads of its own, of the lowest priority, and no more of them at once than
//! [`set_packers`] allows.
//!
//! The priority alone doesn't keep packing out of rustc's way: where the kernel groups processes by session (`sched_autogroup`, the default of most
//! distributions), it counts among this daemon's own threads only.

use std::collections::VecDeque;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

static PACKERS: LazyLock<Packers> = LazyLock::new(Packers::start);

#[derive(Default)]
struct Packers {
    desk: Mutex<Desk>,
    changed: Condvar,
}

#[derive(Default)]
struct Desk {
    jobs: VecDeque<Job>,
    allowed: usize,
    busy: usize,
}

/// So many artifacts may be packed at once from now on; more than there are processors count as that. Packing that has begun goes on.
pub fn set_packers(allowed: usize) {
    PACKERS.desk().allowed = allowed;
    PACKERS.changed.notify_all();
}

/// Runs `job`; `None` if it panicked.
pub(crate) async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, result) = oneshot::channel();
    PACKERS.desk().jobs.push_back(Box::new(move || drop(sender.send(job()))));
    PACKERS.changed.notify_all();
    result.await.ok()
}

impl Packers {
    fn start() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            // With fewer threads jobs wait longer.
            let _none = std::thread::Builder::new().name("kache-pack".to_owned()).spawn(|| PACKERS.work());
        }
        Self { desk: Mutex::new(Desk { allowed: threads, ..Desk::default() }), ..Self::default() }
    }

    fn work(&self) {
        yield_to_everybody();
        loop {
            let job = self.take();
            // The caller learns of a panic by the dropped sender.
            let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            self.desk().busy -= 1;
            self.changed.notify_all();
        }
    }

    fn take(&self) -> Job {
        let mut desk = self.desk();
        loop {
            if desk.busy < desk.allowed
                && let Some(job) = desk.jobs.pop_front()
            {
                desk.busy += 1;
                return job;
            }
            desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On Linux priorities belong to threads; elsewhere this would slow the whole process down.
fn yield_to_everybody() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::setpriority_process(None, 19);
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn jobs_wait_until_they_are_allowed_and_one_that_panics_takes_nobody_with_it() {
        set_packers(0);
        let mut waiting = Box::pin(run(|| 7));
        assert_eq!((&mut waiting).now_or_never(), None);
        assert_eq!(PACKERS.desk().jobs.len(), 1);
        set_packers(1);
        assert_eq!(waiting.await, Some(7));
        assert_eq!(run(|| panic!("for the test")).await, None::<()>);
        let all = futures_util::future::join_all((0..20).map(|number| run(move || number * 2)));
        assert_eq!(all.await, (0..20).map(|number| Some(number * 2)).collect::<Vec<_>>());
        #[cfg(target_os = "linux")]
        assert_eq!(run(nice).await.unwrap(), "19");
    }

    #[cfg(target_os = "linux")]
    fn nice() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split(' ').nth(17).unwrap().to_owned()
    }
}
