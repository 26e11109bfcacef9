//! Libraries that are being compiled right now, by the path of their metadata.
//!
//! rustc announces the `.rmeta` long before it is done, and Cargo starts the dependents at once. Their key needs to know what went into
//! the library: its dep-info is already written by then, so the content key can be derived, and the metadata can be digested.

use crate::engine::Engine;
use crate::files;
use crate::outputs::Origin;
use crate::question::{Interface, Question};
use kache_model::{Digest, FileStamp, Role};
use kache_rustc::scan::Scanner;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

type Map = Arc<Mutex<HashMap<PathBuf, Arc<InFlight>>>>;

/// The libraries under way.
#[derive(Debug, Default)]
pub(crate) struct InFlights(Map);

#[derive(Debug)]
struct InFlight {
    question: Arc<Question>,
    /// The origin, and the metadata file that it was derived from.
    known: Mutex<Option<(FileStamp, Origin)>>,
}

/// Ends with the compile.
#[derive(Debug)]
pub(crate) struct Entry {
    map: Map,
    path: Option<PathBuf>,
}

impl InFlights {
    /// Notes that `question` is being compiled, if it makes metadata.
    pub(crate) fn begin(&self, question: &Arc<Question>) -> Entry {
        let outputs = question.compile.expected_outputs();
        let metadata = outputs.iter().find(|output| output.role == Role::Metadata);
        let path = metadata.map(|output| question.out_dir().join(&output.name));
        if let Some(path) = &path {
            let flight = InFlight { question: Arc::clone(question), known: Mutex::new(None) };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), Arc::new(flight));
        }
        Entry { map: Arc::clone(&self.0), path }
    }

    /// What the metadata at `path` is, if it is being made by a compile under way.
    pub(crate) fn origin(&self, engine: &Engine, path: &Path) -> Option<Origin> {
        let flight = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path)?);
        let mut known = flight.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = files::stamp(path).ok()?;
        if let Some((seen, origin)) = &*known
            && seen.same_output(&stamp)
        {
            return Some(origin.clone());
        }
        let dep_info = std::fs::read(flight.question.dep_info_path()?).ok()?;
        let observed = engine.observed(&flight.question, Some(&dep_info)).ok()?;
        let metadata = std::fs::read(path).ok()?;
        let mut scanner = Scanner::new(&flight.question.roots);
        scanner.push(&metadata);
        let mentions = engine.exported_mentions(&flight.question, &observed, scanner.finish().mentions);
        let interface = Interface { pinned: Some(Digest::of(&metadata)), code: None };
        let origin = flight.question.origin(observed.contents, interface, mentions, &observed.linked);
        *known = Some((stamp, origin.clone()));
        Some(origin)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            self.map.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        }
    }
}
