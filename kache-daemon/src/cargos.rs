//! Which Cargo an invocation belongs to.
//!
//! Promises: all invocations of one Cargo process get one value, those of its build scripts' probes too; it is handed out once as ended, when
//! the process is gone.

use crate::process;
use kache_proto::Parent;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Generations between a build script's probe and its Cargo, at most.
const MAX_ANCESTORS: usize = 8;

/// A value for each Cargo at work.
#[derive(Debug)]
pub(crate) struct Cargos<T>(Mutex<Known<T>>);

#[derive(Debug)]
struct Known<T> {
    cargos: HashMap<Parent, Arc<T>>,
    /// Build scripts and the like, by the Cargo further up.
    below: HashMap<Parent, Arc<T>>,
}

impl<T> Default for Cargos<T> {
    fn default() -> Self {
        Self(Mutex::new(Known { cargos: HashMap::new(), below: HashMap::new() }))
    }
}

impl<T> Cargos<T> {
    /// The value that `parent` belongs to, and whether it was made just now; `make` gets its command line.
    pub(crate) fn of(&self, parent: Parent, make: impl FnOnce(&[String]) -> T) -> (Arc<T>, bool) {
        let mut known = self.lock();
        if let Some(value) = known.cargos.get(&parent).or_else(|| known.below.get(&parent)) {
            return (Arc::clone(value), false);
        }
        let words = process::words(parent);
        // A build script's probe: the Cargo is further up. A Cargo has a value of its own whoever started it: a shell that called the wrapper
        // itself lives on long after the builds that it starts.
        if !process::is_cargo(&words) {
            let ancestors = std::iter::successors(process::parent(parent), |process| process::parent(*process)).take(MAX_ANCESTORS);
            if let Some(value) = ancestors.into_iter().find_map(|process| known.cargos.get(&process).cloned()) {
                known.below.insert(parent, Arc::clone(&value));
                return (value, false);
            }
        }
        let value = Arc::new(make(&words));
        known.cargos.insert(parent, Arc::clone(&value));
        (value, true)
    }

    /// Takes out those whose Cargo is gone.
    pub(crate) fn take_ended(&self) -> Vec<Arc<T>> {
        let mut known = self.lock();
        known.below.retain(|process, _| process::lives(*process));
        known.cargos.extract_if(|cargo, _| !process::lives(*cargo)).map(|(_, value)| value).collect()
    }

    /// Takes out all of them, whether their Cargo has ended or not.
    pub(crate) fn take_all(&self) -> Vec<Arc<T>> {
        let mut known = self.lock();
        known.below.clear();
        known.cargos.drain().map(|(_, value)| value).collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().cargos.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Known<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_belongs_to_the_cargo_above_it() {
        let cargos = Cargos::default();
        let me = Parent { pid: std::process::id(), start: 0 };
        let (cargo, new) = cargos.of(process::parent(me).unwrap(), |_| 1);
        assert!(new);
        for _ in 0..2 {
            let (probe, new) = cargos.of(me, |_| 2);
            assert!(!new && Arc::ptr_eq(&cargo, &probe));
        }
        assert!(cargos.take_ended().is_empty() && !cargos.is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_cargo_below_another_process_has_its_own() {
        use std::os::unix::process::CommandExt;
        let cargos = Cargos::default();
        let me = process::parent(Parent { pid: std::process::id(), start: 0 }).unwrap();
        let (shell, _) = cargos.of(me, |_| String::new());
        let named = |name: &str| {
            let mut child = std::process::Command::new("sleep").arg0(name).arg("60").spawn().unwrap();
            let process = Parent { pid: child.id(), start: 7 };
            // The kernel lets a spawner go on before the new command line can be read.
            while process::words(process).first().is_none_or(|word| word != name) {
                std::thread::yield_now();
            }
            let (value, _) = cargos.of(process, |words| words.join(" "));
            child.kill().unwrap();
            child.wait().unwrap();
            value
        };
        assert_eq!(*named("/x/bin/cargo"), "/x/bin/cargo 60");
        assert!(Arc::ptr_eq(&named("build-script-build"), &shell));
    }

    #[test]
    fn a_cargo_that_is_gone_is_taken_out_once() {
        let cargos = Cargos::default();
        cargos.of(Parent { pid: std::process::id(), start: 1 }, |_| ());
        assert_eq!(cargos.take_ended().len(), 1);
        assert!(cargos.take_ended().is_empty() && cargos.is_empty());
    }
}
