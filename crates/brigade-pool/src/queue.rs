//! The queue of a pool: first in, first out, and any job can be taken out of its place.
//!
//! A job that is pushed gets a *ticket*: its place from the beginning of time. A hole is left where a job was taken out of
//! the middle. Holes at the ends go at once; when they are many, the queue is packed and all jobs get new tickets, so it
//! holds at most about twice as many places as jobs.
//!
//! # Invariants
//!
//! 1. The job with ticket `t` is at index `t - first`; tickets of jobs that are not in the queue are [`NONE`].
//! 2. Neither end is a hole, and `len` counts the places that are none.
//!
//! # Rejected
//!
//! A list through the jobs: no holes, but pointers that only a lock keeps alive. A tree by ticket: slower at both ends.

use std::collections::VecDeque;

/// The ticket of what is in no queue.
pub(crate) const NONE: u64 = u64::MAX;

/// Holes that are never worth packing.
const FEW_HOLES: usize = 64;

/// What can be queued: it remembers its ticket.
pub(crate) trait Ticketed {
    /// Where it is, [`NONE`] if in no queue. Changes only under the lock of the queue.
    fn ticket(&self) -> u64;
    /// Remembers where it is.
    fn set_ticket(&self, ticket: u64);
}

/// The queue; see the module.
pub(crate) struct Queue<J> {
    places: VecDeque<Option<J>>,
    first: u64,
    len: usize,
}

impl<J: Ticketed> Queue<J> {
    pub(crate) const fn new() -> Queue<J> {
        Queue {
            places: VecDeque::new(),
            first: 0,
            len: 0,
        }
    }

    /// Jobs in the queue.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, job: J) {
        job.set_ticket(self.first + self.places.len() as u64);
        self.places.push_back(Some(job));
        self.len += 1;
    }

    /// Takes the oldest job.
    pub(crate) fn pop(&mut self) -> Option<J> {
        let job = self.places.pop_front()??;
        self.first += 1;
        self.taken(&job);
        Some(job)
    }

    /// Takes the job with this ticket.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<J> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let job = self.places.get_mut(index)?.take()?;
        self.taken(&job);
        Some(job)
    }

    /// Takes the oldest job that `is_wanted`.
    pub(crate) fn remove_oldest(&mut self, is_wanted: impl Fn(&J) -> bool) -> Option<J> {
        let ticket = self.jobs().find(|job| is_wanted(job))?.ticket();
        self.remove(ticket)
    }

    /// Takes the newest job that `is_wanted`.
    pub(crate) fn remove_newest(&mut self, is_wanted: impl Fn(&J) -> bool) -> Option<J> {
        let ticket = self.jobs().rev().find(|job| is_wanted(job))?.ticket();
        self.remove(ticket)
    }

    fn jobs(&self) -> impl DoubleEndedIterator<Item = &J> {
        self.places.iter().flatten()
    }

    /// After `job` has left its place.
    fn taken(&mut self, job: &J) {
        job.set_ticket(NONE);
        self.len -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        while let Some(None) = self.places.back() {
            self.places.pop_back();
        }
        if self.places.len() > 2 * self.len + FEW_HOLES {
            self.pack();
        }
    }

    /// Closes the holes.
    fn pack(&mut self) {
        self.places.retain(Option::is_some);
        for (index, job) in self.places.iter().flatten().enumerate() {
            job.set_ticket(self.first + index as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FEW_HOLES, NONE, Queue, Ticketed};
    use std::cell::Cell;
    use std::rc::Rc;

    struct Job(usize, Cell<u64>);

    impl Ticketed for Rc<Job> {
        fn ticket(&self) -> u64 {
            self.1.get()
        }
        fn set_ticket(&self, ticket: u64) {
            self.1.set(ticket);
        }
    }

    fn filled(jobs: usize) -> (Queue<Rc<Job>>, Vec<Rc<Job>>) {
        let mut queue = Queue::new();
        let all: Vec<_> = (0..jobs)
            .map(|number| Rc::new(Job(number, Cell::new(NONE))))
            .collect();
        all.iter().for_each(|job| queue.push(Rc::clone(job)));
        (queue, all)
    }

    fn drain(queue: &mut Queue<Rc<Job>>) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop())
            .map(|job| job.0)
            .collect()
    }

    #[test]
    fn jobs_leave_in_the_order_they_came() {
        let (mut queue, all) = filled(10);
        assert_eq!(queue.len(), 10);
        assert_eq!(drain(&mut queue), (0..10).collect::<Vec<_>>());
        assert!(all.iter().all(|job| job.ticket() == NONE) && queue.len() == 0);
    }

    #[test]
    fn a_job_can_be_taken_out_of_any_place_once() {
        for place in 0..5 {
            let (mut queue, all) = filled(5);
            let ticket = all[place].ticket();
            assert_eq!(queue.remove(ticket).map(|job| job.0), Some(place));
            assert!(queue.remove(ticket).is_none() && queue.remove(NONE).is_none());
            let rest: Vec<_> = (0..5).filter(|&number| number != place).collect();
            assert_eq!(queue.len(), 4);
            assert_eq!(drain(&mut queue), rest);
        }
    }

    #[test]
    fn the_oldest_and_the_newest_of_a_kind_are_found() {
        let (mut queue, _all) = filled(9);
        let odd = |job: &Rc<Job>| job.0 % 2 == 1;
        assert_eq!(queue.remove_oldest(odd).map(|job| job.0), Some(1));
        assert_eq!(queue.remove_newest(odd).map(|job| job.0), Some(7));
        assert_eq!(queue.remove_newest(odd).map(|job| job.0), Some(5));
        assert!(queue.remove_oldest(|job| job.0 == 5).is_none());
        assert_eq!(drain(&mut queue), [0, 2, 3, 4, 6, 8]);
    }

    #[test]
    fn holes_between_old_and_new_jobs_do_not_add_up() {
        let (mut queue, old) = filled(2);
        let mut last = Rc::new(Job(0, Cell::new(NONE)));
        queue.push(Rc::clone(&last));
        for number in 2..10_000 {
            let next = Rc::new(Job(number, Cell::new(NONE)));
            queue.push(Rc::clone(&next));
            assert!(queue.remove(last.ticket()).is_some());
            last = next;
            assert!(queue.places.len() <= 2 * queue.len() + FEW_HOLES + 1);
        }
        assert_eq!(queue.remove(old[1].ticket()).map(|job| job.0), Some(1));
        assert_eq!(drain(&mut queue), [0, 9999]);
    }
}
