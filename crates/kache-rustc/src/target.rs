//! What a target triple says about file names. Only targets whose conventions are known; others can build rlibs.

use crate::compile::CrateType;

/// How the target names and leaves what it links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `libx.so`, `x`.
    Elf,
    /// `libx.dylib`, `x`; debug information stays outside by default.
    Apple,
    /// `x.wasm` for both.
    Wasm,
    /// Anything else: linked outputs have names or companions that kache doesn't know.
    Other,
}

impl Family {
    /// The family of `--target`'s value, or of the host.
    pub(crate) fn of(target: Option<&str>) -> Self {
        let Some(target) = target else { return Self::host() };
        let has = |part: &str| target.split('-').any(|word| word == part || word.starts_with(part));
        if target.ends_with(".json") {
            Self::Other
        } else if has("apple") {
            Self::Apple
        } else if target.starts_with("wasm32-") && !has("emscripten") {
            Self::Wasm
        } else if ["linux", "android", "freebsd", "netbsd", "openbsd", "dragonfly", "illumos", "solaris"].iter().any(|os| has(os)) {
            Self::Elf
        } else {
            Self::Other
        }
    }

    fn host() -> Self {
        if cfg!(target_vendor = "apple") {
            Self::Apple
        } else if cfg!(unix) {
            Self::Elf
        } else {
            Self::Other
        }
    }

    /// The file name of what `kind` links to; `None` where it isn't known.
    pub(crate) fn linked(self, kind: CrateType, stem: &str) -> Option<String> {
        match (self, kind) {
            (_, CrateType::Lib | CrateType::Rlib) => Some(format!("lib{stem}.rlib")),
            (Self::Other, _) => None,
            (_, CrateType::Staticlib) => Some(format!("lib{stem}.a")),
            (Self::Wasm, CrateType::Bin | CrateType::Cdylib) => Some(format!("{stem}.wasm")),
            (Self::Wasm, CrateType::Dylib | CrateType::ProcMacro) => None,
            (_, CrateType::Bin) => Some(stem.to_owned()),
            (Self::Elf, _) => Some(format!("lib{stem}.so")),
            (Self::Apple, _) => Some(format!("lib{stem}.dylib")),
        }
    }
}
