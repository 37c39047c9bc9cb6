//! What holds for every set of tasks, under every scheduler.

use brigade_sim::run::{Doing, Run};
use brigade_sim::task::{Length, Machine, Step, StepKind, Task};
use brigade_sim::{Kernel, Model, Scheduler, TaskSet, simulate, weight_of};
use proptest::prelude::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

const KERNELS: [Kernel; 4] = [Kernel::Fifo, Kernel::RoundRobin, Kernel::Cfs, Kernel::Eevdf];

fn schedulers() -> impl Strategy<Value = Scheduler> {
    let models = [
        Model::OneToOne,
        Model::ManyToOne,
        Model::ManyToMany,
        Model::HandOff,
    ];
    (0..KERNELS.len(), 0..models.len()).prop_map(move |(kernel, model)| Scheduler {
        kernel: KERNELS[kernel],
        model: models[model],
    })
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = [
        StepKind::Compute,
        StepKind::Compute,
        StepKind::Wait,
        StepKind::Block,
    ];
    (0..kinds.len(), 0..9_000_u64, 0..3_000_u64).prop_map(move |(kind, low, more)| Step {
        kind: kinds[kind],
        length: Length {
            low_ns: low * US,
            high_ns: (low + more) * US,
        },
    })
}

fn task() -> impl Strategy<Value = Task> {
    let steps = prop::collection::vec(step(), 1..6);
    (0..20_000_u64, -20..=19_i8, 1..4_u32, steps).prop_map(|(arrival, nice, repeat, steps)| Task {
        name: "task".to_owned(),
        arrival_ns: arrival * US,
        nice,
        steps,
        repeat,
    })
}

fn machine() -> impl Strategy<Value = Machine> {
    (1..5_usize, any::<bool>(), any::<bool>()).prop_map(|(cores, ticks, costs)| {
        let mut machine = Machine::new(cores);
        if !ticks {
            machine.tick_ns = 0;
        }
        if costs {
            machine
        } else {
            machine.without_switch_costs()
        }
    })
}

fn set() -> impl Strategy<Value = TaskSet> {
    let tasks = prop::collection::vec(task(), 1..9);
    (machine(), tasks).prop_map(|(machine, tasks)| TaskSet::new(machine, tasks))
}

/// The times in which somebody computes for `task`, in order.
fn spans_of(run: &Run, task: usize) -> Vec<(u64, u64)> {
    let mut spans: Vec<_> = run
        .spans
        .iter()
        .filter(|span| span.doing == Doing::Task(task))
        .map(|span| (span.from_ns, span.to_ns))
        .collect();
    spans.sort_unstable();
    spans
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_gets_exactly_the_cpu_time_it_asks_for_and_ends(
        (mut set, scheduler, seed) in (set(), schedulers(), any::<u64>())
    ) {
        fix_lengths(&mut set);
        let run = simulate(&set, &scheduler, seed).unwrap();
        for (index, (task, outcome)) in set.tasks.iter().zip(&run.tasks).enumerate() {
            let sum = |computes: bool| {
                let steps = task.steps.iter().filter(|step| (step.kind == StepKind::Compute) == computes);
                steps.map(|step| step.length.low_ns).sum::<u64>() * u64::from(task.repeat)
            };
            prop_assert_eq!(outcome.cpu_ns, sum(true));
            prop_assert_eq!(outcome.io_ns, sum(false));
            let spans = spans_of(&run, index);
            prop_assert_eq!(spans.iter().map(|(from, to)| to - from).sum::<u64>(), sum(true));
            let turnaround = outcome.turnaround_ns.unwrap();
            prop_assert_eq!(turnaround, outcome.cpu_ns + outcome.io_ns + outcome.waiting_ns);
        }
    }

    #[test]
    fn no_task_is_on_two_cores_and_no_core_has_two_tasks(
        (set, scheduler, seed) in (set(), schedulers(), any::<u64>())
    ) {
        let run = simulate(&set, &scheduler, seed).unwrap();
        for task in 0..set.tasks.len() {
            prop_assert!(spans_of(&run, task).windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
        for core in 0..set.machine.cores {
            let spans: Vec<_> = run.spans_of(core).collect();
            prop_assert!(spans.windows(2).all(|pair| pair[0].to_ns <= pair[1].from_ns));
        }
    }

    #[test]
    fn no_core_is_idle_while_a_kernel_thread_waits(
        (mut set, kernel, seed) in (set(), 0..KERNELS.len(), any::<u64>())
    ) {
        fix_lengths(&mut set);
        let scheduler = Scheduler { kernel: KERNELS[kernel], model: Model::OneToOne };
        let run = simulate(&set, &scheduler, seed).unwrap();
        // A core that works is one less that could take a task, and a task that waits is one that could be
        // taken, unless a core is switching to it.
        let mut edges: Vec<(u64, i64, i64)> = Vec::new();
        for span in &run.spans {
            let taken = i64::from(span.doing == Doing::Switch);
            edges.extend([(span.from_ns, 1, -taken), (span.to_ns, -1, taken)]);
        }
        for (index, task) in set.tasks.iter().enumerate() {
            for (from, to) in waits_of(&run, index, task) {
                edges.extend([(from, 0, 1), (to, 0, -1)]);
            }
        }
        edges.sort_unstable();
        let (mut busy, mut waiting, mut last) = (0, 0, 0);
        for (at, core, task) in edges {
            let idle = busy < set.machine.cores as i64;
            prop_assert!(at == last || !idle || waiting <= 0, "{waiting} wait at {last}");
            busy += core;
            waiting += task;
            last = at;
        }
    }

    #[test]
    fn green_threads_wait_for_nothing_where_each_has_a_processor_and_switches_are_free(
        (mut set, seed) in (set(), any::<u64>())
    ) {
        set.machine = Machine::new(set.tasks.len()).without_switch_costs();
        for model in [Model::ManyToMany, Model::HandOff] {
            let scheduler = Scheduler { kernel: Kernel::Eevdf, model };
            let run = simulate(&set, &scheduler, seed).unwrap();
            prop_assert!(run.tasks.iter().all(|task| task.waiting_ns == 0), "{:?}", run.tasks);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_run_byte_for_byte(
        (set, scheduler, seed) in (set(), schedulers(), any::<u64>())
    ) {
        let text = || serde_json::to_string(&simulate(&set, &scheduler, seed).unwrap()).unwrap();
        prop_assert_eq!(text(), text());
    }

    #[test]
    fn every_scheduler_gets_the_same_work(
        (set, one, other, seed) in (set(), schedulers(), schedulers(), any::<u64>())
    ) {
        let work = |scheduler| -> Vec<(u64, u64)> {
            let run = simulate(&set, &scheduler, seed).unwrap();
            run.tasks.iter().map(|task| (task.cpu_ns, task.io_ns)).collect()
        };
        prop_assert_eq!(work(one), work(other));
    }

    #[test]
    fn fair_schedulers_share_one_core_by_weight(
        (nices, ticks) in (prop::collection::vec(-8..=8_i8, 2..6), any::<bool>())
    ) {
        let run = |kernel| hogs(&nices, ticks, kernel);
        let total: f64 = nices.iter().map(|nice| f64::from(weight_of(*nice))).sum();
        for kernel in [Kernel::Cfs, Kernel::Eevdf] {
            for (task, nice) in run(kernel).tasks.iter().zip(&nices) {
                let due = f64::from(weight_of(*nice)) / total;
                prop_assert!((task.share - due).abs() < 0.02, "{kernel:?} {}: {due}", task.share);
            }
        }
    }

    /// Stoica and Abdel-Wahab, theorem 1: without comings and goings a lag is smaller than the longest request.
    #[test]
    fn a_lag_under_eevdf_is_never_more_than_one_slice(
        nices in prop::collection::vec(-20..=19_i8, 1..8)
    ) {
        let run = hogs(&nices, false, Kernel::Eevdf);
        let lag = run.largest_lag_ns.unwrap();
        let slice = Machine::new(1).base_slice_ns as f64;
        prop_assert!(lag <= slice + 10.0, "{lag}");
    }

    /// All weighted lags together are none, so virtual times stay together.
    #[test]
    fn virtual_times_of_hogs_stay_together(
        nices in prop::collection::vec(-8..=8_i8, 2..6)
    ) {
        for kernel in [Kernel::Cfs, Kernel::Eevdf] {
            let run = hogs(&nices, false, kernel);
            let times: Vec<f64> = run.tasks.iter().map(|task| task.vruntime_ns.unwrap()).collect();
            let least = times.iter().copied().fold(f64::INFINITY, f64::min);
            let most = times.iter().copied().fold(0.0, f64::max);
            let lightest = nices.iter().map(|nice| weight_of(*nice)).min().unwrap();
            // A slice of the lightest, in virtual time, and one of the others.
            let slice = Machine::new(1).latency_ns as f64;
            prop_assert!(most - least <= slice * (1.0 + 1024.0 / f64::from(lightest)), "{times:?}");
        }
    }
}

/// Tasks that never wait, on one core, for four seconds.
fn hogs(nices: &[i8], ticks: bool, kernel: Kernel) -> Run {
    let mut machine = Machine::new(1).without_switch_costs();
    if !ticks {
        machine.tick_ns = 0;
    }
    let hog = |nice: &i8| Task::new("hog", [Step::compute(100_000 * MS)]).nice(*nice);
    let set = TaskSet::new(machine, nices.iter().map(hog)).until(4_000 * MS);
    let scheduler = Scheduler {
        kernel,
        model: Model::OneToOne,
    };
    simulate(&set, &scheduler, 1).unwrap()
}

/// Makes the lengths of all steps known beforehand.
fn fix_lengths(set: &mut TaskSet) {
    for step in set.tasks.iter_mut().flat_map(|task| &mut task.steps) {
        step.length.high_ns = step.length.low_ns;
    }
}

/// The times in which a task, a kernel thread, could have computed and did not.
fn waits_of(run: &Run, index: usize, task: &Task) -> Vec<(u64, u64)> {
    let mut spans = spans_of(run, index).into_iter();
    let mut span = spans.next();
    let mut waits = Vec::new();
    let mut now = task.arrival_ns;
    for step in (0..task.repeat).flat_map(|_| &task.steps) {
        let mut left = step.length.low_ns;
        if step.kind != StepKind::Compute {
            now += left;
            continue;
        }
        while left > 0 {
            let (from, to) = span.expect("a task computes as long as it asks for");
            waits.extend((from > now).then_some((now, from)));
            let part = left.min(to - from);
            left -= part;
            now = from + part;
            span = if now == to {
                spans.next()
            } else {
                Some((now, to))
            };
        }
    }
    waits
}
