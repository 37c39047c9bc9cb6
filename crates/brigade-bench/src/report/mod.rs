//! The results as text for people and as JSON for programs.

pub(crate) mod json;
pub(crate) mod text;

use crate::line::{Line, Target};
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

/// What more than one worker did to one of Brigade's lines.
pub(crate) struct Scaling {
    /// The line.
    pub(crate) line: Line,
    /// How many workers.
    pub(crate) workers: usize,
    /// The median with them over the one with one worker.
    pub(crate) ratio: f64,
    /// Whether they made it slower beyond the spread: the lower quartile with them is above the upper one without.
    pub(crate) slower: bool,
}

/// Judges every line about time that was run with one worker and with more. None may be slower with more.
pub(crate) fn scaling(outcomes: &[Outcome]) -> Vec<Scaling> {
    let ours = |o: &Outcome| o.summary(Rival::Brigade, o.spec.metrics[0]).copied();
    let timed = |o: &&Outcome| !o.spec.metrics[0].ends_with("_bytes");
    let mut found = Vec::new();
    for one in outcomes.iter().filter(timed).filter(|o| o.workers == 1) {
        let more = outcomes
            .iter()
            .filter(|o| o.workers > 1 && o.spec.line == one.spec.line);
        for more in more {
            if let Some((before, after)) = ours(one).zip(ours(more)) {
                found.push(Scaling {
                    line: one.spec.line,
                    workers: more.workers,
                    ratio: after.median / before.median,
                    slower: after.q1 > before.q3,
                });
            }
        }
    }
    found
}

/// The rival, Brigade's own variants left out, with the smallest median of a metric.
pub(crate) fn best_rival(outcome: &Outcome, metric: &str) -> Option<(Rival, f64)> {
    let others = outcome.columns.iter().filter(|c| !c.rival.is_ours());
    others
        .filter_map(|c| Some((c.rival, c.metrics.get(metric)?.median)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::LINES;
    use crate::runner::Column;
    use crate::stats::Summary;

    fn outcome(rival: Rival, workers: usize, values: &[f64]) -> Outcome {
        let spec = LINES.iter().find(|s| s.line == Line::PingPong).unwrap();
        let summary = Summary::of(values).unwrap();
        let column = Column {
            rival,
            n: spec.quick,
            metrics: [(spec.metrics[0].to_owned(), summary)].into(),
            failure: None,
            failed: false,
        };
        Outcome {
            spec,
            workers,
            columns: vec![column],
            foreign: None,
        }
    }

    #[test]
    fn more_workers_are_slower_only_when_the_quartiles_are_apart() {
        let judge = |two: &[f64]| {
            let one = outcome(Rival::Brigade, 1, &[10.0, 11.0, 12.0]);
            let found = scaling(&[one, outcome(Rival::Brigade, 2, two)]);
            (found[0].ratio > 1.0, found[0].slower)
        };
        assert_eq!(judge(&[9.0, 10.0, 11.0]), (false, false));
        assert_eq!(judge(&[10.0, 11.5, 13.0]), (true, false));
        assert_eq!(judge(&[20.0, 22.0, 24.0]), (true, true));
    }

    #[test]
    fn only_brigade_is_judged_for_more_workers() {
        let kernel = |workers| outcome(Rival::Kernel, workers, &[f64::from(workers as u8)]);
        assert!(scaling(&[kernel(1), kernel(2)]).is_empty());
    }

    #[test]
    fn no_variant_of_brigade_is_its_best_rival() {
        let both = outcome(Rival::BrigadeStd, 2, &[1.0]);
        assert!(best_rival(&both, both.spec.metrics[0]).is_none());
        let other = outcome(Rival::Kernel, 2, &[1.0]);
        let best = best_rival(&other, other.spec.metrics[0]);
        assert_eq!(best, Some((Rival::Kernel, 1.0)));
    }
}
