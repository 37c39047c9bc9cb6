//! JSON of reports and snapshots: one document each, with a `schema_version`.
//!
//! Places in the source are objects of `file`, `line` and `column`; addresses are strings, because a number of JSON may
//! lose digits; what is unknown is null. Fields may be added without a new version.
//!
//! The mirrors below stand between the reports and serde, so that the crates below need not know of it.

use std::io;
use std::panic::Location;

use brigade_event::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockedThread, HeldLockReport, LockClass,
    LockDescription, LockKind, Mode, OrderEdge, OrderKind, OrderReport, Taking, ThreadInfo,
    ThreadLabel, ThreadState, WaitReason, WaitReport,
};
use serde::{Serialize, Serializer};

use crate::threads::Threads;

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
    fn write_json(&self, out: impl io::Write) -> io::Result<()>;

    /// The document as a string.
    #[must_use]
    fn to_json(&self) -> String {
        let mut bytes = Vec::new();
        // A vector takes everything, and serde_json writes UTF-8.
        let _ = self.write_json(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl ToJson for DeadlockReport {
    fn write_json(&self, out: impl io::Write) -> io::Result<()> {
        let document = DeadlockDocument {
            schema_version: SCHEMA_VERSION,
            report: "deadlock",
            kind: match self.kind {
                DeadlockKind::Cycle => "cycle",
                DeadlockKind::AllWait => "all_wait",
                _ => "other",
            },
            threads: Rows(self.threads.iter().map(DeadlockedMirror::of)),
        };
        Ok(serde_json::to_writer(out, &document)?)
    }
}

impl ToJson for OrderReport {
    fn write_json(&self, out: impl io::Write) -> io::Result<()> {
        let document = OrderDocument {
            schema_version: SCHEMA_VERSION,
            report: "lock_order",
            kind: match self.kind() {
                OrderKind::Inversion => "inversion",
                OrderKind::SameClass => "same_class",
                OrderKind::ReadTwice => "read_twice",
                _ => "other",
            },
            edges: Rows(self.edges().iter().map(EdgeMirror::of)),
            omitted_edges: self.omitted(),
        };
        Ok(serde_json::to_writer(out, &document)?)
    }
}

impl ToJson for Threads {
    fn write_json(&self, out: impl io::Write) -> io::Result<()> {
        let document = ThreadsDocument {
            schema_version: SCHEMA_VERSION,
            report: "threads",
            threads: Rows(self.iter().map(ThreadMirror::of)),
        };
        Ok(serde_json::to_writer(out, &document)?)
    }
}

/// A sequence that is written as it is made.
struct Rows<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Rows<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

#[derive(Serialize)]
struct DeadlockDocument<T> {
    schema_version: u32,
    report: &'static str,
    kind: &'static str,
    threads: T,
}

#[derive(Serialize)]
struct OrderDocument<T> {
    schema_version: u32,
    report: &'static str,
    kind: &'static str,
    edges: T,
    omitted_edges: usize,
}

#[derive(Serialize)]
struct ThreadsDocument<T> {
    schema_version: u32,
    report: &'static str,
    threads: T,
}

#[derive(Serialize)]
struct LabelMirror<'a> {
    id: Option<u64>,
    name: Option<&'a str>,
}

impl LabelMirror<'_> {
    fn of(label: &ThreadLabel) -> LabelMirror<'_> {
        LabelMirror {
            id: (label.id != 0).then_some(label.id),
            name: label.name.get(),
        }
    }
}

#[derive(Serialize)]
struct Place {
    file: &'static str,
    line: u32,
    column: u32,
}

impl Place {
    fn of(site: &'static Location<'static>) -> Place {
        Place {
            file: site.file(),
            line: site.line(),
            column: site.column(),
        }
    }
}

#[derive(Serialize)]
struct DeadlockedMirror<'a> {
    #[serde(flatten)]
    thread: LabelMirror<'a>,
    green: bool,
    spawned_at: Option<Place>,
    holds: Vec<HeldMirror>,
    waits_for: WaitMirror<'a>,
}

impl DeadlockedMirror<'_> {
    fn of(thread: &DeadlockedThread) -> DeadlockedMirror<'_> {
        DeadlockedMirror {
            thread: LabelMirror::of(&thread.thread),
            green: thread.green,
            spawned_at: thread.spawned_at.map(Place::of),
            holds: thread.holds.iter().map(HeldMirror::of).collect(),
            waits_for: WaitMirror::of(&thread.waits_for),
        }
    }
}

#[derive(Serialize)]
struct ThreadMirror<'a> {
    #[serde(flatten)]
    thread: LabelMirror<'a>,
    green: bool,
    state: &'static str,
    waits_for: Option<WaitMirror<'a>>,
    holds: Vec<HeldMirror>,
    spawned_at: Option<Place>,
    age_ms: u64,
    switches: u64,
}

impl ThreadMirror<'_> {
    fn of(info: &ThreadInfo) -> ThreadMirror<'_> {
        ThreadMirror {
            thread: LabelMirror::of(&info.thread),
            green: info.green,
            state: match info.state {
                ThreadState::New => "new",
                ThreadState::Runnable => "runnable",
                ThreadState::Running => "running",
                ThreadState::Waiting(_) => "waiting",
                ThreadState::Terminated => "terminated",
                _ => "other",
            },
            waits_for: info.waits_for.as_ref().map(WaitMirror::of),
            holds: info.holds.iter().map(HeldMirror::of).collect(),
            spawned_at: info.spawned_at.map(Place::of),
            age_ms: info.age_ms,
            switches: info.switches,
        }
    }
}

#[derive(Serialize)]
struct HeldMirror {
    lock: LockMirror,
    mode: &'static str,
    taken_at: Place,
}

impl HeldMirror {
    fn of(held: &HeldLockReport) -> HeldMirror {
        HeldMirror {
            lock: LockMirror::of(&held.lock),
            mode: mode(held.mode),
            taken_at: Place::of(held.taken_at),
        }
    }
}

#[derive(Serialize)]
struct LockMirror {
    address: String,
    kind: Option<&'static str>,
    name: Option<&'static str>,
    rank: Option<u16>,
    created_at: Option<Place>,
}

impl LockMirror {
    fn of(lock: &LockDescription) -> LockMirror {
        let facts = lock.facts;
        LockMirror {
            address: address(lock.address),
            kind: facts.map(|facts| kind(facts.kind)),
            name: facts.and_then(|facts| facts.name),
            rank: facts.map(|facts| facts.rank).filter(|&rank| rank != 0),
            created_at: facts.map(|facts| Place::of(facts.created)),
        }
    }
}

#[derive(Serialize)]
struct WaitMirror<'a> {
    operation: Words,
    object: ObjectMirror<'a>,
    called_at: Option<Place>,
    waited_ms: u64,
    timed: bool,
}

impl WaitMirror<'_> {
    fn of(wait: &WaitReport) -> WaitMirror<'_> {
        WaitMirror {
            operation: Words(wait.reason),
            object: ObjectMirror::of(&wait.object),
            called_at: wait.called_at.map(Place::of),
            waited_ms: wait.waited_ms,
            timed: wait.timed,
        }
    }
}

/// The reason, by the words of its `Display`.
struct Words(WaitReason);

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ObjectMirror<'a> {
    Lock(LockMirror),
    Thread(LabelMirror<'a>),
    /// Of std, or another library: its owner is unknown.
    Foreign {
        address: String,
    },
    Unowned {
        address: String,
    },
    Descriptor {
        number: i32,
    },
    Nothing,
    Other,
}

impl ObjectMirror<'_> {
    fn of(object: &AwaitedObject) -> ObjectMirror<'_> {
        match object {
            AwaitedObject::Lock(lock) => ObjectMirror::Lock(LockMirror::of(lock)),
            AwaitedObject::Thread(thread) => ObjectMirror::Thread(LabelMirror::of(thread)),
            AwaitedObject::Foreign(at) => ObjectMirror::Foreign {
                address: address(*at),
            },
            AwaitedObject::Unowned(at) => ObjectMirror::Unowned {
                address: address(*at),
            },
            AwaitedObject::Descriptor(number) => ObjectMirror::Descriptor { number: *number },
            AwaitedObject::Nothing => ObjectMirror::Nothing,
            _ => ObjectMirror::Other,
        }
    }
}

#[derive(Serialize)]
struct EdgeMirror<'a> {
    thread: LabelMirror<'a>,
    held: TakingMirror,
    taken: TakingMirror,
}

impl EdgeMirror<'_> {
    fn of(edge: &OrderEdge) -> EdgeMirror<'_> {
        EdgeMirror {
            thread: LabelMirror::of(&edge.thread),
            held: TakingMirror::of(&edge.held),
            taken: TakingMirror::of(&edge.taken),
        }
    }
}

#[derive(Serialize)]
struct TakingMirror {
    class: ClassMirror,
    mode: &'static str,
    taken_at: Place,
    rank: Option<u16>,
}

impl TakingMirror {
    fn of(taking: &Taking) -> TakingMirror {
        TakingMirror {
            class: ClassMirror::of(&taking.class),
            mode: mode(taking.mode),
            taken_at: Place::of(taking.site),
            rank: (taking.rank != 0).then_some(taking.rank),
        }
    }
}

#[derive(Serialize)]
struct ClassMirror {
    kind: &'static str,
    name: Option<&'static str>,
    created_at: Place,
}

impl ClassMirror {
    fn of(class: &LockClass) -> ClassMirror {
        ClassMirror {
            kind: kind(class.kind),
            name: class.name,
            created_at: Place::of(class.created),
        }
    }
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
        _ => "other",
    }
}

fn address(address: usize) -> String {
    format!("{address:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_event::LockTag;
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
            let value = serde_json::to_value(ObjectMirror::of(&object)).unwrap();
            assert_eq!(value["type"], name);
        }
    }

    #[test]
    fn an_error_of_the_writer_is_passed_on() {
        let report = DeadlockReport::new(DeadlockKind::Cycle, Vec::new());
        let error = report.write_json(&mut [0_u8; 4][..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
