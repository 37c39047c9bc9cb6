//! What is said about green threads: counts, groups, the oldest waits, who holds what others want.
//!
//! A report has a bounded size, however many threads there are, but for the list of all of them.

use std::collections::{BTreeMap, HashMap};

use brigade_event::ThreadState;
use brigade_event::outside::Word;
use serde::Serialize;

use super::edges::Edges;
use super::entries::{Reader, Seen, SiteId};

/// Groups and holders that a report names at most.
const MOST_GROUPS: usize = 1000;
/// Waits named as the oldest.
const OLDEST: usize = 5;

/// The green threads of a process.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GreenReport {
    /// Runtimes that the process has started.
    pub runtimes_started: u64,
    /// Green threads.
    pub green: usize,
    /// Kernel threads that have waited through Brigade, or stand for green ones where those are not possible.
    pub kernel: usize,
    /// Threads that changed whenever they were looked at, and are not counted elsewhere.
    pub changing: usize,
    /// There are more threads than were looked at.
    pub is_cut: bool,
    /// How many threads are in each state, most first.
    pub states: Vec<(String, usize)>,
    /// Threads of one state, spawned and waiting at the same places; largest first.
    pub groups: Vec<GreenGroup>,
    /// The threads that have waited longest.
    pub oldest: Vec<GreenThread>,
    /// Threads that others wait for; most waited for first.
    pub held: Vec<Held>,
    /// Threads that wait for each other: each for the next, the last for the first. Nothing ends such a wait.
    pub deadlocks: Vec<Vec<GreenThread>>,
    /// Every thread, by number.
    #[serde(skip)]
    pub each: Vec<GreenThread>,
}

/// Threads that do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GreenGroup {
    /// How many.
    pub count: usize,
    /// Whether they are green.
    pub is_green: bool,
    /// New, Runnable, Running, Waiting(reason), Terminated.
    pub state: String,
    /// Where they were spawned.
    pub spawned_at: Option<String>,
    /// Where they wait.
    pub waits_at: Option<String>,
    /// How long the one has waited that waits longest, in milliseconds.
    pub longest_wait_ms: Option<u64>,
    /// One of them: that with the lowest number.
    pub example: String,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GreenThread {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: Option<String>,
    /// Whether it is green.
    pub is_green: bool,
    /// New, Runnable, Running, Waiting(reason), Terminated.
    pub state: String,
    /// For how long it has waited, in milliseconds.
    pub waited_ms: Option<u64>,
    /// Whether the wait has a deadline.
    pub timed: bool,
    /// Where it waits.
    pub waits_at: Option<String>,
    /// The lock that it waits for.
    pub lock: Option<String>,
    /// The thread that it waits for.
    pub waits_for: Option<String>,
    /// Where it was spawned.
    pub spawned_at: Option<String>,
    /// How long ago it was spawned, in milliseconds.
    pub age_ms: u64,
    /// How often it was switched to.
    pub switches: u32,
}

/// A thread that others wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Held {
    /// How many wait for it.
    pub waiters: usize,
    /// The lock that it holds; none where its end is waited for.
    pub lock: Option<String>,
    /// The thread.
    pub by: String,
    /// Its state.
    pub state: String,
}

pub(crate) fn build(reader: &Reader<'_>, edges: &Edges, now_ms: u64) -> GreenReport {
    let view = View {
        reader,
        edges,
        now_ms,
    };
    let green = reader.seen.iter().filter(|seen| seen.is_green).count();
    let mut each: Vec<GreenThread> = (0..reader.seen.len()).map(|at| view.thread(at)).collect();
    let circle = |circle: &Vec<usize>| circle.iter().map(|at| each[*at].clone()).collect();
    let deadlocks = edges.circles.iter().map(circle).collect();
    each.sort_by_key(|thread| thread.id);
    GreenReport {
        runtimes_started: reader.header.get(Word::Started),
        green,
        kernel: reader.seen.len() - green,
        changing: reader.changing,
        is_cut: reader.is_cut,
        states: view.states(),
        groups: view.groups(),
        oldest: oldest(&each),
        held: view.held(),
        deadlocks,
        each,
    }
}

fn oldest(each: &[GreenThread]) -> Vec<GreenThread> {
    let mut waiting: Vec<&GreenThread> = each.iter().filter(|t| t.waited_ms.is_some()).collect();
    waiting.sort_by_key(|thread| (std::cmp::Reverse(thread.waited_ms), thread.id));
    waiting.into_iter().take(OLDEST).cloned().collect()
}

fn label(seen: &Seen) -> String {
    match &seen.name {
        Some(name) => format!("thread {} \"{name}\"", seen.id),
        None => format!("thread {}", seen.id),
    }
}

struct View<'a> {
    reader: &'a Reader<'a>,
    edges: &'a Edges,
    now_ms: u64,
}

/// What threads of a group have in common.
type Kind = (bool, ThreadState, Option<SiteId>, Option<SiteId>);

impl View<'_> {
    fn site(&self, site: Option<SiteId>) -> Option<String> {
        self.reader.site_texts.get(site? as usize).cloned()
    }

    fn lock(&self, address: u64) -> Option<String> {
        let lock = self.edges.locks.get(&address)?;
        let mut text = match lock.kind {
            Some(kind) => kind.to_string(),
            None => "lock".to_owned(),
        };
        if let Some(name) = &lock.name {
            text += &format!(" \"{name}\"");
        }
        if let Some(site) = self.site(lock.created_at) {
            text += &format!(" ({site})");
        }
        Some(text)
    }

    fn waited_ms(&self, seen: &Seen) -> Option<u64> {
        seen.wait
            .map(|wait| self.now_ms.saturating_sub(wait.since_ms))
    }

    fn thread(&self, at: usize) -> GreenThread {
        let seen = &self.reader.seen[at];
        GreenThread {
            id: seen.id,
            name: seen.name.clone(),
            is_green: seen.is_green,
            state: seen.state.to_string(),
            waited_ms: self.waited_ms(seen),
            timed: seen.wait.is_some_and(|wait| wait.timed),
            waits_at: self.site(seen.wait.and_then(|wait| wait.site)),
            lock: seen.wait.and_then(|wait| self.lock(wait.object)),
            waits_for: self.edges.targets[at].map(|other| label(&self.reader.seen[other])),
            spawned_at: self.site(seen.spawned_at),
            age_ms: self.now_ms.saturating_sub(seen.born_ms),
            switches: seen.switches,
        }
    }

    fn states(&self) -> Vec<(String, usize)> {
        let mut counts: HashMap<ThreadState, usize> = HashMap::new();
        for seen in self.reader.seen.iter().filter(|seen| seen.is_green) {
            *counts.entry(seen.state).or_default() += 1;
        }
        let mut states: Vec<_> = counts
            .into_iter()
            .map(|(state, count)| (state.to_string(), count))
            .collect();
        states.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
        states
    }

    fn groups(&self) -> Vec<GreenGroup> {
        let mut members: HashMap<Kind, (usize, Option<u64>, &Seen)> = HashMap::new();
        for seen in &self.reader.seen {
            let waits_at = seen.wait.and_then(|wait| wait.site);
            let kind = (seen.is_green, seen.state, seen.spawned_at, waits_at);
            let (count, longest, example) = members.entry(kind).or_insert((0, None, seen));
            *count += 1;
            *longest = (*longest).max(self.waited_ms(seen));
            if seen.id < example.id {
                *example = seen;
            }
        }
        let mut groups: Vec<(u64, GreenGroup)> = members
            .into_iter()
            .map(|((is_green, state, spawned_at, waits_at), member)| {
                let (count, longest_wait_ms, example) = member;
                let group = GreenGroup {
                    count,
                    is_green,
                    state: state.to_string(),
                    spawned_at: self.site(spawned_at),
                    waits_at: self.site(waits_at),
                    longest_wait_ms,
                    example: label(example),
                };
                (example.id, group)
            })
            .collect();
        groups.sort_by_key(|(id, group)| (std::cmp::Reverse(group.count), *id));
        let groups = groups.into_iter().map(|(_, group)| group);
        groups.take(MOST_GROUPS).collect()
    }

    fn held(&self) -> Vec<Held> {
        let mut waiters: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        for (seen, target) in self.reader.seen.iter().zip(&self.edges.targets) {
            if let (Some(wait), Some(target)) = (seen.wait, target) {
                *waiters.entry((*target, wait.object)).or_default() += 1;
            }
        }
        let mut held: Vec<Held> = waiters
            .into_iter()
            .map(|((by, object), waiters)| Held {
                waiters,
                lock: self.lock(object),
                by: label(&self.reader.seen[by]),
                state: self.reader.seen[by].state.to_string(),
            })
            .collect();
        held.sort_by(|one, other| (other.waiters, &one.by).cmp(&(one.waiters, &other.by)));
        held.truncate(MOST_GROUPS);
        held
    }
}
