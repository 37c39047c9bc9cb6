//! What comes out of a simulation: who ran where and when, and what that means for each task.

use serde::Serialize;

use crate::model::{Board, Counts};
use crate::policy::{Policy, ThreadId};
use crate::scheduler::{Model, Scheduler};
use crate::task::TaskSet;

/// What a core did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// It computed for the task of this number.
    Task(usize),
    /// It went from one thread to another.
    Switch,
}

/// A time in which a core did one thing, in nanoseconds from the begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Which core, from 0.
    pub core: usize,
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
    /// What it did.
    pub doing: Doing,
}

/// What became of one task. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// When it came.
    pub arrival_ns: u64,
    /// From its coming to the begin of its first computing; none if it never computed.
    pub response_ns: Option<u64>,
    /// From its coming to its end; none if it was not over at the end of the run.
    pub turnaround_ns: Option<u64>,
    /// How long it could have computed and did not.
    pub waiting_ns: u64,
    /// How long it computed.
    pub cpu_ns: u64,
    /// How long it waited for what its steps wait for, or was blocked in them.
    pub io_ns: u64,
    /// Its part of all computing.
    pub share: f64,
    /// How often it got a core that it did not have just before.
    pub runs: u64,
    /// How often it was taken off a core with its step unfinished.
    pub preempted: u64,
    /// Its virtual time at the end, in nanoseconds, where each task is a kernel thread and the policy has
    /// virtual time.
    pub vruntime_ns: Option<f64>,
}

/// One simulated run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The policy and the model.
    pub scheduler: Scheduler,
    /// What random numbers were drawn from.
    pub seed: u64,
    /// How long it took, in nanoseconds.
    pub length_ns: u64,
    /// How many cores there were.
    pub cores: usize,
    /// The part of the cores' time in which they computed for tasks.
    pub utilisation: f64,
    /// How often a core went from one kernel thread to another.
    pub switches: u64,
    /// How often a carrier went from one green thread to another.
    pub green_switches: u64,
    /// How often a processor took tasks from another's queue.
    pub steals: u64,
    /// How often a processor was handed from one carrier to another.
    pub hand_offs: u64,
    /// EEVDF: the largest lag at a choice, in nanoseconds of CPU time.
    pub largest_lag_ns: Option<f64>,
    /// The tasks, in the order of the set.
    pub tasks: Vec<Outcome>,
    /// What the cores did, by core and time. Idle times are left out.
    pub spans: Vec<Span>,
}

impl Run {
    /// What one core did, in order.
    pub fn spans_of(&self, core: usize) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| span.core == core)
    }

    /// The mean over all tasks of how long each could have computed and did not, in nanoseconds.
    #[must_use]
    pub fn mean_waiting_ns(&self) -> f64 {
        mean(self.tasks.iter().map(|task| task.waiting_ns))
    }

    /// The mean time from coming to end, in nanoseconds; none if a task was not over.
    #[must_use]
    pub fn mean_turnaround_ns(&self) -> Option<f64> {
        let all: Option<Vec<u64>> = self.tasks.iter().map(|task| task.turnaround_ns).collect();
        all.map(|all| mean(all.into_iter()))
    }
}

fn mean(values: impl ExactSizeIterator<Item = u64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.map(|value| value as f64).sum::<f64>() / count
}

/// Collects what cores do.
pub(crate) struct Recorder {
    cores: Vec<Vec<Span>>,
    pub(crate) switches: u64,
    pub(crate) green_switches: u64,
}

impl Recorder {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            cores: vec![Vec::new(); cores],
            switches: 0,
            green_switches: 0,
        }
    }

    /// A core did one thing from one time to another; what goes on without a break is one span.
    pub(crate) fn span(&mut self, core: usize, from_ns: u64, to_ns: u64, doing: Doing) {
        if from_ns == to_ns {
            return;
        }
        let spans = &mut self.cores[core];
        match spans.last_mut() {
            Some(last) if last.to_ns == from_ns && last.doing == doing => last.to_ns = to_ns,
            _ => spans.push(Span {
                core,
                from_ns,
                to_ns,
                doing,
            }),
        }
    }

    pub(crate) fn finish(
        self,
        set: &TaskSet,
        scheduler: &Scheduler,
        seed: u64,
        board: &Board,
        policy: &dyn Policy,
        counts: Counts,
    ) -> Run {
        let spans: Vec<Span> = self.cores.into_iter().flatten().collect();
        let length_ns = board.now_ns;
        let computed: u64 = board.tasks.iter().map(|task| task.cpu_ns).sum();
        let vruntime = |index: usize| match scheduler.model {
            Model::OneToOne => policy.vruntime_ns(ThreadId(index)),
            _ => None,
        };
        let mut runs_of = vec![0_u64; board.tasks.len()];
        for span in &spans {
            if let Doing::Task(index) = span.doing {
                runs_of[index] += 1;
            }
        }
        let outcome = |(index, task): (usize, &crate::task::Task)| {
            let state = &board.tasks[index];
            let runs = runs_of[index];
            let end = state.end_ns.unwrap_or(length_ns);
            let io = state.io_ns
                + state
                    .io_since_ns
                    .map_or(0, |since| end.saturating_sub(since));
            let alive = end.saturating_sub(state.arrival_ns);
            Outcome {
                name: task.name.clone(),
                arrival_ns: task.arrival_ns,
                response_ns: state.first_run_ns.map(|first| first - state.arrival_ns),
                turnaround_ns: state.end_ns.map(|end| end - state.arrival_ns),
                waiting_ns: alive.saturating_sub(state.cpu_ns + io),
                cpu_ns: state.cpu_ns,
                io_ns: io,
                share: ratio(state.cpu_ns, computed),
                runs,
                preempted: runs.saturating_sub(state.stops + u64::from(state.end_ns.is_none())),
                vruntime_ns: vruntime(index),
            }
        };
        Run {
            scheduler: *scheduler,
            seed,
            length_ns,
            cores: set.machine.cores,
            utilisation: ratio(computed, length_ns * set.machine.cores as u64),
            switches: self.switches,
            green_switches: self.green_switches,
            steals: counts.steals,
            hand_offs: counts.hand_offs,
            largest_lag_ns: policy.largest_lag_ns(),
            tasks: set.tasks.iter().enumerate().map(outcome).collect(),
            spans,
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
