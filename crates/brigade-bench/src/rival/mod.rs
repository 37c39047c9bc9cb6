//! The systems measured side by side, and which of them this binary can run.
//!
//! Each rival answers one call, `run(work) -> Result<Sample, String>`, inside a
//! child process of its own (see `child`). Systems whose threads have the shape
//! of `std::thread` share one source of workloads (`threads`); tokio, rayon and
//! Go have their own, written the way their users would write them.
//!
//! Locks and channels come in more kinds than threads do. A kind that is not its
//! system's own makes a rival with its own name, such as flume on tokio, and is
//! listed only at the lines about that kind.

use std::sync::Mutex;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::line::Work;
use crate::net;
use crate::sample::Sample;

use brigade::{Brigade, OwnChannels};
use channels::{Channels, Std};
use locks::Lock;

mod brigade;
mod channels;
#[cfg(feature = "rivals")]
mod crossbeam;
pub(crate) mod go;
pub(crate) mod kernel;
mod locks;
#[cfg(feature = "rivals")]
mod may;
#[cfg(feature = "rivals")]
mod rayon;
#[cfg(feature = "rivals")]
mod tasks;
mod threads;

/// A system that runs the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rival {
    /// Green threads of this project, with its own locks and channels.
    Brigade,
    /// The same threads with std's locks and channels: unchanged code.
    BrigadeStd,
    /// Tasks of this project; with tokio's channels.
    BrigadeTask,
    /// tokio tasks on the multi-thread runtime.
    Tokio,
    /// tokio tasks with flume's channels.
    Flume,
    /// tokio tasks with async-channel's channels.
    AsyncChannel,
    /// may coroutines.
    May,
    /// rayon's fork/join pool (`fib` only).
    Rayon,
    /// `std::thread`, one kernel thread each.
    Kernel,
    /// Kernel threads with crossbeam's channels.
    Crossbeam,
    /// Kernel threads with parking_lot's mutex.
    ParkingLot,
    /// Goroutines, in a small Go program built by this one.
    Go,
}

impl Rival {
    /// The name used on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Rival::Brigade => "brigade",
            Rival::BrigadeStd => "brigade-std",
            Rival::BrigadeTask => "brigade-task",
            Rival::Tokio => "tokio",
            Rival::Flume => "flume",
            Rival::AsyncChannel => "async-channel",
            Rival::May => "may",
            Rival::Rayon => "rayon",
            Rival::Kernel => "kernel",
            Rival::Crossbeam => "crossbeam",
            Rival::ParkingLot => "parking-lot",
            Rival::Go => "go",
        }
    }

    /// Whether its threads are this project's.
    pub(crate) fn is_ours(self) -> bool {
        matches!(
            self,
            Rival::Brigade | Rival::BrigadeStd | Rival::BrigadeTask
        )
    }

    /// The package that a Rust rival is, where it is not part of std.
    pub(crate) fn package(self) -> Option<&'static str> {
        match self {
            Rival::BrigadeStd | Rival::BrigadeTask | Rival::Kernel | Rival::Go => None,
            Rival::Crossbeam => Some("crossbeam-channel"),
            Rival::ParkingLot => Some("parking_lot"),
            own => Some(own.name()),
        }
    }

    /// Why this build or machine cannot run the rival; `None` when it can.
    pub(crate) fn unavailable(self) -> Option<&'static str> {
        match self {
            Rival::Brigade | Rival::BrigadeStd | Rival::Kernel => None,
            Rival::Go if go::on_path() => None,
            Rival::Go => Some("no `go` on PATH"),
            _ if cfg!(feature = "rivals") => None,
            _ => Some("built without --features rivals"),
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
        Rival::Brigade => threads::run::<Brigade, ::brigade::sync::Mutex<u64>, OwnChannels>(work),
        Rival::BrigadeStd => threads::run::<Brigade, Mutex<u64>, Std>(work),
        Rival::Kernel => on_kernel_threads::<Mutex<u64>, Std>(work),
        #[cfg(feature = "rivals")]
        Rival::Crossbeam => on_kernel_threads::<Mutex<u64>, crossbeam::Crossbeam>(work),
        #[cfg(feature = "rivals")]
        Rival::ParkingLot => on_kernel_threads::<parking_lot::Mutex<u64>, Std>(work),
        #[cfg(feature = "rivals")]
        Rival::BrigadeTask => {
            tasks::run::<tasks::brigade::BrigadeTasks, tasks::channels::Mpsc>(work)
        }
        #[cfg(feature = "rivals")]
        Rival::Tokio => tasks::run::<tasks::tokio::Tokio, tasks::channels::Mpsc>(work),
        #[cfg(feature = "rivals")]
        Rival::Flume => tasks::run::<tasks::tokio::Tokio, tasks::channels::Flume>(work),
        #[cfg(feature = "rivals")]
        Rival::AsyncChannel => {
            tasks::run::<tasks::tokio::Tokio, tasks::channels::AsyncChannel>(work)
        }
        #[cfg(feature = "rivals")]
        Rival::May => threads::run::<may::May, ::may::sync::Mutex<u64>, may::MayChannels>(work),
        #[cfg(feature = "rivals")]
        Rival::Rayon => rayon::run(work),
        other => Err(format!("{} cannot run in this process", other.name())),
    }
}

fn on_kernel_threads<L: Lock, C: Channels>(work: &Work) -> Result<Sample, String> {
    kernel::pin_to(work.workers)?;
    threads::run::<kernel::Kernel, L, C>(work)
}
