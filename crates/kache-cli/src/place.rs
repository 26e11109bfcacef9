//! Where things are: the socket, the configuration, the programs beside this one.

use crate::client::Client;
use crate::error::Error;
use kache_config::{Config, Environment};
use std::path::PathBuf;

/// This process's environment, read in one place.
pub(crate) fn environment() -> Environment {
    std::env::vars_os().collect()
}

/// The configuration that a daemon started from here would have.
pub(crate) fn config() -> Result<Config, Error> {
    Ok(Config::load(&environment())?)
}

/// A client for the daemon that this environment leads to.
pub(crate) fn client() -> Result<Client, Error> {
    Ok(Client::new(kache_proto::socket_path(|name| std::env::var_os(name))?))
}

/// This program: as it was called, and with symlinks resolved.
fn own_paths() -> Result<Vec<PathBuf>, Error> {
    let own = std::env::current_exe().map_err(|source| Error::io("finding this program's own path", source))?;
    let real = own.canonicalize().ok().filter(|real| *real != own);
    Ok(std::iter::once(own).chain(real).collect())
}

/// The program `name` beside this one.
pub(crate) fn beside(name: &'static str) -> Result<PathBuf, Error> {
    let own = own_paths()?;
    let found = own.iter().map(|kache| kache.with_file_name(name)).find(|path| path.is_file());
    found.ok_or_else(|| Error::NoBinary { name, kache: own.into_iter().next_back().unwrap_or_default() })
}

/// This program.
pub(crate) fn kache() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|source| Error::io("finding this program's own path", source))
}
