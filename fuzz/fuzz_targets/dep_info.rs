//! The dep-info parser against arbitrary bytes: no panic, and what was read is read again from what rustc would write of it.
#![no_main]

use kache_model::{Root, RootKind, Roots};
use kache_rustc::dep_info::DepInfo;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|input: &[u8]| {
    let Ok(info) = DepInfo::parse(input) else { return };
    let roots = Roots::new(vec![Root::new(RootKind::Workspace, "/w", "/w")]);
    let names = info.input_names(Path::new("/w"), &roots);
    assert!(names.files.is_sorted() && names.absent.is_sorted());
    assert!(names.absent.iter().all(|name| !names.files.contains(name)));
    assert_eq!(DepInfo::parse(write(&info).as_bytes()), Ok(info));
});

/// As rustc writes it.
fn write(info: &DepInfo) -> String {
    let names: Vec<String> = info.files.iter().map(|name| name.replace(' ', "\\ ")).collect();
    let mut out = format!("/t/x.d: {}\n", names.join(" "));
    for name in &names {
        out += &format!("{name}:\n");
    }
    for (name, value) in &info.env {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        out += &match value {
            Some(value) => format!("# env-dep:{}={}\n", escape(name), escape(value)),
            None => format!("# env-dep:{}\n", escape(name)),
        };
    }
    out
}
