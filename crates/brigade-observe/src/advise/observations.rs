//! What was seen of a program: plain numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::interpreter::Interpreter;

/// What a thread waits in, by its wait channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitKind {
    /// A socket.
    Socket,
    /// `epoll_wait`: an event loop.
    Epoll,
    /// `poll` or `select`.
    Poll,
    /// A lock, a condition, a join: a futex.
    Lock,
    /// A sleep.
    Sleep,
    /// A pipe or a terminal.
    Pipe,
    /// The end of a child.
    Child,
    /// A disk.
    Disk,
    /// Something else, or the kernel does not say.
    Other,
}

impl WaitKind {
    /// The kind of this wait channel; none is [`WaitKind::Other`].
    #[must_use]
    pub fn of_channel(channel: Option<&str>) -> WaitKind {
        const KINDS: [(WaitKind, &[&str]); 8] = [
            (WaitKind::Epoll, &["ep_poll", "epoll"]),
            (
                WaitKind::Poll,
                &["poll_schedule", "do_poll", "do_sys_poll", "select"],
            ),
            (WaitKind::Lock, &["futex"]),
            (WaitKind::Sleep, &["nanosleep", "sigtimedwait"]),
            (WaitKind::Pipe, &["pipe", "tty"]),
            (WaitKind::Child, &["do_wait"]),
            (
                WaitKind::Disk,
                &["io_schedule", "folio", "page", "bit_wait", "blk", "jbd2"],
            ),
            (
                WaitKind::Socket,
                &[
                    "inet",
                    "sk_",
                    "skb",
                    "sock",
                    "tcp",
                    "udp",
                    "unix",
                    "accept",
                    "wait_woken",
                ],
            ),
        ];
        let Some(channel) = channel else {
            return WaitKind::Other;
        };
        let is_of = |words: &[&str]| words.iter().any(|word| channel.contains(word));
        let kind = KINDS.iter().find(|(_, words)| is_of(words));
        kind.map_or(WaitKind::Other, |(kind, _)| *kind)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            WaitKind::Socket => "sockets",
            WaitKind::Epoll => "epoll",
            WaitKind::Poll => "poll",
            WaitKind::Lock => "locks",
            WaitKind::Sleep => "sleeps",
            WaitKind::Pipe => "pipes",
            WaitKind::Child => "children",
            WaitKind::Disk => "disks",
            WaitKind::Other => "other",
        }
    }
}

/// What was seen of a program and its children. Times are means over the time it was watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Observations {
    /// For how long it was watched, in seconds.
    pub watched_s: f64,
    /// How often it was looked at.
    pub looks: usize,
    /// CPUs that it could use.
    pub cpus: usize,
    /// Processes at once, at most.
    pub processes: usize,
    /// Processes whose computing threads wanted a CPU for at least a tenth of the time.
    pub computing_processes: usize,
    /// Threads at once, at most.
    pub threads: usize,
    /// Threads at once, on average.
    pub mean_threads: f64,
    /// CPU time in user code, in seconds.
    pub user_s: f64,
    /// CPU time in the kernel, in seconds.
    pub system_s: f64,
    /// CPUs used, on average: CPU time divided by time.
    pub cpus_used: f64,
    /// Threads that ran or were runnable, on average: what it used and what it would have used.
    pub cpus_wanted: f64,
    /// Threads that wanted a CPU for at least half of their time, and worked for a millisecond or more before they
    /// waited.
    pub computing_threads: usize,
    /// Of the CPU time of all threads, the share of those that worked so long before they waited.
    pub computing_share: f64,
    /// CPUs that those wanted, on average.
    pub computing_wanted: f64,
    /// Of the time that threads were runnable, the share that they spent in the run queue.
    pub queue_share: Option<f64>,
    /// Of the time of all threads, the share that they waited.
    pub waiting_share: f64,
    /// Threads that waited for each kind of thing, on average.
    pub waits: BTreeMap<WaitKind, f64>,
    /// Switches a second because a thread waited.
    pub voluntary_per_s: Option<f64>,
    /// Switches a second because another thread was to run.
    pub involuntary_per_s: Option<f64>,
    /// Open sockets, at most; none where the kernel does not let this program count them.
    pub sockets: Option<usize>,
    /// The interpreter of the process that used the most CPU time.
    pub interpreter: Option<Interpreter>,
    /// Green threads that it runs already.
    pub green_threads: Option<usize>,
}

impl Observations {
    /// Threads that waited for such things, on average.
    #[must_use]
    pub fn waiting_for(&self, kinds: &[WaitKind]) -> f64 {
        kinds
            .iter()
            .filter_map(|kind| self.waits.get(kind))
            .fold(0.0, |sum, threads| sum + threads)
    }

    /// Whether one thread at a time may compute.
    #[must_use]
    pub fn has_interpreter_lock(&self) -> bool {
        self.interpreter
            .as_ref()
            .is_some_and(|found| found.has_lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_channels_of_different_kernels_are_sorted() {
        for (channel, kind) in [
            ("ep_poll", WaitKind::Epoll),
            ("do_epoll_wait", WaitKind::Epoll),
            ("poll_schedule_timeout.constprop.0", WaitKind::Poll),
            ("futex_wait_queue", WaitKind::Lock),
            ("futex_do_wait", WaitKind::Lock),
            ("hrtimer_nanosleep", WaitKind::Sleep),
            ("anon_pipe_read", WaitKind::Pipe),
            ("do_wait", WaitKind::Child),
            ("io_schedule", WaitKind::Disk),
            ("folio_wait_bit_common", WaitKind::Disk),
            ("inet_csk_accept", WaitKind::Socket),
            ("unix_stream_read_generic", WaitKind::Socket),
            ("wait_woken", WaitKind::Socket),
            ("sigsuspend", WaitKind::Other),
        ] {
            assert_eq!(WaitKind::of_channel(Some(channel)), kind, "{channel}");
        }
        assert_eq!(WaitKind::of_channel(None), WaitKind::Other);
    }
}
