//! The remote against servers: one that is right and checks signatures ([`server`]), one that does whatever a test says ([`scripted`]).

mod bucket;
mod credentials;
mod faults;
mod https;
mod redirects;
mod scripted;
mod server;
mod support;
mod uploads;
