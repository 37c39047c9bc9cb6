//! What Brigade said about deadlocks while an arm ran.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use brigade::diag::{DeadlockReport, DeadlockResponse, on_deadlock};

/// The reports of this process.
#[derive(Clone)]
pub(super) struct Heard {
    all: Arc<Mutex<All>>,
    begun: Instant,
}

#[derive(Default)]
struct All {
    reports: u32,
    first: Option<First>,
}

/// The first report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct First {
    /// When it came, in nanoseconds from the beginning.
    pub(super) after_ns: f64,
    /// How many threads it names.
    pub(super) threads: usize,
    /// How many places in the code it names, where those threads took what they hold and where they wait.
    pub(super) places: usize,
}

impl Heard {
    /// Listens from now on, and answers each report with `response`.
    pub(super) fn listen(response: DeadlockResponse) -> Self {
        let heard = Self {
            all: Arc::default(),
            begun: Instant::now(),
        };
        let listener = heard.clone();
        on_deadlock(move |report| {
            listener.hear(report);
            response
        });
        heard
    }

    fn hear(&self, report: &DeadlockReport) {
        let first = First {
            after_ns: self.begun.elapsed().as_nanos() as f64,
            threads: report.threads.len(),
            places: places(report),
        };
        let mut all = self.all();
        all.reports += 1;
        all.first.get_or_insert(first);
    }

    /// How many reports there were so far.
    pub(super) fn reports(&self) -> u32 {
        self.all().reports
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<First> {
        self.all().first
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many different places in the code `report` names.
fn places(report: &DeadlockReport) -> usize {
    let of_thread = report.threads.iter().flat_map(|thread| {
        let taken = thread.holds.iter().map(|held| held.taken_at);
        taken.chain(thread.waits_for.called_at)
    });
    let mut places: Vec<_> = of_thread
        .map(|site| (site.file(), site.line(), site.column()))
        .collect();
    places.sort_unstable();
    places.dedup();
    places.len()
}
