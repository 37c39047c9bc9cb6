//! From samples to a verdict, without touching the machine.
//!
//! # How it is decided
//!
//! In this order; the first that applies is the verdict.
//!
//! 1. A required arm was skipped: skipped, with its reason.
//! 2. A required arm failed, or has fewer than [`MIN_SAMPLES`] samples: inconclusive.
//! 3. A premise does not hold: inconclusive, because the numbers do not measure the claim.
//! 4. A part of the claim fails: not here.
//! 5. A part of the claim is unclear: inconclusive, because of noise.
//! 6. Otherwise: confirmed.
//!
//! A part is decided by its interquartile range, not by its median: it holds when the whole middle
//! half of the samples is on the claim's side, fails when the whole middle half is on the other
//! side, and is unclear in between. A loaded machine widens the range, so noise ends as
//! "inconclusive" and not as a wrong claim.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// Below this many samples of a required arm there is no verdict.
pub const MIN_SAMPLES: usize = 5;

/// How an experiment ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum Verdict {
    /// The claim is true on this machine.
    Confirmed,
    /// The claim is not true on this machine.
    NotHere,
    /// The samples do not decide; the reason says why.
    Inconclusive(String),
    /// It was not measured; the reason says what is missing.
    Skipped(String),
}

impl Verdict {
    /// The verdict in capital letters, as it is shown.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Confirmed => "CONFIRMED",
            Self::NotHere => "NOT HERE",
            Self::Inconclusive(_) => "INCONCLUSIVE",
            Self::Skipped(_) => "SKIPPED",
        }
    }

    /// Why there is no answer, if there is none.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Confirmed | Self::NotHere => None,
            Self::Inconclusive(reason) | Self::Skipped(reason) => Some(reason),
        }
    }
}

/// What must hold for the numbers to mean anything, and whether it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Premise {
    /// What must hold, with the number that was counted.
    pub text: String,
    /// Whether it did, in every repeat.
    pub held: bool,
}

impl Premise {
    /// A premise and whether it held.
    #[must_use]
    pub fn new(held: bool, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            held,
        }
    }
}

/// What the samples say about one part of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tendency {
    /// The middle half of the samples is on the claim's side.
    Holds,
    /// The middle half of the samples is on the other side.
    Fails,
    /// The samples are on both sides, or there are none.
    Unclear,
}

/// One part of a claim: what the samples say and the sentence with the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// What the samples say.
    pub tendency: Tendency,
    /// The sentence with the numbers.
    pub text: String,
}

impl Part {
    /// A part of a claim.
    #[must_use]
    pub fn new(tendency: Tendency, text: impl Into<String>) -> Self {
        Self {
            tendency,
            text: text.into(),
        }
    }
}

/// Does the middle half of `s` lie within `low..=high`?
#[must_use]
pub fn within(s: &Summary, low: f64, high: f64) -> Tendency {
    if s.q1 >= low && s.q3 <= high {
        Tendency::Holds
    } else if s.q1 > high || s.q3 < low {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// Is the middle half of `s` at most `limit`?
#[must_use]
pub fn at_most(s: &Summary, limit: f64) -> Tendency {
    within(s, f64::NEG_INFINITY, limit)
}

/// Is the middle half of `s` at most `fine`? It is not only when all of it is past `wrong`; between the
/// two lies what neither the claim nor its contrary explains, such as the effect of other programs.
#[must_use]
pub fn at_most_unless_past(s: &Summary, fine: f64, wrong: f64) -> Tendency {
    if s.q3 <= fine {
        Tendency::Holds
    } else if s.q1 > wrong {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// Is the middle half of `s` at least `limit`?
#[must_use]
pub fn at_least(s: &Summary, limit: f64) -> Tendency {
    within(s, limit, f64::INFINITY)
}

/// The same, but a failure only if `given`: where something that would explain it was not ruled out, such as
/// programs that took the CPUs, it decides nothing. Success in spite of it counts.
#[must_use]
pub fn fails_only_if(given: bool, tendency: Tendency) -> Tendency {
    match tendency {
        Tendency::Fails if !given => Tendency::Unclear,
        other => other,
    }
}

/// Is `large` at least `factor` times `small`, comparing the near ends of the middle halves?
#[must_use]
pub fn times_larger(large: &Summary, small: &Summary, factor: f64) -> Tendency {
    if large.q1 >= factor * small.q3 {
        Tendency::Holds
    } else if large.q3 < factor * small.q1 {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// What a single run decides: a claim that something never happens, or always, falls with one run that is
/// otherwise. `number` is what `holds` was read from, NaN if there was nothing to read.
#[must_use]
pub fn decided(holds: bool, number: f64) -> Tendency {
    match (number.is_nan(), holds) {
        (true, _) => Tendency::Unclear,
        (false, true) => Tendency::Holds,
        (false, false) => Tendency::Fails,
    }
}

/// What became of one arm, as the decision sees it.
#[derive(Clone, Debug)]
pub struct ArmState<'a> {
    /// What is shown to people.
    pub label: &'a str,
    /// Whether the verdict needs the arm.
    pub required: bool,
    /// How many samples it has.
    pub samples: usize,
    /// Why it has no more, if the machine cannot do it.
    pub skipped: Option<&'a str>,
    /// Why it has no more, if it went wrong.
    pub failed: Option<&'a str>,
}

/// Why `arms` allow no verdict, if they do not: rules 1 and 2 at the head of the module.
#[must_use]
pub fn missing(arms: &[ArmState<'_>]) -> Option<Verdict> {
    let required = || arms.iter().filter(|arm| arm.required);
    if let Some((arm, why)) = required().find_map(|a| a.skipped.map(|why| (a, why))) {
        return Some(Verdict::Skipped(format!("{}: {why}", arm.label)));
    }
    if let Some((arm, why)) = required().find_map(|a| a.failed.map(|why| (a, why))) {
        return Some(Verdict::Inconclusive(format!(
            "{} failed: {why}",
            arm.label
        )));
    }
    required().find(|a| a.samples < MIN_SAMPLES).map(|arm| {
        Verdict::Inconclusive(format!(
            "{} has {} of the {MIN_SAMPLES} samples a verdict needs",
            arm.label, arm.samples
        ))
    })
}

/// The verdict for complete samples: rules 3 to 6 at the head of the module.
#[must_use]
pub fn decide(premises: &[Premise], parts: &[Part]) -> Verdict {
    if let Some(premise) = premises.iter().find(|premise| !premise.held) {
        return Verdict::Inconclusive(format!("the premise does not hold: {}", premise.text));
    }
    if parts.iter().any(|part| part.tendency == Tendency::Fails) {
        return Verdict::NotHere;
    }
    match parts.iter().find(|part| part.tendency == Tendency::Unclear) {
        Some(part) => Verdict::Inconclusive(format!("noise: {}", part.text)),
        None => Verdict::Confirmed,
    }
}

/// Fails unless `verdict` is inconclusive for a reason that contains `word`: what the tests of experiments
/// plant a false premise for.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_inconclusive(verdict: &Verdict, word: &str) {
    assert!(
        matches!(verdict, Verdict::Inconclusive(reason) if reason.contains(word)),
        "{verdict:?} is not inconclusive for {word:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(samples: usize) -> ArmState<'static> {
        ArmState {
            label: "an arm",
            required: true,
            samples,
            skipped: None,
            failed: None,
        }
    }

    fn part(tendency: Tendency) -> Part {
        Part::new(tendency, "a part")
    }

    #[test]
    fn the_middle_half_decides_and_not_the_median() {
        let narrow = Summary::of([2.0, 2.1, 2.2, 2.3, 90.0]);
        let wide = Summary::of([2.0, 2.1, 2.2, 12.0, 90.0]);
        assert_eq!(within(&narrow, 1.0, 10.0), Tendency::Holds);
        assert_eq!(within(&wide, 1.0, 10.0), Tendency::Unclear);
        assert_eq!(within(&narrow, 5.0, 10.0), Tendency::Fails);
    }

    #[test]
    fn between_fine_and_wrong_nothing_is_decided() {
        let at = |value: f64| at_most_unless_past(&Summary::of([value; 5]), 25.0, 50.0);
        assert_eq!(
            [at(24.0), at(26.0), at(50.0), at(51.0)],
            [
                Tendency::Holds,
                Tendency::Unclear,
                Tendency::Unclear,
                Tendency::Fails
            ]
        );
        let none = at_most_unless_past(&Summary::EMPTY, 25.0, 50.0);
        assert_eq!(none, Tendency::Unclear);
    }

    #[test]
    fn ratios_compare_the_near_ends() {
        let small = Summary::of([1.0, 1.0, 1.0, 1.0, 2.0]);
        let noisy = Summary::of([1.0, 5.0, 10.0, 20.0, 90.0]);
        let large = Summary::of([20.0, 20.0, 21.0, 22.0, 30.0]);
        assert_eq!(times_larger(&large, &small, 10.0), Tendency::Holds);
        assert_eq!(times_larger(&noisy, &small, 10.0), Tendency::Unclear);
        assert_eq!(times_larger(&small, &large, 10.0), Tendency::Fails);
    }

    #[test]
    fn a_failure_that_something_else_explains_is_unclear_and_success_stays() {
        let all = [Tendency::Holds, Tendency::Fails, Tendency::Unclear];
        assert_eq!(all.map(|t| fails_only_if(true, t)), all);
        assert_eq!(
            all.map(|t| fails_only_if(false, t)),
            [Tendency::Holds, Tendency::Unclear, Tendency::Unclear]
        );
    }

    #[test]
    fn nothing_measured_is_unclear_and_never_a_claim() {
        let none = Summary::EMPTY;
        assert_eq!(within(&none, 0.0, 1.0), Tendency::Unclear);
        assert_eq!(times_larger(&none, &none, 1.0), Tendency::Unclear);
        assert_eq!(decided(true, none.max), Tendency::Unclear);
        assert_eq!(decided(false, none.max), Tendency::Unclear);
    }

    #[test]
    fn a_premise_that_does_not_hold_beats_every_number() {
        let premises = [Premise::new(false, "0.26 switches per round trip")];
        let verdict = decide(&premises, &[part(Tendency::Fails)]);
        assert_eq!(
            verdict,
            Verdict::Inconclusive(
                "the premise does not hold: 0.26 switches per round trip".to_owned()
            )
        );
    }

    #[test]
    fn one_failing_part_refutes_and_one_unclear_part_leaves_open() {
        let held = [Premise::new(true, "fine")];
        let all = |parts: &[Part]| decide(&held, parts);
        assert_eq!(all(&[part(Tendency::Holds)]), Verdict::Confirmed);
        assert_eq!(
            all(&[part(Tendency::Unclear), part(Tendency::Fails)]),
            Verdict::NotHere
        );
        assert!(matches!(
            all(&[part(Tendency::Holds), part(Tendency::Unclear)]),
            Verdict::Inconclusive(reason) if reason.starts_with("noise")
        ));
    }

    #[test]
    fn missing_arms_end_the_decision_before_any_number_is_read() {
        let skipped = ArmState {
            skipped: Some("no room"),
            ..arm(0)
        };
        let failed = ArmState {
            failed: Some("killed"),
            ..arm(5)
        };
        let optional = ArmState {
            required: false,
            ..skipped.clone()
        };
        assert!(matches!(
            missing(&[failed.clone(), skipped]),
            Some(Verdict::Skipped(_))
        ));
        assert!(matches!(
            missing(&[arm(5), failed]),
            Some(Verdict::Inconclusive(_))
        ));
        assert!(matches!(missing(&[arm(4)]), Some(Verdict::Inconclusive(_))));
        assert_eq!(missing(&[optional, arm(5)]), None);
    }
}
