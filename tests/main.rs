//! End-to-end tests of kache: one module per behaviour. Each test has a machine of its own with its own `kached`, asserts on the
//! daemon's counters and on what built programs print, and never on time.
//!
//! `cargo test -p kache-tests` runs all that need no network; `-- --ignored real_projects` those on published programs.

mod absent;
mod bad_days;
mod bucket_crashes;
mod command_line;
mod config_changes;
mod crashes;
mod crowds;
mod daemon;
mod damage;
mod diagnostics;
mod doctor;
mod edits;
mod freshness;
mod history;
mod housekeeping;
mod in_place;
mod incremental;
mod json;
mod late;
mod limits;
mod locators;
mod namespaces;
mod native;
mod no_bucket;
mod odd_inputs;
mod odd_invocations;
mod oracle;
mod paths;
mod probes;
mod real_projects;
mod restore;
mod rules;
mod secrets;
mod servers;
mod service;
mod slips;
mod sync;
mod systemd;
mod team;
mod together;
mod toolchains;
mod upgrade;
mod verify_mode;
mod why;
mod wrong_binaries;
