//! A fixed number of random operations on a random tree of threads, under 1, 2 and 8 workers.
//!
//! Each run prints its seed; `BRIGADE_STRESS_SEED=n` runs that one again. `BRIGADE_STRESS=long` runs a hundred times
//! as many operations. The seed fixes what each thread does, not how the threads interleave.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use brigade::runtime::{Builder, Runtime};
use brigade::thread::{self, JoinHandle};
use common::allocation::Numbers;
use common::{Count, Watch};

const OPERATIONS: usize = 20_000;

thread_local! {
    static OWNED: RefCell<Vec<Rc<usize>>> = const { RefCell::new(Vec::new()) };
}

/// What all threads of one run share.
struct Run {
    operations: Count,
    operations_max: usize,
    spawned: Count,
    ended: Count,
    planned_panics: Count,
}

/// A panic that the run expects; any other payload fails it.
#[derive(Debug)]
struct Planned;

/// The body of one thread: a few random operations, children included, each result checked.
fn live(run: &Arc<Run>, seed: usize, depth: usize) {
    let mut numbers = Numbers::new(seed as u64);
    let mut children = Vec::new();
    OWNED.with_borrow_mut(|owned| {
        assert!(owned.is_empty(), "a new thread saw another thread's values");
        owned.push(Rc::new(seed));
    });
    for _ in 0..numbers.below(40) + 5 {
        if run.operations.up() >= run.operations_max {
            break;
        }
        one_operation(run, &mut numbers, &mut children, depth);
        OWNED.with_borrow(|owned| {
            assert!(
                owned.len() == 1 && *owned[0] == seed,
                "a thread lost its values"
            )
        });
    }
    children.into_iter().for_each(|child| join(run, child));
    run.ended.up();
    if numbers.below(7) == 0 {
        run.planned_panics.up();
        std::panic::resume_unwind(Box::new(Planned));
    }
}

fn one_operation(
    run: &Arc<Run>,
    numbers: &mut Numbers,
    children: &mut Vec<JoinHandle<()>>,
    depth: usize,
) {
    match numbers.below(12) {
        0..4 if depth < 12 => {
            let (shared, seed) = (Arc::clone(run), numbers.below(usize::MAX));
            run.spawned.up();
            children.push(thread::spawn(move || live(&shared, seed, depth + 1)));
        }
        4 | 5 => {
            if let Some(child) = children.pop() {
                join(run, child);
            }
        }
        6 => {
            thread::current().unpark();
            thread::park();
        }
        7 => thread::park_timeout(Duration::from_micros(numbers.below(200) as u64)),
        8 => thread::sleep(Duration::from_micros(numbers.below(200) as u64)),
        9 => {
            if let Some(child) = children.first() {
                child.thread().unpark();
            }
        }
        10 => assert_eq!(
            brigade::blocking(|| std::hint::black_box(vec![1_u8; 300]).len()),
            300
        ),
        _ => thread::yield_now(),
    }
}

fn join(run: &Run, child: JoinHandle<()>) {
    if let Err(payload) = child.join() {
        assert!(payload.is::<Planned>(), "a thread panicked that was not to");
        assert!(run.planned_panics.get() > 0);
    }
}

fn seed() -> usize {
    match std::env::var("BRIGADE_STRESS_SEED") {
        Ok(seed) => seed.parse().expect("BRIGADE_STRESS_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH
            .elapsed()
            .expect("the clock is past 1970")
            .subsec_nanos() as usize,
    }
}

fn stress(workers: usize, migrate: bool) {
    let factor = if std::env::var("BRIGADE_STRESS").is_ok_and(|form| form == "long") {
        100
    } else {
        1
    };
    let seed = seed();
    println!("{workers} workers, migrate on yield {migrate}: BRIGADE_STRESS_SEED={seed}");
    let _watch = (factor == 1).then(|| Watch::new("a stress run"));
    let runtime = Builder::new()
        .workers(workers)
        .migrate_on_yield(migrate)
        .build()
        .expect("a runtime");
    let run = Arc::new(Run {
        operations: Count::new(),
        operations_max: OPERATIONS * factor,
        spawned: Count::new(),
        ended: Count::new(),
        planned_panics: Count::new(),
    });
    let mut round = 0;
    while run.operations.get() < run.operations_max {
        start_and_join_roots(&runtime, &run, seed + round * 1000);
        round += 1;
    }
    assert_eq!(run.spawned.get(), run.ended.get(), "a thread was lost");
    println!(
        "{} threads, {} of them panicked",
        run.ended.get(),
        run.planned_panics.get()
    );
}

fn start_and_join_roots(runtime: &Runtime, run: &Arc<Run>, seed: usize) {
    let roots: Vec<_> = (0..8)
        .map(|number| {
            let shared = Arc::clone(run);
            run.spawned.up();
            runtime.spawn(move || live(&shared, seed + number, 0))
        })
        .collect();
    roots.into_iter().for_each(|root| join(run, root));
}

#[test]
fn random_operations_on_one_worker() {
    stress(1, false);
}

#[test]
fn random_operations_on_two_workers() {
    stress(2, false);
}

#[test]
fn random_operations_on_two_workers_with_migration() {
    stress(2, true);
}

#[test]
fn random_operations_on_eight_workers() {
    stress(8, false);
}

#[test]
fn random_operations_on_eight_workers_with_migration() {
    stress(8, true);
}
