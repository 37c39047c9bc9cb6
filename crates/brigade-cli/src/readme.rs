//! The README shows what the tour prints: its form is checked here, not its numbers, which are those of one machine.
//!
//! `...` on a line of its own stands for what was left out.

use brigade_lab::{Scale, Theme};

use crate::render::{MARGIN, WIDTH, paragraph};
use crate::short::first_sentence;

const README: &str = include_str!("../../../README.md");

/// The tour's output in the README: the first fence of text.
fn excerpt() -> &'static str {
    let (_, rest) = README.split_once("```text\n").expect("a fence of text");
    rest.split_once("```").expect("its end").0
}

/// The name in a heading made of `rule`, if `line` is one.
fn name_in(line: &str, rule: char) -> Option<&str> {
    let (name, rest) = line.split_once(&format!(" {}", rule.to_string().repeat(4)))?;
    rest.starts_with(rule).then_some(name)
}

/// The experiments with the lines below their headings.
fn sections() -> Vec<(&'static str, String)> {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for line in excerpt().lines() {
        if let Some(name) = name_in(line, '-') {
            sections.push((name, String::new()));
        } else if name_in(line, '=').is_some() || line == "..." {
            // What comes now belongs to nobody until the next heading.
            sections.push(("", String::new()));
        } else if let Some((_, text)) = sections.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    sections.retain(|(name, _)| !name.is_empty());
    sections
}

#[test]
fn the_tour_in_the_readme_keeps_to_its_width_and_has_its_parts() {
    let text = excerpt();
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
    let titles = Theme::ALL.map(Theme::title);
    let mut headings = text.lines().filter_map(|line| name_in(line, '='));
    assert!(headings.all(|name| name == "Summary" || titles.contains(&name)));
    for head in ["Machine  ", "Run      ", "Summary ====", "\nVerdicts   "] {
        assert!(text.contains(head), "{head}");
    }
}

#[test]
fn experiments_in_the_readme_are_told_as_the_tour_tells_them() {
    let sections = sections();
    assert!(sections.len() >= 2, "{sections:?}");
    for (name, text) in sections {
        let experiment = brigade_lab::find(name).expect(name);
        let info = experiment.info();
        let claim = paragraph("Claim", MARGIN, info.claim);
        let done = paragraph("Done", MARGIN, first_sentence(info.method));
        let begin = format!("{claim}{done}\n");
        assert!(text.starts_with(&begin), "{name}: {begin}");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
        for arm in experiment.arms(Scale::Quick) {
            let row = format!("  {}", arm.label);
            assert!(
                rows.iter().any(|line| line.starts_with(&row)),
                "{name}: {row}"
            );
        }
        let verdicts = ["CONFIRMED", "NOT HERE", "INCONCLUSIVE", "SKIPPED"];
        let verdict = |word: &&str| text.contains(&format!("\nVerdict  {word}: "));
        assert!(verdicts.iter().any(verdict), "{name}");
    }
}

#[test]
fn verdicts_in_the_summary_are_of_experiments_there_are() {
    let (_, summary) = excerpt().split_once("Summary ====").expect("a summary");
    let words: Vec<&str> = summary.split_whitespace().collect();
    let verdicts = ["CONFIRMED", "NOT", "INCONCLUSIVE", "SKIPPED"];
    let named: Vec<&str> = words
        .windows(2)
        .filter(|pair| verdicts.contains(&pair[1]))
        .map(|pair| pair[0])
        .collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(brigade_lab::find(name).is_some(), "{name}");
    }
}
