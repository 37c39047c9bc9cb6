//! Every rule finds the faults planted for it and leaves their clean twins alone.

use xtask::checks;
use xtask::report::Fault;
use xtask::tree::Tree;

type Files<'a> = &'a [(&'a str, &'a str)];

fn faults(rule: &str, files: Files<'_>) -> Vec<Fault> {
    let check = checks::ALL
        .iter()
        .find(|c| c.name == rule)
        .expect("the rule is in the table");
    checks::run(check, &Tree::from_files(files.iter().copied())).faults
}

/// The rule reports exactly one fault, at this line, and its message contains `part`.
#[track_caller]
fn assert_caught(rule: &str, files: Files<'_>, line: usize, part: &str) {
    let found = faults(rule, files);
    assert_eq!(found.len(), 1, "{rule}: {found:?}");
    assert!(found[0].message.contains(part), "{rule}: {found:?}");
    assert_eq!(found[0].line, line, "{rule}: {found:?}");
}

#[track_caller]
fn assert_clean(rule: &str, files: Files<'_>) {
    assert_eq!(faults(rule, files), [], "{rule}");
}

const RUNTIME: &str = "crates/brigade-runtime/src/queue.rs";

#[track_caller]
fn assert_runtime_ban(code: &str, part: &str) {
    assert_caught("bans", &[(RUNTIME, code)], 1, part);
    assert_clean("bans", &[("crates/brigade-runtime/src/prim/mod.rs", code)]);
}

#[test]
fn parse_reports_a_file_that_is_no_rust() {
    assert_caught(
        "parse",
        &[("crates/a/src/lib.rs", "fn (")],
        0,
        "no Rust file",
    );
    assert_clean("parse", &[("crates/a/src/lib.rs", "fn a() {}")]);
}

fn manifests<'a>(table: &'a str, a: &'a str, b: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("xtask/layers.txt", table),
        ("crates/a/Cargo.toml", a),
        ("crates/b/Cargo.toml", b),
    ]
}

const NO_IMPORT: &str = "[package]\n";
const IMPORTS_A: &str = "[dependencies]\na = { path = \"../a\" }\n";

#[test]
fn layers_accepts_a_true_table() {
    assert_clean("layers", &manifests("a:\nb: a\n", NO_IMPORT, IMPORTS_A));
    let dev = "[dev-dependencies]\na.workspace = true\n";
    assert_clean("layers", &manifests("a:\nb: | dev: a\n", NO_IMPORT, dev));
    assert_clean(
        "layers",
        &manifests("a:\nplanned c: a\nb: a\n", NO_IMPORT, IMPORTS_A),
    );
}

#[test]
fn layers_catches_a_forbidden_import() {
    assert_caught(
        "layers",
        &manifests("a:\nb:\n", NO_IMPORT, IMPORTS_A),
        0,
        "may not import `a`",
    );
}

#[test]
fn layers_catches_an_import_hidden_by_target_or_renaming() {
    let target = "[target.'cfg(unix)'.dependencies]\na = \"1\"\n";
    assert_caught(
        "layers",
        &manifests("a:\nb:\n", NO_IMPORT, target),
        0,
        "may not import `a`",
    );
    let renamed = "[dependencies]\nz = { package = \"a\", path = \"../a\" }\n";
    assert_caught(
        "layers",
        &manifests("a:\nb:\n", NO_IMPORT, renamed),
        0,
        "may not import `a`",
    );
    let build = "[build-dependencies]\na = \"1\"\n";
    assert_caught(
        "layers",
        &manifests("a:\nb:\n", NO_IMPORT, build),
        0,
        "may not import `a`",
    );
}

#[test]
fn layers_catches_a_dev_import_without_permission() {
    let dev = "[dev-dependencies]\na = \"1\"\n";
    assert_caught(
        "layers",
        &manifests("a:\nb:\n", NO_IMPORT, dev),
        0,
        "may not dev-import `a`",
    );
}

#[test]
fn layers_catches_a_permission_nobody_uses() {
    assert_caught(
        "layers",
        &manifests("a:\nb: a\n", NO_IMPORT, NO_IMPORT),
        2,
        "no longer uses",
    );
    assert_caught(
        "layers",
        &manifests("a:\nb: | dev: a\n", NO_IMPORT, NO_IMPORT),
        2,
        "no longer uses",
    );
}

#[test]
fn layers_catches_a_cycle_in_the_table() {
    let imports_b = "[dependencies]\nb = \"1\"\n";
    assert_caught(
        "layers",
        &manifests("a: b\nb: a\n", imports_b, IMPORTS_A),
        1,
        "earlier lines",
    );
}

#[test]
fn layers_catches_missing_and_stale_rows() {
    assert_caught(
        "layers",
        &manifests("a:\n", NO_IMPORT, NO_IMPORT),
        0,
        "`b` has no row",
    );
    assert_caught(
        "layers",
        &manifests("a:\nb:\nc:\n", NO_IMPORT, NO_IMPORT),
        3,
        "`c` does not exist",
    );
    assert_caught(
        "layers",
        &manifests("a:\nb:\nc\n", NO_IMPORT, NO_IMPORT),
        3,
        "not of the form",
    );
}

#[test]
fn layers_catches_a_crate_the_architecture_page_does_not_know() {
    let [table, a, b] = manifests("a:\nb: a\n", NO_IMPORT, IMPORTS_A);
    let whole = ("ARCHITECTURE.md", "| `a` | x |\n| `b` | y |\n");
    assert_clean("layers", &[table, a, b, whole]);
    let part = ("ARCHITECTURE.md", "| `a` | about `b` |\n");
    assert_caught("layers", &[table, a, b, part], 0, "no row for `b`");
}

#[test]
fn layers_catches_a_foreign_crate_in_the_core() {
    let table = "a: | foreign: libc\nb:\n";
    let serde = "[dependencies]\nlibc = \"0.2\"\nserde = \"1\"\n";
    assert_caught(
        "layers",
        &manifests(table, serde, NO_IMPORT),
        0,
        "foreign crate `serde`",
    );
    assert_clean(
        "layers",
        &manifests(table, "[dependencies]\nlibc = \"0.2\"\n", serde),
    );
}

fn modules<'a>(first: &'a str, second: &'a str) -> [(&'a str, &'a str); 3] {
    let table = ("xtask/modules.txt", "r: first < second < third?\n");
    [
        table,
        ("crates/r/src/first/mod.rs", first),
        ("crates/r/src/second.rs", second),
    ]
}

#[test]
fn modules_accepts_a_backward_path() {
    assert_clean(
        "modules",
        &modules(
            "fn a() {}",
            "use crate::{first::a};\nfn b() { crate::first::a() }",
        ),
    );
    assert_clean(
        "modules",
        &modules(
            "#[cfg(test)]\nmod tests {\n    use crate::second::b;\n}",
            "",
        ),
    );
}

#[test]
fn modules_catches_a_forward_import_in_a_group() {
    let code = "use std::fmt;\nuse crate::{first::x, second::{self, b}};";
    assert_eq!(faults("modules", &modules(code, "")).len(), 1);
    assert_caught("modules", &modules(code, ""), 2, "later module `second`");
}

#[test]
fn modules_catches_a_forward_path_inline_and_in_a_macro() {
    assert_caught(
        "modules",
        &modules("fn a() { crate::second::b() }", ""),
        1,
        "later module",
    );
    assert_caught(
        "modules",
        &modules("fn a() {\n    assert!(crate::second::b());\n}", ""),
        2,
        "later module",
    );
}

#[test]
fn modules_catches_a_super_chain_that_reaches_the_root() {
    assert_caught(
        "modules",
        &modules("use super::second::b;", ""),
        1,
        "later module",
    );
    let [table, first, second] = modules("", "");
    let deep = ("crates/r/src/first/deep.rs", "use super::super::second::b;");
    assert_caught("modules", &[table, first, second, deep], 1, "later module");
    let sibling = ("crates/r/src/first/deep.rs", "use super::second;");
    assert_clean("modules", &[table, first, second, sibling]);
}

#[test]
fn modules_catches_unlisted_and_stale_modules() {
    let [table, first, second] = modules("", "");
    assert_caught(
        "modules",
        &[table, first, second, ("crates/r/src/other.rs", "")],
        0,
        "`other` is not in",
    );
    assert_caught("modules", &[table, first], 1, "no module `second`");
}

#[test]
fn bans_catches_std_primitives_in_the_runtime() {
    assert_runtime_ban("use std::sync::atomic::AtomicU32;", "crate::prim");
    assert_runtime_ban("use std::{fmt, sync::{Arc, Mutex}};", "std::sync::Mutex");
    assert_runtime_ban("use std::sync::*;", "crate::prim");
    assert_runtime_ban("use std::thread;", "crate::prim");
    assert_runtime_ban("fn f() { core::sync::atomic::fence(o) }", "crate::prim");
    assert_runtime_ban("fn f() { g(std::thread::current()) }", "crate::prim");
    assert_runtime_ban("fn f() { std::time::Instant::now(); }", "clock");
}

#[test]
fn bans_catches_a_primitive_reached_through_an_import() {
    let code = "use std::sync as s;\nfn f() { s::Mutex::new(0); }";
    assert_caught("bans", &[(RUNTIME, code)], 2, "std::sync::Mutex");
    let clock = "use std::time::Instant as Clock;\nfn f() { Clock::now(); }";
    assert_caught("bans", &[(RUNTIME, clock)], 2, "Instant::now");
}

#[test]
fn bans_leaves_tests_strings_and_comments_alone() {
    let code = "//! std::thread\n// std::thread::spawn\nconst S: &str = \"std::thread println!\";\n\
                #[cfg(test)]\nmod tests {\n    use std::thread;\n    fn f() { println!() }\n}\n";
    assert_clean("bans", &[(RUNTIME, code)]);
    let root = "#[cfg(all(test, loom))]\nmod model;";
    let model = (
        "crates/brigade-runtime/src/queue/model.rs",
        "use std::thread;",
    );
    assert_clean("bans", &[(RUNTIME, root), model]);
    assert_eq!(
        faults("bans", &[(RUNTIME, "#[cfg(not(test))]\nmod model;"), model]).len(),
        1
    );
}

#[test]
fn bans_keeps_machine_code_in_the_context_crate() {
    let code = "fn f() { core::arch::asm!(\"nop\") }";
    assert_caught(
        "bans",
        &[("crates/brigade/src/lib.rs", code)],
        1,
        "brigade-context",
    );
    assert_clean(
        "bans",
        &[("crates/brigade-context/src/arch/x86_64.rs", code)],
    );
}

#[test]
fn bans_keeps_exported_symbols_in_two_crates() {
    let code = "#[unsafe(no_mangle)]\npub extern \"C\" fn read() {}";
    assert_caught("bans", &[(RUNTIME, code)], 1, "exported symbols");
    assert_clean("bans", &[("crates/brigade-hooks/src/read.rs", code)]);
    assert_clean("bans", &[("crates/brigade-context/src/deny.rs", code)]);
}

#[test]
fn bans_keeps_libraries_silent() {
    let code = "fn f() { println!(\"x\") }";
    assert_caught("bans", &[("crates/brigade/src/lib.rs", code)], 1, "silent");
    for path in [
        "crates/brigade-lab/src/lib.rs",
        "crates/brigade-cli/src/main.rs",
        "crates/brigade/tests/a.rs",
    ] {
        assert_clean("bans", &[(path, code)]);
    }
}

#[test]
fn bans_lets_sync_see_only_park() {
    let path = "crates/brigade-sync/src/mutex.rs";
    assert_clean("bans", &[(path, "use brigade_runtime::park::park;")]);
    assert_caught(
        "bans",
        &[(path, "use brigade_runtime::queue::Local;")],
        1,
        "brigade_runtime::park",
    );
}

const ATOMIC: &str = "use std::sync::atomic::Ordering::{self, *};\n";

#[track_caller]
fn assert_bare_ordering(body: &str, line: usize) {
    let code = format!("{ATOMIC}{body}");
    assert_caught(
        "orderings",
        &[(RUNTIME, &code)],
        line,
        "without an `// ORDER:`",
    );
}

/// A hook for `recv`, in the file that has the hooks.
const HOOK: (&str, &str) = (
    "crates/brigade-hooks/src/a.rs",
    "#[unsafe(no_mangle)]\npub(crate) unsafe extern \"C\" fn recv(fd: c_int) -> ssize_t {\n    0\n}\n\
     const _: [Recv; 2] = [recv, libc::recv];\n",
);

#[test]
fn symbols_catches_a_call_of_a_hooked_function() {
    for call in [
        "fn f() { libc::recv(1) }",
        "use libc::recv;",
        "use libc::recv as other;",
        "use libc as c; fn f() { c::recv(1) }",
        "fn f() { let pointer = libc::recv; pointer(1) }",
        "fn f(n: usize) { libc::recv(1) }\nconst _: [Recv; 1] = [libc::recv];",
    ] {
        assert_caught("symbols", &[HOOK, (RUNTIME, call)], 1, "`libc::recv`");
        assert_clean("symbols", &[(RUNTIME, call)]);
    }
    let declared = "unsafe extern \"C\" {\n    fn recv(fd: c_int);\n}";
    assert_caught(
        "symbols",
        &[HOOK, (RUNTIME, declared)],
        2,
        "declares `recv`",
    );
    let own = "fn g() { libc::recv(1) }";
    let context = ("crates/brigade-context/src/a.rs", own);
    assert_caught("symbols", &[HOOK, context], 1, "`libc::recv`");
}

#[test]
fn symbols_leaves_other_functions_and_comparisons_alone() {
    let clean = "fn f() { libc::getpid(); libc::recv_other(1); other::recv(1) }\n\
                 #[cfg(test)]\nmod tests {\n    fn t() { libc::recv(1) }\n}\n";
    assert_clean("symbols", &[HOOK, (RUNTIME, clean)]);
    assert_clean(
        "symbols",
        &[
            HOOK,
            ("crates/brigade/src/a.rs", "fn f() { libc::recv(1) }"),
        ],
    );
}

#[test]
fn symbols_wants_a_reason_for_the_standard_library() {
    let table = |text| ("xtask/calls.txt", text);
    let thread = (RUNTIME, "fn f() { std::thread::spawn(g); }");
    assert_caught("symbols", &[thread], 1, "`std::thread`");
    assert_caught(
        "symbols",
        &[(RUNTIME, "use std::sync::{Arc, Mutex};")],
        1,
        "`std::sync::Mutex`",
    );
    assert_clean("symbols", &[(RUNTIME, "use std::sync::Arc;\nuse std::io;")]);
    let reason = table("# about\nbrigade-runtime std::thread starts before all others\n");
    assert_clean("symbols", &[thread, reason]);
    assert_caught("symbols", &[reason], 2, "no longer uses");
    let bare = table("brigade-runtime std::thread because\n");
    assert_caught("symbols", &[thread, bare], 1, "has no reason");
    let other = table("brigade-context std::thread starts before all others\n");
    assert_eq!(faults("symbols", &[thread, other]).len(), 2);
    let hooked = (RUNTIME, "fn f() { libc::recv(1) }");
    let row = table("brigade-runtime libc::recv on a kernel thread only\n");
    assert_clean("symbols", &[HOOK, hooked, row]);
}

#[test]
fn orderings_catches_a_site_without_comment() {
    assert_bare_ordering("fn f() { a.load(Ordering::Acquire) }", 2);
    assert_bare_ordering("fn f() { a.load(Relaxed) }", 2);
    assert_bare_ordering("fn f() {\n    assert_eq!(a.load(SeqCst), 1);\n}", 3);
    assert_bare_ordering(
        "// about nothing\nfn f() { a.load(std::sync::atomic::Ordering::Acquire) }",
        3,
    );
}

#[test]
fn orderings_takes_only_a_comment_near_it() {
    let near = format!(
        "{ATOMIC}fn f() {{\n    // ORDER: pairs with the store in push.\n    a.load(Acquire);\n}}"
    );
    assert_clean("orderings", &[(RUNTIME, &near)]);
    let exchange = "fn f() {\n    // ORDER: AcqRel pairs with push; Acquire on failure likewise.\n    \
                    a.compare_exchange(\n        1,\n        2,\n        AcqRel,\n        Acquire,\n    );\n}";
    assert_clean("orderings", &[(RUNTIME, &format!("{ATOMIC}{exchange}"))]);
    let far = "fn f() {\n    // ORDER: pairs with the store in push.\n    g();\n    g();\n    g();\n    g();\n    g();\n    \
               a.load(Acquire);\n}";
    assert_bare_ordering(far, 9);
    assert_bare_ordering(
        "fn f() {\n    g(); // ORDER: pairs with the store in push.\n    a.load(Acquire);\n}",
        4,
    );
}

#[test]
fn orderings_is_not_fooled_by_strings_and_doc_comments() {
    assert_bare_ordering(
        "fn f() {\n    g(\"// ORDER: one two three\");\n    a.load(Acquire);\n}",
        4,
    );
    assert_bare_ordering("/// ORDER: one two three\nfn f() { a.load(Acquire) }", 3);
}

#[test]
fn orderings_catches_empty_comments_and_other_names() {
    let empty = format!("{ATOMIC}// ORDER: fine\nfn f() {{ a.load(Acquire) }}");
    assert_caught("orderings", &[(RUNTIME, &empty)], 2, "says nothing");
    let chain = format!(
        "{ATOMIC}fn f() {{\n    // ORDER: published by the store below.\n    a.load(Relaxed);\n    \
         b.load(Relaxed); // ORDER: as above.\n    c.load(Relaxed); // ORDER: as above.\n}}"
    );
    assert_clean("orderings", &[(RUNTIME, &chain)]);
    let dangling = format!("{ATOMIC}fn f() {{\n    c.load(Relaxed); // ORDER: as above.\n}}");
    assert_caught("orderings", &[(RUNTIME, &dangling)], 3, "says nothing");
    let renamed = "use std::sync::atomic::Ordering::Acquire as A;";
    assert_caught("orderings", &[(RUNTIME, renamed)], 1, "another name");
}

#[test]
fn orderings_leaves_other_meanings_and_tests_alone() {
    let code = "use std::cmp::Ordering;\nenum Kind { Acquire, Release }\nfn f() { g(Kind::Acquire, Ordering::Less) }\n\
                #[cfg(test)]\nmod tests {\n    use super::*;\n    fn t() { a.load(Ordering::Relaxed); }\n}\n";
    assert_clean("orderings", &[(RUNTIME, code)]);
    assert_clean(
        "orderings",
        &[(
            "crates/brigade-lab/src/a.rs",
            "fn f() { a.load(Ordering::Relaxed) }",
        )],
    );
}

#[test]
fn unsafety_catches_a_block_without_argument() {
    assert_caught(
        "unsafety",
        &[(RUNTIME, "fn f() {\n    unsafe { g() }\n}")],
        2,
        "without",
    );
    assert_caught(
        "unsafety",
        &[(RUNTIME, "unsafe impl Send for T {}")],
        1,
        "without",
    );
    let doc = "/// SAFETY: this one is documentation only.\nunsafe impl Send for T {}";
    assert_caught("unsafety", &[(RUNTIME, doc)], 2, "without");
}

#[test]
fn unsafety_catches_filler() {
    for filler in ["Untriaged.", "see above", "", "Trust me!", "it works"] {
        let code = format!("fn f() {{\n    // SAFETY: {filler}\n    unsafe {{ g() }}\n}}");
        assert_caught("unsafety", &[(RUNTIME, &code)], 2, "argues nothing");
    }
}

#[test]
fn unsafety_accepts_an_argument_over_several_lines() {
    let code = "fn f() {\n    // SAFETY: invariant\n    // 3 keeps the slot ours.\n    let x =\n        unsafe { g() };\n}";
    assert_clean("unsafety", &[(RUNTIME, code)]);
    assert_clean(
        "unsafety",
        &[(RUNTIME, "unsafe fn f() {}\ntype F = unsafe fn();")],
    );
}

/// A function of `lines` lines of code, padded with comments and blank lines that do not count.
fn function(lines: usize) -> String {
    let body = "    g();\n    // a comment\n\n".repeat(lines - 2);
    format!("/// Documented\n/// [twice].\nfn f() {{\n{body}}}\n")
}

#[test]
fn sizes_catches_a_long_function_and_a_long_file() {
    assert_clean("sizes", &[(RUNTIME, &function(70))]);
    assert_caught("sizes", &[(RUNTIME, &function(71))], 3, "71 lines of code");
    assert_clean(
        "sizes",
        &[(RUNTIME, &"const A: u8 = 0; // a\n".repeat(800))],
    );
    assert_caught(
        "sizes",
        &[(RUNTIME, &"const A: u8 = 0;\n".repeat(801))],
        0,
        "801 lines of code",
    );
}

#[test]
fn sizes_only_lets_the_ratchet_go_down() {
    let ratchet = ("xtask/ratchet.txt", "limit long-functions 1\n");
    assert_clean("sizes", &[(RUNTIME, &function(71)), ratchet]);
    assert_caught("sizes", &[(RUNTIME, &function(70)), ratchet], 0, "lower it");
}

#[test]
fn a_check_that_stopped_looking_is_a_fault() {
    let ratchet = ("xtask/ratchet.txt", "floor parse 2\n");
    assert_caught(
        "parse",
        &[(RUNTIME, ""), ratchet],
        0,
        "fewer than the 2 recorded",
    );
}

#[test]
fn markers_catches_reminders_in_any_file() {
    for marker in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        let comment = format!("fn f() {{}}\n// {marker}(me): later\n");
        assert_caught("markers", &[(RUNTIME, &comment)], 2, marker);
        assert_caught(
            "markers",
            &[("README.md", &format!("{marker}: write this\n"))],
            1,
            marker,
        );
    }
    let unwritten = format!("fn f() {{ {}!() }}", "todo");
    assert_caught("markers", &[(RUNTIME, &unwritten)], 1, "write the code");
    assert_clean("markers", &[("README.md", "A mastodon and a method.\n")]);
}

#[test]
fn ignored_tests_are_counted() {
    let code = "#[ignore]\n#[test]\nfn a() {}\n#[cfg_attr(debug_assertions, ignore = \"slow\")]\n#[test]\nfn b() {}\n\
                fn ignore() { ignore(); }";
    assert_eq!(
        checks::markers::ignored_tests(&Tree::from_files([(RUNTIME, code)])),
        2
    );
}

#[test]
fn links_catches_a_dead_link_anchor_and_path() {
    let other = ("docs/b.md", "# Two words, one `tick`\n");
    let with = |text: &'static str| [("docs/a.md", text), other];
    assert_clean(
        "links",
        &with("[x](b.md) [y](b.md#two-words-one-tick) [z](https://example.org/none)\n"),
    );
    assert_caught("links", &with("text\n[x](c.md)\n"), 2, "leads nowhere");
    assert_caught("links", &with("[x](../b.md)\n"), 1, "leads nowhere");
    assert_caught(
        "links",
        &with("[x](b.md#three)\n"),
        1,
        "no heading `#three`",
    );
    assert_caught(
        "links",
        &with("see `crates/none/src/lib.rs`\n"),
        1,
        "does not exist",
    );
    assert_clean("links", &with("```\n[x](c.md)\n```\n"));
}

#[test]
fn every_rule_has_a_planted_fault() {
    let own: String = include_str!("planted.rs").split_whitespace().collect();
    for check in &checks::ALL {
        let caught = own.contains(&format!("assert_caught(\"{}\"", check.name));
        assert!(caught, "no planted fault for `{}`", check.name);
    }
}
