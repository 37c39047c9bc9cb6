//! The themes of the tour: what belongs together, in the order in which it reads well.
//!
//! The one list of names by theme is here, so that an experiment need not know its neighbours.
//!
//! # Invariants
//!
//! 1. Every experiment has exactly one theme: the first that lists its name, or
//!    [`Theme::Further`] if none does, so that a new one is never left out.
//! 2. No theme has the name of an experiment: either may be given where the other may.

use crate::experiment::Experiment;
use crate::experiments;

/// What an experiment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Theme {
    /// What threads and processes are and take.
    Threads,
    /// Switches between them.
    Switches,
    /// How threads map to kernel threads, and what runs at the same time.
    Concurrency,
    /// Memory that threads share, and how it is guarded.
    Locks,
    /// A fixed number of threads for many jobs.
    Pools,
    /// One thread for many connections.
    EventLoops,
    /// Interpreters with one lock.
    Interpreters,
    /// How the kernel shares out the processors.
    Scheduler,
    /// What is in no other theme.
    Further,
}

impl Theme {
    /// All themes, in the order of the tour.
    pub const ALL: [Self; 9] = [
        Self::Threads,
        Self::Switches,
        Self::Concurrency,
        Self::Locks,
        Self::Pools,
        Self::EventLoops,
        Self::Interpreters,
        Self::Scheduler,
        Self::Further,
    ];

    /// Its word on the command line and in JSON.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Switches => "switches",
            Self::Concurrency => "concurrency",
            Self::Locks => "locks",
            Self::Pools => "pools",
            Self::EventLoops => "event-loops",
            Self::Interpreters => "interpreters",
            Self::Scheduler => "scheduler",
            Self::Further => "further",
        }
    }

    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Threads => "Threads and processes",
            Self::Switches => "Switches",
            Self::Concurrency => "Models of concurrency",
            Self::Locks => "Races and locks",
            Self::Pools => "Pools",
            Self::EventLoops => "Event loops",
            Self::Interpreters => "Interpreters",
            Self::Scheduler => "The kernel's scheduler",
            Self::Further => "Further experiments",
        }
    }

    /// The theme of that key.
    ///
    /// ```
    /// use brigade_lab::Theme;
    /// assert_eq!(Theme::find("locks"), Some(Theme::Locks));
    /// assert_eq!(Theme::find("lokcs"), None);
    /// ```
    #[must_use]
    pub fn find(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.key() == key)
    }

    /// The theme of the experiment named `experiment`.
    #[must_use]
    pub fn of(experiment: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|theme| theme.names().contains(&experiment))
            .unwrap_or(Self::Further)
    }

    /// Its experiments, in the order of the tour.
    #[must_use]
    pub fn experiments(self) -> Vec<&'static dyn Experiment> {
        let place = |e: &&dyn Experiment| {
            let names = self.names().iter();
            names.take_while(|name| **name != e.info().name).count()
        };
        let mut own: Vec<_> = experiments::all()
            .iter()
            .copied()
            .filter(|experiment| Self::of(experiment.info().name) == self)
            .collect();
        own.sort_by_key(place);
        own
    }

    /// The names of its experiments, in the order of the tour.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Threads => &[
                "thread-count",
                "thread-states",
                "shared-private",
                "clone-flags",
                "spawn-cost",
                "thread-memory",
                "address-space",
                "process-vs-thread",
                "crash-isolation",
            ],
            Self::Switches => &[
                "context-switch",
                "pipe-benchmark",
                "switch-footprint",
                "switch-budget",
                "voluntary-switches",
                "switch-rate",
                "coroutines",
            ],
            Self::Concurrency => &[
                "models",
                "blocking-call",
                "preemption-fairness",
                "timeline",
                "two-cooks",
            ],
            Self::Locks => &[
                "lost-updates",
                "memory-order",
                "borrow-checker",
                "false-sharing",
                "sync-matrix",
                "channels",
                "deadlock",
                "lock-order",
            ],
            Self::Pools => &["pool-vs-thread-per-task", "pool-size"],
            Self::EventLoops => &[
                "io-bound",
                "event-loop-scale",
                "epoll-scaling",
                "event-loop-freeze",
                "frozen-ticker",
                "published-ticker",
            ],
            Self::Interpreters => &["gil", "gil-io", "python-counter"],
            Self::Scheduler => &["cfs-shares"],
            Self::Further => &[],
        }
    }
}

/// All experiments, in the order of the tour: by theme.
#[must_use]
pub fn tour() -> Vec<&'static dyn Experiment> {
    let themes = Theme::ALL.into_iter();
    themes.flat_map(Theme::experiments).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tour_has_every_experiment_once() {
        let names: Vec<_> = tour().iter().map(|e| e.info().name).collect();
        let once: BTreeSet<_> = names.iter().copied().collect();
        let all: BTreeSet<_> = experiments::all().iter().map(|e| e.info().name).collect();
        assert_eq!(names.len(), once.len());
        assert_eq!(once, all);
    }

    #[test]
    fn every_name_that_is_listed_is_an_experiment() {
        for theme in Theme::ALL {
            for name in theme.names() {
                assert!(experiments::find(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn every_experiment_is_listed_under_one_theme() {
        for experiment in experiments::all() {
            let name = experiment.info().name;
            let themes = Theme::ALL.into_iter();
            let listed = themes.filter(|theme| theme.names().contains(&name)).count();
            assert_eq!(listed, 1, "{name}");
        }
    }

    #[test]
    fn an_experiment_that_nobody_listed_comes_last() {
        assert_eq!(Theme::of("not-listed-anywhere"), Theme::Further);
        assert_eq!(Theme::ALL.last(), Some(&Theme::Further));
    }

    #[test]
    fn themes_are_told_from_experiments_by_their_names() {
        for theme in Theme::ALL {
            assert!(experiments::find(theme.key()).is_none(), "{}", theme.key());
            assert_eq!(Theme::find(theme.key()), Some(theme));
        }
    }
}
