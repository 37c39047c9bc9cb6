//! Inside a crate listed in `modules.txt`, a module may name only modules before it.
//!
//! `crate::m` must point backwards, and so must a `super::` chain that reaches the crate root. A module that
//! exists but is not listed, and one that is listed but does not exist, are faults.

use std::collections::BTreeSet;

use crate::report::Outcome;
use crate::source::UsedPath;
use crate::tree::Tree;

/// Where the table is.
pub const PATH: &str = "xtask/modules.txt";

/// One crate's order.
#[derive(Debug)]
struct Order {
    name: String,
    line: usize,
    modules: Vec<String>,
    planned: BTreeSet<String>,
}

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    for order in parse_table(tree.text(PATH).unwrap_or(""), &mut outcome) {
        check_crate(tree, &order, &mut outcome);
    }
    outcome
}

fn parse_table(text: &str, outcome: &mut Outcome) -> Vec<Order> {
    let mut orders = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let Some((name, list)) = line.split_once(':') else {
            outcome.fault(
                PATH,
                index + 1,
                "is not of the form `crate: first < second < ...`",
            );
            continue;
        };
        let words: Vec<&str> = list.split('<').map(str::trim).collect();
        let planned = words
            .iter()
            .filter_map(|w| w.strip_suffix('?'))
            .map(str::to_owned)
            .collect();
        let modules = words
            .iter()
            .map(|w| w.trim_end_matches('?').to_owned())
            .collect();
        orders.push(Order {
            name: name.trim().to_owned(),
            line: index + 1,
            modules,
            planned,
        });
    }
    orders
}

fn check_crate(tree: &Tree, order: &Order, outcome: &mut Outcome) {
    let root = format!("crates/{}/src/", order.name);
    let mut seen = BTreeSet::new();
    for (path, source) in tree.sources() {
        let Some(inner) = path.strip_prefix(&root) else {
            continue;
        };
        let module = inner
            .split('/')
            .next()
            .unwrap_or("")
            .trim_end_matches(".rs");
        if matches!(module, "lib" | "main") || tree.is_test_only(path) {
            continue;
        }
        seen.insert(module.to_owned());
        let Some(rank) = order.modules.iter().position(|m| m == module) else {
            let message =
                format!("module `{module}` is not in {PATH}; give it a place in the order");
            outcome.fault(path, 0, message);
            continue;
        };
        for used in source
            .paths()
            .iter()
            .filter(|p| !source.is_test_line(p.line))
        {
            let Some(target) = crate_module(used, file_depth(inner)) else {
                continue;
            };
            outcome.saw_one();
            let target_rank = order.modules.iter().position(|m| m == target);
            if target_rank.is_some_and(|t| t > rank) {
                let message = format!(
                    "`{module}` may not name the later module `{target}`; turn the dependency round"
                );
                outcome.fault(path, used.line, message);
            }
        }
    }
    for module in order
        .modules
        .iter()
        .filter(|m| !seen.contains(*m) && !order.planned.contains(*m))
    {
        outcome.fault(
            PATH,
            order.line,
            format!("`{}` has no module `{module}`; remove it", order.name),
        );
    }
}

/// How many `super` lead from the file's module to the crate root.
fn file_depth(inner: &str) -> usize {
    inner.split('/').filter(|part| *part != "mod.rs").count()
}

/// The top-level module of this crate that a path names, if it names one.
fn crate_module(path: &UsedPath, depth: usize) -> Option<&str> {
    let mut segments = path.segments.iter().map(String::as_str).peekable();
    match segments.next()? {
        "crate" => segments.next(),
        "super" => {
            let mut climbed = 1;
            while segments.next_if_eq(&"super").is_some() {
                climbed += 1;
            }
            if climbed >= depth {
                segments.next()
            } else {
                None
            }
        }
        _ => None,
    }
}
