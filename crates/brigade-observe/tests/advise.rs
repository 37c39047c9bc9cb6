//! Real programs of known behaviour get the advice that fits.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use brigade_observe::{Advice, Look, Model, Observations, Observer, Source, advise};
use common::{Target, example};

/// Watches for so long, and until it has looked often enough.
fn watch(pid: u32, seconds: u64) -> (Observations, Advice) {
    let source = Source::new();
    let mut observer = Observer::new(&source, pid).expect("the program lives");
    let begun = Instant::now();
    let mut looks = 1;
    // On a busy machine looks are rare: some are needed, however long they take.
    while begun.elapsed() < Duration::from_secs(seconds) || looks < 10 {
        let rest = observer.look().expect("the program lives");
        looks += 1;
        std::thread::sleep(rest);
    }
    let seen = observer.finish(2);
    let advice = advise(&seen);
    (seen, advice)
}

fn busy(arguments: &[&str]) -> (Observations, Advice) {
    let target = Target::start(Command::new(example("busy")).args(arguments));
    watch(target.pid(), 1)
}

#[test]
fn threads_that_compute_want_a_pool_of_kernel_threads() {
    let (seen, advice) = busy(&["hogs", "6"]);
    assert_eq!(advice.model, Model::ThreadPool, "{seen:#?}");
    assert_eq!(advice.row, "computes", "{seen:#?}");
    assert_eq!(seen.threads, 7);
}

#[test]
fn a_sleeper_gives_not_enough_data() {
    let (seen, advice) = busy(&["sleeper"]);
    assert_eq!(advice.model, Model::NotEnoughData, "{seen:#?}");
    assert_eq!(advice.row, "idle", "{seen:#?}");
}

#[test]
fn many_threads_that_wait_for_sockets_want_to_be_green() {
    let (seen, advice) = busy(&["sockets", "200"]);
    assert_eq!(advice.model, Model::GreenThreads, "{seen:#?}");
    assert_eq!(seen.threads, 201);
    assert!(seen.sockets.unwrap() >= 400, "{seen:#?}");
}

#[test]
fn a_thread_that_computes_in_short_turns_is_no_computing_thread() {
    let (seen, advice) = busy(&["bursts"]);
    assert_ne!(advice.row, "computes", "{seen:#?}");
    assert_eq!(seen.computing_threads, 0, "{seen:#?}");
}

#[test]
fn children_of_the_program_are_watched_too() {
    let hogs = example("busy").display().to_string();
    let script = format!("{hogs} hogs 3 >/dev/null & echo ready; wait");
    let target = Target::start(Command::new("sh").args(["-c", &script]));
    let (seen, advice) = watch(target.pid(), 1);
    assert_eq!(advice.row, "computes", "{seen:#?}");
    assert_eq!((seen.processes, seen.computing_processes), (2, 1));
    let source = Source::new();
    let mut observer = Observer::new(&source, target.pid()).expect("it lives");
    let all: Vec<u32> = observer.processes().collect();
    assert_eq!(all.len(), 2);
    observer.terminate(true);
    // Its parent being gone, the child is waited for by another.
    let child = all[1];
    let _ = common::until(
        || Look::take(&source, child).map(|look| look.process.is_zombie),
        |gone| !matches!(gone, Ok(false)),
    );
}

#[test]
fn python_that_computes_in_threads_wants_processes() {
    let script = "import threading\n\
                  def f():\n while True: pass\n\
                  for _ in range(4): threading.Thread(target=f, daemon=True).start()\n\
                  print('ready', flush=True)\n\
                  threading.Event().wait()";
    let python = ["python3"].into_iter().find(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    });
    let Some(python) = python else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let target = Target::start(Command::new(python).args(["-c", script]));
    let (seen, advice) = watch(target.pid(), 2);
    assert!(seen.has_interpreter_lock(), "{seen:#?}");
    if seen.cpus_used < 0.1 && advice.model == Model::NotEnoughData {
        return eprintln!("the machine gave it no CPU, which is what the advice says");
    }
    assert_eq!(advice.model, Model::Processes, "{seen:#?}");
    assert_eq!(advice.row, "interpreter computes", "{seen:#?}");
}

#[test]
fn green_threads_are_counted() {
    let target = Target::start(Command::new(example("parked")).args(["mix", "40"]));
    let (seen, advice) = watch(target.pid(), 1);
    assert_eq!(seen.green_threads, Some(45), "{seen:#?}");
    assert!(
        advice
            .notes
            .iter()
            .any(|note| note.contains("45 green threads"))
    );
}
