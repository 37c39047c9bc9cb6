//! The rules, one module each, and the table that names them all.
//!
//! To add a rule: write a module with a `run(&Tree) -> Outcome`, add a line to [`ALL`], a floor to
//! `ratchet.txt`, and a planted fault to `tests/planted.rs`; the tests notice when one of these is missing.

use crate::report::Outcome;
use crate::tree::Tree;

pub mod bans;
pub mod layers;
pub mod links;
pub mod markers;
pub mod modules;
pub mod orderings;
pub mod ratchet;
pub mod sizes;
pub mod symbols;
pub mod unsafety;

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Short name, used in output and in `ratchet.txt`.
    pub name: &'static str,
    /// What [`Outcome::examined`] counts.
    pub unit: &'static str,
    /// The rule itself.
    pub run: fn(&Tree) -> Outcome,
}

/// Every rule, in the order they are run and printed.
pub const ALL: [Check; 10] = [
    Check {
        name: "parse",
        unit: "Rust files",
        run: parse,
    },
    Check {
        name: "layers",
        unit: "crates",
        run: layers::run,
    },
    Check {
        name: "modules",
        unit: "module paths",
        run: modules::run,
    },
    Check {
        name: "bans",
        unit: "paths and macros",
        run: bans::run,
    },
    Check {
        name: "symbols",
        unit: "libc and std paths",
        run: symbols::run,
    },
    Check {
        name: "orderings",
        unit: "atomic orderings",
        run: orderings::run,
    },
    Check {
        name: "unsafety",
        unit: "unsafe blocks and impls",
        run: unsafety::run,
    },
    Check {
        name: "sizes",
        unit: "functions",
        run: sizes::run,
    },
    Check {
        name: "markers",
        unit: "text files",
        run: markers::run,
    },
    Check {
        name: "links",
        unit: "links and file names",
        run: links::run,
    },
];

/// Crates that are programs or test aids: they may print, and their atomics are not the runtime's protocol.
pub const TOOLS: [&str; 7] = [
    "brigade-link",
    "brigade-lab",
    "brigade-cli",
    "brigade-bench",
    "brigade-ecosystem",
    "brigade-testlibs",
    "xtask",
];

/// Whether `name` is a crate that ends up in users' programs.
pub fn is_library(name: &str) -> bool {
    !TOOLS.contains(&name)
}

/// Runs one rule and adds a fault when it examined less than its floor.
pub fn run(check: &Check, tree: &Tree) -> Outcome {
    let mut outcome = (check.run)(tree);
    let floor = ratchet::floor(tree, check.name);
    if outcome.examined < floor {
        let message = format!(
            "`{}` examined {} {}, fewer than the {floor} recorded; if the check is not broken, lower the floor",
            check.name, outcome.examined, check.unit
        );
        outcome.fault(ratchet::PATH, 0, message);
    }
    outcome
}

/// Every Rust file must parse, or the other rules are blind to it.
fn parse(tree: &Tree) -> Outcome {
    let mut outcome = Outcome {
        examined: tree.sources().count(),
        ..Outcome::default()
    };
    for (path, error) in tree.unparsed() {
        outcome.fault(path, 0, format!("is no Rust file: {error}"));
    }
    outcome
}
