//! The guide says what is true: its table of hooked functions is the list of hooks of this program, and all its Rust
//! is compiled and run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const GUIDE: &str = include_str!("../../../docs/src/blocking.md");
const SUMMARY: &str = include_str!("../../../docs/src/SUMMARY.md");
const INCLUDED: &str = include_str!("../src/guide.rs");

/// What a fence may be called. Rust that is not compiled is not among it.
const FENCES: [&str; 7] = [
    "rust",
    "rust,no_run",
    "rust,should_panic",
    "rust,compile_fail",
    "sh",
    "text",
    "toml",
];

/// The chapters in the folder, without the list of them.
fn chapters() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let mut chapters: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let text = fs::read_to_string(&path).expect("a text");
            (name.expect("a name").to_owned(), text)
        })
        .filter(|(name, _)| name != "SUMMARY.md")
        .collect();
    chapters.sort();
    chapters
}

/// What stands between `before` and `after` in a text, as often as it does.
fn between<'a>(text: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
    text.split(before)
        .skip(1)
        .filter_map(move |rest| rest.split(after).next())
}

/// The lines that open a fence, and the lines outside of fences.
fn fences_and_prose(text: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut fences, mut prose, mut fenced) = (Vec::new(), Vec::new(), false);
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(language) => {
                if !fenced {
                    fences.push(language);
                }
                fenced = !fenced;
            }
            None if !fenced => prose.push(line),
            None => {}
        }
    }
    assert!(!fenced, "a fence is not closed");
    (fences, prose)
}

/// The functions that the table of hooked functions names: what stands between back-ticks in the second column and
/// is spelt like a C identifier.
fn hooked_in_guide() -> BTreeSet<&'static str> {
    let (_, section) = GUIDE
        .split_once("\n## What is hooked\n")
        .expect("the section is there");
    let (section, _) = section.split_once("\n## ").expect("another one follows");
    let is_function = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
    };
    section
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').nth(1))
        .flat_map(|functions| functions.split('`').skip(1).step_by(2))
        .filter(is_function)
        .collect()
}

#[test]
fn the_guide_names_every_hooked_function_and_no_other() {
    let guide = hooked_in_guide();
    let hooks = brigade::hooks::status();
    let hooks: BTreeSet<&str> = hooks.iter().map(brigade::hooks::Status::name).collect();
    assert!(
        !hooks.is_empty(),
        "no hooks on this machine to compare with"
    );
    let missing: Vec<_> = hooks.difference(&guide).collect();
    let wrong: Vec<_> = guide.difference(&hooks).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "docs/src/blocking.md does not name {missing:?} and names {wrong:?} without a hook"
    );
}

#[test]
fn every_chapter_is_in_the_summary_and_its_examples_are_tests() {
    let there: BTreeSet<String> = chapters().into_iter().map(|(name, _)| name).collect();
    let listed: BTreeSet<String> = between(SUMMARY, "](", ')').map(str::to_owned).collect();
    let tested: BTreeSet<String> = between(INCLUDED, "docs/src/", '"')
        .map(str::to_owned)
        .collect();
    assert!(!there.is_empty());
    assert_eq!(there, listed, "docs/src and SUMMARY.md");
    assert_eq!(there, tested, "docs/src and src/guide.rs");
}

#[test]
fn all_rust_in_the_guide_is_compiled() {
    for (name, text) in chapters() {
        let (fences, _) = fences_and_prose(&text);
        for language in fences {
            let language = language.split(",E0").next().unwrap_or_default();
            assert!(
                FENCES.contains(&language),
                "{name}: a fence `{language}`, which is none of {FENCES:?}"
            );
        }
    }
}

/// The book has nothing but its chapters: what else a reader may open is on the web.
#[test]
fn links_do_not_leave_the_book() {
    for (name, text) in chapters() {
        let (_, prose) = fences_and_prose(&text);
        for target in prose.iter().flat_map(|line| between(line, "](", ')')) {
            let file = target.split('#').next().unwrap_or_default();
            assert!(
                target.starts_with("https://") || file.is_empty() || listed(file),
                "{name}: the link `{target}` leaves the book"
            );
        }
    }
}

fn listed(file: &str) -> bool {
    between(SUMMARY, "](", ')').any(|chapter| chapter == file)
}
