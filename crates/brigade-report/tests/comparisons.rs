//! Two documents side by side.

use brigade_lab::experiment::Show;
use brigade_lab::units::Unit;
use brigade_lab::{Document, Sample, Scale, Verdict};
use brigade_report::compare::State;
use brigade_report::{Comparison, compare_page};

fn fixture() -> Document {
    serde_json::from_str(include_str!("data/every-figure.json")).expect("a document")
}

fn compare(a: &Document, b: &Document) -> Comparison {
    Comparison::of(["a.json", "b.json"], [a, b])
}

#[test]
fn a_document_does_not_differ_from_itself() {
    let document = fixture();
    let same = compare(&document, &document);
    assert_eq!((same.changed, same.common()), (0, 6));
    assert!(same.differences.is_empty());
    for arm in same.experiments.iter().flat_map(|pair| &pair.arms) {
        let measured = arm.summaries[0].is_some();
        assert_eq!(arm.ratio, measured.then_some(1.0), "{}", arm.label);
        assert_eq!(arm.overlap, measured.then_some(true), "{}", arm.label);
    }
}

#[test]
fn changed_verdicts_come_first_and_experiments_of_one_document_last() {
    let (mut a, mut b) = (fixture(), fixture());
    b.reports[3].verdict = Verdict::Confirmed;
    a.reports.remove(0);
    b.reports.remove(5);
    let comparison = compare(&a, &b);
    let states: Vec<State> = comparison
        .experiments
        .iter()
        .map(|pair| pair.state)
        .collect();
    use State::{Changed, OnlyFirst, OnlySecond, Same};
    assert_eq!(states, [Changed, Same, Same, Same, OnlyFirst, OnlySecond]);
    let first = &comparison.experiments[0];
    assert_eq!(first.name, "timeline");
    assert_eq!(
        first.verdicts,
        [Some("NOT HERE".to_owned()), Some("CONFIRMED".to_owned())]
    );
}

#[test]
fn another_reason_for_the_same_verdict_is_no_difference() {
    let (a, mut b) = (fixture(), fixture());
    b.reports[2].verdict = Verdict::Inconclusive("other noise".to_owned());
    assert_eq!(compare(&a, &b).changed, 0);
}

#[test]
fn ratios_and_overlap_come_from_the_samples() {
    let (a, mut b) = (fixture(), fixture());
    for sample in &mut b.reports[0].arms[0].samples {
        *sample = Sample::new().with("ns", 10.0 * sample.get("ns"));
    }
    let comparison = compare(&a, &b);
    let arms = &comparison.experiments[0].arms;
    assert!((arms[0].ratio.unwrap() - 10.0).abs() < 1e-9);
    assert_eq!(
        (arms[0].overlap, arms[1].overlap),
        (Some(false), Some(true))
    );
    assert_eq!(
        (arms[0].ratio_text().as_str(), arms[0].overlap_text()),
        ("10 x", "apart")
    );
}

#[test]
fn numbers_of_another_name_or_unit_are_not_compared() {
    let a = fixture();
    let main = |document: &Document| {
        let metrics = &document.reports[0].metrics;
        metrics
            .iter()
            .position(|metric| metric.show == Show::Spread)
            .expect("a main metric")
    };
    let (mut renamed, mut in_bytes) = (fixture(), fixture());
    let at = main(&a);
    renamed.reports[0].metrics[at].key = "other".to_owned();
    for arm in &mut renamed.reports[0].arms {
        for sample in &mut arm.samples {
            *sample = Sample::new().with("other", 5.0);
        }
    }
    in_bytes.reports[0].metrics[at].unit = Unit::Bytes;
    for b in [renamed, in_bytes] {
        for arm in &compare(&a, &b).experiments[0].arms {
            assert_eq!((arm.ratio, arm.overlap), (None, None), "{arm:?}");
            assert_eq!(arm.summaries[1], None, "{arm:?}");
        }
    }
}

#[test]
fn differences_of_machines_and_scales_are_named() {
    let (a, mut b) = (fixture(), fixture());
    b.scale = Scale::Full;
    b.environment.kernel = "6.1.0".to_owned();
    b.environment.libc = None;
    let comparison = compare(&a, &b);
    let names: Vec<&str> = comparison
        .differences
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    assert_eq!(names, ["Kernel", "C library", "Scale"]);
    assert_eq!(comparison.differences[1].values[1], None);
    assert!(
        comparison
            .warnings()
            .iter()
            .any(|w| w.contains("scales differ"))
    );
    let back = compare(&b, &a);
    assert_eq!(back.differences.len(), 3);
}

#[test]
fn documents_with_nothing_in_common_are_said_to_have_nothing_compared() {
    let (a, mut b) = (fixture(), fixture());
    b.reports.clear();
    let comparison = compare(&a, &b);
    assert_eq!(comparison.common(), 0);
    assert!(
        comparison
            .warnings()
            .iter()
            .any(|w| w.contains("nothing was compared"))
    );
}

#[test]
fn the_page_names_both_runs_escapes_their_text_and_links_every_experiment() {
    let (a, mut b) = (fixture(), fixture());
    b.reports[1].verdict = Verdict::Confirmed;
    let comparison = Comparison::of(["<b>a", "b.json"], [&a, &b]);
    let page = compare_page(&comparison);
    assert!(page.contains("&lt;b&gt;a") && page.contains("b.json") && !page.contains("<b>a"));
    assert!(page.contains("1 verdict differs among 6 common experiments."));
    for index in 0..6 {
        assert!(page.contains(&format!("href=\"#pair-{index}\"")));
        assert!(page.contains(&format!("id=\"pair-{index}\"")));
    }
    assert_eq!(page.matches("<script").count(), 1);
}
