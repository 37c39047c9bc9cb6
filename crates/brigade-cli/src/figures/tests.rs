//! What holds for every kind of figure, whatever it is made of.

use brigade_lab::figure::{Axis, Bar, Content, Figure, Group, Line, Mark, Row, Span, Track};
use brigade_lab::units::Unit;
use proptest::prelude::*;

use super::*;

/// Any number, with those that drawings go wrong with more often than by chance.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.0..1e6_f64,
        Just(0.0),
        Just(1.0),
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::MIN_POSITIVE),
        Just(f64::NAN),
        Just(f64::INFINITY),
    ]
}

/// Any text, with such as would move the cursor.
fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,60}",
        "[a-z ]{0,12}",
        Just("\u{1b}[2J\r\n\t".to_owned())
    ]
}

fn axis() -> impl Strategy<Value = Axis> {
    let unit = prop_oneof![
        Just(Unit::Nanoseconds),
        Just(Unit::Bytes),
        Just(Unit::Count),
        Just(Unit::Share)
    ];
    (label(), unit, any::<bool>()).prop_map(|(label, unit, logarithmic)| Axis {
        label,
        unit,
        logarithmic,
    })
}

fn some<T: std::fmt::Debug>(each: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(each, 0..12)
}

fn bars() -> impl Strategy<Value = Content> {
    let bar = (label(), value(), value(), value()).prop_map(|(label, value, low, high)| Bar {
        label,
        value,
        low,
        high,
    });
    (axis(), some(bar)).prop_map(|(axis, bars)| Content::Bars { axis, bars })
}

fn lines() -> impl Strategy<Value = Content> {
    let points = some((value(), value()).prop_map(|(x, y)| [x, y]));
    let line = (label(), points).prop_map(|(label, points)| Line { label, points });
    let mark = (label(), value()).prop_map(|(label, x)| Mark { label, x });
    (axis(), axis(), some(line), some(mark)).prop_map(|(x, y, lines, marks)| Content::Lines {
        x,
        y,
        lines,
        marks,
    })
}

fn histogram() -> impl Strategy<Value = Content> {
    let group = (label(), some(value())).prop_map(|(label, values)| Group { label, values });
    let groups = prop_oneof![
        prop::collection::vec(group, 0..5),
        value().prop_map(|value| vec![Group {
            label: String::new(),
            values: vec![value; 3],
        }]),
    ];
    (axis(), groups).prop_map(|(axis, groups)| Content::Histogram { axis, groups })
}

fn timeline() -> impl Strategy<Value = Content> {
    let span = (value(), value(), label()).prop_map(|(from_ns, to_ns, what)| Span {
        from_ns,
        to_ns,
        what,
    });
    let track = (label(), some(span)).prop_map(|(label, spans)| Track { label, spans });
    some(track).prop_map(|tracks| Content::Timeline { tracks })
}

fn matrix() -> impl Strategy<Value = Content> {
    let row = (label(), prop::collection::vec(label(), 0..20))
        .prop_map(|(label, cells)| Row { label, cells });
    (prop::collection::vec(label(), 0..20), some(row))
        .prop_map(|(columns, rows)| Content::Matrix { columns, rows })
}

fn keeps_the_rules(figure: &Figure) -> Result<(), TestCaseError> {
    let text = draw(figure);
    prop_assert!(!text.is_empty());
    for line in text.lines() {
        prop_assert!(
            line.chars().count() <= WIDTH,
            "{} columns: {line}",
            line.chars().count()
        );
        prop_assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bars_keep_to_the_width(content in bars(), title in label()) {
        keeps_the_rules(&Figure::new(title, content))?;
    }

    #[test]
    fn lines_keep_to_the_width(content in lines(), title in label()) {
        keeps_the_rules(&Figure::new(title, content))?;
    }

    #[test]
    fn histograms_keep_to_the_width_and_lose_no_value(content in histogram(), title in label()) {
        keeps_the_rules(&Figure::new(title, content))?;
    }

    #[test]
    fn timelines_keep_to_the_width(content in timeline(), title in label()) {
        keeps_the_rules(&Figure::new(title, content))?;
    }

    #[test]
    fn matrices_keep_to_the_width(content in matrix(), title in label()) {
        keeps_the_rules(&Figure::new(title, content))?;
    }

    #[test]
    fn every_value_with_a_place_is_counted_in_one_bin(
        values in prop::collection::vec(1e-3..1e12_f64, 1..60),
        logarithmic: bool,
    ) {
        let axis = Axis { logarithmic, ..Axis::linear("", Unit::Count) };
        let group = Group { label: "all".to_owned(), values };
        let lines = histogram::draw(&axis, std::slice::from_ref(&group));
        let counted: usize = lines
            .iter()
            .filter_map(|line| line.rsplit_once("│ ").and_then(|(_, n)| n.parse::<usize>().ok()))
            .sum();
        prop_assert_eq!(counted, group.values.len());
    }
}

fn drawn(content: &Content) -> Vec<String> {
    super::content(content).lines().map(str::to_owned).collect()
}

#[test]
fn the_longest_bar_is_that_of_the_largest_value_and_half_of_it_is_half_as_long() {
    let bar = |label: &str, value| Bar {
        label: label.to_owned(),
        value,
        low: value,
        high: value,
    };
    let text = drawn(&Content::Bars {
        axis: Axis::linear("time", Unit::Nanoseconds),
        bars: vec![bar("a", 1000.0), bar("b", 500.0), bar("none", 0.0)],
    });
    let length = |line: &str| line.chars().filter(|c| *c == '█').count();
    assert_eq!(length(&text[0]), 36);
    assert_eq!(length(&text[1]), 18);
    assert_eq!(length(&text[2]), 0);
    assert!(text[0].ends_with("1 µs") && text[1].ends_with("500 ns"));
}

#[test]
fn powers_of_two_share_out_what_was_seen() {
    let group = Group::new("waits", [1.0, 2.0, 3.0, 4.0, 5.0, 1000.0]);
    let text = drawn(&Content::Histogram {
        axis: Axis::logarithmic("wait", Unit::Nanoseconds),
        groups: vec![group],
    });
    let count = |from: &str| {
        let line = text.iter().find(|line| line.trim_start().starts_with(from));
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    assert_eq!(count("1 ns -").as_deref(), Some("1"), "{text:#?}");
    assert_eq!(count("2 ns -").as_deref(), Some("2"));
    assert_eq!(count("4 ns -").as_deref(), Some("2"));
    assert_eq!(count("512 ns -").as_deref(), Some("1"));
}

#[test]
fn a_timeline_shows_who_did_what_when() {
    let track =
        |label, spans: &[(f64, f64, &'static str)]| Track::new(label, spans.iter().copied());
    let text = drawn(&Content::Timeline {
        tracks: vec![
            track("one", &[(0.0, 50.0, "chop"), (50.0, 100.0, "cook")]),
            track("two", &[(50.0, 100.0, "chop")]),
        ],
    });
    let row = |line: &str| line.split('│').nth(1).unwrap_or("").to_owned();
    let (one, two) = (row(&text[0]), row(&text[1]));
    let half = one.len() / 2;
    assert!(one[..half].chars().all(|c| c == 'c'), "{one}");
    assert!(one[half..].chars().all(|c| c == 'C'), "{one}");
    assert!(two[..half].chars().all(|c| c == '.'), "{two}");
    assert!(two[half..].chars().all(|c| c == 'c'), "{two}");
    assert!(
        text.last()
            .is_some_and(|legend| legend.contains("c chop") && legend.contains("C cook"))
    );
    assert!(text[2].contains("50 ns"), "{}", text[2]);
}

#[test]
fn rows_whose_names_differ_at_the_end_alone_are_told_apart() {
    let track = |label| Track::new(label, [(0.0, 1.0, "x")]);
    let text = drawn(&Content::Timeline {
        tracks: vec![
            track("two cooks who overlap: cook 1"),
            track("two cooks who overlap: cook 2"),
        ],
    });
    assert!(text[0].contains("…: cook 1 │"), "{}", text[0]);
    assert!(text[1].contains("…: cook 2 │"), "{}", text[1]);
}

#[test]
fn a_meaning_that_begins_with_its_letter_does_not_repeat_it() {
    let spans = [(0.0, 1.0, "S sleeps"), (1.0, 2.0, "runs"), (2.0, 3.0, "Z")];
    let text = drawn(&Content::Timeline {
        tracks: vec![Track::new("it", spans)],
    });
    assert_eq!(text.last().map(|l| l.trim()), Some("S sleeps   r runs   Z"));
}

#[test]
fn a_line_that_rises_is_higher_at_the_right() {
    let text = drawn(&Content::Lines {
        x: Axis::linear("threads", Unit::Count),
        y: Axis::linear("time", Unit::Nanoseconds),
        lines: vec![Line::new("up", [[1.0, 0.0], [2.0, 100.0]])],
        marks: vec![Mark {
            label: "CPUs".to_owned(),
            x: 2.0,
        }],
    });
    let rows: Vec<&String> = text.iter().filter(|line| line.contains('│')).collect();
    assert!(
        rows[0].ends_with('a') && rows[0].contains("100 ns"),
        "{text:#?}"
    );
    assert!(rows[rows.len() - 1].contains("│a"));
    assert!(text.iter().any(|line| line.contains("┼ CPUs 2")));
}

#[test]
fn a_matrix_has_a_head_and_wraps_long_cells() {
    let long = "seen by the sibling and by nobody else at all, whatever it does ".repeat(3);
    let text = drawn(&Content::Matrix {
        columns: vec!["thread".to_owned(), "process".to_owned()],
        rows: vec![
            Row::new("heap", ["seen", "not seen"]),
            Row::new("stack", [long.as_str(), "no"]),
        ],
    });
    assert!(text[0].contains("thread") && text[0].contains("process"));
    assert!(text[1].contains("heap") && text[1].contains("not seen"));
    assert!(text.len() > 4, "{text:#?}");
}

#[test]
fn what_does_not_fit_on_a_screen_is_counted() {
    let rows = (0..100).map(|i| Row::new(&i.to_string(), ["x"])).collect();
    let text = drawn(&Content::Matrix {
        columns: Vec::new(),
        rows,
    });
    assert_eq!(text.len(), ROWS + 1);
    assert!(text[ROWS].contains("and 68 more rows"), "{}", text[ROWS]);
}

#[test]
fn things_beyond_the_letters_are_drawn_as_others() {
    let names: Vec<String> = (0..100).map(|i| format!("thing {i}")).collect();
    let spans = names.iter().enumerate();
    let spans = spans.map(|(i, name)| (i as f64, i as f64 + 1.0, name.as_str()));
    let text = drawn(&Content::Timeline {
        tracks: vec![Track::new("all", spans)],
    });
    assert!(text[0].contains('?') && text.last().is_some_and(|l| l.contains("? others")));
}
