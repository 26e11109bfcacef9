//! Samples of one measured thing, and how they are printed.

/// Figures of repeated runs, in any unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which `share` (0 to 1) of the samples lie; 0 without samples.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
        sorted[((last as f64) * share).round() as usize]
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// `median (min–max)`.
    pub(crate) fn show(&self) -> String {
        format!("{:8.3} ({:.3}–{:.3})", self.median(), self.quantile(0.0), self.quantile(1.0))
    }
}
