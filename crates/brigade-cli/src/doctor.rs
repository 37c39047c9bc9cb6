//! `brigade doctor`: what this machine offers, which model is active, and why.
//!
//! Every fact that is missing says what that disables. A fact that the kernel does not tell is
//! shown as unknown and counts as missing.

use std::io;

use brigade_lab::SCHEMA_VERSION;
use brigade_lab::machine::{self, Environment, number};
use brigade_lab::units::{Unit, show};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::Output;
use crate::render;
use crate::support::{self, Support, support};

/// What `--json` writes.
#[derive(Serialize)]
struct Document {
    schema_version: u32,
    program_version: &'static str,
    model: &'static str,
    reason: Option<String>,
    environment: Environment,
    facts: Vec<Fact>,
}

/// One thing that the machine offers or lacks.
#[derive(Serialize)]
struct Fact {
    group: &'static str,
    name: String,
    value: String,
    ok: bool,
    /// What is lost where it is not ok.
    note: String,
}

impl Fact {
    fn new(group: &'static str, name: &str, value: Option<String>, ok: bool, note: &str) -> Self {
        Self {
            group,
            name: name.to_owned(),
            ok: ok && value.is_some(),
            value: value.unwrap_or_else(|| "unknown".to_owned()),
            note: note.to_owned(),
        }
    }
}

const THREADS: &str = "Green threads";
const HOOKS: &str = "Hooks of libc";
const LIMITS: &str = "Limits";
const MEASURING: &str = "Measuring";

/// Examines the machine; a finding if green threads are not active on it.
pub(crate) fn run(json: bool, out: &Output) -> io::Result<Exit> {
    let support = support();
    let exit = if support.is_green {
        Exit::Clean
    } else {
        Exit::Finding
    };
    let document = examine(support);
    if json {
        out.print_json(&document)?;
    } else {
        out.print(&text(&document))?;
    }
    Ok(exit)
}

fn examine(support: Support) -> Document {
    let mut facts: Vec<Fact> = support
        .facts
        .into_iter()
        .map(|fact| Fact::new(THREADS, &fact.name, Some(fact.value), fact.ok, &fact.note))
        .collect();
    facts.extend(
        support::hooks()
            .into_iter()
            .map(|fact| Fact::new(HOOKS, &fact.name, Some(fact.value), fact.ok, &fact.note)),
    );
    facts.extend(memory_limits());
    facts.extend(thread_limits());
    facts.extend(cpu_facts());
    facts.extend(measuring_facts());
    Document {
        schema_version: SCHEMA_VERSION,
        program_version: env!("CARGO_PKG_VERSION"),
        model: support.model,
        reason: support.reason,
        environment: Environment::read(),
        facts,
    }
}

fn count(value: u64) -> String {
    show(value as f64, Unit::Count)
}

/// A limit where more is better and none is best.
fn limit(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), count)
}

fn memory_limits() -> [Fact; 4] {
    const USUAL_MAPS: u64 = 65_530;
    let maps = number("/proc/sys/vm/max_map_count");
    let overcommit = number("/proc/sys/vm/overcommit_memory");
    let space = machine::limits().address_space;
    let free = machine::memory_available();
    [
        Fact::new(
            LIMITS,
            "vm.max_map_count",
            maps.map(count),
            maps.is_some_and(|maps| maps >= USUAL_MAPS),
            "fewer mappings than usual: kernel threads, and green threads without light guards, \
             take two each",
        ),
        Fact::new(
            LIMITS,
            "vm.overcommit_memory",
            overcommit.map(count),
            overcommit.is_some_and(|mode| mode != 2),
            "strict accounting counts reserved stacks as memory: fewer threads fit than memory \
             would hold",
        ),
        Fact::new(
            LIMITS,
            "address space (ulimit -v)",
            Some(space.map_or_else(|| "none".to_owned(), |b| show(b as f64, Unit::Bytes))),
            space.is_none(),
            "stacks reserve address space; the limit bounds the number of threads",
        ),
        Fact::new(
            LIMITS,
            "memory available",
            free.is_finite().then(|| show(free, Unit::Bytes)),
            free >= 1e9,
            "a waiting green thread takes about a page and its page table entry; under 1 GB the \
             larger arms of thread-memory are skipped",
        ),
    ]
}

fn thread_limits() -> [Fact; 4] {
    /// What the largest experiment with kernel threads needs.
    const NEEDED: u64 = 10_500;
    let enough = |value: Option<u64>| value.is_none_or(|value| value >= NEEDED);
    let note = "the arms with 10,000 kernel threads are skipped; green threads do not count here";
    let kernel = |name: &str, path: &str| {
        let value = number(path);
        Fact::new(LIMITS, name, value.map(count), enough(value), note)
    };
    let own = machine::limits().tasks;
    let group = machine::cgroup_tasks().map(|tasks| tasks as u64);
    [
        kernel("kernel.pid_max", "/proc/sys/kernel/pid_max"),
        kernel("kernel.threads-max", "/proc/sys/kernel/threads-max"),
        Fact::new(
            LIMITS,
            "processes (ulimit -u)",
            Some(limit(own)),
            enough(own),
            note,
        ),
        Fact::new(
            LIMITS,
            "cgroup pids.max",
            Some(limit(group)),
            enough(group),
            note,
        ),
    ]
}

fn cpu_facts() -> [Fact; 2] {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let quota = machine::cgroup_cpus();
    [
        Fact::new(
            LIMITS,
            "CPUs",
            Some(usable.to_string()),
            usable >= 2,
            "with one CPU nothing runs in parallel: races are rare, and M:N has one processor",
        ),
        Fact::new(
            LIMITS,
            "cgroup CPU quota",
            Some(quota.map_or_else(|| "none".to_owned(), |cpus| format!("{cpus:.2} CPUs"))),
            quota.is_none(),
            "when the quota is used up the kernel stops the whole process for a while; gaps and \
             lateness show it",
        ),
    ]
}

fn measuring_facts() -> [Fact; 3] {
    let paranoid: Option<i64> =
        machine::word("/proc/sys/kernel/perf_event_paranoid").and_then(|text| text.parse().ok());
    let clock = machine::word("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let fast = clock
        .as_ref()
        .is_some_and(|clock| ["tsc", "arch_sys_counter", "kvm-clock"].contains(&clock.as_str()));
    let statistics = machine::word("/proc/self/schedstat");
    [
        Fact::new(
            MEASURING,
            "perf_event_paranoid",
            paranoid.map(|level| level.to_string()),
            paranoid.is_some_and(|level| level <= 2),
            "hardware counters are closed to this user; the lab counts switches in /proc instead",
        ),
        Fact::new(
            MEASURING,
            "clock source",
            clock,
            fast,
            "reading the clock takes a system call: times under a microsecond are too long",
        ),
        Fact::new(
            MEASURING,
            "scheduler statistics",
            statistics.map(|_| "yes".to_owned()),
            true,
            "the kernel does not tell how long a thread waited for a CPU",
        ),
    ]
}

fn text(document: &Document) -> String {
    let mut text = render::title("Machine");
    text += &render::block(&document.environment.line());
    text.push('\n');
    text += &render::title("Model");
    let why = document
        .reason
        .as_deref()
        .unwrap_or("everything it needs is there");
    text += &render::block(&format!("{}: {why}", document.model));
    for group in [THREADS, HOOKS, LIMITS, MEASURING] {
        text.push('\n');
        text += &render::title(group);
        for fact in document.facts.iter().filter(|fact| fact.group == group) {
            text += &render::fact(fact.ok, &fact.name, &fact.value, &fact.note);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_tell_counts_as_missing() {
        let fact = Fact::new(LIMITS, "a limit", None, true, "then this");
        assert_eq!((fact.ok, fact.value.as_str()), (false, "unknown"));
    }

    #[test]
    fn every_fact_says_what_its_absence_disables() {
        for fact in examine(support()).facts {
            assert!(!fact.note.is_empty(), "{}", fact.name);
        }
    }

    #[test]
    fn the_text_fits_80_columns() {
        let text = anstream::adapter::strip_str(&text(&examine(support()))).to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= render::WIDTH, "{line}");
        }
    }
}
