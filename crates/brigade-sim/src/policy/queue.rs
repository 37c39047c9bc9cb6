//! One queue for all cores, as in textbooks: what FIFO and round robin share.

use std::collections::VecDeque;

use crate::policy::ThreadId;

/// Threads in the order they came, and who runs.
pub(super) struct Queue {
    queued: VecDeque<ThreadId>,
    current: Vec<Option<ThreadId>>,
}

impl Queue {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            queued: VecDeque::new(),
            current: vec![None; cores],
        }
    }

    pub(super) fn push(&mut self, thread: ThreadId) {
        self.queued.push_back(thread);
    }

    pub(super) fn pick(&mut self, core: usize) -> Option<ThreadId> {
        let thread = self.queued.pop_front();
        self.current[core] = thread;
        thread
    }

    pub(super) fn put_back(&mut self, core: usize) {
        let current = self.current[core].take();
        self.queued.extend(current);
    }

    pub(super) fn sleep(&mut self, core: usize) {
        self.current[core] = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }
}
