//! JSON of reports and snapshots: one document each, with a `schema_version`.
//!
//! Places in the source are objects of `file`, `line` and `column`; addresses are strings, because a number of JSON may
//! lose digits; what is unknown is null. Fields may be added without a new version.

use std::io::{self, Write};
use std::panic::Location;

use brigade_event::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockedThread, HeldLockReport, LockClass,
    LockDescription, LockKind, Mode, OrderEdge, OrderKind, OrderReport, Taking, ThreadInfo,
    ThreadLabel, ThreadState, WaitReport,
};

use crate::threads::Threads;
use crate::writer::{Json, Object, Text};

/// The version of all JSON written here. It changes when a field is removed or means something else.
pub const SCHEMA_VERSION: u32 = 1;

/// What can be written as a JSON document.
///
/// # Examples
///
/// ```
/// use brigade_diag::{DeadlockKind, DeadlockReport, ToJson};
///
/// let report = DeadlockReport::new(DeadlockKind::AllWait, Vec::new());
/// assert_eq!(
///     report.to_json(),
///     r#"{"schema_version":1,"report":"deadlock","kind":"all_wait","threads":[]}"#
/// );
/// ```
pub trait ToJson {
    /// Writes the document, piece by piece and on one line. Blocks as `out` does.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn write_json(&self, out: impl Write) -> io::Result<()>;

    /// The document as a string.
    #[must_use]
    fn to_json(&self) -> String {
        let mut bytes = Vec::new();
        // A vector takes everything, and what is written is UTF-8.
        let _ = self.write_json(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl ToJson for DeadlockReport {
    fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        let kind = match self.kind {
            DeadlockKind::Cycle => "cycle",
            DeadlockKind::AllWait => "all_wait",
            _ => "other",
        };
        document(&mut out, "deadlock")?
            .field("kind", kind)?
            .field("threads", &self.threads[..])?
            .end()
    }
}

impl ToJson for OrderReport {
    fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        let kind = match self.kind() {
            OrderKind::Inversion => "inversion",
            OrderKind::SameClass => "same_class",
            OrderKind::ReadTwice => "read_twice",
            _ => "other",
        };
        document(&mut out, "lock_order")?
            .field("kind", kind)?
            .field("edges", self.edges())?
            .field("omitted_edges", self.omitted())?
            .end()
    }
}

impl ToJson for Threads {
    fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        document(&mut out, "threads")?
            .field("threads", &self[..])?
            .end()
    }
}

/// A document with the fields that all have.
fn document<'a>(out: &'a mut dyn Write, report: &'static str) -> io::Result<Object<'a>> {
    Object::new(out)
        .field("schema_version", SCHEMA_VERSION)?
        .field("report", report)
}

/// The fields of a thread's number and name, in the object of something else.
fn label<'a>(object: Object<'a>, label: &ThreadLabel) -> io::Result<Object<'a>> {
    object
        .field("id", (label.id != 0).then_some(label.id))?
        .field("name", label.name.get())
}

/// The fields of a lock, likewise.
fn lock<'a>(object: Object<'a>, lock: &LockDescription) -> io::Result<Object<'a>> {
    let facts = lock.facts;
    object
        .field("address", Address(lock.address))?
        .field("kind", facts.map(|facts| kind(facts.kind)))?
        .field("name", facts.and_then(|facts| facts.name))?
        .field("rank", facts.and_then(|facts| rank(facts.rank)))?
        .field("created_at", facts.map(|facts| facts.created))
}

impl Json for ThreadLabel {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        label(Object::new(out), self)?.end()
    }
}

impl Json for LockDescription {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        lock(Object::new(out), self)?.end()
    }
}

impl Json for Location<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Object::new(out)
            .field("file", self.file())?
            .field("line", self.line())?
            .field("column", self.column())?
            .end()
    }
}

impl Json for DeadlockedThread {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        label(Object::new(out), &self.thread)?
            .field("green", self.green)?
            .field("spawned_at", self.spawned_at)?
            .field("holds", &self.holds[..])?
            .field("waits_for", self.waits_for)?
            .end()
    }
}

impl Json for ThreadInfo {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = match self.state {
            ThreadState::New => "new",
            ThreadState::Runnable => "runnable",
            ThreadState::Running => "running",
            ThreadState::Waiting(_) => "waiting",
            ThreadState::Terminated => "terminated",
            _ => "other",
        };
        label(Object::new(out), &self.thread)?
            .field("green", self.green)?
            .field("state", state)?
            .field("waits_for", self.waits_for.as_ref())?
            .field("holds", &self.holds[..])?
            .field("spawned_at", self.spawned_at)?
            .field("age_ms", self.age_ms)?
            .field("switches", self.switches)?
            .end()
    }
}

impl Json for HeldLockReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Object::new(out)
            .field("lock", self.lock)?
            .field("mode", mode(self.mode))?
            .field("taken_at", self.taken_at)?
            .end()
    }
}

impl Json for WaitReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Object::new(out)
            .field("operation", Text(self.reason))?
            .field("object", self.object)?
            .field("called_at", self.called_at)?
            .field("waited_ms", self.waited_ms)?
            .field("timed", self.timed)?
            .end()
    }
}

/// The object of something awaited, whose other fields depend on `name`.
fn typed<'a>(out: &'a mut dyn Write, name: &'static str) -> io::Result<Object<'a>> {
    Object::new(out).field("type", name)
}

impl Json for AwaitedObject {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            AwaitedObject::Lock(description) => lock(typed(out, "lock")?, description)?,
            AwaitedObject::Thread(thread) => label(typed(out, "thread")?, thread)?,
            // Of std, or another library: its owner is unknown.
            AwaitedObject::Foreign(at) => typed(out, "foreign")?.field("address", Address(*at))?,
            AwaitedObject::Unowned(at) => typed(out, "unowned")?.field("address", Address(*at))?,
            AwaitedObject::Descriptor(number) => {
                typed(out, "descriptor")?.field("number", *number)?
            }
            AwaitedObject::Nothing => typed(out, "nothing")?,
            _ => typed(out, "other")?,
        }
        .end()
    }
}

impl Json for OrderEdge {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Object::new(out)
            .field("thread", self.thread)?
            .field("held", self.held)?
            .field("taken", self.taken)?
            .end()
    }
}

impl Json for Taking {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Object::new(out)
            .field("class", self.class)?
            .field("mode", mode(self.mode))?
            .field("taken_at", self.site)?
            .field("rank", rank(self.rank))?
            .end()
    }
}

impl Json for LockClass {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Object::new(out)
            .field("kind", kind(self.kind))?
            .field("name", self.name)?
            .field("created_at", self.created)?
            .end()
    }
}

struct Address(usize);

impl Json for Address {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Text(format_args!("{:#x}", self.0)).write(out)
    }
}

fn rank(rank: u16) -> Option<u16> {
    (rank != 0).then_some(rank)
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    }
}

fn kind(kind: LockKind) -> &'static str {
    match kind {
        LockKind::Mutex => "mutex",
        LockKind::RwLock => "rwlock",
        LockKind::Once => "once",
        LockKind::InterpreterLock => "interpreter_lock",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_event::{LockTag, WaitReason};
    use serde_json::{Value, json};

    fn parse(document: &impl ToJson) -> Value {
        serde_json::from_str(&document.to_json()).expect("the document is JSON")
    }

    fn place(site: &'static Location<'static>) -> Value {
        json!({"file": site.file(), "line": site.line(), "column": site.column()})
    }

    #[test]
    fn a_deadlock_says_in_json_what_its_text_says() {
        let tag = LockTag::new(LockKind::Mutex).with_name("a \"quoted\" name");
        let lock = LockDescription::of(&tag);
        let site = Location::caller();
        let mut wait = WaitReport::new(WaitReason::Futex, AwaitedObject::Lock(lock));
        wait.called_at = Some(site);
        wait.waited_ms = 5;
        let mut thread = DeadlockedThread::new(ThreadLabel::new(7, Some("clerk")), wait);
        let gone = LockDescription::unknown(0x10);
        thread
            .holds
            .push(HeldLockReport::new(gone, Mode::Shared, site));
        let report = DeadlockReport::new(DeadlockKind::Cycle, vec![thread]);
        let expected = json!({
            "schema_version": 1,
            "report": "deadlock",
            "kind": "cycle",
            "threads": [{
                "id": 7,
                "name": "clerk",
                "green": true,
                "spawned_at": null,
                "holds": [{
                    "lock": {"address": "0x10", "kind": null, "name": null, "rank": null, "created_at": null},
                    "mode": "shared",
                    "taken_at": place(site),
                }],
                "waits_for": {
                    "operation": "futex",
                    "object": {
                        "type": "lock",
                        "address": format!("{:#x}", tag.address()),
                        "kind": "mutex",
                        "name": "a \"quoted\" name",
                        "rank": null,
                        "created_at": place(tag.created()),
                    },
                    "called_at": place(site),
                    "waited_ms": 5,
                    "timed": false,
                },
            }],
        });
        assert_eq!(parse(&report), expected);
    }

    #[test]
    fn an_inversion_has_both_sites_of_each_edge_in_json() {
        let class = LockClass::new(LockKind::RwLock, None, Location::caller());
        let taking = Taking::new(class, Mode::Exclusive, Location::caller());
        let edge = OrderEdge::new(ThreadLabel::new(0, None), taking, taking);
        let report = OrderReport::new(OrderKind::Inversion, edge);
        let side = json!({
            "class": {"kind": "rwlock", "name": null, "created_at": place(class.created)},
            "mode": "exclusive",
            "taken_at": place(taking.site),
            "rank": null,
        });
        let expected = json!({
            "schema_version": 1,
            "report": "lock_order",
            "kind": "inversion",
            "edges": [{"thread": {"id": null, "name": null}, "held": side, "taken": side}],
            "omitted_edges": 0,
        });
        assert_eq!(parse(&report), expected);
    }

    #[test]
    fn every_kind_of_awaited_object_names_its_type() {
        let kinds = [
            (AwaitedObject::Foreign(1), "foreign"),
            (AwaitedObject::Unowned(1), "unowned"),
            (AwaitedObject::Descriptor(1), "descriptor"),
            (AwaitedObject::Nothing, "nothing"),
            (AwaitedObject::Thread(ThreadLabel::new(1, None)), "thread"),
        ];
        for (object, name) in kinds {
            let mut bytes = Vec::new();
            object.write(&mut bytes).unwrap();
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(value["type"], name);
        }
    }

    /// Fails once, after `calls` calls.
    struct Failing {
        calls: usize,
        kept: Vec<u8>,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Some(calls) = self.calls.checked_sub(1) else {
                self.calls = usize::MAX;
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            self.calls = calls;
            self.kept.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_of_the_writer_is_passed_on_and_ends_the_document_wherever_it_comes() {
        let site = Location::caller();
        let held = HeldLockReport::new(LockDescription::unknown(0x10), Mode::Shared, site);
        let wait = WaitReport::new(WaitReason::Futex, AwaitedObject::Foreign(1));
        let mut thread = DeadlockedThread::new(ThreadLabel::new(1, Some("a\n\u{1}\"b")), wait);
        thread.holds.extend([held, held]);
        let report = DeadlockReport::new(DeadlockKind::Cycle, vec![thread]);
        let whole = report.to_json();
        let mut errors = 0;
        loop {
            let mut out = Failing {
                calls: errors,
                kept: Vec::new(),
            };
            let result = report.write_json(&mut out);
            let kept = str::from_utf8(&out.kept).expect("only ASCII is in it");
            let Err(error) = result else {
                assert_eq!(kept, whole);
                break;
            };
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            assert!(
                kept.len() < whole.len() && whole.starts_with(kept),
                "{kept}"
            );
            errors += 1;
        }
        assert!(errors > 20, "it is written piece by piece");
    }
}
