//! The guide says what is true: its table of hooked functions is the list of hooks of this program.

use std::collections::BTreeSet;

const GUIDE: &str = include_str!("../../../docs/blocking.md");

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
        "docs/blocking.md does not name {missing:?} and names {wrong:?} without a hook"
    );
}
