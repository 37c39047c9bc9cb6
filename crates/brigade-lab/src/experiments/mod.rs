//! The experiments. [`crate::theme`] puts them in the order of the tour.

mod address_space;
mod blocking_call;
mod borrow_checker;
mod cfs_shares;
mod channels;
mod clone_flags;
mod context_switch;
mod coroutines;
mod crash_isolation;
mod deadlock;
mod epoll_scaling;
mod event_loop_freeze;
mod event_loop_scale;
mod false_sharing;
mod frozen_ticker;
mod gil;
mod gil_io;
mod io_bound;
mod lock_order;
mod lost_updates;
mod memory_order;
mod models;
mod pipe_benchmark;
mod pool_size;
mod pool_vs_thread_per_task;
mod preemption_fairness;
mod process_vs_thread;
mod published_ticker;
mod python_counter;
mod shared_private;
mod spawn_cost;
mod switch_budget;
mod switch_footprint;
mod switch_rate;
mod sync_matrix;
mod thread_count;
mod thread_memory;
mod thread_states;
mod timeline;
mod two_cooks;
mod voluntary_switches;

pub(crate) use crash_isolation::Crash;
pub(crate) use gil::crunch;

use crate::experiment::Experiment;

/// All experiments. [`crate::tour`] has them by theme.
#[must_use]
pub fn all() -> &'static [&'static dyn Experiment] {
    &[
        &thread_count::ThreadCount,
        &thread_states::ThreadStates,
        &context_switch::ContextSwitch,
        &pipe_benchmark::PipeBenchmark,
        &switch_footprint::SwitchFootprint,
        &switch_budget::SwitchBudget,
        &voluntary_switches::VoluntarySwitches,
        &switch_rate::SwitchRate,
        &spawn_cost::SpawnCost,
        &thread_memory::ThreadMemory,
        &address_space::AddressSpace,
        &models::Models,
        &timeline::Timeline,
        &two_cooks::TwoCooks,
        &blocking_call::BlockingCall,
        &frozen_ticker::FrozenTicker,
        &published_ticker::PublishedTicker,
        &preemption_fairness::PreemptionFairness,
        &cfs_shares::CfsShares,
        &coroutines::Coroutines,
        &event_loop_freeze::EventLoopFreeze,
        &pool_vs_thread_per_task::PoolVsThreadPerTask,
        &pool_size::PoolSize,
        &io_bound::IoBound,
        &event_loop_scale::EventLoopScale,
        &epoll_scaling::EpollScaling,
        &lost_updates::LostUpdates,
        &borrow_checker::BorrowChecker,
        &false_sharing::FalseSharing,
        &memory_order::MemoryOrder,
        &sync_matrix::SyncMatrix,
        &channels::Channels,
        &deadlock::Deadlock,
        &lock_order::LockOrder,
        &gil::Gil,
        &gil_io::GilIo,
        &python_counter::PythonCounter,
        &process_vs_thread::ProcessVsThread,
        &crash_isolation::CrashIsolation,
        &shared_private::SharedPrivate,
        &clone_flags::CloneFlags,
    ]
}

/// The experiment of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Experiment> {
    all()
        .iter()
        .copied()
        .find(|experiment| experiment.info().name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpListener;

    use super::*;
    use crate::experiment::{Role, Scale, Show};
    use crate::sample::{Sample, Samples};
    use crate::verdict::{MIN_SAMPLES, Tendency, Verdict, decide};

    #[test]
    fn every_experiment_has_its_own_name_and_says_everything_about_itself() {
        let mut names = BTreeSet::new();
        for experiment in all() {
            let info = experiment.info();
            assert!(names.insert(info.name), "{} appears twice", info.name);
            for text in [
                info.claim,
                info.said_in,
                info.method,
                info.control,
                info.premise,
                info.next,
            ] {
                assert!(!text.is_empty(), "{}", info.name);
            }
            assert!(info.claim.ends_with('.'), "{}", info.name);
        }
    }

    #[test]
    fn every_experiment_has_a_control_arm_and_rows_that_fit() {
        for experiment in all() {
            for scale in [Scale::Quick, Scale::Full] {
                let arms = experiment.arms(scale);
                assert!(arms.iter().any(|arm| arm.role == Role::Control));
                let keys: BTreeSet<_> = arms.iter().map(|arm| arm.key).collect();
                assert_eq!(keys.len(), arms.len());
                for arm in arms {
                    assert!(arm.label.chars().count() <= 26, "{}", arm.label);
                }
            }
        }
    }

    #[test]
    fn every_experiment_has_one_main_number_and_heads_that_fit() {
        for experiment in all() {
            let metrics = experiment.metrics();
            assert_eq!(
                metrics
                    .iter()
                    .filter(|metric| metric.show == Show::Spread)
                    .count(),
                1
            );
            assert!(
                metrics
                    .iter()
                    .filter(|metric| metric.show == Show::Median)
                    .count()
                    <= 2
            );
            assert!(
                metrics
                    .iter()
                    .all(|metric| metric.label.chars().count() <= 11)
            );
        }
    }

    #[test]
    fn without_samples_no_premise_holds_and_no_part_of_a_claim_is_decided() {
        for experiment in all() {
            let nothing = Samples::new();
            let name = experiment.info().name;
            let premises = experiment.premises(&nothing);
            assert!(!premises.is_empty(), "{name}");
            assert!(
                premises.iter().all(|premise| !premise.held),
                "{name}: {premises:?}"
            );
            let parts = experiment.judge(&nothing);
            assert!(!parts.is_empty(), "{name}");
            assert!(
                parts.iter().all(|part| part.tendency == Tendency::Unclear),
                "{name}: {parts:?}"
            );
        }
    }

    #[test]
    fn samples_that_are_the_same_whatever_was_run_confirm_nothing() {
        let mut wrong = Vec::new();
        for experiment in all() {
            for value in [0.0, 1.0, 1e3, 1e9] {
                let mut samples = Samples::new();
                for arm in experiment.arms(Scale::Quick) {
                    let sample = || {
                        let metrics = experiment.metrics().iter();
                        metrics.fold(Sample::new(), |all, metric| all.with(metric.key, value))
                    };
                    (0..MIN_SAMPLES).for_each(|_| samples.push(arm.key, sample()));
                }
                let verdict = decide(&experiment.premises(&samples), &experiment.judge(&samples));
                let name = experiment.info().name;
                if verdict == Verdict::Confirmed {
                    wrong.push(format!("{name}, everything {value}"));
                }
            }
        }
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn an_arm_or_a_role_that_does_not_exist_is_an_error() {
        for experiment in all() {
            assert!(experiment.measure("no-such-arm", Scale::Quick).is_err());
            let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
            assert!(experiment.serve("no-such-role", listener).is_err());
        }
    }
}
