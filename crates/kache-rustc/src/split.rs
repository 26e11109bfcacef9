//! Debug information outside the outputs (`-C split-debuginfo`), on systems with ELF.
//!
//! - `packed` makes one file beside each linked output, `NAME.dwp`, which debuggers find by the program's name. It is an output like any other.
//! - `unpacked` leaves an object beside the outputs for each codegen unit, `STEM.UNIT.rcgu.dwo`; in an incremental compile there is another
//!   random word in each name. Which there are shows afterwards. The compiled code names them by their full path, and debuggers and
//!   backtraces look nowhere else: such a unit isn't remapped, so what it makes is for this target directory.

use crate::compile::Compile;
use crate::target::Family;
use kache_model::{Bypass, BypassReason, Role};

/// Where debug information goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    /// Into the outputs.
    No,
    /// Beside them, one file for each that is linked.
    Packed,
    /// Beside them, one file for each codegen unit.
    Unpacked,
    /// Somewhere that isn't understood.
    Unknown,
}

impl Compile {
    /// What isn't understood.
    pub(crate) fn refuse_split(&self) -> Result<(), Bypass> {
        match self.split() {
            Split::Unknown => {
                let written = self.codegen.get("split-debuginfo").unwrap_or("default");
                Err(Bypass::new(BypassReason::SplitDebuginfo, format!("split-debuginfo={written}")))
            }
            Split::No | Split::Packed | Split::Unpacked => Ok(()),
        }
    }

    fn split(&self) -> Split {
        let generates = self.emit.iter().any(|kind| !matches!(kind.as_str(), "metadata" | "dep-info"));
        if !generates || !self.codegen.debuginfo() {
            return Split::No;
        }
        // `single` leaves whole objects.
        let single = self.options.iter().any(|option| option.starts_with("-Zsplit-dwarf-kind") || option.starts_with("-Zsplit_dwarf_kind"));
        match (Family::of(self.target.as_deref()), self.codegen.get("split-debuginfo")) {
            (Family::Apple, Some("off")) => Split::No,
            (Family::Apple, _) if self.links() => Split::Unknown,
            (Family::Apple, None) | (_, None | Some("off")) => Split::No,
            (Family::Elf, Some("packed")) if !single => Split::Packed,
            (Family::Elf, Some("unpacked")) if !single => Split::Unpacked,
            _ => Split::Unknown,
        }
    }

    /// Whether each codegen unit leaves a file beside the outputs.
    pub fn leaves_debug_objects(&self) -> bool {
        self.split() == Split::Unpacked
    }

    /// Whether a file of that name in the output directory is one of those.
    pub fn is_debug_object(&self, name: &str) -> bool {
        self.leaves_debug_objects() && name.ends_with(".dwo") && name.strip_prefix(&self.stem()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The name of the debug information that belongs to a linked output.
    pub(crate) fn debug_package(&self, role: Role, name: &str) -> Option<String> {
        let linked = matches!(role, Role::Executable | Role::SharedObject);
        (linked && self.split() == Split::Packed).then(|| format!("{name}.dwp"))
    }
}
