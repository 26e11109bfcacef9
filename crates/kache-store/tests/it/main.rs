//! The store's tests, by topic. All on real directories.

mod crash;
mod damage;
mod evict;
mod full_disk;
mod place;
mod publish;
mod support;
