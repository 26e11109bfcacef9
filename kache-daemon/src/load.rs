//! How many compiles run that this daemon knows of: what can wait leaves the processors to them.

use std::sync::Arc;
use tokio::sync::watch;

/// The number of compiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<watch::Sender<usize>>);

/// One compile, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Running(Load);

impl Load {
    /// A compile begins.
    pub(crate) fn begin(&self) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self.clone())
    }

    /// The number as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}
