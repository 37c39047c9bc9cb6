//! What runs of arms measured.
//!
//! A [`Sample`] is the result of one run of one arm: named numbers in base units, and named series
//! of numbers for what a figure draws (a trace, a distribution). [`Samples`] are
//! all samples of one experiment by arm, in the order of the repeats, so that sample `i` of two
//! arms belongs to the same repeat and may be paired.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// Named numbers, and series of them, that one run of one arm measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sample(BTreeMap<String, Value>);

/// What a name in a sample stands for; in JSON a number or an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Series(Vec<f64>),
}

impl Sample {
    /// A sample without numbers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same sample with `key` set to `value`; a value that is not finite is left out.
    #[must_use]
    pub fn with(mut self, key: &str, value: f64) -> Self {
        if value.is_finite() {
            self.0.insert(key.to_owned(), Value::Number(value));
        }
        self
    }

    /// The same sample with `key` set to the series `values`, without those that are not finite.
    #[must_use]
    pub fn with_series(mut self, key: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        self.0
            .insert(key.to_owned(), Value::Series(finite.collect()));
        self
    }

    /// The number stored under `key`, NaN if there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> f64 {
        match self.0.get(key) {
            Some(Value::Number(number)) => *number,
            _ => f64::NAN,
        }
    }

    /// The series stored under `key`, empty if there is none.
    #[must_use]
    pub fn series(&self, key: &str) -> &[f64] {
        match self.0.get(key) {
            Some(Value::Series(values)) => values,
            _ => &[],
        }
    }

    /// The keys of the sample's numbers in alphabetical order, without those of series.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let numbers = self
            .0
            .iter()
            .filter(|(_, value)| matches!(value, Value::Number(_)));
        numbers.map(|(key, _)| key.as_str())
    }
}

/// All samples of one experiment, by arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(BTreeMap<String, Vec<Sample>>);

impl Samples {
    /// No samples yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next sample of `arm`.
    pub fn push(&mut self, arm: &str, sample: Sample) {
        self.0.entry(arm.to_owned()).or_default().push(sample);
    }

    /// The samples of `arm` in the order of the repeats; empty if there are none.
    #[must_use]
    pub fn of(&self, arm: &str) -> &[Sample] {
        self.0.get(arm).map_or(&[], Vec::as_slice)
    }

    /// The arms that have samples, in alphabetical order.
    pub fn arms(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The summary of one number over all samples of `arm`.
    #[must_use]
    pub fn summary(&self, arm: &str, key: &str) -> Summary {
        Summary::of(self.of(arm).iter().map(|sample| sample.get(key)))
    }

    /// The median of one number over all samples of `arm`, NaN if there are none.
    #[must_use]
    pub fn median(&self, arm: &str, key: &str) -> f64 {
        self.summary(arm, key).median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_number_is_undecided_rather_than_zero() {
        let mut samples = Samples::new();
        samples.push("a", Sample::new().with("ns", 3.0));
        assert_eq!(samples.median("a", "ns"), 3.0);
        assert!(samples.median("a", "bytes").is_nan());
        assert!(samples.median("b", "ns").is_nan());
    }

    #[test]
    fn a_series_is_no_number_and_a_number_no_series() {
        let sample = Sample::new()
            .with("ns", 1.0)
            .with_series("trace", [1.0, f64::NAN, 2.0]);
        assert_eq!(sample.series("trace"), [1.0, 2.0]);
        assert!(sample.get("trace").is_nan() && sample.series("ns").is_empty());
        assert_eq!(sample.keys().collect::<Vec<_>>(), ["ns"]);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(text, r#"{"ns":1.0,"trace":[1.0,2.0]}"#);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
    }

    #[test]
    fn a_sample_survives_the_way_through_json() {
        let sample = Sample::new().with("ns", 0.125).with("switches", 2.0);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(text, r#"{"ns":0.125,"switches":2.0}"#);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
    }
}
