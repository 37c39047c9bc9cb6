//! What tasks do, and on what machine.

use crate::error::Error;
pub use crate::format::parse_time;

/// So many steps at most in one run, of all tasks together.
const STEPS_MAX: u128 = 1_000_000;
/// So many tasks at most.
const TASKS_MAX: usize = 10_000;
/// The longest single time, so that no sum overflows: about eleven days.
pub(crate) const LONGEST_NS: u64 = 1_000_000_000_000_000;

/// Tasks and the machine they run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSet {
    /// What it shows, in one sentence; may be empty.
    pub about: String,
    /// The machine.
    pub machine: Machine,
    /// When to stop even if tasks are left, in nanoseconds.
    pub until_ns: Option<u64>,
    /// The tasks, in the order of their letters.
    pub tasks: Vec<Task>,
}

/// The machine and the tunables of its schedulers. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How many cores, at least one and at most 64.
    pub cores: usize,
    /// The quantum of round robin (default 4 ms).
    pub quantum_ns: u64,
    /// What it costs the core to go from one kernel thread to another (default 2 µs).
    pub switch_cost_ns: u64,
    /// What it costs the core to go from one green thread to another (default 20 ns).
    pub green_switch_cost_ns: u64,
    /// Between two ticks, at which CFS and EEVDF look whether the running thread had its time (default
    /// 4 ms, that is `CONFIG_HZ=250`); 0: they look exactly when it had.
    pub tick_ns: u64,
    /// EEVDF: what one request asks for. Default as the kernel: 0.7 ms for one core, 1.4 ms for two,
    /// 2.1 ms for four, 2.8 ms from eight on.
    pub base_slice_ns: u64,
    /// CFS: the time in which each of up to eight threads has its turn. Default as the kernel: 6 ms for one
    /// core, and with more as above.
    pub latency_ns: u64,
    /// CFS: no slice is shorter than this. Default an eighth of the latency.
    pub min_granularity_ns: u64,
    /// Green threads: after so long on a processor that others wait for, it is handed off (default 10 ms).
    pub hand_off_after_ns: u64,
    /// Green threads: a call that blocks the kernel thread is noticed after so long (default 20 µs).
    pub block_noticed_after_ns: u64,
}

impl Machine {
    /// A machine with so many cores and the defaults of everything else.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        // kernel/sched/fair.c, get_update_sysctl_factor: 1 + ilog2(min(cpus, 8)).
        let factor = u64::from(1 + cores.clamp(1, 8).ilog2());
        Self {
            cores,
            quantum_ns: 4_000_000,
            switch_cost_ns: 2_000,
            green_switch_cost_ns: 20,
            tick_ns: 4_000_000,
            base_slice_ns: 700_000 * factor,
            latency_ns: 6_000_000 * factor,
            min_granularity_ns: 750_000 * factor,
            hand_off_after_ns: 10_000_000,
            block_noticed_after_ns: 20_000,
        }
    }

    /// The same with switches that cost nothing, as in textbooks.
    #[must_use]
    pub fn without_switch_costs(mut self) -> Self {
        self.switch_cost_ns = 0;
        self.green_switch_cost_ns = 0;
        self
    }
}

impl Machine {
    /// The longest of its times.
    fn longest_ns(&self) -> u64 {
        let times = [
            self.quantum_ns,
            self.switch_cost_ns,
            self.green_switch_cost_ns,
            self.tick_ns,
            self.base_slice_ns,
            self.latency_ns,
            self.min_granularity_ns,
            self.hand_off_after_ns,
            self.block_noticed_after_ns,
        ];
        times.into_iter().max().unwrap_or(0)
    }
}

/// How many steps a task counts for; one that does its steps not once takes the memory for them all the same.
pub(crate) fn steps_of(repeat: u32, steps: usize) -> u128 {
    u128::from(repeat.max(1)) * steps as u128
}

/// Whether so many tasks with so many steps in all can be played.
pub(crate) fn check_size(tasks: usize, steps: u128) -> Result<(), Error> {
    if tasks == 0 || tasks > TASKS_MAX {
        return Err(Error::new(format!(
            "{tasks} tasks: 1 to {TASKS_MAX} are possible"
        )));
    }
    if steps > STEPS_MAX {
        return Err(Error::new(format!("more than {STEPS_MAX} steps in all")));
    }
    Ok(())
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What it is called.
    pub name: String,
    /// When it comes, in nanoseconds.
    pub arrival_ns: u64,
    /// From -20 (most) to 19 (least). Green threads have none of their own: their kernel threads have 0.
    pub nice: i8,
    /// What it does, in this order.
    pub steps: Vec<Step>,
    /// How often it does that.
    pub repeat: u32,
}

/// One thing that a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// For how long.
    pub length: Length,
}

/// What a task can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Needs a core.
    Compute,
    /// Waits for something, such as a socket. A green thread parks and leaves its kernel thread to others.
    Wait,
    /// Blocks its kernel thread, such as a read from a disk. A green thread cannot park there.
    Block,
}

/// A length of time, drawn evenly between two ends for each step that is done; in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// At least this.
    pub low_ns: u64,
    /// At most this.
    pub high_ns: u64,
}

impl Length {
    /// Always the same.
    #[must_use]
    pub const fn fixed(ns: u64) -> Self {
        Self {
            low_ns: ns,
            high_ns: ns,
        }
    }
}

impl Step {
    /// Computes for so many nanoseconds.
    #[must_use]
    pub const fn compute(ns: u64) -> Self {
        Self {
            kind: StepKind::Compute,
            length: Length::fixed(ns),
        }
    }

    /// Waits for so many nanoseconds.
    #[must_use]
    pub const fn wait(ns: u64) -> Self {
        Self {
            kind: StepKind::Wait,
            length: Length::fixed(ns),
        }
    }

    /// Blocks its kernel thread for so many nanoseconds.
    #[must_use]
    pub const fn block(ns: u64) -> Self {
        Self {
            kind: StepKind::Block,
            length: Length::fixed(ns),
        }
    }
}

impl Task {
    /// A task that comes at once, with nice 0, and does `steps` once.
    #[must_use]
    pub fn new(name: &str, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            name: name.to_owned(),
            arrival_ns: 0,
            nice: 0,
            steps: steps.into_iter().collect(),
            repeat: 1,
        }
    }

    /// The same task, which comes later.
    #[must_use]
    pub fn arriving_at(mut self, ns: u64) -> Self {
        self.arrival_ns = ns;
        self
    }

    /// The same task with another nice value.
    #[must_use]
    pub fn nice(mut self, nice: i8) -> Self {
        self.nice = nice;
        self
    }

    /// The same task, which does its steps so many times.
    #[must_use]
    pub fn repeated(mut self, times: u32) -> Self {
        self.repeat = times;
        self
    }
}

/// A step with its length, as it is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) kind: StepKind,
    pub(crate) ns: u64,
}

impl TaskSet {
    /// Tasks on a machine, to be played to their end.
    #[must_use]
    pub fn new(machine: Machine, tasks: impl IntoIterator<Item = Task>) -> Self {
        Self {
            about: String::new(),
            machine,
            until_ns: None,
            tasks: tasks.into_iter().collect(),
        }
    }

    /// The same set, stopped at `ns`.
    #[must_use]
    pub fn until(mut self, ns: u64) -> Self {
        self.until_ns = Some(ns);
        self
    }

    /// What each task does in a run with `seed`: steps of no length left out, and neighbours of one kind made
    /// one.
    pub(crate) fn draw(&self, seed: u64) -> Result<Vec<Vec<Drawn>>, Error> {
        self.check()?;
        let draw = |(index, task): (usize, &Task)| {
            // Each task has numbers of its own: adding a task changes no other.
            let mut rng = fastrand::Rng::with_seed(seed ^ (index as u64).wrapping_mul(0x9E37_79B9));
            let mut drawn: Vec<Drawn> = Vec::new();
            for step in (0..task.repeat).flat_map(|_| &task.steps) {
                let ns = rng.u64(step.length.low_ns..=step.length.high_ns);
                match drawn.last_mut() {
                    _ if ns == 0 => {}
                    Some(last) if last.kind == step.kind => last.ns += ns,
                    _ => drawn.push(Drawn {
                        kind: step.kind,
                        ns,
                    }),
                }
            }
            drawn
        };
        Ok(self.tasks.iter().enumerate().map(draw).collect())
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let error = |text: String| Err(Error::new(text));
        if !(1..=64).contains(&self.machine.cores) {
            return error(format!(
                "{} cores: 1 to 64 are possible",
                self.machine.cores
            ));
        }
        if self.machine.quantum_ns == 0
            || self.machine.base_slice_ns == 0
            || self.machine.latency_ns == 0
            || self.machine.min_granularity_ns == 0
            || self.machine.hand_off_after_ns == 0
            || self.machine.block_noticed_after_ns == 0
        {
            return error(
                "quantum, slice, latency, granularity and the times of hand-off must not be 0"
                    .into(),
            );
        }
        if self.machine.longest_ns() > LONGEST_NS {
            return error("a time of the machine is longer than eleven days".into());
        }
        let steps = |task: &Task| steps_of(task.repeat, task.steps.len());
        check_size(self.tasks.len(), self.tasks.iter().map(steps).sum())?;
        for task in &self.tasks {
            let name = &task.name;
            if !(-20..=19).contains(&task.nice) {
                return error(format!("task {name}: nice {} is not in -20..19", task.nice));
            }
            let too_long = |ns: u64| ns > LONGEST_NS;
            if too_long(task.arrival_ns) || task.steps.iter().any(|s| too_long(s.length.high_ns)) {
                return error(format!("task {name}: a time is longer than eleven days"));
            }
            if task
                .steps
                .iter()
                .any(|s| s.length.low_ns > s.length.high_ns)
            {
                return error(format!("task {name}: a length ends before it begins"));
            }
        }
        let time = |task: &Task| {
            let once = task
                .steps
                .iter()
                .map(|step| u128::from(step.length.high_ns));
            u128::from(task.arrival_ns) + once.sum::<u128>() * u128::from(task.repeat)
        };
        if self.tasks.iter().map(time).sum::<u128>() > u128::from(LONGEST_NS) {
            return error("the tasks take more than eleven days in all".into());
        }
        Ok(())
    }
}
