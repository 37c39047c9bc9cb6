//! Which task runs on which kernel thread.
//!
//! The engine knows cores, kernel threads and steps. It asks the model what a thread does when it gets a
//! core ([`Model::resume`]), and tells it what becomes of tasks; the model makes threads and wakes them
//! through [`Board`].

mod green;
mod one_to_one;
mod queues;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::policy::ThreadId;
use crate::scheduler;
use crate::task::{Drawn, Machine, StepKind};

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) usize);

/// Something that happens at a known time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A task comes.
    Arrive(TaskId),
    /// What a parked green thread waited for is there.
    Ready(TaskId),
    /// The call that blocked a kernel thread is over.
    Unblocked(ThreadId),
    /// The monitor looks at a processor.
    Look(Look),
}

/// A look of the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Look {
    processor: usize,
    /// Which occupation of the processor is looked at: none after it.
    occupation: u64,
    /// How long after the one before.
    after_ns: u64,
}

/// What a kernel thread that got a core does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Computes for this task.
    Run(TaskId),
    /// Falls asleep.
    Sleep,
}

/// What is counted above the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) steals: u64,
    pub(crate) hand_offs: u64,
}

/// One model of threads.
pub(crate) trait Model {
    /// Makes the threads that are there from the beginning.
    fn begin(&mut self, board: &mut Board, nices: &[i8]);

    /// A task has come.
    fn arrive(&mut self, board: &mut Board, task: TaskId);

    /// A thread got a core, or the step of its task is over.
    fn resume(&mut self, board: &mut Board, thread: ThreadId) -> Next;

    /// An event of the model's own is due.
    fn on(&mut self, board: &mut Board, event: Event);

    /// What it has counted.
    fn counts(&self) -> Counts;
}

/// The model of that name.
pub(crate) fn of(model: scheduler::Model, machine: &Machine, seed: u64) -> Box<dyn Model> {
    use scheduler::Model::{HandOff, ManyToMany, ManyToOne, OneToOne};
    match model {
        OneToOne => Box::new(one_to_one::OneToOne),
        ManyToOne => Box::new(green::Green::new(1, false, machine, seed)),
        ManyToMany => Box::new(green::Green::new(machine.cores, false, machine, seed)),
        HandOff => Box::new(green::Green::new(machine.cores, true, machine, seed)),
    }
}

/// What is going on, as models and engine share it.
pub(crate) struct Board {
    pub(crate) now_ns: u64,
    pub(crate) tasks: Vec<TaskState>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Numbers of events: those of one time happen in the order in which they were made.
    sequence: u64,
    /// The nice values of threads to be made, by the engine.
    pub(crate) made: Vec<i8>,
    /// How many threads there are, those to be made included.
    threads: usize,
    /// Threads to be woken, by the engine.
    pub(crate) woken: Vec<ThreadId>,
}

/// One task in a run.
#[derive(Clone, Debug)]
pub(crate) struct TaskState {
    script: Vec<Drawn>,
    at: usize,
    /// What is left of a step that computes.
    pub(crate) left_ns: u64,
    pub(crate) arrival_ns: u64,
    pub(crate) first_run_ns: Option<u64>,
    pub(crate) end_ns: Option<u64>,
    pub(crate) cpu_ns: u64,
    pub(crate) io_ns: u64,
    /// Since when it waits or blocks.
    pub(crate) io_since_ns: Option<u64>,
    /// How often it left a core because it waited, blocked or ended.
    pub(crate) stops: u64,
}

impl TaskState {
    fn new(script: Vec<Drawn>, arrival_ns: u64) -> Self {
        let mut state = Self {
            script,
            at: 0,
            left_ns: 0,
            arrival_ns,
            first_run_ns: None,
            end_ns: None,
            cpu_ns: 0,
            io_ns: 0,
            io_since_ns: None,
            stops: 0,
        };
        state.begin_step();
        state
    }

    fn begin_step(&mut self) {
        let step = self.step().filter(|step| step.kind == StepKind::Compute);
        self.left_ns = step.map_or(0, |step| step.ns);
    }

    /// What it does now; none at its end.
    pub(crate) fn step(&self) -> Option<Drawn> {
        self.script.get(self.at).copied()
    }

    /// Has it done nothing of its step so far?
    pub(crate) fn is_at_begin(&self) -> bool {
        self.step().is_none_or(|step| step.ns == self.left_ns)
    }

    /// Goes on to the next step.
    pub(crate) fn advance(&mut self) {
        self.at += 1;
        self.begin_step();
    }
}

impl Board {
    pub(crate) fn new(scripts: Vec<Vec<Drawn>>, arrivals: &[u64]) -> Self {
        let mut board = Self {
            now_ns: 0,
            tasks: Vec::with_capacity(scripts.len()),
            events: BinaryHeap::new(),
            sequence: 0,
            made: Vec::new(),
            threads: 0,
            woken: Vec::new(),
        };
        for (index, script) in scripts.into_iter().enumerate() {
            let arrival = arrivals[index];
            board.tasks.push(TaskState::new(script, arrival));
            board.at(arrival, Event::Arrive(TaskId(index)));
        }
        board
    }

    pub(crate) fn task(&mut self, task: TaskId) -> &mut TaskState {
        &mut self.tasks[task.0]
    }

    /// `event` happens at `ns`.
    pub(crate) fn at(&mut self, ns: u64, event: Event) {
        self.events.push(Reverse((ns, self.sequence, event)));
        self.sequence += 1;
    }

    /// The next event, if it is due.
    pub(crate) fn due(&mut self) -> Option<Event> {
        let Reverse((ns, _, event)) = *self.events.peek()?;
        if ns > self.now_ns {
            return None;
        }
        self.events.pop();
        Some(event)
    }

    /// When the next event is.
    pub(crate) fn next_event_ns(&self) -> Option<u64> {
        self.events.peek().map(|Reverse((ns, ..))| *ns)
    }

    /// Makes a kernel thread, asleep.
    fn make_thread(&mut self, nice: i8) -> ThreadId {
        self.made.push(nice);
        self.threads += 1;
        ThreadId(self.threads - 1)
    }

    /// Wakes a kernel thread that sleeps.
    fn wake(&mut self, thread: ThreadId) {
        self.woken.push(thread);
    }

    /// The task waits or blocks from now on, and `event` ends that.
    fn begin_io(&mut self, task: TaskId, length_ns: u64, event: Event) {
        let now = self.now_ns;
        self.task(task).io_since_ns = Some(now);
        self.at(now + length_ns, event);
    }

    /// The task has waited or blocked until now, and goes on to its next step.
    fn end_io(&mut self, task: TaskId) {
        let now = self.now_ns;
        let state = self.task(task);
        state.io_ns += now - state.io_since_ns.take().unwrap_or(now);
        state.advance();
    }

    /// The task is over.
    fn end(&mut self, task: TaskId) {
        let now = self.now_ns;
        self.task(task).end_ns = Some(now);
    }
}
