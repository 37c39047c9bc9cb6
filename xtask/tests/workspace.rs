//! Every rule holds on this workspace. One test per rule, so that the name of the failing one is the news.

use std::path::Path;

use xtask::checks;
use xtask::tree::Tree;

fn assert_holds(name: &str) {
    let tree = Tree::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .expect("the workspace is readable");
    let check = checks::ALL
        .iter()
        .find(|c| c.name == name)
        .expect("the rule is in the table");
    let outcome = checks::run(check, &tree);
    println!("{name}: {} {} examined", outcome.examined, check.unit);
    let faults: Vec<String> = outcome.faults.iter().map(ToString::to_string).collect();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn every_rust_file_parses() {
    assert_holds("parse");
}

#[test]
fn crates_import_only_what_the_layer_table_allows() {
    assert_holds("layers");
}

#[test]
fn modules_name_only_earlier_modules() {
    assert_holds("modules");
}

#[test]
fn banned_paths_and_macros_stand_only_in_their_place() {
    assert_holds("bans");
}

#[test]
fn the_core_calls_nothing_that_brigade_interposes() {
    assert_holds("symbols");
}

#[test]
fn every_atomic_ordering_names_its_partner() {
    assert_holds("orderings");
}

#[test]
fn every_unsafe_block_has_an_argument() {
    assert_holds("unsafety");
}

#[test]
fn functions_and_files_stay_small() {
    assert_holds("sizes");
}

#[test]
fn the_tree_holds_no_reminders() {
    assert_holds("markers");
}

#[test]
fn prose_names_files_that_exist() {
    assert_holds("links");
}

#[test]
fn no_rule_is_left_out_of_this_file() {
    let own = include_str!("workspace.rs");
    for check in &checks::ALL {
        assert!(
            own.contains(&format!("assert_holds(\"{}\")", check.name)),
            "no test for `{}`",
            check.name
        );
    }
}
