//! An event loop on one thread, as small as can be and complete: tasks that are ready, and timers.
//!
//! It is the control that is known to fail: whatever a task does between two awaits, nothing else happens
//! meanwhile. The loops of libraries differ from it in what they can wait for and in how fast they are, not in
//! this.
//!
//! # Invariants
//!
//! 1. Tasks are polled in the order in which they became ready, by the one thread that calls [`EventLoop::run`].
//! 2. Timers are looked at after every poll, so a task that is always ready keeps none of them back.
//! 3. Tasks are woken by other tasks and by timers only, so a loop with neither has nothing to wait for, and says
//!    so instead of hanging.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crate::answer::Answer;
use crate::experiment::ArmError;

/// A future that a task runs.
pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The loop; a copy is the same loop.
#[derive(Clone, Default)]
pub(crate) struct EventLoop(Arc<Queues>);

#[derive(Default)]
struct Queues {
    ready: Mutex<VecDeque<Arc<Task>>>,
    /// By the time they are due, and among those of one time by the order in which they came.
    timers: Mutex<BTreeMap<(Instant, usize), Waker>>,
}

struct Task {
    job: Mutex<Option<Job>>,
    queues: Arc<Queues>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let task = Arc::clone(&self);
        lock(&self.queues.ready).push_back(task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventLoop {
    /// Adds a task.
    pub(crate) fn spawn(&self, job: Job) {
        let task = Task {
            job: Mutex::new(Some(job)),
            queues: Arc::clone(&self.0),
        };
        lock(&self.0.ready).push_back(Arc::new(task));
    }

    /// A future that is ready from `due` on.
    pub(crate) fn sleep_until(&self, due: Instant) -> Sleep {
        Sleep {
            queues: Arc::clone(&self.0),
            due,
        }
    }

    /// Runs tasks until `answer` is there.
    ///
    /// # Errors
    ///
    /// That of the answer; failed if nothing is left that could give it.
    pub(crate) fn run<T>(&self, answer: &Answer<T>) -> Result<T, ArmError> {
        loop {
            if let Some(value) = answer.take() {
                return value;
            }
            self.fire_timers();
            let ready = lock(&self.0.ready).pop_front();
            match ready {
                Some(task) => poll(task),
                None => self.wait_for_a_timer()?,
            }
        }
    }

    fn fire_timers(&self) {
        let now = Instant::now();
        loop {
            let mut timers = lock(&self.0.timers);
            match timers.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(timers);
                    waker.wake();
                }
                _ => return,
            }
        }
    }

    fn wait_for_a_timer(&self) -> Result<(), ArmError> {
        let next = lock(&self.0.timers).keys().next().map(|(due, _)| *due);
        let due = next.ok_or_else(|| ArmError::Failed("the loop waits for nothing".into()))?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        Ok(())
    }
}

/// Polls a task once. One that was woken twice is polled once more than needed, which is harmless.
fn poll(task: Arc<Task>) {
    let waker = Waker::from(Arc::clone(&task));
    let mut job = lock(&task.job);
    let over = job.as_mut().is_some_and(|job| {
        let mut context = Context::from_waker(&waker);
        job.as_mut().poll(&mut context).is_ready()
    });
    if over {
        *job = None;
    }
}

/// See [`EventLoop::sleep_until`].
pub(crate) struct Sleep {
    queues: Arc<Queues>,
    due: Instant,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        let mut timers = lock(&self.queues.timers);
        let same = timers.range((self.due, 0)..=(self.due, usize::MAX));
        let next = same.map(|((_, index), _)| *index).max();
        let key = (self.due, next.map_or(0, |index| index + 1));
        timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::answer::answer;

    #[test]
    fn tasks_take_turns_at_every_await_and_at_no_other_place() {
        let events = EventLoop::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let (giver, last) = answer();
        let mut giver = Some(giver);
        for name in ["a", "b"] {
            let (events_, seen) = (events.clone(), Arc::clone(&seen));
            let giver = (name == "b").then(|| giver.take()).flatten();
            events.spawn(Box::pin(async move {
                for i in 1..=2 {
                    lock(&seen).extend([(name, i), (name, i)]);
                    events_.sleep_until(start + Duration::from_millis(i)).await;
                }
                giver.into_iter().for_each(|giver| giver.give(()));
            }));
        }
        assert_eq!(events.run(&last), Ok(()));
        let order: Vec<_> = lock(&seen).clone();
        let twice = |pair: (&'static str, u64)| [pair, pair];
        let due = [("a", 1), ("b", 1), ("a", 2), ("b", 2)].map(twice).concat();
        assert_eq!(order, due);
    }

    #[test]
    fn timers_that_are_due_at_the_same_time_all_fire() {
        let events = EventLoop::default();
        let due = Instant::now() + Duration::from_millis(1);
        let answers: Vec<_> = (0..3)
            .map(|_| {
                let (giver, answer) = answer();
                let sleep = events.sleep_until(due);
                events.spawn(Box::pin(async move {
                    sleep.await;
                    giver.give(Instant::now() >= due);
                }));
                answer
            })
            .collect();
        for answer in answers {
            assert_eq!(events.run(&answer), Ok(true));
        }
    }

    #[test]
    fn a_task_that_is_always_ready_keeps_no_timer_back() {
        let events = EventLoop::default();
        events.spawn(Box::pin(std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        })));
        let sleep = events.sleep_until(Instant::now() + Duration::from_millis(1));
        let (giver, answer) = answer();
        events.spawn(Box::pin(async move {
            sleep.await;
            giver.give(());
        }));
        assert_eq!(events.run(&answer), Ok(()));
    }

    #[test]
    fn a_loop_with_nothing_to_wait_for_says_so() {
        let (_giver, never) = answer::<()>();
        assert!(EventLoop::default().run(&never).is_err());
    }
}
