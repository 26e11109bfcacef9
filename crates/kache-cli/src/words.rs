//! What people write behind options, each with an error that shows how it is written.

use kache_config::ByteSize;
use std::time::Duration;

/// An age: `30d`, `12h`, `90m`.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let bad = || format!("expected an age such as 30d, 12h or 90m, found {text:?}");
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?);
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        "w" => 7 * 86400,
        _ => return Err(bad()),
    };
    number.checked_mul(secs).map(Duration::from_secs).ok_or_else(bad)
}

/// A number of seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a number of seconds such as 60, found {text:?}"))
}

/// A size, as in the configuration.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(|size| size.0).map_err(|error| error.to_string())
}

/// A package's or a crate's name.
pub(crate) fn crate_name(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    if plain && text.is_ascii() { Ok(text.to_owned()) } else { Err(format!("expected a crate's name, found {text:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_in_five_units() {
        for (text, secs) in [("45s", 45), ("90m", 5400), ("12h", 43200), ("30d", 2_592_000), ("2w", 1_209_600), ("0d", 0)] {
            assert_eq!(age(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for bad in ["", "30", "d", "30 d", "-1d", "1.5h", "3days", "99999999999999999999d", "9999999999999999999w"] {
            assert_eq!(age(bad), Err(format!("expected an age such as 30d, 12h or 90m, found {bad:?}")));
        }
    }

    #[test]
    fn names_of_crates_hold_no_blanks_and_slashes() {
        for good in ["serde", "serde-json", "serde_json", "a1"] {
            assert_eq!(crate_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "a/b", "a&b", "ü"] {
            assert_eq!(crate_name(bad), Err(format!("expected a crate's name, found {bad:?}")));
        }
    }
}
