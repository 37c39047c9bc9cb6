//! Numbers as people read them: three significant digits and a fitting unit.
//!
//! Samples are stored in base units (nanoseconds, bytes, plain counts). Only text for people goes
//! through here; JSON carries the stored numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a stored number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time in nanoseconds.
    Nanoseconds,
    /// Memory in bytes.
    Bytes,
    /// A plain number of things.
    Count,
    /// A share, where 1 is the whole.
    Share,
}

/// Writes `value` with a fitting prefix, such as `2.31 µs`, `4.0 KiB`, `12,345`, `48 %`.
///
/// ```
/// use brigade_lab::units::{Unit, show};
/// assert_eq!(show(2310.0, Unit::Nanoseconds), "2.31 µs");
/// assert_eq!(show(4096.0, Unit::Bytes), "4.0 KiB");
/// assert_eq!(show(1_000_000.0, Unit::Count), "1,000,000");
/// ```
#[must_use]
pub fn show(value: f64, unit: Unit) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    match unit {
        Unit::Nanoseconds => scaled(value, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")]),
        Unit::Bytes => bytes(value),
        Unit::Count => count(value),
        Unit::Share => format!("{} %", digits(value * 100.0)),
    }
}

fn scaled(value: f64, steps: &[(f64, &str)]) -> String {
    let (size, name) = steps
        .iter()
        .copied()
        .find(|(size, _)| value.abs() >= *size)
        .unwrap_or(steps[steps.len() - 1]);
    format!("{} {name}", digits(value / size))
}

fn bytes(value: f64) -> String {
    const STEPS: [(f64, &str); 4] = [
        (1_099_511_627_776.0, "TiB"),
        (1_073_741_824.0, "GiB"),
        (1_048_576.0, "MiB"),
        (1024.0, "KiB"),
    ];
    for (size, name) in STEPS {
        if value.abs() >= size {
            let scaled = value / size;
            let places = usize::from(scaled.abs() < 100.0);
            return format!("{scaled:.places$} {name}");
        }
    }
    format!("{value:.0} B")
}

/// `value` as a plain number and what is counted, in the singular where "1" is what is shown.
///
/// ```
/// use brigade_lab::units::counted;
/// assert_eq!(counted(1.0, "switch", "switches"), "1 switch");
/// assert_eq!(counted(1.5, "switch", "switches"), "1.50 switches");
/// ```
#[must_use]
pub fn counted(value: f64, one: &str, many: &str) -> String {
    let number = show(value, Unit::Count);
    let what = if number == "1" { one } else { many };
    format!("{number} {what}")
}

/// A plain number: thousands separated from 1,000 on, fewer digits after the point as it grows.
fn count(value: f64) -> String {
    if value.abs() < 1000.0 {
        return digits(value);
    }
    let whole = format!("{:.0}", value.abs());
    let mut out = String::with_capacity(whole.len() + whole.len() / 3 + 1);
    if value < 0.0 {
        out.push('-');
    }
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// About three significant digits; whole numbers and zero stay without a point.
fn digits(value: f64) -> String {
    // Three times 20 % is 60 %, whatever the last bit of the product.
    let whole = value.round();
    let value = if (value - whole).abs() < 1e-9 * whole.abs() {
        whole
    } else {
        value
    };
    let size = value.abs();
    if size == 0.0 || size >= 100.0 || (value.fract() == 0.0 && size >= 1.0) {
        return format!("{value:.0}");
    }
    if size >= 10.0 {
        format!("{value:.1}")
    } else if size < 0.005 {
        "0.00".to_owned()
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_the_prefix_that_keeps_them_readable() {
        assert_eq!(show(1.6, Unit::Nanoseconds), "1.60 ns");
        assert_eq!(show(354.0, Unit::Nanoseconds), "354 ns");
        assert_eq!(show(27_500.0, Unit::Nanoseconds), "27.5 µs");
        assert_eq!(show(1.88e9, Unit::Nanoseconds), "1.88 s");
        assert_eq!(show(0.0, Unit::Nanoseconds), "0 ns");
    }

    #[test]
    fn bytes_take_binary_prefixes() {
        assert_eq!(show(512.0, Unit::Bytes), "512 B");
        assert_eq!(show(8.0 * 1024.0 * 1024.0, Unit::Bytes), "8.0 MiB");
        assert_eq!(show(82e9, Unit::Bytes), "76.4 GiB");
    }

    #[test]
    fn counts_and_shares_read_plainly() {
        assert_eq!(show(-12_345.0, Unit::Count), "-12,345");
        assert_eq!(show(2.0, Unit::Count), "2");
        assert_eq!(show(0.475, Unit::Share), "47.5 %");
        assert_eq!(show(3.0 * 0.2, Unit::Share), "60 %");
        assert_eq!(show(f64::NAN, Unit::Count), "-");
    }
}
