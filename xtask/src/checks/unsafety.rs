//! Every unsafe block and impl has a `// SAFETY:` comment, and the comment says something.
//!
//! The compiler's lint asks for the comment; this rule also refuses one without content, in all crates and in
//! tests too.

use crate::report::Outcome;
use crate::source::Source;
use crate::tree::Tree;

/// Texts that have the form of an argument and are none.
const FILLER: [&str; 12] = [
    "ok",
    "safe",
    "this is safe",
    "trust me",
    "untriaged",
    "see above",
    "as above",
    "same as above",
    "obvious",
    "obviously safe",
    "caller ensures",
    "always safe",
];

/// How many words an argument has at least.
const FEWEST_WORDS: usize = 3;

/// How many lines of code may stand between the comment and the block (a statement may start above it).
const REACH: usize = 4;

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    for (path, source) in tree.sources() {
        for line in unsafe_lines(source) {
            outcome.saw_one();
            match source.comment_near(line, "SAFETY:", REACH) {
                None => outcome.fault(path, line, "unsafe without a `// SAFETY:` comment"),
                Some(at) if is_filler(&argument(source, at)) => {
                    outcome.fault(
                        path,
                        at,
                        "the SAFETY comment argues nothing; answer the contract item by item",
                    );
                }
                Some(_) => {}
            }
        }
    }
    outcome
}

/// The lines of `unsafe {` and `unsafe impl`.
fn unsafe_lines(source: &Source) -> Vec<usize> {
    let pairs = source.tokens().windows(2).filter(|w| w[0].text == "unsafe");
    pairs
        .filter(|w| matches!(w[1].text.as_str(), "{" | "impl"))
        .map(|w| w[0].line)
        .collect()
}

/// The comment from `SAFETY:` on line `at` to the end of its block of comment lines.
fn argument(source: &Source, at: usize) -> String {
    let first = source
        .comment(at)
        .split_once("SAFETY:")
        .map_or("", |(_, text)| text)
        .trim()
        .to_owned();
    let more = (at + 1..=source.line_count())
        .take_while(|l| !source.is_code(*l) && !source.comment(*l).is_empty())
        .map(|l| source.comment(l).trim_start_matches('/').trim());
    more.fold(first, |text, line| format!("{text} {line}"))
}

fn is_filler(text: &str) -> bool {
    let plain = text.trim().trim_end_matches(['.', '!', '…']).to_lowercase();
    FILLER.contains(&plain.as_str()) || plain.split_whitespace().count() < FEWEST_WORDS
}
