//! Every experiment has the tests that keep it honest, whoever adds the next one.

use std::fs;
use std::path::{Path, PathBuf};

/// The source of each experiment by its file; what a folder holds belongs together.
fn experiments() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/experiments");
    let entries = fs::read_dir(folder).expect("the folder of the experiments");
    let sources = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        let text = whole(&path);
        (path, text)
    });
    sources
        .filter(|(_, text)| text.contains("\nimpl Experiment for"))
        .collect()
}

fn whole(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).expect("a source file");
    }
    let files = fs::read_dir(path).expect("a folder");
    files
        .map(|file| whole(&file.expect("an entry").path()))
        .collect()
}

/// The tests in `text`, each from its name to the next.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]").skip(1)
}

#[test]
fn every_experiment_is_tested_with_samples_of_both_kinds() {
    let found = experiments();
    assert_eq!(found.len(), brigade_lab::all().len());
    for (path, text) in found {
        let both = |test: &str| {
            test.contains("fn the_verdict_follows_the_samples_both_ways")
                && test.contains("Confirmed")
                && test.contains("NotHere")
        };
        assert!(tests(&text).any(both), "{}", path.display());
    }
}

#[test]
fn every_experiment_is_tested_with_a_planted_false_premise() {
    for (path, text) in experiments() {
        let planted = |test: &str| {
            ["assert_inconclusive(", "inconclusive_for(", "Inconclusive("]
                .iter()
                .any(|word| test.contains(word))
        };
        assert!(tests(&text).any(planted), "{}", path.display());
    }
}
