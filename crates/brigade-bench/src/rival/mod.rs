//! The systems measured side by side, and which of them this binary can run.
//!
//! Each rival answers one call, `run(work) -> Result<Sample, String>`, inside a
//! child process of its own (see `child`). Systems whose threads have the shape
//! of `std::thread` share one source of workloads (`threads`); tokio, rayon and
//! Go have their own, written the way their users would write them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::line::Work;
use crate::net;
use crate::sample::Sample;

mod brigade;
pub(crate) mod go;
pub(crate) mod kernel;
#[cfg(feature = "rivals")]
mod may;
#[cfg(feature = "rivals")]
mod rayon;
mod threads;
#[cfg(feature = "rivals")]
mod tokio;

/// A system that runs the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rival {
    /// Green threads of this project.
    Brigade,
    /// tokio tasks on the multi-thread runtime.
    Tokio,
    /// may coroutines.
    May,
    /// rayon's fork/join pool (`fib` only).
    Rayon,
    /// `std::thread`, one kernel thread each.
    Kernel,
    /// Goroutines, in a small Go program built by this one.
    Go,
}

impl Rival {
    /// The name used on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Rival::Brigade => "brigade",
            Rival::Tokio => "tokio",
            Rival::May => "may",
            Rival::Rayon => "rayon",
            Rival::Kernel => "kernel",
            Rival::Go => "go",
        }
    }

    /// Why this build or machine cannot run the rival; `None` when it can.
    pub(crate) fn unavailable(self) -> Option<&'static str> {
        match self {
            Rival::Tokio | Rival::May | Rival::Rayon if cfg!(not(feature = "rivals")) => {
                Some("built without --features rivals")
            }
            Rival::Go if !go::on_path() => Some("no `go` on PATH"),
            _ => None,
        }
    }
}

/// Runs one piece of work on one Rust rival, in this process.
///
/// # Errors
///
/// A sentence saying what the rival could not do.
pub(crate) fn run(rival: Rival, work: &Work) -> Result<Sample, String> {
    if let Some(load) = net::Load::of(work.line, work.n) {
        return net::run(rival, work, load);
    }
    match rival {
        Rival::Brigade => threads::run::<brigade::Brigade>(work),
        Rival::Kernel => {
            kernel::pin_to(work.workers)?;
            threads::run::<kernel::Kernel>(work)
        }
        #[cfg(feature = "rivals")]
        Rival::Tokio => tokio::run(work),
        #[cfg(feature = "rivals")]
        Rival::May => threads::run::<may::May>(work),
        #[cfg(feature = "rivals")]
        Rival::Rayon => rayon::run(work),
        other => Err(format!("{} cannot run in this process", other.name())),
    }
}
