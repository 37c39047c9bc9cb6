//! What worker processes of experiments do.
//!
//! A worker is this program once more, and learns only in [`serve_if_worker`] that it is one: the program calls that
//! before anything else.

use std::thread;
use std::time::Duration;

use brigade::process::{Job, Jobs, ProcessPool};
use serde::{Deserialize, Serialize};

use crate::experiment::ArmError;
use crate::experiments::{Crash, crunch};

/// Computes for so many chunks.
#[derive(Serialize, Deserialize)]
pub(crate) struct Compute(pub(crate) u64);

impl Job for Compute {
    type Reply = ();
    const NAME: &'static str = "compute";

    fn run(self) {
        crunch(self.0, || ());
    }
}

/// Sleeps for so long.
#[derive(Serialize, Deserialize)]
pub(crate) struct Nap(pub(crate) Duration);

impl Job for Nap {
    type Reply = ();
    const NAME: &'static str = "nap";

    fn run(self) {
        thread::sleep(self.0);
    }
}

/// Ends its process so.
#[derive(Serialize, Deserialize)]
pub(crate) struct End(pub(crate) Crash);

impl Job for End {
    type Reply = i32;
    const NAME: &'static str = "end";

    fn run(self) -> i32 {
        self.0.happen()
    }
}

/// The jobs, as a type.
type List = (End, (Nap, (Compute, ())));

fn jobs() -> Jobs<List> {
    Jobs::new().with::<Compute>().with::<Nap>().with::<End>()
}

/// In a worker process of an experiment, works until the experiment is over, and ends the process. Anywhere else it
/// returns at once.
///
/// # Blocks
///
/// The thread of a worker, for as long as that lives.
pub fn serve_if_worker() {
    jobs().serve_if_worker();
}

/// So many worker processes.
pub(crate) fn pool(workers: usize) -> Result<ProcessPool<List>, ArmError> {
    let start = jobs().pool().workers(workers).capture_stderr().start();
    start.map_err(|error| ArmError::Failed(format!("cannot start worker processes: {error}")))
}
