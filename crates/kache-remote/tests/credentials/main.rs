//! Who signs: every source that AWS knows, against servers that check what they are asked, each in a process with an environment of its own.

mod files;
mod machine;
mod mock;
mod order;
mod roles;
