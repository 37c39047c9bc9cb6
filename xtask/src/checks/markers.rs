//! No reminders in the tree: work that is not done is an issue, not a comment.

use crate::report::Outcome;
use crate::tree::Tree;

/// The words, in two halves so that this file does not break its own rule.
const MARKERS: [(&str, &str); 3] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X")];

/// Macros that stand for code that was not written.
const UNWRITTEN: [(&str, &str); 2] = [("to", "do!("), ("unimpl", "emented!(")];

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    for (path, text) in tree.texts().filter(|(_, text)| !text.is_empty()) {
        outcome.saw_one();
        for (index, line) in text.lines().enumerate() {
            for marker in MARKERS.iter().map(|(a, b)| format!("{a}{b}")) {
                let mut words = line.split(|c: char| !c.is_alphanumeric());
                if words.any(|word| word == marker) {
                    outcome.fault(
                        path,
                        index + 1,
                        format!("`{marker}`: do it, or open an issue and drop the note"),
                    );
                }
            }
            for name in UNWRITTEN.iter().map(|(a, b)| format!("{a}{b}")) {
                if path.ends_with(".rs") && line.contains(&name) {
                    outcome.fault(
                        path,
                        index + 1,
                        format!("`{name}...)`: write the code or return an error"),
                    );
                }
            }
        }
    }
    outcome
}

/// How many tests are marked `#[ignore]`, conditionally or not; printed so that the number is seen.
pub fn ignored_tests(tree: &Tree) -> usize {
    let count = |source: &crate::source::Source| {
        let tokens = source.tokens();
        let is_mark = |at: usize| {
            let before = at.checked_sub(1).map_or("", |b| tokens[b].text.as_str());
            let after = tokens.get(at + 1).map_or("", |t| t.text.as_str());
            tokens[at].text == "ignore"
                && matches!(before, "[" | ",")
                && matches!(after, "]" | "=" | ")")
        };
        (0..tokens.len()).filter(|at| is_mark(*at)).count()
    };
    tree.sources().map(|(_, source)| count(source)).sum()
}
