//! Task sets as text.

use brigade_sim::task::{Machine, Step, Task};
use brigade_sim::{Kernel, Model, Scheduler, TaskSet, builtin, simulate};

fn wrong(text: &str) -> (Option<usize>, String) {
    let error = TaskSet::parse(text).expect_err("the set is wrong");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    (error.line(), text)
}

#[test]
fn every_built_in_set_is_read_and_played_by_every_scheduler() {
    let mut names = std::collections::BTreeSet::new();
    for entry in &builtin::ALL {
        assert!(names.insert(entry.name), "{} appears twice", entry.name);
        let set = entry.set();
        assert!(!set.about.is_empty() && set.about.chars().count() < 100);
        for kernel in [Kernel::Fifo, Kernel::RoundRobin, Kernel::Cfs, Kernel::Eevdf] {
            for model in [
                Model::OneToOne,
                Model::ManyToOne,
                Model::ManyToMany,
                Model::HandOff,
            ] {
                let run = simulate(&set, &Scheduler { kernel, model }, 1).unwrap();
                assert!(run.utilisation > 0.0 && run.utilisation <= 1.0);
            }
        }
    }
    assert!(builtin::find("convoy").is_some() && builtin::find("convoi").is_none());
}

#[test]
fn an_error_names_its_line_in_one_line() {
    let (line, text) =
        wrong("cores = 1\n[[task]]\nname = \"a\"\nsteps = [\"compute 1ms\", \"think 2ms\"]\n");
    assert_eq!(line, Some(4));
    assert!(
        text.contains("think 2ms") && text.contains("compute"),
        "{text}"
    );
    let (line, text) = wrong("cores = 1\nspeed = 3\n");
    assert_eq!(line, Some(2), "{text}");
    assert!(text.contains("speed"), "{text}");
    let (line, text) = wrong("[[task]]\nname = \"a\"\nnice = 20\nsteps = []\n");
    assert_eq!(line, Some(3), "{text}");
    let (line, text) = wrong("[[task]]\nname = \"a\"\nsteps = [\"compute 1 hour\"]\n");
    assert_eq!(line, Some(3), "{text}");
    let (line, text) = wrong("\n[[task]]\nname = \"\\u001b[2J\"\nsteps = []\n");
    assert_eq!(line, Some(3), "{text}");
    let (line, _) = wrong("cores = \n");
    assert_eq!(line, Some(1));
}

#[test]
fn what_is_missing_or_impossible_is_said() {
    assert!(wrong("cores = 2\n").1.contains("task"));
    assert!(wrong("task = []\n").1.contains("0 tasks"));
    let hog = "[[task]]\nname = \"a\"\nsteps = [\"compute 1ms\"]\n";
    assert!(wrong(&format!("cores = 0\n{hog}")).1.contains("0 cores"));
    assert!(wrong(&format!("cores = 65\n{hog}")).1.contains("65 cores"));
    assert!(
        wrong(&format!("quantum = \"0\"\n{hog}"))
            .1
            .contains("quantum")
    );
    let endless = "[[task]]\nname = \"a\"\nrepeat = 4000000000\nsteps = [\"compute 1ms\"]\n";
    assert!(wrong(endless).1.contains("steps"));
    let long = "[[task]]\nname = \"a\"\ncount = 9\nsteps = [\"compute 900000s\"]\n";
    assert!(wrong(long).1.contains("eleven days"));
}

#[test]
fn a_run_without_end_is_given_up_and_not_played_forever() {
    let set = TaskSet::parse(
        "quantum = \"1ns\"\n[[task]]\nname = \"a\"\ncount = 2\nsteps = [\"compute 1s\"]\n",
    )
    .unwrap();
    let error = simulate(&set, &Scheduler::ROUND_ROBIN, 1).unwrap_err();
    assert!(error.to_string().contains("events"));
}

#[test]
fn a_run_longer_than_its_clock_is_given_up_and_does_not_overflow() {
    let switches_of_days = "quantum = \"1ms\"\nswitch_cost = \"1000000s\"\n\
                            [[task]]\nname = \"a\"\ncount = 2\nsteps = [\"compute 100s\"]\n";
    let set = TaskSet::parse(switches_of_days).unwrap();
    let error = simulate(&set, &Scheduler::ROUND_ROBIN, 1).unwrap_err();
    assert!(error.to_string().contains("years"), "{error}");
}

#[test]
fn times_of_a_machine_made_in_code_have_the_limit_of_those_in_files() {
    let hog = || Task::new("a", [Step::compute(1_000)]);
    for set_time in [
        (|machine, ns| machine.quantum_ns = ns) as fn(&mut Machine, u64),
        |machine, ns| machine.switch_cost_ns = ns,
        |machine, ns| machine.green_switch_cost_ns = ns,
        |machine, ns| machine.tick_ns = ns,
        |machine, ns| machine.base_slice_ns = ns,
        |machine, ns| machine.latency_ns = ns,
        |machine, ns| machine.min_granularity_ns = ns,
        |machine, ns| machine.hand_off_after_ns = ns,
        |machine, ns| machine.block_noticed_after_ns = ns,
    ] {
        let mut machine = Machine::new(1);
        set_time(&mut machine, u64::MAX);
        let set = TaskSet::new(machine, [hog(), hog()]);
        let error = simulate(&set, &Scheduler::CFS, 1).expect_err("a time without end");
        assert!(error.to_string().contains("eleven days"), "{error}");
    }
}

#[test]
fn copies_that_would_fill_the_memory_are_refused_before_they_are_made() {
    // Ten thousand copies of a hundred thousand steps are 24 GB.
    let steps = "\"compute 1ns\",".repeat(100_000);
    let text = format!("[[task]]\nname = \"a\"\ncount = 10000\nsteps = [{steps}]\n");
    assert!(wrong(&text).1.contains("steps"));
    let unused = format!("[[task]]\nname = \"a\"\nrepeat = 0\ncount = 10000\nsteps = [{steps}]\n");
    assert!(wrong(&unused).1.contains("steps"));
    let entry = "[[task]]\nname = \"a\"\ncount = 10000\nsteps = []\n";
    assert!(wrong(&entry.repeat(1_000)).1.contains("10000000 tasks"));
}

#[test]
fn settings_and_copies_are_taken_over() {
    let text = "cores = 2\nuntil = \"5ms\"\nquantum = \"1.5ms\"\ntick = \"0\"\n\
                [[task]]\nname = \"a\"\ncount = 2\nnice = -3\narrival = \"2us\"\nsteps = [\"wait 1ms..2ms\"]\n";
    let set = TaskSet::parse(text).unwrap();
    assert_eq!((set.machine.cores, set.until_ns), (2, Some(5_000_000)));
    assert_eq!(
        (set.machine.quantum_ns, set.machine.tick_ns),
        (1_500_000, 0)
    );
    assert_eq!(set.machine.base_slice_ns, 1_400_000);
    let names: Vec<_> = set.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["a-1", "a-2"]);
    assert_eq!((set.tasks[1].nice, set.tasks[1].arrival_ns), (-3, 2_000));
}

#[test]
fn another_seed_draws_other_lengths() {
    let set = builtin::find("stealing").unwrap().set();
    let length = |seed| simulate(&set, &Scheduler::FIFO, seed).unwrap().length_ns;
    assert_eq!(length(1), length(1));
    assert_ne!(length(1), length(2));
}
