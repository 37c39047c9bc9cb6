//! Task sets that the guide shows are task sets.

use std::fs;
use std::path::Path;

use brigade_sim::TaskSet;

/// The fences called `toml` of the guide's chapters.
fn sets() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let mut sets = Vec::new();
    for entry in fs::read_dir(folder).expect("the guide is there") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        let fences = text.split("\n```toml\n").skip(1);
        sets.extend(fences.filter_map(|rest| Some(rest.split("\n```").next()?.to_owned())));
    }
    sets
}

#[test]
fn every_task_set_in_the_guide_can_be_read() {
    let sets = sets();
    assert!(!sets.is_empty());
    for set in sets {
        if let Err(error) = TaskSet::parse(&set) {
            panic!("{error}\n{set}");
        }
    }
}
