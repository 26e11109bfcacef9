//! `kache completions` and `kache man`: what the command line says of itself, for shells and for `man`.

use crate::args::Arguments;
use crate::error::Error;
use crate::show;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kache", &mut script);
    show::answer(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}

/// The page of `kache`; into a directory, one for each command as well.
pub(crate) fn man(dir: Option<&Path>) -> Result<ExitCode, Error> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(|source| Error::io("the manual page", source))?;
        show::answer(String::from_utf8_lossy(&page).trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let fail = |source| Error::io(dir.display().to_string(), source);
    std::fs::create_dir_all(dir).map_err(fail)?;
    clap_mangen::generate_to(Arguments::command(), dir).map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}
