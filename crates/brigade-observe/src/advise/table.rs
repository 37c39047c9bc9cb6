//! The decision table: rows in their order, of which the first that applies decides.
//!
//! Thresholds are coarse on purpose: a program near one of them is served by either model.

use serde::Serialize;

use super::observations::{Observations, WaitKind};

/// How a program's work is mapped to threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Model {
    /// Several processes.
    Processes,
    /// A fixed number of kernel threads that run jobs.
    ThreadPool,
    /// One thread that waits for many descriptors.
    EventLoop,
    /// A green thread for each task.
    GreenThreads,
    /// It cannot be told.
    NotEnoughData,
}

impl Model {
    /// The words for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Model::Processes => "processes",
            Model::ThreadPool => "a pool of kernel threads",
            Model::EventLoop => "an event loop",
            Model::GreenThreads => "green threads",
            Model::NotEnoughData => "not enough data",
        }
    }
}

/// A row of the table, and whether it applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub row: &'static str,
    /// When it applies.
    pub when: &'static str,
    /// What it says.
    pub model: Model,
    /// Whether it applied; rows behind the one that decided were not asked.
    pub applies: Option<bool>,
}

/// Which model fits, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The model.
    pub model: Model,
    /// The name of the row that decided.
    pub row: &'static str,
    /// The numbers that led there.
    pub because: String,
    /// What to do.
    pub advice: String,
    /// What else should be known before it is believed.
    pub notes: Vec<String>,
    /// The whole table.
    pub table: Vec<Step>,
}

/// One row.
struct Row {
    name: &'static str,
    when: &'static str,
    model: Model,
    applies: fn(&Observations) -> bool,
    because: fn(&Observations) -> String,
    advice: fn(&Observations) -> String,
}

/// The least that says anything.
const LEAST_S: f64 = 0.5;
const LEAST_LOOKS: usize = 5;
/// From here on threads are many: their memory and switches count.
const MANY: f64 = 16.0;
/// A program that uses less CPU is idle.
const IDLE: f64 = 0.02;
/// A program whose threads want more CPUs, and hardly wait, computes.
const COMPUTES: f64 = 0.5;
/// The least that a thread computes in a turn, on average over the threads and their waits for the next one.
const LEAST_TURN_MS: f64 = 0.2;
/// One interpreter with a lock uses no more CPUs, unless its libraries give the lock back.
const ONE_CPU: f64 = 1.3;

/// Waits that another model could make cheaper.
const INPUT: [WaitKind; 4] = [
    WaitKind::Socket,
    WaitKind::Poll,
    WaitKind::Pipe,
    WaitKind::Sleep,
];

fn many_wait_for_input(seen: &Observations) -> bool {
    // Where the kernel does not name what threads wait in, all waits count.
    let unnamed = seen.waits.keys().all(|kind| *kind == WaitKind::Other);
    let waiting = if unnamed {
        seen.waiting_for(&[WaitKind::Other])
    } else {
        seen.waiting_for(&INPUT)
    };
    waiting >= MANY
}

/// Threads that want to compute under a lock wait for it, and ask for it every few milliseconds: they are no computing
/// threads, but what they do in a turn tells them from threads that wait for something else.
fn computes_in_turns(seen: &Observations) -> bool {
    let locks = seen.waiting_for(&[WaitKind::Lock]);
    let run_ms_per_wait = 1e3 * seen.cpus_used / seen.voluntary_per_s.unwrap_or(0.0).max(1.0);
    let take_turns = seen.cpus_wanted >= COMPUTES
        && locks >= 0.5
        && locks > seen.waiting_for(&INPUT)
        && run_ms_per_wait >= LEAST_TURN_MS;
    seen.computing_wanted >= COMPUTES || take_turns
}

fn waits_for_disks(seen: &Observations) -> bool {
    seen.waiting_for(&[WaitKind::Disk]) >= 0.33
}

fn is_event_loop(seen: &Observations) -> bool {
    let sockets = seen.sockets.unwrap_or(0) as f64;
    seen.waits.contains_key(&WaitKind::Epoll) && sockets >= MANY
}

fn computes(seen: &Observations) -> bool {
    seen.computing_wanted >= COMPUTES && seen.computing_share >= 0.5
}

const ROWS: [Row; 10] = [
    Row {
        name: "too short",
        when: "watched for less than half a second, or looked at less than five times",
        model: Model::NotEnoughData,
        applies: |seen| seen.watched_s < LEAST_S || seen.looks < LEAST_LOOKS,
        because: |seen| {
            format!(
                "it was watched for {:.2} s, {} times",
                seen.watched_s, seen.looks
            )
        },
        advice: |_| "Give it more to do, or watch it longer (--seconds).".to_owned(),
    },
    Row {
        name: "idle",
        when: "hardly any CPU time, few threads wait for input or disks, no event loop with many sockets",
        model: Model::NotEnoughData,
        applies: |seen| {
            seen.cpus_used < IDLE
                && seen.computing_wanted < COMPUTES
                && !waits_for_disks(seen)
                && !many_wait_for_input(seen)
                && !is_event_loop(seen)
        },
        because: |seen| {
            format!(
                "{:.1} % of a CPU and {} while it was watched",
                100.0 * seen.cpus_used,
                count(seen.threads, "thread")
            )
        },
        advice: |_| "Watch it while it has work: an idle program fits any model.".to_owned(),
    },
    Row {
        name: "interpreter computes",
        when: "it computes, under an interpreter's lock, and uses one CPU at most for each process",
        model: Model::Processes,
        applies: |seen| {
            let processes = seen.computing_processes.max(1) as f64;
            seen.has_interpreter_lock()
                && computes_in_turns(seen)
                && seen.cpus_used <= ONE_CPU * processes
        },
        because: |seen| {
            format!(
                "{} lets one thread compute at a time: {} in {} used {:.2} of {} CPUs",
                interpreter(seen),
                count(seen.threads, "thread"),
                count(seen.processes, "process"),
                seen.cpus_used,
                seen.cpus
            )
        },
        advice: |seen| {
            format!(
                "Divide the computing over {} processes (multiprocessing, brigade::process); \
                 threads help only while it waits. A free-threaded interpreter would do too.",
                seen.cpus
            )
        },
    },
    Row {
        name: "disk",
        when: "threads wait for disks for a third of a thread's time or more",
        model: Model::ThreadPool,
        applies: waits_for_disks,
        because: |seen| {
            format!(
                "on average {:.1} threads waited for disks",
                seen.waiting_for(&[WaitKind::Disk])
            )
        },
        advice: |_| {
            "Use a pool of as many kernel threads as the disk serves at once (try 4 to 32): a wait \
             for a disk holds its kernel thread under every other model too."
                .to_owned()
        },
    },
    Row {
        name: "processes compute",
        when: "it computes, in several processes of one computing thread each",
        model: Model::Processes,
        applies: |seen| {
            computes(seen)
                && seen.computing_processes >= 2
                && seen.computing_threads <= seen.computing_processes
        },
        because: |seen| {
            format!(
                "{} compute and used {:.2} of {} CPUs",
                count(seen.computing_processes, "process"),
                seen.cpus_used,
                seen.cpus
            )
        },
        advice: |seen| {
            format!(
                "Keep the processes, and about {} of them: they share the CPUs as threads would, \
                 and one that crashes takes no other with it. Threads are worth it only if they \
                 exchange much data.",
                seen.cpus
            )
        },
    },
    Row {
        name: "computes",
        when: "threads that hardly wait use most of the CPU time",
        model: Model::ThreadPool,
        applies: computes,
        because: |seen| {
            let queue = seen.queue_share.map_or_else(String::new, |share| {
                format!(
                    ", {:.0} % of their runnable time in the run queue",
                    100.0 * share
                )
            });
            format!(
                "{} {}{queue}; {:.2} of {} CPUs were used and {:.2} wanted",
                count(seen.computing_threads, "thread"),
                match seen.computing_threads {
                    1 => "computes",
                    _ => "compute",
                },
                seen.cpus_used,
                seen.cpus,
                seen.cpus_wanted
            )
        },
        advice: |seen| {
            format!(
                "Use a pool of {} kernel threads, one for each CPU: more only compete. Green \
                 threads and event loops make no computation faster.",
                seen.cpus
            )
        },
    },
    Row {
        name: "interpreter waits",
        when: "many threads wait for input, under an interpreter's lock",
        model: Model::EventLoop,
        applies: |seen| seen.has_interpreter_lock() && many_wait_for_input(seen),
        because: |seen| {
            format!(
                "{} threads of {} waited for input on average, {:.0} % of all thread time waiting",
                round(seen.waiting_for(&INPUT)),
                interpreter(seen),
                100.0 * seen.waiting_share
            )
        },
        advice: |_| {
            "Use the interpreter's event loop (asyncio or the like): one thread waits for all. Its \
             threads work too, as the lock is given back while they wait, at the price of a kernel \
             thread each."
                .to_owned()
        },
    },
    Row {
        name: "many wait",
        when: "16 threads or more wait for sockets, pipes, polls or sleeps",
        model: Model::GreenThreads,
        applies: many_wait_for_input,
        because: |seen| {
            format!(
                "{} of {} threads waited for input on average, {:.0} % of all thread time waiting, \
                 for {:.2} CPUs of work",
                round(
                    seen.waiting_for(&INPUT)
                        .max(seen.waiting_for(&[WaitKind::Other]))
                ),
                round(seen.mean_threads),
                100.0 * seen.waiting_share,
                seen.cpus_used
            )
        },
        advice: |_| {
            "Run each of them as a green thread: the code stays as it is (blocking), and a thread \
             that waits costs a page instead of a kernel thread."
                .to_owned()
        },
    },
    Row {
        name: "event loop",
        when: "a thread waits in epoll, for 16 sockets or more",
        model: Model::EventLoop,
        applies: is_event_loop,
        because: |seen| {
            format!(
                "it waits in epoll with {} sockets open and {}",
                seen.sockets.unwrap_or(0),
                count(seen.threads, "thread")
            )
        },
        advice: |_| {
            "Keep the event loop. Nothing in it may compute for long or block: give such work to a \
             pool of kernel threads."
                .to_owned()
        },
    },
    Row {
        name: "mixed",
        when: "it computes and waits for input, with few threads",
        model: Model::ThreadPool,
        applies: |seen| seen.cpus_used >= 0.05 && seen.waiting_for(&INPUT) > 0.0,
        because: |seen| {
            format!(
                "{:.2} CPUs used and {:.1} threads waiting for input on average: {:.1} of waiting \
                 for 1 of computing",
                seen.cpus_used,
                seen.waiting_for(&INPUT),
                wait_per_compute(seen)
            )
        },
        advice: |seen| {
            let threads = seen.cpus as f64 * (1.0 + wait_per_compute(seen));
            format!(
                "Use a pool of about {} kernel threads: CPUs x (1 + waiting / computing). If the \
                 tasks become many, green threads.",
                round(threads.min(1000.0))
            )
        },
    },
];

fn wait_per_compute(seen: &Observations) -> f64 {
    seen.waiting_for(&INPUT) / seen.cpus_used.max(0.01)
}

fn interpreter(seen: &Observations) -> &str {
    let found = seen.interpreter.as_ref();
    found.map_or("the interpreter", |found| &found.name)
}

fn round(number: f64) -> String {
    format!("{number:.0}")
}

fn count(number: usize, what: &str) -> String {
    let plural = if what.ends_with('s') { "es" } else { "s" };
    let plural = if number == 1 { "" } else { plural };
    format!("{number} {what}{plural}")
}

/// Which model fits, by the first row of the table that applies.
///
/// # Examples
///
/// ```
/// use brigade_observe::{Model, Observations, WaitKind, advise};
///
/// let mut server = Observations { watched_s: 5.0, looks: 50, cpus: 4, ..Observations::default() };
/// assert_eq!(advise(&server).model, Model::NotEnoughData);
///
/// server.threads = 200;
/// server.waits.insert(WaitKind::Socket, 200.0);
/// assert_eq!(advise(&server).model, Model::GreenThreads);
/// ```
#[must_use]
pub fn advise(seen: &Observations) -> Advice {
    let decided = ROWS.iter().position(|row| (row.applies)(seen));
    let table = ROWS.iter().enumerate().map(|(index, row)| Step {
        row: row.name,
        when: row.when,
        model: row.model,
        applies: (decided.is_none_or(|at| index <= at)).then_some(Some(index) == decided),
    });
    let table = table.collect();
    let notes = notes(seen);
    match decided.and_then(|at| ROWS.get(at)) {
        Some(row) => Advice {
            model: row.model,
            row: row.name,
            because: (row.because)(seen),
            advice: (row.advice)(seen),
            notes,
            table,
        },
        None => Advice {
            model: Model::NotEnoughData,
            row: "none",
            because: format!(
                "{:.2} CPUs used, {}, {:.0} % of their time waiting: no row of the table applies",
                seen.cpus_used,
                count(seen.threads, "thread"),
                100.0 * seen.waiting_share
            ),
            advice: "Watch it under the load that matters.".to_owned(),
            notes,
            table,
        },
    }
}

fn notes(seen: &Observations) -> Vec<String> {
    let mut notes = Vec::new();
    let lacking = seen.cpus_wanted - seen.cpus_used;
    if lacking > 0.3 && seen.cpus_used < 0.7 * seen.cpus_wanted.min(seen.cpus as f64) {
        notes.push(format!(
            "It wanted {:.2} CPUs and got {:.2} of {}: other programs were busy, or a quota holds \
             it back.",
            seen.cpus_wanted, seen.cpus_used, seen.cpus
        ));
    }
    let switches = seen.voluntary_per_s.unwrap_or(0.0) + seen.involuntary_per_s.unwrap_or(0.0);
    if switches > 20_000.0 * seen.cpus.max(1) as f64 {
        notes.push(format!(
            "{switches:.0} switches a second: threads hand over to each other more than they work."
        ));
    }
    if let Some(green) = seen.green_threads.filter(|green| *green > 0) {
        notes.push(format!(
            "It runs {green} green threads already (brigade inspect shows them); the numbers above \
             are those of its kernel threads."
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::Interpreter;

    /// A program that was watched well and did nothing.
    fn idle() -> Observations {
        Observations {
            watched_s: 5.0,
            looks: 50,
            cpus: 4,
            processes: 1,
            threads: 1,
            mean_threads: 1.0,
            waiting_share: 1.0,
            waits: [(WaitKind::Lock, 1.0)].into(),
            ..Observations::default()
        }
    }

    /// One that computes in so many threads.
    fn computing(threads: usize) -> Observations {
        Observations {
            threads,
            mean_threads: threads as f64,
            computing_processes: 1,
            computing_threads: threads,
            computing_share: 1.0,
            cpus_used: threads.min(4) as f64,
            cpus_wanted: threads as f64,
            computing_wanted: threads as f64,
            waiting_share: 0.0,
            waits: [].into(),
            ..idle()
        }
    }

    /// One in which so many threads wait so.
    fn waiting(threads: usize, kind: WaitKind) -> Observations {
        Observations {
            threads,
            mean_threads: threads as f64,
            waits: [(kind, threads as f64)].into(),
            ..idle()
        }
    }

    fn python(seen: Observations, has_lock: bool) -> Observations {
        Observations {
            interpreter: Some(Interpreter {
                name: "Python 3.11".into(),
                has_lock,
                evidence: "/usr/bin/python3.11".into(),
            }),
            ..seen
        }
    }

    fn decided(seen: &Observations) -> (&'static str, Model) {
        let advice = advise(seen);
        let applied = advice
            .table
            .iter()
            .filter(|step| step.applies == Some(true));
        let rows: Vec<&str> = applied.map(|step| step.row).collect();
        assert_eq!(rows.is_empty(), advice.row == "none");
        assert!(rows.iter().all(|row| *row == advice.row));
        (advice.row, advice.model)
    }

    #[test]
    fn a_program_that_was_hardly_watched_gets_no_advice() {
        let short = Observations {
            watched_s: 0.4,
            ..computing(8)
        };
        let few = Observations {
            looks: 4,
            ..computing(8)
        };
        for seen in [short, few] {
            assert_eq!(decided(&seen), ("too short", Model::NotEnoughData));
        }
    }

    #[test]
    fn an_idle_program_gets_no_advice() {
        assert_eq!(decided(&idle()), ("idle", Model::NotEnoughData));
        let sleeper = waiting(1, WaitKind::Sleep);
        assert_eq!(decided(&sleeper), ("idle", Model::NotEnoughData));
        // The idle workers of a pool wait for work, and not for input.
        let pool = waiting(64, WaitKind::Lock);
        assert_eq!(decided(&pool), ("idle", Model::NotEnoughData));
        let client = Observations {
            sockets: Some(3),
            ..waiting(1, WaitKind::Epoll)
        };
        assert_eq!(decided(&client), ("idle", Model::NotEnoughData));
    }

    #[test]
    fn a_program_that_fits_no_row_gets_no_advice() {
        let seen = Observations {
            cpus_used: 0.1,
            cpus_wanted: 0.1,
            ..idle()
        };
        assert_eq!(decided(&seen), ("none", Model::NotEnoughData));
    }

    #[test]
    fn an_interpreter_that_computes_wants_processes_unless_it_has_no_lock() {
        let seen = |has_lock| {
            let seen = Observations {
                cpus_used: 1.0,
                cpus_wanted: 1.0,
                computing_wanted: 1.0,
                ..computing(4)
            };
            python(seen, has_lock)
        };
        assert_eq!(
            decided(&seen(true)),
            ("interpreter computes", Model::Processes)
        );
        assert_eq!(decided(&seen(false)), ("computes", Model::ThreadPool));
    }

    #[test]
    fn threads_that_take_turns_under_a_lock_compute_on_a_busy_machine_too() {
        let turns = |run_ms_per_wait: f64| {
            let seen = Observations {
                cpus_used: 0.2,
                cpus_wanted: 3.2,
                voluntary_per_s: Some(200.0 / run_ms_per_wait),
                ..waiting(4, WaitKind::Lock)
            };
            python(seen, true)
        };
        assert_eq!(
            decided(&turns(0.8)),
            ("interpreter computes", Model::Processes)
        );
        // Those that only wake up often, and then stand in the run queue, do not.
        assert_eq!(decided(&turns(0.05)), ("none", Model::NotEnoughData));
    }

    #[test]
    fn an_interpreter_whose_libraries_use_all_cpus_is_not_held_back_by_its_lock() {
        let seen = python(computing(4), true);
        assert_eq!(decided(&seen), ("computes", Model::ThreadPool));
    }

    #[test]
    fn waiting_for_disks_wants_a_pool() {
        let seen = waiting(1, WaitKind::Disk);
        assert_eq!(decided(&seen), ("disk", Model::ThreadPool));
    }

    #[test]
    fn computing_wants_a_pool_as_large_as_the_machine() {
        for threads in [1, 4, 64] {
            let seen = computing(threads);
            assert_eq!(decided(&seen), ("computes", Model::ThreadPool), "{threads}");
            assert!(advise(&seen).advice.contains("pool of 4"));
        }
    }

    #[test]
    fn processes_that_compute_are_kept() {
        let seen = Observations {
            processes: 4,
            computing_processes: 4,
            ..computing(4)
        };
        assert_eq!(decided(&seen), ("processes compute", Model::Processes));
    }

    #[test]
    fn many_threads_that_wait_want_to_be_green_or_an_event_loop_under_a_lock() {
        for kind in INPUT {
            let seen = waiting(200, kind);
            assert_eq!(
                decided(&seen),
                ("many wait", Model::GreenThreads),
                "{kind:?}"
            );
            let seen = python(seen, true);
            assert_eq!(
                decided(&seen),
                ("interpreter waits", Model::EventLoop),
                "{kind:?}"
            );
        }
        let few = waiting(15, WaitKind::Socket);
        assert_eq!(decided(&few), ("idle", Model::NotEnoughData));
    }

    #[test]
    fn where_the_kernel_names_no_waits_all_of_them_count() {
        let seen = waiting(200, WaitKind::Other);
        assert_eq!(decided(&seen), ("many wait", Model::GreenThreads));
    }

    #[test]
    fn a_busy_server_with_many_threads_is_told_from_one_that_computes() {
        let seen = Observations {
            cpus_used: 1.5,
            cpus_wanted: 1.8,
            computing_share: 0.0,
            ..waiting(200, WaitKind::Socket)
        };
        assert_eq!(decided(&seen), ("many wait", Model::GreenThreads));
    }

    #[test]
    fn a_program_that_only_stands_in_the_run_queue_of_a_busy_machine_does_not_compute() {
        let seen = Observations {
            cpus_used: 0.01,
            cpus_wanted: 0.9,
            queue_share: Some(0.99),
            ..waiting(1, WaitKind::Sleep)
        };
        assert_eq!(decided(&seen), ("idle", Model::NotEnoughData));
        assert_eq!(decided(&python(seen, true)), ("idle", Model::NotEnoughData));
    }

    #[test]
    fn an_event_loop_with_many_sockets_is_kept() {
        let seen = Observations {
            sockets: Some(500),
            ..waiting(1, WaitKind::Epoll)
        };
        assert_eq!(decided(&seen), ("event loop", Model::EventLoop));
    }

    #[test]
    fn a_mixed_program_wants_a_pool_by_the_ratio_of_waiting_to_computing() {
        let seen = Observations {
            cpus_used: 0.25,
            cpus_wanted: 0.25,
            waits: [(WaitKind::Socket, 0.75)].into(),
            ..idle()
        };
        assert_eq!(decided(&seen), ("mixed", Model::ThreadPool));
        assert!(advise(&seen).advice.contains("about 16 kernel threads"));
    }

    #[test]
    fn a_busy_machine_is_mentioned() {
        let seen = Observations {
            cpus_used: 0.3,
            ..computing(1)
        };
        assert!(
            advise(&seen)
                .notes
                .iter()
                .any(|note| note.contains("wanted 1.00"))
        );
        assert_eq!(advise(&computing(4)).notes, Vec::<String>::new());
    }
}
