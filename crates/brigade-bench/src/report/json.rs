//! The JSON report. `schema_version` changes when a field changes its meaning or goes away.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Scaling, best_rival, scaling, verdicts};
use crate::machine::Machine;
use crate::runner::{Column, Outcome};

/// Renders all results as one document.
pub(crate) fn render(machine: &Machine, outcomes: &[Outcome]) -> String {
    let document = json!({
        "schema_version": 1,
        "machine": machine,
        "lines": outcomes.iter().map(line).collect::<Vec<_>>(),
        "scaling": scaling(outcomes).iter().map(more_workers).collect::<Vec<_>>(),
    });
    format!("{document:#}")
}

fn line(outcome: &Outcome) -> Value {
    let spec = outcome.spec;
    let targets = verdicts(outcome)
        .into_iter()
        .map(|v| json!({ "metric": v.metric, "wanted": v.wanted, "brigade_over_target": v.ratio }));
    let best = best_rival(outcome, spec.metrics[0]);
    json!({
        "line": spec.line,
        "about": spec.about,
        "n_counts": spec.counts,
        "workers": outcome.workers,
        "foreign_load": outcome.foreign,
        "best_rival": best.map(|(rival, median)| json!({ "rival": rival, "median": median })),
        "targets": targets.collect::<Vec<_>>(),
        "rivals": outcome.columns.iter().map(column).collect::<Vec<_>>(),
    })
}

fn more_workers(found: &Scaling) -> Value {
    json!({
        "line": found.line,
        "workers": found.workers,
        "brigade_over_one_worker": found.ratio,
        "slower": found.slower,
    })
}

fn column(column: &Column) -> impl Serialize {
    json!({
        "rival": column.rival,
        "n": column.n,
        "metrics": column.metrics,
        "failure": column.failure,
    })
}
