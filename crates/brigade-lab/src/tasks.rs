//! The only door from the experiments to async tasks: those of Brigade, those of tokio, and those of a loop on one
//! thread.
//!
//! # Invariant
//!
//! The same future runs everywhere: only who polls it and whose timers wake it differs. The handles are the lab's own.

use std::time::Instant;

use crate::answer::{Answer, answer};
use crate::event_loop::{EventLoop, Job};
use crate::experiment::ArmError;
use crate::green::{Green, Model};

/// Who runs tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executor {
    /// [`EventLoop`], on the calling thread.
    Loop,
    /// tokio's, on the calling thread.
    TokioOne,
    /// tokio's, on so many threads of its own.
    Tokio(usize),
    /// Brigade's, on a runtime with so many processors.
    Brigade(usize),
}

impl Executor {
    /// Runs `main` as a task and waits for it.
    ///
    /// # Errors
    ///
    /// Those of `main`; failed if the executor cannot be started; skipped if the machine has none.
    pub(crate) fn run<T, F>(self, main: impl FnOnce(Spawner) -> F + Send) -> Result<T, ArmError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ArmError>> + Send + 'static,
    {
        match self {
            Self::Loop => {
                let events = EventLoop::default();
                let spawner = Spawner::Loop(events.clone());
                events.run(&spawner.spawn(main(spawner.clone())))?
            }
            Self::Brigade(workers) => {
                let green = Green::start(Model::ManyToMany, workers)?;
                green.run(|| {
                    let main = Spawner::Brigade.spawn(main(Spawner::Brigade));
                    brigade::task::block_on(main)
                })?
            }
            Self::TokioOne => {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_time().build()?;
                runtime.block_on(async { Spawner::Tokio.spawn(main(Spawner::Tokio)).await })?
            }
            Self::Tokio(workers) => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                let runtime = builder.worker_threads(workers).enable_time().build()?;
                runtime.block_on(async { Spawner::Tokio.spawn(main(Spawner::Tokio)).await })?
            }
        }
    }
}

/// Starts tasks on one executor.
#[derive(Clone)]
pub(crate) enum Spawner {
    Loop(EventLoop),
    Tokio,
    Brigade,
}

impl Spawner {
    /// Starts a task.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Answer<T> {
        let (giver, answer) = answer();
        let job = async move { giver.give(future.await) };
        match self {
            Self::Loop(events) => events.spawn(Box::pin(job)),
            Self::Tokio => drop(tokio::spawn(job)),
            Self::Brigade => drop(brigade::task::spawn(job)),
        }
        answer
    }

    /// Waits until `due`, with the timers of the executor.
    pub(crate) fn sleep_until(&self, due: Instant) -> Job {
        match self {
            Self::Loop(events) => Box::pin(events.sleep_until(due)),
            Self::Brigade => Box::pin(brigade::task::sleep_until(due)),
            Self::Tokio => Box::pin(tokio::time::sleep_until(due.into())),
        }
    }
}

/// Waits for all `answers`.
pub(crate) async fn all<T>(answers: Vec<Answer<T>>) -> Result<Vec<T>, ArmError> {
    let mut values = Vec::with_capacity(answers.len());
    for answer in answers {
        values.push(answer.await?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ALL: [Executor; 4] = [
        Executor::Loop,
        Executor::TokioOne,
        Executor::Tokio(2),
        Executor::Brigade(2),
    ];

    #[test]
    fn every_executor_runs_tasks_that_start_tasks_and_sleep() {
        for executor in ALL {
            let sum = executor.run(|spawner| async move {
                let due = Instant::now() + Duration::from_millis(1);
                let one = |n: u64| {
                    let sleep = spawner.sleep_until(due);
                    spawner.spawn(async move {
                        sleep.await;
                        assert!(Instant::now() >= due);
                        n
                    })
                };
                Ok(all((1..=10).map(one).collect()).await?.iter().sum::<u64>())
            });
            assert_eq!(sum, Ok(55), "{executor:?}");
        }
    }

    #[test]
    fn a_task_that_fails_fails_the_run() {
        for executor in ALL {
            let planted = || ArmError::Failed("planted".into());
            let result = executor.run(move |_| async move { Err::<(), _>(planted()) });
            assert_eq!(result, Err(planted()), "{executor:?}");
        }
    }
}
