//! Known inputs and build indexes over a remote: small objects that tell what to ask for. None of them is trusted: what they lead to is checked.

use crate::body::Content;
use crate::build_index::{BuildIndex, MAX_INDEX_BYTES};
use crate::error::RemoteError;
use crate::known_inputs::{KnownInputs, MAX_KNOWN_INPUTS_BYTES};
use crate::name::{ObjectName, PackageName};
use crate::retry::fetch_bytes;
use crate::{Priority, PutOutcome, PutWhen, Remote};
use kache_model::UnitKey;

/// The input sets that the bucket knows for `unit`; `None` if it knows none.
///
/// # Errors
/// What [`KnownInputs::read`] says, or why the remote couldn't be asked.
pub async fn fetch_known_inputs(
    remote: &dyn Remote,
    package: &PackageName,
    unit: &UnitKey,
    priority: Priority,
) -> Result<Option<KnownInputs>, RemoteError> {
    let name = inputs_name(package, unit);
    let Some(bytes) = fetch_bytes(remote, &name, priority, MAX_KNOWN_INPUTS_BYTES).await? else { return Ok(None) };
    KnownInputs::read(&bytes, unit).map(Some).map_err(|error| noted(remote, error, &name))
}

/// Puts `new` in front of what the bucket knows; tells what it knows now. `first`: it is believed to know nothing yet, so that isn't asked first. An
/// object that can't be read is replaced. Two machines that do this at once may lose one's addition, which costs a miss.
///
/// # Errors
/// Why the remote couldn't be asked or told.
pub async fn add_known_inputs(
    remote: &dyn Remote,
    package: &PackageName,
    new: KnownInputs,
    first: bool,
) -> Result<KnownInputs, RemoteError> {
    let name = inputs_name(package, new.unit());
    if first && remote.put(&name, Content::Bytes(new.write()?.into()), PutWhen::Absent).await? == PutOutcome::Stored {
        return Ok(new);
    }
    let known = match fetch_known_inputs(remote, package, new.unit(), Priority::Upload).await {
        Ok(known) => known,
        Err(error) if error.kind().is_about_bytes() => None,
        Err(error) => return Err(error),
    };
    let merged = known.as_ref().map_or_else(|| new.clone(), |known| new.clone().merge(known));
    if merged.sets().is_empty() || known.as_ref() == Some(&merged) {
        return Ok(merged);
    }
    let content = Content::Bytes(merged.write()?.into());
    remote.put(&name, content, PutWhen::Always).await?;
    Ok(merged)
}

/// The build index `name` ([`ObjectName::Build`] or [`ObjectName::Nearest`]); `None` if there is none.
///
/// # Errors
/// What [`BuildIndex::read`] says, or why the remote couldn't be asked.
pub async fn fetch_build_index(remote: &dyn Remote, name: &ObjectName, priority: Priority) -> Result<Option<BuildIndex>, RemoteError> {
    let Some(bytes) = fetch_bytes(remote, name, priority, MAX_INDEX_BYTES).await? else { return Ok(None) };
    BuildIndex::read(&bytes).map(Some).map_err(|error| noted(remote, error, name))
}

/// Stores the build index `name`.
///
/// # Errors
/// Why the remote couldn't be told.
pub async fn put_build_index(remote: &dyn Remote, name: &ObjectName, index: &BuildIndex, when: PutWhen) -> Result<PutOutcome, RemoteError> {
    remote.put(name, Content::Bytes(index.write()?.into()), when).await
}

fn inputs_name(package: &PackageName, unit: &UnitKey) -> ObjectName {
    ObjectName::Inputs { package: package.clone(), unit: *unit }
}

/// An error about an object's bytes, counted and with its name.
fn noted(remote: &dyn Remote, mut error: RemoteError, name: &ObjectName) -> RemoteError {
    remote.counters().note(&mut error);
    error.at(format_args!("reading {name}"))
}
