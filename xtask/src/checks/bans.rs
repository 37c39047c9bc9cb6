//! Paths and macros that may stand only in one place, each with what to use instead.
//!
//! Applies to `src/` of the crates, outside code compiled for tests only: tests may use the standard library
//! as a control.

use super::is_library;
use crate::report::Outcome;
use crate::source::{Source, UsedPath};
use crate::tree::Tree;

/// What is banned.
#[derive(Debug, Clone, Copy)]
enum What {
    /// A path that starts with these segments.
    Path(&'static [&'static str]),
    /// A path that ends with these segments.
    PathEnd(&'static [&'static str]),
    /// A macro, by name.
    Macro(&'static str),
    /// An attribute, by name.
    Attribute(&'static str),
}

/// One ban.
struct Ban {
    what: What,
    /// Whether the ban holds for the crate `.0` and its top-level module `.1`.
    holds: fn(&str, &str) -> bool,
    instead: &'static str,
}

fn runtime_outside_prim(name: &str, module: &str) -> bool {
    name == "brigade-runtime" && module != "prim"
}

fn outside_context(name: &str, _: &str) -> bool {
    name != "brigade-context"
}

fn outside_context_and_hooks(name: &str, _: &str) -> bool {
    !matches!(name, "brigade-context" | "brigade-hooks")
}

fn library(name: &str, _: &str) -> bool {
    is_library(name)
}

fn sync(name: &str, _: &str) -> bool {
    name == "brigade-sync"
}

const PRIM: &str = "use `crate::prim`, which the model checker can replace";
const PRIM_TIME: &str = "use the clock in `crate::prim`";
const SWITCH: &str = "machine code belongs in brigade-context";
const EXPORT: &str = "exported symbols belong in brigade-context or brigade-hooks";
const SILENT: &str = "a library is silent; return the fact, and let the program print it";

const BANS: [Ban; 22] = [
    path(&["std", "sync", "atomic"], runtime_outside_prim, PRIM),
    path(&["core", "sync", "atomic"], runtime_outside_prim, PRIM),
    path(&["std", "thread"], runtime_outside_prim, PRIM),
    path(&["std", "sync", "Mutex"], runtime_outside_prim, PRIM),
    path(&["std", "sync", "RwLock"], runtime_outside_prim, PRIM),
    path(&["std", "sync", "Condvar"], runtime_outside_prim, PRIM),
    path(&["std", "sync", "Once"], runtime_outside_prim, PRIM),
    path(&["std", "sync", "OnceLock"], runtime_outside_prim, PRIM),
    path(&["std", "sync", "mpsc"], runtime_outside_prim, PRIM),
    path_end(&["Instant", "now"], runtime_outside_prim, PRIM_TIME),
    path_end(&["SystemTime", "now"], runtime_outside_prim, PRIM_TIME),
    named_macro("asm", outside_context, SWITCH),
    named_macro("global_asm", outside_context, SWITCH),
    named_macro("naked_asm", outside_context, SWITCH),
    attribute("no_mangle", outside_context_and_hooks, EXPORT),
    attribute("export_name", outside_context_and_hooks, EXPORT),
    named_macro("println", library, SILENT),
    named_macro("print", library, SILENT),
    named_macro("eprintln", library, SILENT),
    named_macro("eprint", library, SILENT),
    named_macro("dbg", library, SILENT),
    path(
        &["brigade_runtime"],
        sync,
        "only `brigade_runtime::park` may be used here",
    ),
];

const fn path(
    segments: &'static [&'static str],
    holds: fn(&str, &str) -> bool,
    instead: &'static str,
) -> Ban {
    Ban {
        what: What::Path(segments),
        holds,
        instead,
    }
}

const fn path_end(
    segments: &'static [&'static str],
    holds: fn(&str, &str) -> bool,
    instead: &'static str,
) -> Ban {
    Ban {
        what: What::PathEnd(segments),
        holds,
        instead,
    }
}

const fn named_macro(
    name: &'static str,
    holds: fn(&str, &str) -> bool,
    instead: &'static str,
) -> Ban {
    Ban {
        what: What::Macro(name),
        holds,
        instead,
    }
}

const fn attribute(
    name: &'static str,
    holds: fn(&str, &str) -> bool,
    instead: &'static str,
) -> Ban {
    Ban {
        what: What::Attribute(name),
        holds,
        instead,
    }
}

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    for (name, path, source) in tree.crate_sources(|_| true) {
        if tree.is_test_only(path) {
            continue;
        }
        let module = top_module(path);
        for ban in BANS.iter().filter(|ban| (ban.holds)(name, module)) {
            apply(ban, path, source, &mut outcome);
        }
        outcome.examined += source.paths().len();
    }
    outcome
}

fn top_module(path: &str) -> &str {
    let inner = path.split_once("/src/").map_or(path, |(_, inner)| inner);
    inner
        .split('/')
        .next()
        .unwrap_or(inner)
        .trim_end_matches(".rs")
}

fn apply(ban: &Ban, path: &str, source: &Source, outcome: &mut Outcome) {
    let mut hit = |line: usize, what: String| {
        if !source.is_test_line(line) {
            outcome.fault(
                path,
                line,
                format!("`{what}` is banned here: {}", ban.instead),
            );
        }
    };
    match ban.what {
        What::Path(segments) => {
            let allowed = |p: &UsedPath| {
                segments == ["brigade_runtime"] && p.segments.get(1).is_some_and(|s| s == "park")
            };
            for used in source
                .paths()
                .iter()
                .filter(|p| begins_with(p, segments) && !allowed(p))
            {
                hit(used.line, used.segments.join("::"));
            }
        }
        What::PathEnd(segments) => {
            let ends = |p: &&UsedPath| {
                p.segments
                    .iter()
                    .rev()
                    .zip(segments.iter().rev())
                    .filter(|(a, b)| a == b)
                    .count()
            };
            for used in source.paths().iter().filter(|p| ends(p) == segments.len()) {
                hit(used.line, used.segments.join("::"));
            }
        }
        What::Macro(name) => {
            let calls = source
                .tokens()
                .windows(2)
                .filter(|w| w[0].text == name && w[1].text == "!");
            calls.for_each(|w| hit(w[0].line, format!("{name}!")));
        }
        What::Attribute(name) => {
            for token in source.tokens().iter().filter(|t| t.text == name) {
                hit(token.line, name.to_owned());
            }
        }
    }
}

/// Whether the path lies below `segments`, or is a glob import that brings them in.
fn begins_with(path: &UsedPath, segments: &[&str]) -> bool {
    let is_glob = path.segments.last().is_some_and(|s| s == "*");
    let own = if is_glob {
        &path.segments[..path.segments.len() - 1]
    } else {
        &path.segments[..]
    };
    let common = own.iter().zip(segments).take_while(|(a, b)| a == b).count();
    common == segments.len() || (is_glob && common == own.len() && own.len() + 1 == segments.len())
}
