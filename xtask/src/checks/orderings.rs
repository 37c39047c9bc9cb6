//! Every atomic ordering in a library crate carries an `// ORDER:` comment that names its partner.
//!
//! The comment stands on the line itself or alone above it with at most four lines of code between (rustfmt
//! spreads a `compare_exchange` over five lines). Renaming `Ordering` or one of its variants is a fault,
//! because the rule goes by name.

use super::is_library;
use crate::report::Outcome;
use crate::source::{Source, Token, UsedPath};
use crate::tree::Tree;

const VARIANTS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// How many lines of code may stand between the comment and the ordering.
const REACH: usize = 4;

/// How many words a comment has at least.
const FEWEST_WORDS: usize = 3;

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    for (_, path, source) in tree.crate_sources(is_library) {
        if !tree.is_test_only(path) {
            check_file(path, source, &mut outcome);
        }
    }
    outcome
}

fn check_file(path: &str, source: &Source, outcome: &mut Outcome) {
    for import in source
        .paths()
        .iter()
        .filter(|p| p.is_import && p.renamed.is_some())
    {
        let last = import.segments.last().map_or("", String::as_str);
        if last == "Ordering" || VARIANTS.contains(&last) {
            let message =
                format!("`{last}` is imported under another name; the ORDER rule goes by name");
            outcome.fault(path, import.line, message);
        }
    }
    let bare_count = imports_variants(source);
    for line in ordering_lines(source.tokens(), bare_count) {
        if source.is_test_line(line) {
            continue;
        }
        outcome.saw_one();
        match source.comment_near(line, "ORDER:", REACH) {
            None => outcome.fault(
                path,
                line,
                "ordering without an `// ORDER:` comment naming its partner",
            ),
            Some(at) if !says_something(source, at) => {
                outcome.fault(
                    path,
                    at,
                    "the ORDER comment says nothing; name the partner of this ordering",
                );
            }
            Some(_) => {}
        }
    }
}

/// Whether a bare `Relaxed` in this file can be an ordering.
fn imports_variants(source: &Source) -> bool {
    let shipped = |p: &&UsedPath| p.is_import && !source.is_test_line(p.line);
    source.paths().iter().filter(shipped).any(|p| {
        let last = p.segments.last().map_or("", String::as_str);
        last == "*" || VARIANTS.contains(&last)
    })
}

/// The line of each ordering outside `use` items, one entry per site.
fn ordering_lines(tokens: &[Token], bare_count: bool) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut in_use = false;
    for (at, token) in tokens.iter().enumerate() {
        let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
        match token.text.as_str() {
            "use" if text(at + 1) != "<" => in_use = true,
            ";" => in_use = false,
            name if !in_use && VARIANTS.contains(&name) => {
                let qualified = at > 1 && text(at - 1) == "::";
                let is_site = if qualified {
                    text(at - 2) == "Ordering"
                } else {
                    bare_count
                };
                if is_site {
                    lines.push(token.line);
                }
            }
            _ => {}
        }
    }
    lines
}

/// Whether the comment on line `at` has content, or refers to one just above it that has ("as above").
fn says_something(source: &Source, at: usize) -> bool {
    let text = source
        .comment(at)
        .split_once("ORDER:")
        .map_or("", |(_, text)| text.trim());
    if !text.trim_end_matches('.').eq_ignore_ascii_case("as above") {
        return text.split_whitespace().count() >= FEWEST_WORDS;
    }
    let above = source.comment_near(at - 1, "ORDER:", REACH);
    above.is_some_and(|above| says_something(source, above))
}
