//! What the threads of a process did between two looks.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::look::{Look, Process, ThreadLook};

/// What a process did between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Activity {
    /// The process.
    pub process: Process,
    /// Time between the looks, in seconds.
    pub interval_s: f64,
    /// Sums and means over all threads.
    pub total: Rates,
    /// How many threads there were at the second look.
    pub threads: usize,
    /// The threads, summed up by name, state and wait channel; most CPU first.
    pub groups: Vec<Group>,
    /// Each thread, most CPU first.
    pub each: Vec<ThreadActivity>,
}

/// What threads did in a second; none where the kernel does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rates {
    /// Time on a CPU, in percent of one CPU.
    pub cpu_percent: f64,
    /// Time in the run queue, in percent of the interval: 100 for a thread that wanted to run and never did.
    pub queue_percent: Option<f64>,
    /// Switches a second because the thread waited.
    pub voluntary_per_s: Option<f64>,
    /// Switches a second because another was to run.
    pub involuntary_per_s: Option<f64>,
    /// Moves between CPUs a second.
    pub migrations_per_s: Option<f64>,
}

/// What one thread did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ThreadActivity {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Its state at the second look, as the kernel's letter.
    pub state: char,
    /// What it waited in.
    pub wait_channel: Option<String>,
    /// Scheduling class.
    pub class: &'static str,
    /// Nice value.
    pub nice: i32,
    /// Priority in a real-time class.
    pub rt_priority: u32,
    /// The CPU it ran on last.
    pub cpu: Option<u32>,
    /// What it did.
    #[serde(flatten)]
    pub rates: Rates,
}

/// Threads of one name, state and wait channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// How many.
    pub count: usize,
    /// The lowest of their numbers.
    pub tid: u32,
    /// Their name; `#` stands for digits in which they differ.
    pub name: String,
    /// Their state.
    pub state: char,
    /// What they wait in.
    pub wait_channel: Option<String>,
    /// Their class.
    pub class: &'static str,
    /// Their nice value.
    pub nice: i32,
    /// Their real-time priority.
    pub rt_priority: u32,
    /// The CPU they ran on last, if it is one.
    pub cpu: Option<u32>,
    /// Sums over them.
    #[serde(flatten)]
    pub rates: Rates,
}

impl Activity {
    /// What the process did between two looks at it. A thread that began in between counts from its start.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_observe::{Activity, Look, Source};
    ///
    /// let source = Source::new();
    /// let before = Look::take(&source, std::process::id())?;
    /// let after = Look::take(&source, std::process::id())?;
    /// let activity = Activity::between(&before, &after);
    /// assert_eq!(activity.threads, after.threads.len());
    /// # Ok::<(), brigade_observe::Error>(())
    /// ```
    #[must_use]
    pub fn between(before: &Look, after: &Look) -> Activity {
        let interval_s = after.at.saturating_duration_since(before.at).as_secs_f64();
        let known: HashMap<_, _> = before.threads.iter().map(|t| (key(t), t)).collect();
        let mut each: Vec<ThreadActivity> = after
            .threads
            .iter()
            .map(|thread| describe(thread, known.get(&key(thread)).copied(), interval_s))
            .collect();
        each.sort_by(|one, other| {
            let cpu = other.rates.cpu_percent.total_cmp(&one.rates.cpu_percent);
            cpu.then(one.tid.cmp(&other.tid))
        });
        Activity {
            process: after.process.clone(),
            interval_s,
            total: each.iter().map(|thread| thread.rates).sum(),
            threads: each.len(),
            groups: groups(&each),
            each,
        }
    }
}

impl std::iter::Sum for Rates {
    fn sum<I: Iterator<Item = Rates>>(rates: I) -> Rates {
        let add = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        rates.fold(Rates::default(), |sum, next| Rates {
            cpu_percent: sum.cpu_percent + next.cpu_percent,
            queue_percent: add(sum.queue_percent, next.queue_percent),
            voluntary_per_s: add(sum.voluntary_per_s, next.voluntary_per_s),
            involuntary_per_s: add(sum.involuntary_per_s, next.involuntary_per_s),
            migrations_per_s: add(sum.migrations_per_s, next.migrations_per_s),
        })
    }
}

/// Who a thread is: its number may be given to another after its end.
pub(crate) fn key(thread: &ThreadLook) -> (u32, u64) {
    (thread.tid, thread.started_ticks)
}

fn describe(thread: &ThreadLook, before: Option<&ThreadLook>, interval_s: f64) -> ThreadActivity {
    let per_s = |now: u64, then: Option<u64>| {
        let much = now.saturating_sub(then.unwrap_or(0)) as f64;
        if interval_s > 0.0 {
            much / interval_s
        } else {
            0.0
        }
    };
    let rate =
        |of: fn(&ThreadLook) -> Option<u64>| of(thread).map(|now| per_s(now, before.and_then(of)));
    let rates = Rates {
        cpu_percent: per_s(thread.run_ns, before.map(|t| t.run_ns)) / 1e7,
        queue_percent: rate(|t| t.queue_ns).map(|ns| ns / 1e7),
        voluntary_per_s: rate(|t| t.voluntary),
        involuntary_per_s: rate(|t| t.involuntary),
        migrations_per_s: rate(|t| t.migrations),
    };
    ThreadActivity {
        tid: thread.tid,
        name: thread.name.clone(),
        state: thread.state,
        wait_channel: thread.wait_channel.clone(),
        class: thread.class,
        nice: thread.nice,
        rt_priority: thread.rt_priority,
        cpu: thread.cpu,
        rates,
    }
}

/// The name without its numbers: workers of a pool differ in nothing else.
fn stem(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    for c in name.chars() {
        if !c.is_ascii_digit() {
            stem.push(c);
        } else if !stem.ends_with('#') {
            stem.push('#');
        }
    }
    stem
}

fn groups(each: &[ThreadActivity]) -> Vec<Group> {
    let mut members: BTreeMap<_, Vec<&ThreadActivity>> = BTreeMap::new();
    for thread in each {
        let kind = (thread.class, thread.nice, thread.rt_priority);
        let key = (
            stem(&thread.name),
            thread.state,
            thread.wait_channel.clone(),
            kind,
        );
        members.entry(key).or_default().push(thread);
    }
    let mut groups: Vec<Group> = members
        .into_iter()
        .filter_map(|((stem, ..), members)| group(stem, &members))
        .collect();
    groups.sort_by(|one, other| {
        let cpu = other.rates.cpu_percent.total_cmp(&one.rates.cpu_percent);
        cpu.then(other.count.cmp(&one.count))
            .then(one.tid.cmp(&other.tid))
    });
    groups
}

fn group(stem: String, members: &[&ThreadActivity]) -> Option<Group> {
    let first = members.iter().min_by_key(|thread| thread.tid)?;
    let is_same_name = members.iter().all(|thread| thread.name == first.name);
    let is_same_cpu = members.iter().all(|thread| thread.cpu == first.cpu);
    Some(Group {
        count: members.len(),
        tid: first.tid,
        name: if is_same_name {
            first.name.clone()
        } else {
            stem
        },
        state: first.state,
        wait_channel: first.wait_channel.clone(),
        class: first.class,
        nice: first.nice,
        rt_priority: first.rt_priority,
        cpu: first.cpu.filter(|_| is_same_cpu),
        rates: members.iter().map(|thread| thread.rates).sum(),
    })
}
