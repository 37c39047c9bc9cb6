//! `ratchet.txt`: numbers that may only go one way.
//!
//! A line is `limit NAME N` (a counter that must equal N; it is lowered when the code improves and never
//! raised) or `floor CHECK N` (a check that examines fewer than N things is broken). Exact limits keep an
//! improvement from being lost again.

use crate::tree::Tree;

/// Where the numbers are.
pub const PATH: &str = "xtask/ratchet.txt";

/// The floor of the check `name`; 0 when none is recorded.
pub fn floor(tree: &Tree, name: &str) -> usize {
    number(tree, "floor", name).unwrap_or(0)
}

/// The limit of the counter `name`; `None` when none is recorded.
pub fn limit(tree: &Tree, name: &str) -> Option<usize> {
    number(tree, "limit", name)
}

fn number(tree: &Tree, kind: &str, name: &str) -> Option<usize> {
    let text = tree.text(PATH)?;
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let matches = words.next() == Some(kind) && words.next() == Some(name);
        if matches {
            words.next()?.parse().ok()
        } else {
            None
        }
    })
}
