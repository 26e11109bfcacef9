//! `_inputs/{package}/{unit}.json`: which input sets a unit is known to have, so that a machine that never compiled it can ask for its artifact.
//!
//! Written without a lock: two machines that write at once may lose one's addition, which costs a miss and no more. A set is a hint: it
//! holds names of files, and what is found through it is checked by its key. Whoever looks at what it names minds [`kache_model::bounds`]; sets that
//! nobody may look at aren't passed on.

use crate::descriptor::{check_format, corrupt, too_large};
use crate::error::{ErrorKind, RemoteError};
use kache_model::{InputSet, UnitKey, bounds};
use serde::{Deserialize, Serialize};

/// Input sets kept per unit.
pub const MAX_SETS: usize = 8;

/// Largest object that is read, bytes.
pub const MAX_KNOWN_INPUTS_BYTES: u64 = 4 << 20;

const FORMAT: u32 = 2;

/// The input sets of one unit, newest first: at most [`MAX_SETS`], none twice, none of a result that is bound to a checkout's paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownInputs {
    unit: UnitKey,
    sets: Vec<InputSet>,
}

#[derive(Serialize, Deserialize)]
struct KnownInputsJson {
    format: u32,
    unit: UnitKey,
    sets: Vec<InputSet>,
}

impl KnownInputs {
    /// The first of `sets` that may travel, newest first.
    pub fn new(unit: UnitKey, sets: impl IntoIterator<Item = InputSet>) -> Self {
        let mut known = Self { unit, sets: Vec::new() };
        known.append(sets, |set| bounds::check(set).is_ok());
        known
    }

    /// The unit.
    pub fn unit(&self) -> &UnitKey {
        &self.unit
    }

    /// Its sets, newest first.
    pub fn sets(&self) -> &[InputSet] {
        &self.sets
    }

    /// Its sets, newest first.
    pub fn into_sets(self) -> Vec<InputSet> {
        self.sets
    }

    /// These sets, followed by those of `older` that aren't among them. Equal to `older` if there was nothing new to say.
    #[must_use]
    pub fn merge(mut self, older: &Self) -> Self {
        if self.sets.iter().all(|set| older.sets.contains(set)) {
            return older.clone();
        }
        self.append(older.sets.iter().cloned(), |set| bounds::check(set).is_ok());
        self
    }

    /// The object's bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it can't be encoded.
    pub fn write(&self) -> Result<Vec<u8>, RemoteError> {
        let json = KnownInputsJson { format: FORMAT, unit: self.unit, sets: self.sets.clone() };
        serde_json::to_vec(&json).map_err(|error| corrupt(format!("the known inputs can't be written: {error}")))
    }

    /// Reads the object of `unit`.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] for another unit's, [`ErrorKind::TooLarge`], else [`ErrorKind::Corrupt`].
    pub fn read(json: &[u8], unit: &UnitKey) -> Result<Self, RemoteError> {
        if json.len() as u64 > MAX_KNOWN_INPUTS_BYTES {
            return Err(too_large("the known inputs", MAX_KNOWN_INPUTS_BYTES));
        }
        check_format("the known inputs", json, FORMAT)?;
        let parsed: KnownInputsJson = serde_json::from_slice(json).map_err(|error| corrupt(format!("the known inputs: {error}")))?;
        if parsed.unit != *unit {
            return Err(RemoteError::new(ErrorKind::WrongKey, format!("these are the inputs of {}, not of {unit}", parsed.unit)));
        }
        // What names too much is for the reader to refuse, and to count.
        let mut known = Self { unit: parsed.unit, sets: Vec::new() };
        known.append(parsed.sets, |_| true);
        Ok(known)
    }

    fn append(&mut self, sets: impl IntoIterator<Item = InputSet>, may: impl Fn(&InputSet) -> bool) {
        for set in sets {
            if self.sets.len() < MAX_SETS && set.bound.travel() && !self.sets.contains(&set) && may(&set) {
                self.sets.push(set);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_model::{Digest, PortablePath, RootKind};

    fn unit() -> UnitKey {
        UnitKey(Digest::of(b"unit"))
    }

    fn set(name: &str) -> InputSet {
        InputSet { files: vec![PortablePath(format!("/{name}"))], ..InputSet::default() }
    }

    fn known(names: &[&str]) -> KnownInputs {
        KnownInputs::new(unit(), names.iter().map(|name| set(name)))
    }

    #[test]
    fn newest_come_first_none_twice_and_eight_at_most() {
        assert_eq!(known(&["b", "a", "b"]), known(&["b", "a"]));
        assert_eq!(known(&["c"]).merge(&known(&["b", "a"])), known(&["c", "b", "a"]));
        let full = known(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(full.sets().len(), MAX_SETS);
        assert_eq!(known(&["0"]).merge(&full), known(&["0", "1", "2", "3", "4", "5", "6", "7"]));
        assert_eq!(known(&["5"]).merge(&full), full, "nothing new, nothing to write");
    }

    #[test]
    fn what_names_too_much_is_read_and_not_passed_on() {
        let json = KnownInputsJson { format: FORMAT, unit: unit(), sets: vec![set("proc/self/pagemap"), set("a")] };
        let theirs = KnownInputs::read(&serde_json::to_vec(&json).unwrap(), &unit()).unwrap();
        assert_eq!(theirs.sets(), json.sets);
        assert_eq!(known(&["b"]).merge(&theirs), known(&["b", "a"]));
        assert_eq!(known(&["b", "proc/self/pagemap"]), known(&["b"]));
    }

    #[test]
    fn sets_of_results_that_are_bound_to_a_checkout_stay_at_home() {
        let bound = |kind| InputSet { bound: [kind].into_iter().collect(), ..set("a") };
        let (here, in_team) = (bound(RootKind::Workspace), bound(RootKind::CargoHome));
        assert_eq!(KnownInputs::new(unit(), [here, in_team.clone(), set("b")]).sets(), [in_team, set("b")]);
    }

    #[test]
    fn reads_what_it_wrote_and_refuses_the_rest() {
        let written = known(&["a", "b"]).write().unwrap();
        assert_eq!(KnownInputs::read(&written, &unit()).unwrap(), known(&["a", "b"]));
        let kind = |json: &[u8]| KnownInputs::read(json, &unit()).unwrap_err().kind();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(kind(text.replace("\"format\":2", "\"format\":1").as_bytes()), ErrorKind::Corrupt);
        assert_eq!(kind(&text.as_bytes()[..text.len() - 1]), ErrorKind::Corrupt);
        assert_eq!(kind(b"[]"), ErrorKind::Corrupt);
        assert_eq!(kind(&vec![b' '; 5 << 20]), ErrorKind::TooLarge);
        let other = UnitKey(Digest::of(b"other"));
        assert_eq!(KnownInputs::read(text.as_bytes(), &other).unwrap_err().kind(), ErrorKind::WrongKey);
    }
}
