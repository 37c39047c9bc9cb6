//! Progress on standard error, on a terminal only.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use brigade_lab::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A call that is over sooner shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// From how many runs on the remaining time is told.
const ENOUGH: u64 = 4;

/// A bar over all experiments of a call, which appears when they take long and is erased before anything is printed.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Whether standard error is a terminal and a bar is wanted.
    wanted: bool,
    begun: Instant,
    /// How many runs each experiment takes.
    plan: Vec<u64>,
    state: RefCell<State>,
}

/// Where the call is.
#[derive(Default)]
struct State {
    /// The experiment that runs, from 1.
    experiment: usize,
    name: String,
    /// Runs of experiments before this one.
    before: u64,
    /// Runs of this one.
    own: u64,
}

impl Bar {
    /// A bar on standard error for experiments that take `plan` runs each; a silent one if that is not a terminal or
    /// `quiet`.
    pub(crate) fn new(quiet: bool, plan: &[u64]) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("[{bar:20}] {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_length(plan.iter().sum());
        Self {
            bar,
            wanted: !quiet && std::io::stderr().is_terminal(),
            begun: Instant::now(),
            plan: plan.to_vec(),
            state: RefCell::default(),
        }
    }
}

/// How long `left` runs take if they take as long as those that are `done`, in words; nothing while there are too few
/// to tell.
fn remaining(elapsed: Duration, done: u64, left: u64) -> String {
    if done < ENOUGH {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() * left as f64 / done as f64;
    let seconds = seconds.ceil() as u64;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!(", about {seconds} s left"),
        (minutes @ 1..10, seconds) => format!(", about {minutes} min {seconds:02} s left"),
        (minutes, _) => format!(", about {minutes} min left"),
    }
}

impl Progress for Bar {
    fn started(&self, experiment: &str, _runs: u64) {
        let mut state = self.state.borrow_mut();
        state.before = self.plan.iter().take(state.experiment).sum();
        state.own = 0;
        state.experiment += 1;
        experiment.clone_into(&mut state.name);
        if self.wanted && state.experiment > 1 {
            self.bar.reset();
        }
    }

    fn running(&self, arm: &str) {
        let elapsed = self.begun.elapsed();
        if !self.wanted || elapsed < PATIENCE {
            return;
        }
        let state = self.state.borrow();
        let done = state.before + state.own;
        let all: u64 = self.plan.iter().sum();
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done);
        let left = remaining(elapsed, done, all.saturating_sub(done));
        self.bar.set_message(format!(
            "{}/{} {}: {arm}{left}",
            state.experiment,
            self.plan.len(),
            state.name
        ));
    }

    fn advanced(&self) {
        self.state.borrow_mut().own += 1;
    }

    fn finished(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remaining_time_is_that_of_the_runs_that_are_left() {
        let seconds = Duration::from_secs;
        assert_eq!(remaining(seconds(9), ENOUGH - 1, 100), "");
        assert_eq!(remaining(seconds(10), 10, 30), ", about 30 s left");
        assert_eq!(remaining(seconds(10), 10, 65), ", about 1 min 05 s left");
        assert_eq!(remaining(seconds(100), 10, 95), ", about 15 min left");
        assert_eq!(remaining(seconds(10), 10, 0), ", about 0 s left");
    }
}
