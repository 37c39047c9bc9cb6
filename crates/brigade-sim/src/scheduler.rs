//! The names of what is compared: a policy of the kernel, and a model of threads above it.

use serde::Serialize;

/// How the kernel chooses which kernel thread runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// First in, first out: whoever came first runs until it waits or ends.
    Fifo,
    /// Round robin: the same with a quantum, after which the next one has its turn.
    RoundRobin,
    /// Linux 2.6.23 to 6.5: the one with the least virtual runtime.
    Cfs,
    /// Linux from 6.6 on: of those that have had no more than their share, the one with the earliest
    /// virtual deadline.
    Eevdf,
}

/// How tasks are put on kernel threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Each task is a kernel thread.
    OneToOne,
    /// All tasks take turns on one kernel thread, and give way only when they wait.
    ManyToOne,
    /// Tasks take turns on one kernel thread per core, which steal from each other.
    ManyToMany,
    /// The same; a kernel thread that blocks, or computes for long, gives its processor to another.
    HandOff,
}

/// What decides who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// Below: among kernel threads.
    pub kernel: Kernel,
    /// Above: among tasks.
    pub model: Model,
}

impl Scheduler {
    /// First in, first out.
    pub const FIFO: Self = Self::of_kernel(Kernel::Fifo);
    /// Round robin.
    pub const ROUND_ROBIN: Self = Self::of_kernel(Kernel::RoundRobin);
    /// The Completely Fair Scheduler.
    pub const CFS: Self = Self::of_kernel(Kernel::Cfs);
    /// Earliest Eligible Virtual Deadline First.
    pub const EEVDF: Self = Self::of_kernel(Kernel::Eevdf);

    const fn of_kernel(kernel: Kernel) -> Self {
        Self {
            kernel,
            model: Model::OneToOne,
        }
    }

    /// The name in tables: that of the policy where each task is a kernel thread, else that of the model.
    ///
    /// ```
    /// use brigade_sim::{Kernel, Model, Scheduler};
    /// assert_eq!(Scheduler::CFS.name(), "cfs");
    /// let green = Scheduler { kernel: Kernel::Eevdf, model: Model::HandOff };
    /// assert_eq!(green.name(), "hand-off");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.model, self.kernel) {
            (Model::ManyToOne, _) => "many-to-one",
            (Model::ManyToMany, _) => "many-to-many",
            (Model::HandOff, _) => "hand-off",
            (Model::OneToOne, Kernel::Fifo) => "fifo",
            (Model::OneToOne, Kernel::RoundRobin) => "rr",
            (Model::OneToOne, Kernel::Cfs) => "cfs",
            (Model::OneToOne, Kernel::Eevdf) => "eevdf",
        }
    }
}
