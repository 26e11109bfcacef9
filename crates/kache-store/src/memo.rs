//! Small things remembered for the caller: where the outputs in target directories came from, and named memos. The bytes are the caller's.
//!
//! Promises: remembering is a push onto a queue; what was remembered is recalled at once, and is on the disk after the next flush. The number of
//! output rows is bounded, the oldest go first. Losing any of it costs time, never correctness.

use crate::Store;
use crate::error::StoreError;
use crate::index::{Fault, MEMOS, OUTPUT_AGES, OUTPUTS};
use crate::publish::prefer_sets;
use kache_model::{InputSet, UnitKey};
use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use std::collections::HashMap;
use std::sync::Arc;

/// Output rows kept.
pub(crate) const MAX_OUTPUTS: u64 = 200_000;

/// What the caller wants to know about an output; opaque here.
pub type OutputRow = Vec<u8>;

type Rows = HashMap<String, Vec<u8>>;

/// What waits to be written, and what is being written.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Batch,
    writing: Arc<Batch>,
}

/// Rows for both tables.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    outputs: Rows,
    memos: Rows,
    /// Input sets that hit, in their order.
    preferred: Vec<(UnitKey, InputSet)>,
}

impl Queue {
    pub(crate) fn begin_writing(&mut self) -> Arc<Batch> {
        self.writing = Arc::new(std::mem::take(&mut self.waiting));
        Arc::clone(&self.writing)
    }

    pub(crate) fn end_writing(&mut self) {
        self.writing = Arc::default();
    }

    pub(crate) fn prefer(&mut self, unit: UnitKey, set: InputSet) {
        self.waiting.preferred.push((unit, set));
    }

    fn find(&self, rows: impl Fn(&Batch) -> &Rows, name: &str) -> Option<Vec<u8>> {
        rows(&self.waiting).get(name).or_else(|| rows(&self.writing).get(name)).cloned()
    }
}

impl Store {
    /// Remembers where the files at these absolute paths came from.
    pub fn remember_outputs(&self, rows: Vec<(String, OutputRow)>) {
        self.0.keeper.enqueue(|queue| queue.waiting.outputs.extend(rows));
    }

    /// What was remembered about `path`.
    ///
    /// # Errors
    /// What the index said.
    pub fn recall_output(&self, path: &str) -> Result<Option<OutputRow>, StoreError> {
        if let Some(row) = self.0.keeper.queued(|queue| queue.find(|batch| &batch.outputs, path)) {
            return Ok(Some(row));
        }
        self.0.read(|transaction| Ok(transaction.open_table(OUTPUTS)?.get(path)?.map(|row| row.value().1.to_vec())))
    }

    /// The memo called `name`; one that can't be read is none.
    pub fn memo(&self, name: &str) -> Option<Vec<u8>> {
        if let Some(value) = self.0.keeper.queued(|queue| queue.find(|batch| &batch.memos, name)) {
            return Some(value);
        }
        self.0.read(|transaction| Ok(transaction.open_table(MEMOS)?.get(name)?.map(|row| row.value().to_vec()))).ok()?
    }

    /// Sets the memo called `name`.
    pub fn set_memo(&self, name: &str, value: Vec<u8>) {
        self.0.keeper.enqueue(|queue| drop(queue.waiting.memos.insert(name.to_owned(), value)));
    }
}

/// Writes a batch, and drops the oldest outputs above the bound.
pub(crate) fn write_queue(transaction: &WriteTransaction, batch: &Batch) -> Result<(), Fault> {
    let mut memos = transaction.open_table(MEMOS)?;
    for (name, value) in &batch.memos {
        memos.insert(name.as_str(), value.as_slice())?;
    }
    prefer_sets(transaction, &batch.preferred)?;
    write_outputs(transaction, &batch.outputs, MAX_OUTPUTS)
}

fn write_outputs(transaction: &WriteTransaction, rows: &Rows, max_rows: u64) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut outputs = transaction.open_table(OUTPUTS)?;
    let mut ages = transaction.open_table(OUTPUT_AGES)?;
    let mut age = ages.last()?.map_or(0, |(age, _)| age.value());
    for (path, row) in rows {
        age += 1;
        let old = outputs.insert(path.as_str(), (age, row.as_slice()))?.map(|old| old.value().0);
        if let Some(old) = old {
            ages.remove(old)?;
        }
        ages.insert(age, path.as_str())?;
    }
    while ages.len()? > max_rows {
        let Some(path) = ages.pop_first()?.map(|(_, path)| path.value().to_owned()) else { break };
        outputs.remove(path.as_str())?;
    }
    Ok(())
}
