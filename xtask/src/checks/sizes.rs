//! Functions of at most 70 lines of code, files of at most 800: comments and blank lines are not counted.
//!
//! Both are counters in `ratchet.txt`. A count above the recorded one means something grew; one below means
//! the record must be lowered, so that the gain stays.

use super::ratchet;
use crate::report::Outcome;
use crate::tree::Tree;

/// The most lines of code in a function.
pub const FUNCTION_LINES: usize = 70;

/// The most lines of code in a file.
pub const FILE_LINES: usize = 800;

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut functions, mut files) = (Vec::new(), Vec::new());
    for (path, source) in tree.sources() {
        for function in source.functions() {
            outcome.saw_one();
            let lines = source.code_lines_in(function.lines.clone());
            if lines > FUNCTION_LINES {
                let what = format!("function `{}` has {lines} lines of code", function.name);
                functions.push((path, *function.lines.start(), what));
            }
        }
        let lines = source.code_line_count();
        if lines > FILE_LINES {
            files.push((path, 0, format!("has {lines} lines of code")));
        }
    }
    compare(
        tree,
        "long-functions",
        FUNCTION_LINES,
        &functions,
        &mut outcome,
    );
    compare(tree, "long-files", FILE_LINES, &files, &mut outcome);
    outcome
}

fn compare(
    tree: &Tree,
    counter: &str,
    most: usize,
    found: &[(&str, usize, String)],
    outcome: &mut Outcome,
) {
    let limit = ratchet::limit(tree, counter).unwrap_or(0);
    if found.len() > limit {
        for (path, line, what) in found {
            outcome.fault(
                path,
                *line,
                format!("{what}, the most is {most} ({counter} {limit}); split it"),
            );
        }
    }
    if found.len() < limit {
        let message = format!(
            "{counter} is {limit}, but only {} are left; lower it",
            found.len()
        );
        outcome.fault(ratchet::PATH, 0, message);
    }
}
