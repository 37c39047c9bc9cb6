//! Green threads of other processes: whatever those do, and however they were built.

mod common;

use std::path::Path;
use std::process::Command;

use brigade_observe::{Green, GreenReport, GreenThread, Look, Source, green_threads};
use common::{Target, example, until};

fn green(pid: u32) -> Green {
    let source = Source::new();
    let look = Look::take(&source, pid).expect("the process lives");
    green_threads(&source, &look.process)
}

fn report(pid: u32) -> GreenReport {
    match green(pid) {
        Green::Threads(report) => *report,
        other => panic!("no threads, but {other:?}"),
    }
}

fn count(report: &GreenReport, state: &str) -> usize {
    let states = report.states.iter();
    states
        .filter(|(name, _)| name == state)
        .map(|(_, count)| count)
        .sum()
}

fn named<'a>(report: &'a GreenReport, name: &'a str) -> impl Iterator<Item = &'a GreenThread> {
    let each = report.each.iter();
    each.filter(move |thread| thread.name.as_deref() == Some(name))
}

/// Looks at `parked mix` until all of its threads wait, and checks what is said of them.
fn assert_mix_is_seen(program: &Path, sleepers: usize) {
    let target = Target::start(Command::new(program).args(["mix", &sleepers.to_string()]));
    assert_the_mix_of_is_seen(&target, sleepers);
}

/// The same of a target that has been started.
fn assert_the_mix_of_is_seen(target: &Target, sleepers: usize) {
    let report = until(
        || report(target.pid()),
        |report| {
            count(report, "Waiting(sleep)") == sleepers + 1
                && count(report, "Waiting(mutex)") == 3
                && count(report, "Waiting(join)") == 1
        },
    );
    assert_eq!(report.green, sleepers + 5);
    assert_eq!((report.changing, report.is_cut), (0, false));
    let crowd = &report.groups[0];
    assert_eq!(crowd.count, sleepers);
    let place = crowd.spawned_at.as_deref().unwrap();
    assert!(place.contains("examples/parked.rs:"), "{place}");
    let customer = named(&report, "customer").next().unwrap();
    assert!(
        customer
            .lock
            .as_deref()
            .unwrap()
            .starts_with("Mutex \"till\" (")
    );
    let clerk = named(&report, "clerk").next().unwrap();
    let label = format!("thread {} \"clerk\"", clerk.id);
    assert_eq!(customer.waits_for.as_deref(), Some(label.as_str()));
    let boss = named(&report, "boss").next().unwrap();
    assert_eq!(boss.waits_for.as_deref(), Some(label.as_str()));
    let held: Vec<_> = report.held.iter().map(|held| held.waiters).collect();
    assert_eq!(held, [3, 1]);
    assert_eq!(report.deadlocks, Vec::<Vec<GreenThread>>::new());
}

#[test]
fn threads_are_seen_with_state_place_lock_and_holder() {
    assert_mix_is_seen(&example("parked"), 300);
}

#[test]
fn a_program_whose_main_thread_has_ended_tells_the_same() {
    let target = Target::start(Command::new(example("parked")).args(["headless", "5"]));
    assert_the_mix_of_is_seen(&target, 5);
    let look = Look::take(&Source::new(), target.pid()).unwrap();
    assert_eq!(look.threads[0].state, 'Z');
    assert!(!look.process.is_zombie);
    assert!(look.process.command.ends_with("parked headless 5"));
}

#[test]
fn a_stripped_program_tells_the_same() {
    let stripped = std::env::temp_dir().join(format!("brigade-stripped-{}", std::process::id()));
    std::fs::copy(example("parked"), &stripped).unwrap();
    let status = Command::new("strip").arg(&stripped).status().unwrap();
    assert!(status.success());
    assert_mix_is_seen(&stripped, 20);
    std::fs::remove_file(&stripped).unwrap();
}

#[test]
fn a_program_whose_file_was_deleted_tells_the_same() {
    let copy = std::env::temp_dir().join(format!("brigade-deleted-{}", std::process::id()));
    std::fs::copy(example("parked"), &copy).unwrap();
    let target = Target::start(Command::new(&copy).args(["mix", "4"]));
    std::fs::remove_file(&copy).unwrap();
    until(|| report(target.pid()), |report| report.green == 9);
}

#[test]
fn a_deadlock_is_seen_in_a_process_that_hangs() {
    let target = Target::start(Command::new(example("parked")).arg("deadlock"));
    let report = until(
        || report(target.pid()),
        |report| !report.deadlocks.is_empty(),
    );
    assert_eq!(report.deadlocks.len(), 1);
    let mut names: Vec<_> = report.deadlocks[0]
        .iter()
        .map(|thread| (thread.name.clone().unwrap(), thread.lock.clone().unwrap()))
        .collect();
    names.sort();
    assert_eq!(
        (names[0].0.as_str(), names[1].0.as_str()),
        ("left", "right")
    );
    assert!(names[0].1.contains("\"knife\"") && names[1].1.contains("\"fork\""));
}

#[test]
fn a_stopped_process_is_read() {
    let target = Target::start(Command::new(example("parked")).args(["mix", "4"]));
    let pid = i32::try_from(target.pid()).unwrap();
    // SAFETY: kill takes two numbers; the child has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    until(
        || Look::take(&Source::new(), target.pid()).unwrap(),
        |look| look.threads.iter().all(|thread| thread.state == 'T'),
    );
    assert_eq!(report(target.pid()).green, 9);
}

#[test]
fn threads_that_begin_and_end_all_the_time_are_never_garbage() {
    let target = Target::start(Command::new(example("parked")).args(["churn", "8"]));
    let mut children = 0;
    for _ in 0..300 {
        let report = report(target.pid());
        assert_eq!(report.deadlocks, Vec::<Vec<GreenThread>>::new());
        for thread in &report.each {
            let is_child = thread.name.as_deref().is_some_and(|name| {
                let number = name.strip_prefix("child of ");
                number.is_some_and(|number| number.parse::<u32>().is_ok_and(|n| n < 8))
            });
            children += usize::from(is_child);
            assert!(
                is_child || thread.name.is_none() || !thread.is_green,
                "{thread:?}"
            );
            for place in [&thread.spawned_at, &thread.waits_at].into_iter().flatten() {
                assert!(place.contains(".rs:"), "{thread:?}");
            }
        }
    }
    assert!(children > 0);
}

#[test]
fn a_process_that_got_the_number_of_another_is_not_shown_in_its_place() {
    let target = Target::start(Command::new(example("parked")).args(["mix", "4"]));
    let source = Source::new();
    let look = Look::take(&source, target.pid()).expect("the process lives");
    let mut other = look.process.clone();
    other.started_ticks -= 1;
    let found = green_threads(&source, &other);
    assert!(
        matches!(&found, Green::Unreadable(why) if why.contains("ended")),
        "{found:?}"
    );
    assert!(matches!(
        green_threads(&source, &look.process),
        Green::Threads(_)
    ));
}

#[test]
fn a_program_without_brigade_is_told_from_one_with_it() {
    let target = Target::start(Command::new("sh").args(["-c", "echo ready; read x"]));
    assert_eq!(green(target.pid()), Green::NotBrigade);
}

#[test]
fn reading_wakes_nobody_in_the_process() {
    let target = Target::start(Command::new(example("parked")).args(["mix", "4"]));
    until(
        || report(target.pid()),
        |report| count(report, "Waiting(sleep)") == 5,
    );
    let switches = || {
        let look = Look::take(&Source::new(), target.pid()).unwrap();
        let each = look.threads.iter();
        each.map(|thread| (thread.tid, thread.voluntary))
            .collect::<Vec<_>>()
    };
    // The monitor of the target looks ever more rarely; between two of its looks there is time for ours.
    until(
        || {
            let before = switches();
            for _ in 0..20 {
                report(target.pid());
            }
            (before, switches())
        },
        |(before, after)| before == after,
    );
}
