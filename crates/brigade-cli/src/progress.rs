//! Progress on standard error, on a terminal only.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use brigade_lab::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A run that is over sooner shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar that is erased at the end.
pub(crate) struct Bar {
    bar: ProgressBar,
    shown: RefCell<Shown>,
}

struct Shown {
    begun: Instant,
    experiment: String,
}

impl Bar {
    /// A bar on standard error; a silent one if that is not a terminal or `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if !quiet && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let style = ProgressStyle::with_template("{bar:24} {pos:>3}/{len} {eta:>4} {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            shown: RefCell::new(Shown {
                begun: Instant::now(),
                experiment: String::new(),
            }),
        }
    }
}

impl Progress for Bar {
    fn started(&self, experiment: &str, runs: u64) {
        *self.shown.borrow_mut() = Shown {
            begun: Instant::now(),
            experiment: experiment.to_owned(),
        };
        self.bar.reset();
        self.bar.set_length(runs);
    }

    fn running(&self, arm: &str) {
        let shown = self.shown.borrow();
        if shown.begun.elapsed() >= PATIENCE {
            self.bar.set_message(format!("{}: {arm}", shown.experiment));
        }
    }

    fn advanced(&self) {
        self.bar.inc(1);
    }

    fn finished(&self) {
        self.bar.finish_and_clear();
    }
}
