//! The input sets of a unit: newest first, few, each with its witness.
//!
//! Promise: a set counts as this machine's own only if a compile here was stored under it. The witnesses stand behind the sets in the row, so
//! versions that don't know them read it all the same; in a row that such a version wrote, every set counts as the bucket's.

use crate::error::StoreError;
use crate::index::{Fault, SETS, decode, encode};
use crate::{Inner, Store};
use kache_model::{Digest, InputSet, UnitKey, Witness};
use redb::{ReadableTable, WriteTransaction};

/// Input sets kept per unit.
pub const MAX_SETS: usize = 8;

/// An input set of a unit, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSet {
    /// The names.
    pub set: InputSet,
    /// Who saw a compile read them.
    pub witness: Witness,
}

impl Store {
    /// The input sets of `unit`, most recently stored or used first, at most [`MAX_SETS`], each with its witness.
    ///
    /// # Errors
    /// What the index said. A damaged row counts as none.
    pub fn known_sets(&self, unit: &UnitKey) -> Result<Vec<KnownSet>, StoreError> {
        self.0.read(|transaction| {
            let table = transaction.open_table(SETS)?;
            let Some(row) = table.get(unit.0.as_bytes())? else { return Ok(Vec::new()) };
            Ok(read(&unit.0, row.value()))
        })
    }

    /// The same without the witnesses.
    ///
    /// # Errors
    /// As [`Store::known_sets`].
    pub fn input_sets(&self, unit: &UnitKey) -> Result<Vec<InputSet>, StoreError> {
        Ok(self.known_sets(unit)?.into_iter().map(|known| known.set).collect())
    }

    /// Takes a set away from the unit, unless it is this machine's own.
    ///
    /// # Errors
    /// What the index said.
    pub fn disown_set(&self, unit: &UnitKey, set: &InputSet) -> Result<(), StoreError> {
        let _writer = self.0.writer();
        self.0.disown(unit, set)
    }
}

impl Inner {
    fn disown(&self, unit: &UnitKey, set: &InputSet) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut sets = of(transaction, unit)?;
            let before = sets.len();
            sets.retain(|known| known.witness == Witness::Own || known.set != *set);
            if sets.len() == before { Ok(()) } else { write(transaction, unit, &sets) }
        })
    }
}

/// Puts the set in front of the unit's others. What a compile here was seen to read stays that, whatever the bucket says later.
pub(crate) fn put(transaction: &WriteTransaction, unit: &UnitKey, set: &InputSet, witness: Witness) -> Result<(), Fault> {
    let mut sets = of(transaction, unit)?;
    let place = sets.iter().position(|known| known.set == *set);
    let known = place.map(|place| sets.remove(place));
    let witness = match &known {
        Some(KnownSet { witness: Witness::Own, .. }) => Witness::Own,
        _ => witness,
    };
    if place == Some(0) && known.is_some_and(|known| known.witness == witness) {
        return Ok(());
    }
    sets.insert(0, KnownSet { set: set.clone(), witness });
    sets.truncate(MAX_SETS);
    write(transaction, unit, &sets)
}

fn of(transaction: &WriteTransaction, unit: &UnitKey) -> Result<Vec<KnownSet>, Fault> {
    let table = transaction.open_table(SETS)?;
    let row = table.get(unit.0.as_bytes())?;
    Ok(row.map(|row| read(&unit.0, row.value())).unwrap_or_default())
}

fn write(transaction: &WriteTransaction, unit: &UnitKey, sets: &[KnownSet]) -> Result<(), Fault> {
    let (names, own): (Vec<&InputSet>, Vec<bool>) = sets.iter().map(|known| (&known.set, known.witness == Witness::Own)).unzip();
    transaction.open_table(SETS)?.insert(unit.0.as_bytes(), encode(&unit.0, &(names, own))?.as_slice())?;
    Ok(())
}

fn read(unit: &Digest, row: &[u8]) -> Vec<KnownSet> {
    let whole = decode::<(Vec<InputSet>, Vec<bool>)>("input_sets", unit, row);
    let (sets, own) = whole.or_else(|_| decode("input_sets", unit, row).map(|sets| (sets, Vec::new()))).unwrap_or_default();
    let own = own.into_iter().chain(std::iter::repeat(false));
    let witness = |own| if own { Witness::Own } else { Witness::Bucket };
    sets.into_iter().zip(own).map(|(set, own)| KnownSet { set, witness: witness(own) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_model::PortablePath;

    #[test]
    fn a_row_without_witnesses_is_the_buckets_and_one_with_them_can_be_read_without() {
        let unit = Digest::of(b"unit");
        let sets: Vec<InputSet> = ["a", "b"].map(|name| InputSet { files: vec![PortablePath(name.into())], ..InputSet::default() }).into();
        let of = |row: &[u8]| read(&unit, row).into_iter().map(|known| known.witness).collect::<Vec<_>>();
        assert_eq!(of(&encode(&unit, &sets).unwrap()), [Witness::Bucket, Witness::Bucket]);
        let row = encode(&unit, &(&sets, [true, false].as_slice())).unwrap();
        assert_eq!(of(&row), [Witness::Own, Witness::Bucket]);
        assert_eq!(decode::<Vec<InputSet>>("input_sets", &unit, &row).unwrap(), sets);
    }
}
