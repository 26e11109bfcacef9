//! Sizes as people write them.
//!
//! `KB`, `MB`… count by 1000, everything else (`K`, `KiB`, …) by 1024; a bare number is bytes. Letter case doesn't matter.

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const GIB: u64 = 1 << 30;

/// What a store may take when nobody says so: 5 % of the disk, at least 5 GiB and at most 100 GiB.
pub fn default_max_size(disk: ByteSize) -> ByteSize {
    ByteSize((disk.0 / 20).clamp(5 * GIB, 100 * GIB))
}

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {EXPECTED}, found {0:?}")]
pub struct ParseSizeError(String);

const EXPECTED: &str = "a size such as 10GiB, 500MB or a number of bytes";

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        parse(text.trim()).ok_or_else(|| ParseSizeError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<ByteSize> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (prefix, base) = match unit.as_str() {
        "" | "b" => return number.parse().ok().map(ByteSize),
        other => match other.strip_suffix("ib") {
            Some(prefix) => (prefix, 1024_u64),
            None => other.strip_suffix('b').map_or((other, 1024), |prefix| (prefix, 1000)),
        },
    };
    let power = 1 + ["k", "m", "g", "t"].iter().position(|known| *known == prefix)?;
    let factor = base.pow(u32::try_from(power).ok()?);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let bytes = whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part(fraction, factor)?)?;
    Some(ByteSize(bytes))
}

/// `0.fraction × factor`, rounded down.
fn part(fraction: &str, factor: u64) -> Option<u64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let bytes = fraction.parse::<u128>().ok()?.checked_mul(u128::from(factor))? / scale;
    u64::try_from(bytes).ok()
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let text = match units.into_iter().find(|(_, shift)| self.0 >> shift > 0) {
            Some((unit, shift)) => {
                let tenths = u128::from(self.0) * 10 / (1_u128 << shift);
                let fraction = if tenths.is_multiple_of(10) { String::new() } else { format!(".{}", tenths % 10) };
                format!("{}{fraction} {unit}", tenths / 10)
            }
            None => format!("{} B", self.0),
        };
        f.pad(&text)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("12345", 12345),
            ("7 B", 7),
            ("10GiB", 10 << 30),
            ("10 gib", 10 << 30),
            ("500M", 500 << 20),
            ("500MB", 500_000_000),
            ("1.5G", 3 << 29),
            (" 2t ", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for bad in ["", "GiB", "-1", "1.5", "1..5G", "5 elephants", "99999999999T", "1.G5", "0x10"] {
            let error = bad.parse::<ByteSize>().expect_err(bad).to_string();
            assert_eq!(error, format!("expected a size such as 10GiB, 500MB or a number of bytes, found {bad:?}"));
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (10 << 30, "10 GiB"), (u64::MAX, "16777215.9 TiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn the_default_is_a_twentieth_of_the_disk_within_bounds() {
        for (disk, limit) in [(10, 5), (200, 10), (1000, 50), (4000, 100)] {
            assert_eq!(default_max_size(ByteSize(disk * GIB)), ByteSize(limit * GIB), "{disk} GiB");
        }
    }
}
