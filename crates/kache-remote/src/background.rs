//! Work that no build waits for: packing. It runs on threads of its own, as many as there are processors, of the lowest priority, so that
//! rustc gets the processors first.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

static JOBS: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (sender, receiver) = channel::<Job>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        let receiver = Arc::clone(&receiver);
        // With fewer threads, or none, jobs wait or are dropped, and their callers learn of it.
        let _none = std::thread::Builder::new().name("kache-pack".to_owned()).spawn(move || work(&receiver));
    }
    sender
});

/// Runs `job`; `None` if it panicked or no thread could be had.
pub(crate) async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, result) = oneshot::channel();
    let job = move || drop(sender.send(job()));
    JOBS.send(Box::new(job)).ok()?;
    result.await.ok()
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    yield_to_everybody();
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The caller learns of a panic by the dropped sender.
        let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
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

    #[tokio::test]
    async fn a_job_that_panics_takes_nobody_with_it() {
        assert_eq!(run(|| panic!("for the test")).await, None::<()>);
        let all = futures_util::future::join_all((0..20).map(|number| run(move || number * 2)));
        assert_eq!(all.await, (0..20).map(|number| Some(number * 2)).collect::<Vec<_>>());
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn jobs_have_the_lowest_priority() {
        let own = || {
            std::fs::read_to_string("/proc/thread-self/stat").unwrap().rsplit_once(')').unwrap().1.split(' ').nth(17).unwrap().to_owned()
        };
        assert_eq!(run(own).await.unwrap(), "19");
        assert_ne!(own(), "19");
    }
}
