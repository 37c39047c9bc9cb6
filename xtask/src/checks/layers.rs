//! A crate may import only crates on earlier lines of `layers.txt`, and only those it names there.
//!
//! The table is compared with the manifests both ways: an edge that is not allowed, and a permission no
//! manifest uses any more, are both faults. Since a row may name only earlier rows, the table cannot hold a
//! cycle. The core crates also list the foreign crates they may use.

use std::collections::BTreeSet;

use crate::report::Outcome;
use crate::tree::Tree;

/// Where the table is.
pub const PATH: &str = "xtask/layers.txt";

/// The page that explains the table; every crate has a row there too.
const PROSE: &str = "ARCHITECTURE.md";

/// One row of the table.
#[derive(Debug, Default)]
struct Row {
    name: String,
    line: usize,
    planned: bool,
    allowed: BTreeSet<String>,
    allowed_in_tests: BTreeSet<String>,
    foreign: Option<BTreeSet<String>>,
}

/// The dependencies one manifest states.
#[derive(Debug, Default)]
struct Edges {
    normal: BTreeSet<String>,
    tests: BTreeSet<String>,
    /// The plain dependencies alone: what ends up in a user's program.
    shipped: BTreeSet<String>,
}

/// Runs the rule.
pub fn run(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    let rows = parse_table(tree.text(PATH).unwrap_or(""), &mut outcome);
    let crates: BTreeSet<String> = tree.crates().into_iter().collect();
    for name in &crates {
        outcome.saw_one();
        if tree
            .text(PROSE)
            .is_some_and(|text| !text.contains(&format!("| `{name}` |")))
        {
            outcome.fault(
                PROSE,
                0,
                format!("the table of layers has no row for `{name}`"),
            );
        }
        match rows.iter().find(|row| row.name == *name) {
            Some(row) => compare(tree, row, &crates, &mut outcome),
            None => outcome.fault(
                PATH,
                0,
                format!("crate `{name}` has no row; add it below what it imports"),
            ),
        }
    }
    for row in rows
        .iter()
        .filter(|row| !row.planned && !crates.contains(&row.name))
    {
        outcome.fault(
            PATH,
            row.line,
            format!("crate `{}` does not exist; remove its row", row.name),
        );
    }
    outcome
}

fn parse_table(text: &str, outcome: &mut Outcome) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let Some(row) = parse_row(line, index + 1) else {
            outcome.fault(
                PATH,
                index + 1,
                "is not of the form `crate: imports | dev: imports | foreign: crates`",
            );
            continue;
        };
        for import in row.allowed.iter().chain(&row.allowed_in_tests) {
            if !rows.iter().any(|earlier| earlier.name == *import) {
                let message = format!(
                    "`{}` may only name crates on earlier lines, `{import}` is not one",
                    row.name
                );
                outcome.fault(PATH, row.line, message);
            }
        }
        rows.push(row);
    }
    rows
}

fn parse_row(line: &str, number: usize) -> Option<Row> {
    let (name, rest) = line.split_once(':')?;
    let planned = name.starts_with("planned ");
    let name = name.trim_start_matches("planned ").trim().to_owned();
    let words = |s: &str| {
        s.split_whitespace()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let mut sections = rest.split('|');
    let allowed = words(sections.next()?);
    let mut row = Row {
        name,
        line: number,
        planned,
        allowed,
        ..Row::default()
    };
    for section in sections {
        match section.trim().split_once(':')? {
            ("dev", names) => row.allowed_in_tests = words(names),
            ("foreign", names) => row.foreign = Some(words(names)),
            _ => return None,
        }
    }
    Some(row)
}

fn compare(tree: &Tree, row: &Row, crates: &BTreeSet<String>, outcome: &mut Outcome) {
    let path = [
        format!("crates/{}/Cargo.toml", row.name),
        format!("{}/Cargo.toml", row.name),
    ]
    .into_iter()
    .find(|p| tree.text(p).is_some())
    .unwrap_or_default();
    let edges = match parse_manifest(tree.text(&path).unwrap_or("")) {
        Ok(edges) => edges,
        Err(error) => return outcome.fault(&path, 0, format!("is no manifest: {error}")),
    };
    let ours =
        |names: &BTreeSet<String>| names.intersection(crates).cloned().collect::<BTreeSet<_>>();
    let normal = ours(&edges.normal);
    let tests: BTreeSet<String> = ours(&edges.tests).difference(&normal).cloned().collect();
    for (used, allowed, what) in [
        (&normal, &row.allowed, "import"),
        (&tests, &row.allowed_in_tests, "dev-import"),
    ] {
        for name in used.difference(allowed) {
            let message = format!(
                "`{}` may not {what} `{name}`; see ARCHITECTURE.md, Layers",
                row.name
            );
            outcome.fault(&path, 0, message);
        }
        for name in allowed
            .difference(used)
            .filter(|name| crates.contains(*name))
        {
            let message = format!(
                "`{}` no longer uses its permission to {what} `{name}`; remove it",
                row.name
            );
            outcome.fault(PATH, row.line, message);
        }
    }
    let foreign = edges.shipped.difference(crates);
    if let Some(allowed) = &row.foreign {
        for name in foreign.filter(|name| !allowed.contains(*name)) {
            let message = format!(
                "`{}` may not use the foreign crate `{name}`; the core stays small",
                row.name
            );
            outcome.fault(&path, 0, message);
        }
    }
}

/// Collects dependencies from every table of a manifest, also the target-specific ones.
fn parse_manifest(text: &str) -> Result<Edges, toml::de::Error> {
    let manifest: toml::Table = text.parse()?;
    let mut edges = Edges::default();
    add_tables(&manifest, &mut edges);
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for (_, tables) in targets.into_iter().flatten() {
        if let Some(tables) = tables.as_table() {
            add_tables(tables, &mut edges);
        }
    }
    Ok(edges)
}

fn add_tables(tables: &toml::Table, edges: &mut Edges) {
    let names = |key: &str| {
        let table = tables.get(key).and_then(toml::Value::as_table);
        table
            .into_iter()
            .flatten()
            .map(|(name, value)| package_name(name, value))
            .collect::<Vec<_>>()
    };
    edges.shipped.extend(names("dependencies"));
    edges.normal.extend(names("dependencies"));
    edges.normal.extend(names("build-dependencies"));
    edges.tests.extend(names("dev-dependencies"));
}

/// The package behind a dependency, which `package = "..."` may rename.
fn package_name(key: &str, value: &toml::Value) -> String {
    value
        .get("package")
        .and_then(toml::Value::as_str)
        .unwrap_or(key)
        .to_owned()
}
