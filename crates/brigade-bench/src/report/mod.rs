//! The results as text for people and as JSON for programs.

pub(crate) mod json;
pub(crate) mod text;

use crate::line::Target;
use crate::rival::Rival;
use crate::runner::Outcome;

/// Brigade against one target.
pub(crate) struct Verdict {
    /// The metric.
    pub(crate) metric: &'static str,
    /// The target in words.
    pub(crate) wanted: String,
    /// Brigade's median over the target; at most 1 is reached. `None`: not measured.
    pub(crate) ratio: Option<f64>,
}

/// Judges every target of a line.
pub(crate) fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    let judge = |&(metric, target): &(&'static str, Target)| {
        let median = |rival| outcome.summary(rival, metric).map(|s| s.median);
        let (wanted, limit) = match target {
            Target::Times(1.0, rival) => (format!("<= {}", rival.name()), median(rival)),
            Target::Times(factor, rival) => (
                format!("<= {factor} x {}", rival.name()),
                median(rival).map(|m| m * factor),
            ),
            Target::AtMost(limit) => (format!("<= {}", text::figure(metric, limit)), Some(limit)),
            Target::Told(words) => (words.to_owned(), None),
        };
        let ratio = median(Rival::Brigade).zip(limit).map(|(b, l)| b / l);
        Verdict {
            metric,
            wanted,
            ratio,
        }
    };
    outcome.spec.targets.iter().map(judge).collect()
}

/// The rival, other than Brigade, with the smallest median of a metric.
pub(crate) fn best_rival(outcome: &Outcome, metric: &str) -> Option<(Rival, f64)> {
    let others = outcome.columns.iter().filter(|c| c.rival != Rival::Brigade);
    others
        .filter_map(|c| Some((c.rival, c.metrics.get(metric)?.median)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}
