//! Artifacts as they travel: packed, unpacked, and everything that a bucket may hold instead.

mod descriptor;
mod hostile;
mod over_a_bucket;
mod over_a_remote;
mod roundtrip;
mod support;
