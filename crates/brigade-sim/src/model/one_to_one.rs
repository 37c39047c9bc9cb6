//! 1:1: each task is a kernel thread of the same number.

use crate::model::{Board, Counts, Event, Model, Next, TaskId};
use crate::policy::ThreadId;
use crate::task::StepKind;

pub(super) struct OneToOne;

impl OneToOne {
    /// Begins the step of a task that has no core; whether it needs one.
    fn begin_step(board: &mut Board, task: TaskId) -> bool {
        match board.task(task).step() {
            None => {
                board.end(task);
                false
            }
            Some(step) if step.kind == StepKind::Compute => true,
            Some(step) => {
                board.begin_io(task, step.ns, Event::Unblocked(ThreadId(task.0)));
                false
            }
        }
    }
}

impl Model for OneToOne {
    fn begin(&mut self, board: &mut Board, nices: &[i8]) {
        for nice in nices {
            board.make_thread(*nice);
        }
    }

    fn arrive(&mut self, board: &mut Board, task: TaskId) {
        if Self::begin_step(board, task) {
            board.wake(ThreadId(task.0));
        }
    }

    fn resume(&mut self, board: &mut Board, thread: ThreadId) -> Next {
        let task = TaskId(thread.0);
        if Self::begin_step(board, task) {
            Next::Run(task)
        } else {
            Next::Sleep
        }
    }

    fn on(&mut self, board: &mut Board, event: Event) {
        if let Event::Unblocked(thread) = event {
            let task = TaskId(thread.0);
            board.end_io(task);
            if Self::begin_step(board, task) {
                board.wake(thread);
            }
        }
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }
}
