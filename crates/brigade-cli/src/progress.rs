//! Progress on standard error, on a terminal only.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use brigade_lab::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A run that is over sooner shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar that appears when a run takes long, and is erased at its end.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Whether standard error is a terminal and a bar is wanted.
    wanted: bool,
    run: RefCell<Run>,
}

/// The run that the bar is about.
struct Run {
    begun: Instant,
    experiment: String,
}

impl Bar {
    /// A bar on standard error; a silent one if that is not a terminal or `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{bar:24} {pos:>3}/{len} {eta:>4} {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            wanted: !quiet && std::io::stderr().is_terminal(),
            run: RefCell::new(Run::new("")),
        }
    }
}

impl Run {
    fn new(experiment: &str) -> Self {
        Self {
            begun: Instant::now(),
            experiment: experiment.to_owned(),
        }
    }
}

impl Progress for Bar {
    fn started(&self, experiment: &str, runs: u64) {
        *self.run.borrow_mut() = Run::new(experiment);
        self.bar.reset();
        self.bar.set_length(runs);
    }

    fn running(&self, arm: &str) {
        let run = self.run.borrow();
        if self.wanted && run.begun.elapsed() >= PATIENCE {
            if self.bar.is_hidden() {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            self.bar.set_message(format!("{}: {arm}", run.experiment));
        }
    }

    fn advanced(&self) {
        self.bar.inc(1);
    }

    fn finished(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}
