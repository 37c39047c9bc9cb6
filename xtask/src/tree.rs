//! The files under inspection: the workspace on disk, or a few files planted by a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use crate::source::Source;

/// Names of directories that hold no source of ours.
const SKIPPED_DIRECTORIES: [&str; 3] = [".git", "target", "node_modules"];

/// File endings whose text is read; other files are known by name only.
const READ_ENDINGS: [&str; 7] = [".rs", ".md", ".toml", ".txt", ".c", ".cpp", ".go"];

/// Files and their parsed Rust sources, keyed by path relative to the workspace root with `/` separators.
#[derive(Debug, Default)]
pub struct Tree {
    names: BTreeSet<String>,
    texts: BTreeMap<String, String>,
    sources: BTreeMap<String, Source>,
    unparsed: BTreeMap<String, String>,
    test_only: BTreeSet<String>,
}

impl Tree {
    /// Reads the workspace at `root`.
    ///
    /// # Errors
    ///
    /// Any error of the file system, with the path it happened at.
    pub fn load(root: &Path) -> io::Result<Tree> {
        let mut files = Vec::new();
        collect(root, "", &mut files)?;
        let mut planted = Vec::new();
        for name in files {
            let read = READ_ENDINGS.iter().any(|e| name.ends_with(e)) || name == ".ci/run";
            let text = if read {
                fs::read_to_string(root.join(&name))
                    .map_err(|e| io::Error::new(e.kind(), format!("reading {name}: {e}")))?
            } else {
                String::new()
            };
            planted.push((name, text));
        }
        Ok(Tree::from_files(planted))
    }

    /// Builds a tree from `(path, text)` pairs.
    pub fn from_files(
        files: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Tree {
        let mut tree = Tree::default();
        for (name, text) in files {
            let (name, text) = (name.into(), text.into());
            if name.ends_with(".rs") {
                match Source::parse(&text) {
                    Ok(source) => drop(tree.sources.insert(name.clone(), source)),
                    Err(error) => drop(tree.unparsed.insert(name.clone(), error)),
                }
            }
            tree.names.insert(name.clone());
            tree.texts.insert(name, text);
        }
        tree.test_only = tree.find_test_only();
        tree
    }

    /// Every text file, by path.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Every Rust file that parsed, by path.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Rust files that did not parse, with the parser's message.
    pub fn unparsed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unparsed.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether `path` names a file, or a directory that holds one.
    pub fn exists(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside = format!("{path}/");
        path.is_empty()
            || self.names.contains(path)
            || self
                .names
                .range(inside.clone()..)
                .next()
                .is_some_and(|n| n.starts_with(&inside))
    }

    /// The names of the crates: directories with a manifest directly under `crates/`, and `xtask`.
    pub fn crates(&self) -> Vec<String> {
        let name = |path: &str| {
            let directory = path.strip_suffix("/Cargo.toml")?;
            let name = directory.strip_prefix("crates/").unwrap_or(directory);
            (!name.contains('/')).then(|| name.to_owned())
        };
        self.names.iter().filter_map(|path| name(path)).collect()
    }

    /// Whether the whole file is compiled for tests only.
    pub fn is_test_only(&self, path: &str) -> bool {
        self.test_only.contains(path)
    }

    /// Rust files below `src/` of crates accepted by `wanted`, with the crate's name.
    pub fn crate_sources<'a>(
        &'a self,
        wanted: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a Source)> {
        self.sources().filter_map(move |(path, source)| {
            let (name, inner) = path
                .strip_prefix("crates/")
                .unwrap_or(path)
                .split_once('/')?;
            (inner.starts_with("src/") && wanted(name)).then_some((name, path, source))
        })
    }

    /// Files of integration tests, benches and examples, and the files of modules declared `cfg(test)`.
    fn find_test_only(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for path in self.sources.keys() {
            if ["/tests/", "/benches/", "/examples/"]
                .iter()
                .any(|d| path.contains(d))
            {
                found.insert(path.clone());
            }
        }
        for (path, source) in &self.sources {
            let directory = module_directory(path);
            for name in source.test_modules() {
                let (file, inside) = (
                    format!("{directory}/{name}.rs"),
                    format!("{directory}/{name}/"),
                );
                let below = |p: &&String| **p == file || p.starts_with(&inside);
                found.extend(self.sources.keys().filter(below).cloned());
            }
        }
        found
    }
}

/// The directory in which the modules declared by the file `path` live.
fn module_directory(path: &str) -> String {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => directory.to_owned(),
        _ => format!("{directory}/{}", file.trim_end_matches(".rs")),
    }
}

fn collect(root: &Path, inside: &str, files: &mut Vec<String>) -> io::Result<()> {
    let directory = root.join(inside);
    let entries = fs::read_dir(&directory)
        .map_err(|e| io::Error::new(e.kind(), format!("listing {}: {e}", directory.display())))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if inside.is_empty() {
            name.clone()
        } else {
            format!("{inside}/{name}")
        };
        if !entry.file_type()?.is_dir() {
            files.push(path);
        } else if !SKIPPED_DIRECTORIES.contains(&name.as_str()) && !name.starts_with("target-") {
            collect(root, &path, files)?;
        }
    }
    Ok(())
}
