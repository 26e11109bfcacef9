//! `kache gc` and `kache purge`: letting artifacts go, after saying which.

use super::list::nothing_of;
use crate::args::{Gc, Purge};
use crate::error::Error;
use crate::holder::{Gone, Holder, Limits, Mode};
use crate::{consent, progress, show};
use kache_config::ByteSize;
use std::process::ExitCode;

/// What a preview does.
const LOOKING: &str = "looking what would go";
const NOTHING: &str = "nothing to remove";

pub(crate) fn gc(options: &Gc) -> Result<ExitCode, Error> {
    let limits = Limits { max_bytes: options.max_size, max_age: options.max_age };
    let holder = Holder::find()?;
    let preview = progress::during(LOOKING, |_| holder.gc(limits, Mode::Preview))?;
    carry_out(preview, NOTHING, options.dry_run, options.yes, || holder.gc(limits, Mode::Real))
}

pub(crate) fn purge(options: &Purge) -> Result<ExitCode, Error> {
    let holder = Holder::find()?;
    let preview = progress::during(LOOKING, |_| holder.purge(options.name.as_deref(), Mode::Preview))?;
    let nothing = options.name.as_deref().map_or_else(|| NOTHING.to_owned(), nothing_of);
    carry_out(preview, &nothing, options.dry_run, options.yes, || holder.purge(options.name.as_deref(), Mode::Real))
}

fn carry_out(
    preview: Gone,
    nothing: &str,
    dry_run: bool,
    yes: bool,
    work: impl FnOnce() -> Result<Gone, Error>,
) -> Result<ExitCode, Error> {
    if preview.artifacts == 0 {
        show::answer(nothing);
    } else if dry_run {
        show::answer(format_args!("would remove {}", sentence(preview)));
    } else if consent::given(yes, &format!("Remove {}?", sentence(preview)), "remove artifacts", "--dry-run")? {
        show::answer(format_args!("removed {}", sentence(progress::during("removing", |_| work())?)));
    } else {
        show::answer("nothing was removed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Blobs that a target directory links as well are removed from the store, and stay on the disk.
fn sentence(gone: Gone) -> String {
    let Gone { artifacts, removed_bytes, freed_bytes } = gone;
    let text = format!("{}, {}", show::count(artifacts, "artifact", "artifacts"), ByteSize(removed_bytes));
    match removed_bytes.saturating_sub(freed_bytes) {
        shared if shared > removed_bytes / 10 => {
            format!("{text} ({} of it stay on the disk: target directories link them)", ByteSize(shared))
        }
        _ => text,
    }
}
