//! M:1 and M:N: tasks are green threads that take turns on carriers, as in Brigade and Go.
//!
//! A *processor* is the right to run green threads; a *carrier* is a kernel thread that holds one. M:1 has one
//! processor. A green thread that waits parks, and its carrier runs another. One that blocks keeps its
//! carrier asleep in the kernel, with the processor: nobody else runs on it, though other processors may
//! steal what is queued there.
//!
//! With hand-off, the monitor takes the processor of a carrier that blocks, or that has computed for too long
//! while others wait, and gives it to another carrier. The stuck one goes on as an ordinary kernel thread; at
//! the end of its step it takes an idle processor, or queues its task for the others and rests.
//!
//! # Invariants
//!
//! 1. Each processor belongs to one carrier: `carriers[holds[p]].processor == Some(p)`.
//! 2. A processor is idle only if its carrier sleeps without a task, and has found nothing to run since.
//! 3. A task is in one queue, or current on one carrier, or parked.

use crate::model::queues::Queues;
use crate::model::{Board, Counts, Event, Look, Model, Next, TaskId};
use crate::policy::ThreadId;
use crate::task::{Machine, StepKind};

#[derive(Clone, Copy, Debug, Default)]
struct Carrier {
    processor: Option<usize>,
    task: Option<TaskId>,
    /// The task blocks it.
    blocked: bool,
}

pub(super) struct Green {
    queues: Queues,
    carriers: Vec<Carrier>,
    /// The carrier of each processor.
    holds: Vec<ThreadId>,
    idle: Vec<bool>,
    /// Counts the occupations of each processor by tasks, so that a look at an earlier one does nothing.
    occupation: Vec<u64>,
    /// Carriers without processor and task.
    spare: Vec<ThreadId>,
    /// The processor each task ran on last.
    last: Vec<Option<usize>>,
    hand_off: Option<HandOff>,
    hand_offs: u64,
}

#[derive(Clone, Copy, Debug)]
struct HandOff {
    after_ns: u64,
    block_noticed_after_ns: u64,
}

impl Green {
    pub(super) fn new(processors: usize, hand_off: bool, machine: &Machine, seed: u64) -> Self {
        Self {
            queues: Queues::new(processors, seed),
            carriers: Vec::new(),
            holds: Vec::new(),
            idle: vec![true; processors],
            occupation: vec![0; processors],
            spare: Vec::new(),
            last: Vec::new(),
            hand_off: hand_off.then_some(HandOff {
                after_ns: machine.hand_off_after_ns,
                block_noticed_after_ns: machine.block_noticed_after_ns,
            }),
            hand_offs: 0,
        }
    }

    fn make_carrier(&mut self, board: &mut Board) -> ThreadId {
        self.carriers.push(Carrier::default());
        board.make_thread(0)
    }

    fn carrier(&mut self, thread: ThreadId) -> &mut Carrier {
        &mut self.carriers[thread.0]
    }

    /// Queues a task and wakes the carrier of an idle processor, if there is one.
    fn make_runnable(&mut self, board: &mut Board, task: TaskId) {
        self.queues.push(self.last[task.0], task);
        let preferred = self.last[task.0].filter(|processor| self.idle[*processor]);
        let idle = preferred.or_else(|| self.idle.iter().position(|idle| *idle));
        if let Some(processor) = idle {
            self.idle[processor] = false;
            board.wake(self.holds[processor]);
        }
    }

    /// The task that `thread` has or finds; without one its processor is idle.
    fn task_for(&mut self, thread: ThreadId) -> Option<TaskId> {
        let carrier = *self.carrier(thread);
        if carrier.task.is_some() {
            return carrier.task;
        }
        let Some(processor) = carrier.processor else {
            self.spare.push(thread);
            return None;
        };
        let task = self.queues.pick(processor);
        self.carrier(thread).task = task;
        match task {
            Some(task) => self.last[task.0] = Some(processor),
            None => self.idle[processor] = true,
        }
        self.occupation[processor] += 1;
        task
    }

    /// The monitor looks at `processor` after so long, unless another task has it by then.
    fn watch(&mut self, board: &mut Board, processor: usize, after_ns: u64) {
        let look = Look {
            processor,
            occupation: self.occupation[processor],
            after_ns,
        };
        board.at(board.now_ns + after_ns, Event::Look(look));
    }

    fn watch_computing(&mut self, board: &mut Board, thread: ThreadId) {
        if let (Some(hand_off), Some(processor)) = (self.hand_off, self.carrier(thread).processor) {
            self.watch(board, processor, hand_off.after_ns);
        }
    }

    fn block(&mut self, board: &mut Board, thread: ThreadId, task: TaskId, ns: u64) {
        self.carrier(thread).blocked = true;
        board.begin_io(task, ns, Event::Unblocked(thread));
        if let (Some(hand_off), Some(processor)) = (self.hand_off, self.carrier(thread).processor) {
            self.occupation[processor] += 1;
            self.watch(board, processor, hand_off.block_noticed_after_ns);
        }
    }

    /// The call that blocked `thread` is over: it goes on if it has a processor or finds an idle one.
    fn unblocked(&mut self, board: &mut Board, thread: ThreadId) {
        let carrier = self.carrier(thread);
        carrier.blocked = false;
        let (task, processor) = (carrier.task, carrier.processor);
        let Some(task) = task else { return };
        board.end_io(task);
        let idle = || self.idle.iter().position(|idle| *idle);
        match processor.or_else(idle) {
            Some(processor) => {
                if self.holds[processor] != thread {
                    self.give(processor, thread);
                    self.last[task.0] = Some(processor);
                }
                self.occupation[processor] += 1;
                board.wake(thread);
            }
            None => {
                self.carrier(thread).task = None;
                self.spare.push(thread);
                self.last[task.0] = None;
                self.make_runnable(board, task);
            }
        }
    }

    /// Gives `processor`, which is idle or whose carrier is stuck, to `thread`. An idle carrier becomes a spare
    /// one.
    fn give(&mut self, processor: usize, thread: ThreadId) {
        let before = self.holds[processor];
        self.carrier(before).processor = None;
        if self.carrier(before).task.is_none() {
            self.spare.push(before);
        }
        self.idle[processor] = false;
        self.holds[processor] = thread;
        self.carrier(thread).processor = Some(processor);
    }

    /// The monitor looks at a processor that one task has had for some time.
    fn look(&mut self, board: &mut Board, look: Look) {
        let processor = look.processor;
        let Some(hand_off) = self.hand_off else {
            return;
        };
        if self.occupation[processor] != look.occupation {
            return;
        }
        if !self.queues.waits_for(processor) {
            // Nobody needs it yet; the next look may be later, as in the monitor of Brigade.
            let after_ns = (2 * look.after_ns).min(hand_off.after_ns);
            self.watch(board, processor, after_ns);
            return;
        }
        let next = match self.spare.pop() {
            Some(spare) => spare,
            None => self.make_carrier(board),
        };
        self.give(processor, next);
        self.occupation[processor] += 1;
        self.hand_offs += 1;
        board.wake(next);
    }
}

impl Model for Green {
    fn begin(&mut self, board: &mut Board, nices: &[i8]) {
        self.last = vec![None; nices.len()];
        for processor in 0..self.idle.len() {
            let carrier = self.make_carrier(board);
            self.carrier(carrier).processor = Some(processor);
            self.holds.push(carrier);
        }
    }

    fn arrive(&mut self, board: &mut Board, task: TaskId) {
        self.make_runnable(board, task);
    }

    fn resume(&mut self, board: &mut Board, thread: ThreadId) -> Next {
        loop {
            let had = self.carrier(thread).task;
            let Some(task) = self.task_for(thread) else {
                return Next::Sleep;
            };
            match board.task(task).step() {
                Some(step) if step.kind == StepKind::Compute => {
                    if had != Some(task) || board.task(task).is_at_begin() {
                        self.watch_computing(board, thread);
                    }
                    return Next::Run(task);
                }
                Some(step) if step.kind == StepKind::Block => {
                    self.block(board, thread, task, step.ns);
                    return Next::Sleep;
                }
                Some(step) => {
                    board.begin_io(task, step.ns, Event::Ready(task));
                    self.carrier(thread).task = None;
                }
                None => {
                    board.end(task);
                    self.carrier(thread).task = None;
                }
            }
        }
    }

    fn on(&mut self, board: &mut Board, event: Event) {
        match event {
            Event::Ready(task) => {
                board.end_io(task);
                if board.task(task).step().is_none() {
                    board.end(task);
                } else {
                    self.make_runnable(board, task);
                }
            }
            Event::Unblocked(thread) => self.unblocked(board, thread),
            Event::Look(look) => self.look(board, look),
            Event::Arrive(_) => {}
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            steals: self.queues.steals,
            hand_offs: self.hand_offs,
        }
    }
}
