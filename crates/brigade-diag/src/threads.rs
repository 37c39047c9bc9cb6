//! A snapshot of all threads, as a table and in groups.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::panic::Location;

use brigade_event::{AwaitedObject, HeldLockReport, ThreadInfo, ThreadState};

/// All threads as they were, each at a moment of its own; see `brigade::diag::threads`.
///
/// Its `Display` is a table with a row for each thread, and below a row what the thread held and waited for.
///
/// # Examples
///
/// ```
/// use brigade_diag::{ThreadInfo, ThreadLabel, Threads};
/// use std::panic::Location;
///
/// let clerk = ThreadInfo::new(ThreadLabel::new(7, Some("clerk")), Some(Location::caller()));
/// let threads: Threads = [clerk].into_iter().collect();
/// assert_eq!(threads.len(), 1);
/// assert!(threads.to_string().contains("clerk"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Threads(Vec<ThreadInfo>);

/// The threads that were spawned at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SiteSummary {
    /// Where; none for kernel threads that Brigade did not start.
    pub spawned_at: Option<&'static Location<'static>>,
    /// How many there are in each state, most frequent first.
    pub states: Vec<(ThreadState, usize)>,
    /// How many there are.
    pub total: usize,
    /// For how long the one has waited that waits longest, in milliseconds; none if none waits.
    pub longest_wait_ms: Option<u64>,
}

impl Threads {
    /// All threads that there are: green ones that have not ended, and kernel threads that have waited through Brigade.
    ///
    /// Nobody is stopped. Each thread is looked at by itself, so two of them may be seen at moments that do not fit
    /// together, and threads that begin or end meanwhile may be missing. One that has ended may be seen for a moment.
    ///
    /// # Blocking
    ///
    /// Blocks the kernel thread for about a microsecond for each thread.
    ///
    /// # Examples
    ///
    /// ```
    /// let threads = brigade_diag::Threads::now();
    /// println!("{threads}");
    /// ```
    #[must_use]
    pub fn now() -> Threads {
        let mut threads = Vec::new();
        brigade_runtime::waits::threads(|info| threads.push(info));
        Threads(threads)
    }

    /// The threads that hold the lock with this address, and where each took it.
    pub fn holders(&self, address: usize) -> impl Iterator<Item = (&ThreadInfo, &HeldLockReport)> {
        self.0.iter().flat_map(move |thread| {
            let holds = thread.holds.iter();
            holds
                .filter(move |held| held.lock.address == address)
                .map(move |held| (thread, held))
        })
    }

    /// Keeps the threads for which `keep` is true.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade_diag::{ThreadInfo, ThreadLabel, ThreadState, Threads};
    /// # let thread = ThreadInfo::new(ThreadLabel::new(7, None), None);
    /// # let threads: Threads = [thread].into_iter().collect();
    /// let waiting = threads.filter(|thread| matches!(thread.state, ThreadState::Waiting(_)));
    /// assert!(waiting.is_empty());
    /// ```
    #[must_use]
    pub fn filter(mut self, keep: impl FnMut(&ThreadInfo) -> bool) -> Threads {
        self.0.retain(keep);
        self
    }

    /// The threads by the place where they were spawned, largest group first.
    #[must_use]
    pub fn by_spawn_site(&self) -> Vec<SiteSummary> {
        let mut groups: HashMap<_, Group> = HashMap::new();
        for thread in &self.0 {
            groups.entry(thread.spawned_at).or_default().add(thread);
        }
        let mut sites: Vec<SiteSummary> = groups
            .into_iter()
            .map(|(spawned_at, group)| group.into_summary(spawned_at))
            .collect();
        sites.sort_by(|one, other| {
            (other.total, one.spawned_at).cmp(&(one.total, other.spawned_at))
        });
        sites
    }

    /// Writes the table, row by row. Blocks as `out` does.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_text(&self, mut out: impl io::Write) -> io::Result<()> {
        writeln!(out, "{Heading}")?;
        let holders = self.by_held_lock();
        for thread in &self.0 {
            writeln!(out, "{}", Row(thread, &holders))?;
        }
        Ok(())
    }
}

/// A thread that holds each lock: one of its readers, if there are several.
type Holders<'a> = HashMap<usize, (&'a ThreadInfo, &'a HeldLockReport)>;

impl Threads {
    fn by_held_lock(&self) -> Holders<'_> {
        let held = self.0.iter().flat_map(|thread| {
            let holds = thread.holds.iter();
            holds.map(move |held| (held.lock.address, (thread, held)))
        });
        held.collect()
    }
}

#[derive(Default)]
struct Group {
    states: HashMap<ThreadState, usize>,
    total: usize,
    longest_wait_ms: Option<u64>,
}

impl Group {
    fn add(&mut self, thread: &ThreadInfo) {
        *self.states.entry(thread.state).or_default() += 1;
        self.total += 1;
        let waited = thread.waits_for.map(|wait| wait.waited_ms);
        self.longest_wait_ms = self.longest_wait_ms.max(waited);
    }

    fn into_summary(self, spawned_at: Option<&'static Location<'static>>) -> SiteSummary {
        let mut states: Vec<_> = self.states.into_iter().collect();
        states.sort_by_key(|&(state, count)| (usize::MAX - count, order(state)));
        SiteSummary {
            spawned_at,
            states,
            total: self.total,
            longest_wait_ms: self.longest_wait_ms,
        }
    }
}

/// A place for each state and reason, so that equal counts come in one order.
fn order(state: ThreadState) -> (u8, u8) {
    match state {
        ThreadState::Running => (0, 0),
        ThreadState::Runnable => (1, 0),
        ThreadState::Waiting(reason) => (2, reason as u8),
        ThreadState::New => (3, 0),
        _ => (4, 0),
    }
}

impl Deref for Threads {
    type Target = [ThreadInfo];

    fn deref(&self) -> &[ThreadInfo] {
        &self.0
    }
}

impl FromIterator<ThreadInfo> for Threads {
    fn from_iter<I: IntoIterator<Item = ThreadInfo>>(threads: I) -> Threads {
        Threads(threads.into_iter().collect())
    }
}

impl IntoIterator for Threads {
    type Item = ThreadInfo;
    type IntoIter = std::vec::IntoIter<ThreadInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Threads {
    type Item = &'a ThreadInfo;
    type IntoIter = std::slice::Iter<'a, ThreadInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Heading.fmt(f)?;
        let holders = self.by_held_lock();
        self.0.iter().try_for_each(|thread| {
            f.write_str("\n")?;
            Row(thread, &holders).fmt(f)
        })
    }
}

impl fmt::Display for SiteSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7}  {}", self.total, Place(self.spawned_at))?;
        for (index, (state, count)) in self.states.iter().enumerate() {
            let before = if index == 0 { "\n         " } else { ", " };
            write!(f, "{before}{count} {state}")?;
        }
        match self.longest_wait_ms {
            Some(longest) => write!(f, "; longest wait {}", Span(longest)),
            None => Ok(()),
        }
    }
}

/// Where a thread was spawned.
struct Place(Option<&'static Location<'static>>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(site) => site.fmt(f),
            None => f.write_str("(a kernel thread of the program's)"),
        }
    }
}

struct Heading;

impl fmt::Display for Heading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "     ID  NAME           STATE                     SINCE     AGE  SWITCHES  SPAWNED AT",
        )
    }
}

struct Row<'a>(&'a ThreadInfo, &'a Holders<'a>);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thread = self.0;
        let kind = if thread.green { ' ' } else { 'k' };
        let name = thread.thread.name.get().unwrap_or("-");
        let state = thread.state.to_string();
        let since = thread
            .waits_for
            .map_or(String::new(), |wait| Span(wait.waited_ms).to_string());
        let age = Span(thread.age_ms).to_string();
        write!(
            f,
            "{:>7}{kind} {name:<14} {state:<23} {since:>7} {age:>7} {:>9}  {}",
            thread.thread.id,
            thread.switches,
            Place(thread.spawned_at)
        )?;
        for held in &thread.holds {
            write!(f, "\n         {held:#}")?;
        }
        let Some(wait) = &thread.waits_for else {
            return Ok(());
        };
        write!(f, "\n         {wait:#}")?;
        if let AwaitedObject::Lock(lock) = wait.object
            && let Some((holder, held)) = self.1.get(&lock.address)
        {
            write!(f, "\n         which {} holds, ", holder.thread)?;
            write!(f, "taken at {}", held.taken_at)?;
        }
        Ok(())
    }
}

/// A time in milliseconds, for people.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms @ 0..=9_999 => write!(f, "{ms} ms"),
            ms @ 10_000..=599_999 => write!(f, "{} s", ms / 1000),
            ms => write!(f, "{} min", ms / 60_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_event::{
        LockDescription, LockKind, LockTag, Mode, ThreadLabel, WaitReason, WaitReport,
    };

    fn spawned_here(id: u64) -> ThreadInfo {
        ThreadInfo::new(ThreadLabel::new(id, None), Some(Location::caller()))
    }

    fn waiting(mut thread: ThreadInfo, reason: WaitReason, waited_ms: u64) -> ThreadInfo {
        let mut wait = WaitReport::new(reason, AwaitedObject::Nothing);
        wait.waited_ms = waited_ms;
        thread.waits_for = Some(wait);
        thread.state = ThreadState::Waiting(reason);
        thread
    }

    #[test]
    fn a_row_tells_state_age_and_place_and_the_lines_below_what_is_held_and_awaited() {
        let tag = LockTag::new(LockKind::Mutex).with_name("till");
        let site = Location::caller();
        let mut thread = waiting(spawned_here(7), WaitReason::Sleep, 12);
        thread.age_ms = 61_000;
        thread.switches = 3;
        let lock = LockDescription::of(&tag);
        thread
            .holds
            .push(HeldLockReport::new(lock, Mode::Exclusive, site));
        let spawned_at = thread.spawned_at;
        let threads: Threads = [thread].into_iter().collect();
        let rows: Vec<String> = threads.to_string().lines().map(String::from).collect();
        assert_eq!(rows.len(), 4);
        let words: Vec<&str> = rows[1].split_whitespace().collect();
        let place = spawned_at.unwrap().to_string();
        let expected = [
            "7",
            "-",
            "Waiting(sleep)",
            "12",
            "ms",
            "61",
            "s",
            "3",
            &place,
        ];
        assert_eq!(words, expected);
        let created = tag.created();
        assert_eq!(
            rows[2].trim(),
            format!("holds Mutex \"till\" ({created}), taken at {site}")
        );
        assert_eq!(rows[3].trim(), "waits, by sleep, for 12 ms");
    }

    #[test]
    fn a_thread_that_waits_for_a_lock_is_shown_with_the_one_that_holds_it() {
        let site = Location::caller();
        let mut waiter = waiting(spawned_here(1), WaitReason::Park, 5);
        let wanted = LockDescription::unknown(0x40);
        waiter.waits_for.as_mut().unwrap().object = AwaitedObject::Lock(wanted);
        let mut holder = spawned_here(2);
        for address in [0x80, 0x40] {
            let lock = LockDescription::unknown(address);
            holder
                .holds
                .push(HeldLockReport::new(lock, Mode::Exclusive, site));
        }
        let threads: Threads = [waiter, holder].into_iter().collect();
        let text = threads.to_string();
        let line = format!("which thread 2 holds, taken at {site}");
        assert_eq!(text.matches(&line).count(), 1, "{text}");
        let holders: Vec<u64> = threads
            .holders(0x40)
            .map(|(thread, _)| thread.thread.id)
            .collect();
        assert_eq!(holders, [2]);
        assert_eq!(threads.holders(0x41).count(), 0);
    }

    #[test]
    fn the_table_written_in_pieces_is_the_table_shown() {
        let threads: Threads = (1..=50).map(spawned_here).collect();
        let mut written = Vec::new();
        threads.write_text(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), format!("{threads}\n"));
    }

    #[test]
    fn groups_by_spawn_site_count_states_and_keep_the_longest_wait() {
        let crowd = (1..=5).map(|id| {
            let thread = spawned_here(id);
            match id {
                1..=3 => waiting(thread, WaitReason::Join, 10 * id),
                _ => thread,
            }
        });
        let alone = ThreadInfo::new(ThreadLabel::new(9, None), Some(Location::caller()));
        let threads: Threads = crowd.chain([alone.clone()]).collect();
        let sites = threads.by_spawn_site();
        assert_eq!(sites.len(), 2);
        assert_eq!((sites[0].total, sites[0].longest_wait_ms), (5, Some(30)));
        let join = ThreadState::Waiting(WaitReason::Join);
        assert_eq!(sites[0].states, [(join, 3), (ThreadState::New, 2)]);
        assert_eq!((sites[1].total, sites[1].longest_wait_ms), (1, None));
        assert_eq!(sites[1].spawned_at, alone.spawned_at);
    }

    #[test]
    fn a_filter_keeps_what_it_is_told_to() {
        let threads: Threads = (1..=10).map(spawned_here).collect();
        let even = threads.filter(|thread| thread.thread.id % 2 == 0);
        let ids: Vec<u64> = even.iter().map(|thread| thread.thread.id).collect();
        assert_eq!(ids, [2, 4, 6, 8, 10]);
    }
}
