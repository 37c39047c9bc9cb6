//! Layering and style checks of the Brigade workspace.
//!
//! What it is: the rules of ARCHITECTURE.md that a compiler does not enforce, as data (`layers.txt`,
//! `modules.txt`, `ratchet.txt`, the ban table) plus one function per rule. `cargo test -p xtask` runs every
//! rule on the workspace and every rule on planted faults; `cargo run -p xtask -- check` prints the counts.
//!
//! Invariants:
//! 1. A check never touches the disk: it sees a [`tree::Tree`], so a fault can be planted in memory.
//! 2. A check says how many things it examined; fewer than the floor in `ratchet.txt` is itself a fault, so
//!    that a check that stopped looking cannot stay green.
//! 3. No rule has an exemption by name. A rule that cannot hold everywhere is a counter in `ratchet.txt`,
//!    which may only go down.
//!
//! Rejected: rules by regular expression over text. Comments and strings then need a hand-written lexer;
//! `proc-macro2` gives exact tokens with positions, and what is on a line outside every token is the comment.
//! Rejected: `dylint`/rustc plugins. They pin a nightly compiler, and none of the rules needs types.

pub mod checks;
pub mod report;
pub mod source;
pub mod tree;
