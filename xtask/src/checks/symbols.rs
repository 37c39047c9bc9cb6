//! The core calls no libc function that Brigade itself defines, nor the standard library where that would.
//!
//! Such a call would come back to a hook, which may park the very thread that holds a lock of the scheduler, or
//! recurse. The core makes raw system calls, or calls the next definition of a symbol. The rule compares the symbols
//! that `brigade-hooks` and `brigade-context` export with the functions of `libc` that the core names. Where one of
//! these, or a path of the standard library that may block, is called nevertheless, a table says why it may ([`PATH`]).
//!
//! A function's name may stand in `const _: ... = ...;`, where signatures are compared.
//!
//! Rejected: comparing the undefined symbols of built libraries. It needs a build, sees `memcpy` and the like, and
//! does not see what the standard library calls, which is where the danger is.

use std::collections::BTreeSet;

use crate::report::Outcome;
use crate::source::{Source, Token};
use crate::tree::Tree;

/// Where the reasons are: `crate path reason`, one per line.
pub const PATH: &str = "xtask/calls.txt";

const EXPORTERS: [&str; 2] = ["brigade-context", "brigade-hooks"];
const CORE: [&str; 4] = [
    "brigade-context",
    "brigade-event",
    "brigade-runtime",
    "brigade-hooks",
];

/// Parts of the standard library that may block, or call what may.
const STD: [&[&str]; 17] = [
    &["std", "thread"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "os", "unix", "net"],
    &["std", "process", "Command"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["std", "io", "pipe"],
    &["std", "io", "copy"],
    &["std", "sync", "Mutex"],
    &["std", "sync", "RwLock"],
    &["std", "sync", "Condvar"],
    &["std", "sync", "Once"],
    &["std", "sync", "OnceLock"],
    &["std", "sync", "LazyLock"],
    &["std", "sync", "mpsc"],
];

/// A path that the table allows in a crate.
struct Reason {
    name: String,
    path: String,
    line: usize,
    used: bool,
}

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    let mut reasons = parse_reasons(tree.text(PATH).unwrap_or(""), &mut outcome);
    let exported = exported(tree);
    for (name, path, source) in tree.crate_sources(|name| CORE.contains(&name)) {
        if tree.is_test_only(path) {
            continue;
        }
        let mut seen = Seen {
            name,
            path,
            source,
            reasons: &mut reasons,
            outcome: &mut outcome,
        };
        seen.check_libc(&exported);
        seen.check_declarations(&exported);
        seen.check_std();
    }
    for reason in reasons.iter().filter(|reason| !reason.used) {
        let message = format!(
            "`{}` no longer uses `{}`; remove the row",
            reason.name, reason.path
        );
        outcome.fault(PATH, reason.line, message);
    }
    outcome
}

fn parse_reasons(text: &str, outcome: &mut Outcome) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(name), Some(path)) = (words.next(), words.next()) else {
            continue;
        };
        if words.count() < 3 {
            outcome.fault(
                PATH,
                index + 1,
                "has no reason; the form is `crate path reason`",
            );
        }
        reasons.push(Reason {
            name: name.to_owned(),
            path: path.to_owned(),
            line: index + 1,
            used: false,
        });
    }
    reasons
}

/// The names of the functions that Brigade exports.
fn exported(tree: &Tree) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, path, source) in tree.crate_sources(|name| EXPORTERS.contains(&name)) {
        if tree.is_test_only(path) {
            continue;
        }
        let tokens = source.tokens();
        for (at, _) in tokens
            .iter()
            .enumerate()
            .filter(|(_, t)| t.text == "no_mangle")
        {
            let function = tokens[at..].windows(2).find(|pair| pair[0].text == "fn");
            names.extend(function.map(|pair| pair[1].text.clone()));
        }
    }
    names
}

/// A file of the core, and what is known and found.
struct Seen<'a> {
    name: &'a str,
    path: &'a str,
    source: &'a Source,
    reasons: &'a mut [Reason],
    outcome: &'a mut Outcome,
}

impl Seen<'_> {
    fn check_libc(&mut self, exported: &BTreeSet<String>) {
        let compared = comparisons(self.source.tokens());
        for used in self
            .source
            .paths()
            .iter()
            .filter(|p| p.segments[0] == "libc")
        {
            self.outcome.saw_one();
            let function = used.segments.get(1).filter(|name| exported.contains(*name));
            if let Some(function) = function
                && !compared.contains(&used.line)
            {
                self.want_reason(used.line, &format!("libc::{function}"));
            }
        }
    }

    fn check_declarations(&mut self, exported: &BTreeSet<String>) {
        for (function, line) in foreign_functions(self.source.tokens()) {
            self.outcome.saw_one();
            if exported.contains(function) && !self.source.is_test_line(line) {
                let message = format!("declares `{function}`, which Brigade itself defines");
                self.outcome.fault(self.path, line, message);
            }
        }
    }

    fn check_std(&mut self) {
        for used in self.source.paths() {
            let is_in = |part: &&&[&str]| {
                let common = used.segments.iter().zip(part.iter());
                common.take_while(|(a, b)| a == b).count() == part.len()
            };
            if let Some(part) = STD.iter().find(is_in) {
                self.outcome.saw_one();
                self.want_reason(used.line, &part.join("::"));
            }
        }
    }

    fn want_reason(&mut self, line: usize, called: &str) {
        if self.source.is_test_line(line) {
            return;
        }
        let mut rows = self.reasons.iter_mut();
        match rows.find(|row| row.name == self.name && row.path == called) {
            Some(reason) => reason.used = true,
            None => {
                let message = format!(
                    "`{called}` may come to a function that Brigade itself defines: make a raw system call, call the \
                     next definition, or say in {PATH} why it may be called"
                );
                self.outcome.fault(self.path, line, message);
            }
        }
    }
}

/// The lines of `const _: ... = ...;` items.
fn comparisons(tokens: &[Token]) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for at in 1..tokens.len() {
        if tokens[at - 1].text != "const" || tokens[at].text != "_" {
            continue;
        }
        let mut depth = 0_usize;
        for token in &tokens[at..] {
            lines.insert(token.line);
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    lines
}

/// Functions declared in `extern` blocks, with their lines.
fn foreign_functions(tokens: &[Token]) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        // The string of the ABI has no text.
        let is_block = tokens[at].text == "extern"
            && tokens.get(at + 1).is_some_and(|t| t.text.is_empty())
            && tokens.get(at + 2).is_some_and(|t| t.text == "{");
        if !is_block {
            continue;
        }
        let mut depth = 0_usize;
        for pair in tokens[at + 2..].windows(2) {
            match pair[0].text.as_str() {
                "{" => depth += 1,
                "}" if depth == 1 => break,
                "}" => depth -= 1,
                "fn" if depth == 1 => found.push((pair[1].text.as_str(), pair[1].line)),
                _ => {}
            }
        }
    }
    found
}
