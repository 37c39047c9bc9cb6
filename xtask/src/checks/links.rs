//! Prose that names a file is right about it.
//!
//! In every `.md` file outside code fences: a relative link resolves, an anchor matches a heading of the file
//! it points into, and a back-ticked path below one of the workspace's directories exists. Links to the web
//! are not followed.

use std::collections::BTreeMap;

use crate::report::Outcome;
use crate::tree::Tree;

/// Directories at the root: a back-ticked path that starts with one of them must exist.
const ROOTS: [&str; 3] = ["crates/", "xtask/", ".ci/"];

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (number, line) in prose(text) {
            for target in link_targets(line) {
                outcome.saw_one();
                check_link(tree, path, number, target, &mut outcome);
            }
            for name in back_ticked(line).filter(|name| is_path(name)) {
                outcome.saw_one();
                if !tree.exists(name) {
                    outcome.fault(
                        path,
                        number,
                        format!("names `{name}`, which does not exist"),
                    );
                }
            }
        }
    }
    outcome
}

/// The lines outside code fences, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((index + 1, line))
    })
}

/// The targets of `[text](target)` in a line.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

/// What stands between single back-ticks in a line.
fn back_ticked(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(name: &str) -> bool {
    let plain = name
        .chars()
        .all(|c| c.is_alphanumeric() || "/._-".contains(c));
    plain && ROOTS.iter().any(|root| name.starts_with(root))
}

fn check_link(tree: &Tree, path: &str, line: usize, target: &str, outcome: &mut Outcome) {
    if target.contains("://") || target.starts_with("mailto:") {
        return;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let resolved = if file.is_empty() {
        path.to_owned()
    } else {
        resolve(path, file)
    };
    if !tree.exists(&resolved) {
        return outcome.fault(path, line, format!("the link `{target}` leads nowhere"));
    }
    let text = tree.text(&resolved).unwrap_or("");
    if !anchor.is_empty() && !anchors(text).contains_key(anchor) {
        outcome.fault(
            path,
            line,
            format!("`{resolved}` has no heading `#{anchor}`"),
        );
    }
}

/// `link` as seen from the directory of `from`, relative to the root.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchors a Markdown viewer makes of the headings, each with how often its text occurs.
fn anchors(text: &str) -> BTreeMap<String, usize> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = found.get(&slug).copied().unwrap_or(0);
        if count > 0 {
            found.insert(format!("{slug}-{count}"), 1);
        }
        found.insert(slug, count + 1);
    }
    found
}
