//! The events of a run in their order.
//!
//! Time jumps from one event to the next. At each, in this order: steps that are over, events that are due
//! (tasks come, waits end), policies that want another thread, idle cores that take one. So a task that
//! comes at the moment another ends or has had its quantum is queued in time, as in textbooks.
//!
//! # Invariants
//!
//! 1. A core computes for one task at a time, and a task on one core: models give a task to one thread, and
//!    policies a thread to one core.
//! 2. No core is idle while a thread is queued.
//! 3. Costs of switches are the core's and nobody's CPU time: a task gets exactly the CPU time its steps
//!    ask for.

use crate::error::Error;
use crate::model::{self, Board, Event, Model, Next, TaskId};
use crate::policy::{self, Policy, ThreadId};
use crate::run::{Doing, Recorder, Run};
use crate::scheduler::Scheduler;
use crate::task::{Machine, TaskSet};

/// A run with more events than this is given up.
const EVENTS_MAX: u64 = 2_000_000;
/// So is one that gets past this time: switches that cost days, two million of them, are more than the clock holds.
/// The time of 64 cores is then still a number, and so is that of any one step more.
const END_NS: u64 = 100_000_000_000_000_000;

/// Plays `set` under `scheduler`, with the random numbers of `seed`.
///
/// # Errors
///
/// If the set makes no sense (no tasks, a nice value out of range), or its run has more than two million
/// events or takes more than three years.
///
/// ```
/// use brigade_sim::task::{Machine, Step, Task};
/// use brigade_sim::{Scheduler, TaskSet, simulate};
///
/// let hogs = ["a", "b"].map(|name| Task::new(name, [Step::compute(100_000_000)]));
/// let set = TaskSet::new(Machine::new(1), hogs);
/// let run = simulate(&set, &Scheduler::EEVDF, 1)?;
/// assert_eq!(run.tasks[0].cpu_ns, 100_000_000);
///
/// let nothing = TaskSet::new(Machine::new(1), []);
/// assert!(simulate(&nothing, &Scheduler::EEVDF, 1).is_err());
/// # Ok::<(), brigade_sim::Error>(())
/// ```
pub fn simulate(set: &TaskSet, scheduler: &Scheduler, seed: u64) -> Result<Run, Error> {
    let scripts = set.draw(seed)?;
    let arrivals: Vec<u64> = set.tasks.iter().map(|task| task.arrival_ns).collect();
    let nices: Vec<i8> = set.tasks.iter().map(|task| task.nice).collect();
    let mut engine = Engine {
        machine: &set.machine,
        board: Board::new(scripts, &arrivals),
        policy: policy::of(scheduler.kernel, &set.machine),
        model: model::of(scheduler.model, &set.machine, seed),
        cores: vec![Core::default(); set.machine.cores],
        recorder: Recorder::new(set.machine.cores),
    };
    engine.model.begin(&mut engine.board, &nices);
    engine.settle();
    engine.play(set.until_ns)?;
    let Engine {
        board,
        policy,
        model,
        recorder,
        ..
    } = engine;
    Ok(recorder.finish(set, scheduler, seed, &board, &*policy, model.counts()))
}

#[derive(Clone, Debug, Default)]
struct Core {
    running: Option<(ThreadId, TaskId)>,
    /// What is left of the cost of the last switch.
    overhead_ns: u64,
    /// When the policy is to be asked whether another thread should run.
    check_at_ns: Option<u64>,
    /// Another thread may have to run, now.
    reschedule: bool,
    last: Option<(ThreadId, TaskId)>,
}

struct Engine<'a> {
    machine: &'a Machine,
    board: Board,
    policy: Box<dyn Policy>,
    model: Box<dyn Model>,
    cores: Vec<Core>,
    recorder: Recorder,
}

impl Engine<'_> {
    fn play(&mut self, until_ns: Option<u64>) -> Result<(), Error> {
        let until = until_ns.unwrap_or(u64::MAX);
        for _ in 0..EVENTS_MAX {
            self.end_steps();
            while let Some(event) = self.board.due() {
                self.happen(event);
            }
            self.expire();
            self.dispatch();
            let over = self.board.tasks.iter().all(|task| task.end_ns.is_some());
            match self.next_ns().filter(|_| !over) {
                Some(next) if next.min(until) > END_NS => {
                    return Err(Error::new("the run takes longer than three years"));
                }
                Some(next) if next < until => self.advance(next),
                Some(_) => {
                    self.advance(until);
                    self.end_steps();
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
        Err(Error::new(format!(
            "the run has more than {EVENTS_MAX} events: use longer times or an end (until)"
        )))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(task) => self.model.arrive(&mut self.board, task),
            other => self.model.on(&mut self.board, other),
        }
        self.settle();
    }

    /// Makes and wakes the threads that the model asked for.
    fn settle(&mut self) {
        for nice in self.board.made.drain(..) {
            self.policy.add(nice);
        }
        for thread in std::mem::take(&mut self.board.woken) {
            let Some(core) = self.policy.wake(thread) else {
                continue;
            };
            if self.policy.preempts(core, thread) {
                self.cores[core].reschedule = true;
            }
        }
    }

    /// Asks what becomes of threads whose step is over.
    fn end_steps(&mut self) {
        for index in 0..self.cores.len() {
            let core = &self.cores[index];
            let Some((thread, task)) = core.running.filter(|_| core.overhead_ns == 0) else {
                continue;
            };
            if self.board.task(task).left_ns > 0 {
                continue;
            }
            self.board.task(task).advance();
            self.board.task(task).stops += 1;
            match self.model.resume(&mut self.board, thread) {
                Next::Run(next) => self.run(index, thread, next),
                Next::Sleep => {
                    self.policy.sleep(index);
                    self.cores[index].running = None;
                }
            }
            self.settle();
        }
    }

    /// Asks the policies whether the running threads have had their time.
    fn expire(&mut self) {
        let now = self.board.now_ns;
        for index in 0..self.cores.len() {
            let core = &self.cores[index];
            let due = core.running.is_some() && core.check_at_ns.is_some_and(|at| at <= now);
            if due && self.policy.expired(index) {
                self.cores[index].reschedule = true;
            }
        }
    }

    /// Gives each idle core a thread, until there are no more of either.
    fn dispatch(&mut self) {
        loop {
            let mut changed = false;
            for index in 0..self.cores.len() {
                let core = &mut self.cores[index];
                if std::mem::take(&mut core.reschedule) && core.running.take().is_some() {
                    self.policy.put_back(index);
                }
                if self.cores[index].running.is_some() {
                    continue;
                }
                let Some(thread) = self.policy.pick(index) else {
                    continue;
                };
                changed = true;
                match self.model.resume(&mut self.board, thread) {
                    Next::Run(task) => self.run(index, thread, task),
                    Next::Sleep => self.policy.sleep(index),
                }
                self.settle();
            }
            if !changed {
                return;
            }
        }
    }

    /// `thread` computes for `task` on a core from now on.
    fn run(&mut self, index: usize, thread: ThreadId, task: TaskId) {
        let core = &mut self.cores[index];
        match core.last {
            Some((last, _)) if last != thread => {
                core.overhead_ns = self.machine.switch_cost_ns;
                self.recorder.switches += 1;
            }
            Some((_, last)) if last != task => {
                core.overhead_ns = self.machine.green_switch_cost_ns;
                self.recorder.green_switches += 1;
            }
            _ => {}
        }
        core.running = Some((thread, task));
        core.last = core.running;
    }

    /// When something happens next.
    fn next_ns(&mut self) -> Option<u64> {
        let now = self.board.now_ns;
        let mut next = self.board.next_event_ns();
        for index in 0..self.cores.len() {
            let Some((_, task)) = self.cores[index].running else {
                continue;
            };
            let overhead = self.cores[index].overhead_ns;
            let step_end = now + overhead + self.board.task(task).left_ns;
            let check = self.policy.next_check(index, now, overhead);
            self.cores[index].check_at_ns = check;
            next = [next, check, Some(step_end)].into_iter().flatten().min();
        }
        next
    }

    /// Lets time pass until `to_ns`.
    fn advance(&mut self, to_ns: u64) {
        let now = self.board.now_ns;
        for (index, core) in self.cores.iter_mut().enumerate() {
            let Some((_, task)) = core.running else {
                continue;
            };
            let switching = core.overhead_ns.min(to_ns - now);
            core.overhead_ns -= switching;
            self.recorder
                .span(index, now, now + switching, Doing::Switch);
            let ran = to_ns - now - switching;
            let state = self.board.task(task);
            if ran > 0 && state.first_run_ns.is_none() {
                state.first_run_ns = Some(now + switching);
            }
            state.left_ns -= ran;
            state.cpu_ns += ran;
            self.policy.charge(index, switching, ran);
            self.recorder
                .span(index, now + switching, to_ns, Doing::Task(task.0));
        }
        self.board.now_ns = to_ns;
    }
}
