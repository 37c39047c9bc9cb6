//! Runs that were computed by hand, or by somebody else.

use brigade_sim::run::Doing;
use brigade_sim::task::{Machine, Step, Task};
use brigade_sim::{Kernel, Model, Run, Scheduler, TaskSet, simulate};

const MS: u64 = 1_000_000;

fn play(machine: Machine, tasks: Vec<Task>, scheduler: Scheduler) -> Run {
    let set = TaskSet::new(machine.without_switch_costs(), tasks);
    simulate(&set, &scheduler, 1).expect("a sound set")
}

fn waiting_ms(run: &Run) -> Vec<u64> {
    run.tasks.iter().map(|task| task.waiting_ns / MS).collect()
}

/// The tasks that ran, in order, each with how many milliseconds it ran.
fn order(run: &Run) -> Vec<(usize, u64)> {
    let spans = run.spans_of(0).filter_map(|span| match span.doing {
        Doing::Task(task) => Some((task, (span.to_ns - span.from_ns) / MS)),
        Doing::Switch => None,
    });
    spans.collect()
}

/// *Operating System Concepts*, "CPU Scheduling": bursts of 24, 3 and 3.
fn three() -> Vec<Task> {
    [("p1", 24), ("p2", 3), ("p3", 3)]
        .map(|(name, ms)| Task::new(name, [Step::compute(ms * MS)]))
        .to_vec()
}

fn green(model: Model) -> Scheduler {
    Scheduler {
        kernel: Kernel::Eevdf,
        model,
    }
}

#[test]
fn fifo_waits_as_the_textbook_says() {
    let run = play(Machine::new(1), three(), Scheduler::FIFO);
    assert_eq!(waiting_ms(&run), [0, 24, 27]);
    assert_eq!(run.mean_waiting_ns(), 17.0 * MS as f64);
    assert_eq!((run.length_ns, run.utilisation), (30 * MS, 1.0));
    assert_eq!(run.tasks[2].turnaround_ns, Some(30 * MS));
    assert_eq!(run.tasks[2].response_ns, Some(27 * MS));
}

#[test]
fn fifo_with_the_short_ones_first_waits_as_the_textbook_says() {
    let mut tasks = three();
    tasks.rotate_left(1);
    let run = play(Machine::new(1), tasks, Scheduler::FIFO);
    assert_eq!(waiting_ms(&run), [0, 3, 6]);
}

#[test]
fn round_robin_waits_as_the_textbook_says() {
    let run = play(Machine::new(1), three(), Scheduler::ROUND_ROBIN);
    assert_eq!(waiting_ms(&run), [6, 4, 7]);
    assert_eq!(order(&run), [(0, 4), (1, 3), (2, 3), (0, 20)]);
    assert_eq!((run.tasks[0].runs, run.tasks[0].preempted), (2, 1));
}

/// By hand: quantum 2; a comes at 0 and takes 5, b at 1 and 3, c at 2 and 1.
#[test]
fn who_comes_when_a_quantum_ends_is_queued_before_the_one_whose_it_was() {
    let mut machine = Machine::new(1);
    machine.quantum_ns = 2 * MS;
    let tasks = [("a", 0, 5), ("b", 1, 3), ("c", 2, 1)]
        .map(|(name, at, ms)| Task::new(name, [Step::compute(ms * MS)]).arriving_at(at * MS));
    let run = play(machine, tasks.to_vec(), Scheduler::ROUND_ROBIN);
    let expected = [(0, 2), (1, 2), (2, 1), (0, 2), (1, 1), (0, 1)];
    assert_eq!(order(&run), expected);
    assert_eq!(waiting_ms(&run), [4, 4, 2]);
}

/// By hand: a computes 2, waits 5, computes 2; b computes 10. FIFO on one core: a 0-2, b 2-12, a 12-14.
#[test]
fn a_wait_is_no_waiting_and_no_cpu_time() {
    let waits = Task::new(
        "a",
        [
            Step::compute(2 * MS),
            Step::wait(5 * MS),
            Step::compute(2 * MS),
        ],
    );
    let hog = Task::new("b", [Step::compute(10 * MS)]);
    let run = play(Machine::new(1), vec![waits, hog], Scheduler::FIFO);
    assert_eq!(order(&run), [(0, 2), (1, 10), (0, 2)]);
    let first = &run.tasks[0];
    assert_eq!((first.cpu_ns, first.io_ns), (4 * MS, 5 * MS));
    assert_eq!(
        (first.waiting_ns, first.turnaround_ns),
        (5 * MS, Some(14 * MS))
    );
    assert_eq!(first.preempted, 0);
}

/// By hand: three tasks of 10 ms on two cores under FIFO: the third follows the one that ends first.
#[test]
fn two_cores_take_from_one_queue() {
    let tasks = [("a", 10), ("b", 4), ("c", 10)]
        .map(|(name, ms)| Task::new(name, [Step::compute(ms * MS)]));
    let run = play(Machine::new(2), tasks.to_vec(), Scheduler::FIFO);
    assert_eq!(run.length_ns, 14 * MS);
    assert_eq!(waiting_ms(&run), [0, 0, 4]);
}

#[test]
fn a_switch_costs_the_core_time_and_no_task_cpu_time() {
    let mut machine = Machine::new(1);
    machine.switch_cost_ns = MS;
    let run = simulate(&TaskSet::new(machine, three()), &Scheduler::FIFO, 1).unwrap();
    assert_eq!((run.length_ns, run.switches), (32 * MS, 2));
    assert_eq!(waiting_ms(&run), [0, 25, 29]);
    assert_eq!(run.tasks[1].cpu_ns, 3 * MS);
}

/// CFS with a tick of 4 ms and a latency of 6 ms: the slice of two equal tasks is 3 ms, which ends at the tick.
#[test]
fn the_tick_rounds_slices_up() {
    let tasks = ["a", "b"].map(|name| Task::new(name, [Step::compute(12 * MS)]));
    let run = play(Machine::new(1), tasks.to_vec(), Scheduler::CFS);
    let fours: Vec<_> = (0..6).map(|turn| (turn % 2, 4)).collect();
    assert_eq!(order(&run), fours);
}

/// How long each run of `task` was, the last one left out, which the end of the simulation cuts.
fn runs_ns(run: &Run, task: usize) -> Vec<u64> {
    let spans = run.spans_of(0).filter(|s| s.doing == Doing::Task(task));
    let mut runs: Vec<u64> = spans.map(|span| span.to_ns - span.from_ns).collect();
    runs.pop();
    runs
}

/// `sched_slice` of Linux 6.5: by weight alone the slice of nice 19 beside nice 0 would be 87 microseconds.
#[test]
fn cfs_gives_no_slice_below_the_minimal_granularity() {
    let mut machine = Machine::new(1);
    machine.tick_ns = 0;
    let hog = |name, nice| Task::new(name, [Step::compute(1000 * MS)]).nice(nice);
    let set = TaskSet::new(
        machine.without_switch_costs(),
        [hog("nice-0", 0), hog("nice-19", 19)],
    )
    .until(900 * MS);
    let run = simulate(&set, &Scheduler::CFS, 1).unwrap();
    let runs = runs_ns(&run, 1);
    assert!(runs.len() >= 2, "{runs:?}");
    assert!(
        runs.iter().all(|ns| *ns >= set.machine.min_granularity_ns),
        "{runs:?}"
    );
}

/// `check_preempt_tick` of Linux 6.5: light threads make the period long, and heavy ones are to take turns all the
/// same.
#[test]
fn cfs_gives_no_slice_above_the_latency() {
    let mut machine = Machine::new(1);
    machine.tick_ns = 0;
    let hog = |nice| Task::new("hog", [Step::compute(1000 * MS)]).nice(nice);
    let tasks = [-20, -20].into_iter().chain([19; 60]).map(hog);
    let set = TaskSet::new(machine.without_switch_costs(), tasks).until(300 * MS);
    let run = simulate(&set, &Scheduler::CFS, 1).unwrap();
    let runs = runs_ns(&run, 0);
    assert!(runs.len() >= 2, "{runs:?}");
    assert!(
        runs.iter().all(|ns| *ns <= set.machine.latency_ns),
        "{runs:?}"
    );
}

/// Seen on Linux 6.18 with HZ=250: slices of 12 and 4 ms for nice 0 and 5 on one CPU.
#[test]
fn eevdf_gives_the_slices_that_a_kernel_was_seen_to_give() {
    let mut machine = Machine::new(1);
    machine.base_slice_ns = 1_400_000;
    let hog = |name, nice| Task::new(name, [Step::compute(1000 * MS)]).nice(nice);
    let set = TaskSet::new(
        machine.without_switch_costs(),
        [hog("nice-0", 0), hog("nice-5", 5)],
    )
    .until(400 * MS);
    let run = simulate(&set, &Scheduler::EEVDF, 1).unwrap();
    let mean =
        |task: usize| run.tasks[task].cpu_ns as f64 / run.tasks[task].runs as f64 / MS as f64;
    assert!((11.0..=13.0).contains(&mean(0)), "{}", mean(0));
    assert!((3.9..=4.1).contains(&mean(1)), "{}", mean(1));
}

fn one_that_blocks() -> Vec<Task> {
    vec![
        Task::new("blocks", [Step::compute(MS), Step::block(20 * MS)]),
        Task::new("other", [Step::compute(5 * MS)]),
    ]
}

/// By hand: blocks 0-1, blocked 1-21; the other waits for all of it, or for the monitor's look at 1.02 ms.
#[test]
fn a_blocked_kernel_thread_stalls_all_without_hand_off_and_nobody_with_it() {
    for model in [Model::ManyToOne, Model::ManyToMany] {
        let run = play(Machine::new(1), one_that_blocks(), green(model));
        assert_eq!(run.tasks[1].waiting_ns, 21 * MS, "{model:?}");
        assert_eq!(run.hand_offs, 0);
    }
    let run = play(Machine::new(1), one_that_blocks(), green(Model::HandOff));
    assert_eq!(run.tasks[1].waiting_ns, MS + 20_000);
    assert_eq!((run.hand_offs, run.length_ns), (1, 21 * MS));
    let run = play(Machine::new(1), one_that_blocks(), Scheduler::FIFO);
    assert_eq!(run.tasks[1].waiting_ns, MS);
}

#[test]
fn a_green_thread_that_waits_lets_the_others_run() {
    let mut tasks = one_that_blocks();
    tasks[0].steps[1] = Step::wait(20 * MS);
    for model in [Model::ManyToOne, Model::ManyToMany, Model::HandOff] {
        let run = play(Machine::new(1), tasks.clone(), green(model));
        assert_eq!(run.tasks[1].waiting_ns, MS, "{model:?}");
    }
}

/// By hand: at 10 ms the processor is handed off and the kernel shares the core between both carriers, so the
/// short one needs about 2 ms of it and never waits for the end of the long one.
#[test]
fn a_long_computation_holds_up_a_green_thread_until_it_is_handed_off() {
    let tasks = || {
        vec![
            Task::new("long", [Step::compute(100 * MS)]),
            Task::new("short", [Step::compute(MS)]),
        ]
    };
    let stuck = play(Machine::new(1), tasks(), green(Model::ManyToOne));
    assert_eq!(stuck.tasks[1].waiting_ns, 100 * MS);
    let handed = play(Machine::new(1), tasks(), green(Model::HandOff));
    let waited = handed.tasks[1].waiting_ns;
    assert!((10 * MS..20 * MS).contains(&waited), "{waited}");
    assert_eq!(handed.hand_offs, 1);
}

/// By hand: under M:1 the cores beyond the first have nothing to do; under M:N the second takes half.
#[test]
fn many_to_one_uses_one_core_and_many_to_many_all_of_them() {
    let tasks = || {
        (0..4)
            .map(|number| Task::new(&number.to_string(), [Step::compute(10 * MS)]))
            .collect::<Vec<_>>()
    };
    let one = play(Machine::new(2), tasks(), green(Model::ManyToOne));
    assert_eq!((one.length_ns, one.utilisation), (40 * MS, 0.5));
    let all = play(Machine::new(2), tasks(), green(Model::ManyToMany));
    assert_eq!((all.length_ns, all.utilisation), (20 * MS, 1.0));
}

/// By hand: both tasks were left on the queue of one processor; the other one has nothing and takes one.
#[test]
fn a_processor_without_work_steals() {
    let tasks = (0..6)
        .map(|number| {
            let length = if number % 2 == 0 { 1 } else { 9 };
            let steps = [Step::compute(length * MS), Step::wait(MS / 2)];
            Task::new(&number.to_string(), steps).repeated(4)
        })
        .collect();
    let run = play(Machine::new(2), tasks, green(Model::ManyToMany));
    assert!(run.steals > 0);
}
