//! Whether a stored result is one that a compile could have left: the outputs that are expected of it, by role and name, and nothing else.
//!
//! An artifact from the bucket may hold anything, and what it holds is put into a target directory among other units' files. One of this machine's own
//! passes too, so nothing depends on knowing which is which.

use crate::compile::{Compile, Shape};
use kache_model::{Artifact, Output, Role};

/// Why an artifact isn't the result of a compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unexpected {
    /// A file that such a compile doesn't leave.
    #[error("it has an output {0:?}, which this compile doesn't leave")]
    Output(String),
    /// A file that such a compile leaves.
    #[error("it has no output {0:?}")]
    Missing(String),
    /// An executable library, or the like.
    #[error("its output {0:?} is executable")]
    Executable(String),
    /// A failure, of which only probes' are kept.
    #[error("it ended with status {0}")]
    Status(i32),
    /// Another unit's result, or one of other sources.
    #[error("it is the result of another compile")]
    Other,
}

/// Whether rustc or its linker may make such a file executable.
pub fn may_be_executable(role: Role) -> bool {
    match role {
        Role::Executable | Role::SharedObject => true,
        Role::Metadata | Role::Rlib | Role::Staticlib | Role::Object | Role::Assembly | Role::LlvmIr | Role::Debuginfo => false,
    }
}

impl Compile {
    /// Whether `artifact` holds what this compile leaves. `closed`: whether its source can't read anything else, so that no dep-info is needed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn accepts(&self, artifact: &Artifact, closed: impl FnOnce() -> bool) -> Result<(), Unexpected> {
        let Artifact { outputs, dep_info, status, .. } = artifact;
        let failed = *status != 0;
        if failed && (self.shape != Shape::Probe || *status != 1) {
            return Err(Unexpected::Status(*status));
        }
        let stored = |name: String| String::from_utf8(self.hide_name(name.into_bytes())).unwrap_or_default();
        let mut left: Vec<&Output> = outputs.iter().collect();
        for expected in self.expected_outputs() {
            let name = stored(expected.name);
            match left.iter().position(|output| output.role == expected.role && output.name == name) {
                Some(place) => drop(left.swap_remove(place)),
                None if failed || !expected.required => {}
                None => return Err(Unexpected::Missing(name)),
            }
        }
        // How many there are shows only afterwards.
        let debug = |output: &Output| output.role == Role::Debuginfo && self.leaves_debug_objects() && self.is_debug_object(&output.name);
        left.retain(|output| !debug(output));
        if let Some(output) = left.first() {
            return Err(Unexpected::Output(output.name.clone()));
        }
        if let Some(output) = outputs.iter().find(|output| output.executable && !may_be_executable(output.role)) {
            return Err(Unexpected::Executable(output.name.clone()));
        }
        match (dep_info, self.dep_info_name().map(stored)) {
            (Some(found), Some(name)) if found.name == name => Ok(()),
            (Some(found), _) => Err(Unexpected::Output(found.name.clone())),
            (None, Some(name)) if !failed && !closed() => Err(Unexpected::Missing(name)),
            (None, _) => Ok(()),
        }
    }
}
