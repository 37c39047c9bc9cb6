//! Simulated runs as text in 80 columns.
//!
//! # Rejected
//!
//! *The timelines of `figures`*: their letters come from the words of one figure. Here a task has the same letter in
//! the timelines and the tables of all schedulers, and what is most of a column may be idleness.

use std::fmt::Write as _;

use brigade_lab::units::{Unit, show};
use brigade_sim::run::{Doing, Outcome, Run};
use brigade_sim::{Kernel, Model, Scheduler, TaskSet};

use crate::render::WIDTH;

/// The letters of tasks, in the order of the set; further ones share the last sign.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ONE_OF_MANY: char = '*';
const IDLE: char = '.';
const SWITCH: char = '+';

/// So many tasks at most have a line of their own.
const LINES_MAX: usize = 12;
/// So many columns of a task's name are shown.
const NAME: usize = 14;

fn letter(task: usize) -> char {
    LETTERS
        .get(task)
        .map_or(ONE_OF_MANY, |byte| char::from(*byte))
}

fn time(ns: f64) -> String {
    if ns == 0.0 {
        "0".to_owned()
    } else {
        show(ns, Unit::Nanoseconds)
    }
}

fn time_or_none(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| time(ns as f64))
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$}%", share * 100.0)
}

/// The built-in sets, and the form of a file.
pub(super) fn list<'a>(sets: impl Iterator<Item = (&'a str, &'a str)>, example: &str) -> String {
    let mut text = String::new();
    for (name, about) in sets {
        let options = textwrap::Options::new(WIDTH)
            .initial_indent("                   ")
            .subsequent_indent("                   ");
        let about = textwrap::fill(about, options);
        let _ = writeln!(text, "{name:<18} {}", about.trim_start());
    }
    text += "\nPlay one with 'brigade sim --builtin NAME'. A file of your own looks like this:\n\n";
    for line in example.lines() {
        let _ = writeln!(text, "{}", format!("    {line}").trim_end());
    }
    text += "\nSteps are compute, wait (a green thread parks) and block (its kernel thread is\n\
             blocked). A time such as 4ms..8ms is drawn for each step, from --seed.\n";
    text
}

/// All runs of one set: a timeline and a table for each, then all of them beside each other.
pub(super) fn runs(name: &str, set: &TaskSet, runs: &[Run]) -> String {
    let mut text = head(name, set, runs.first());
    for run in runs {
        text.push('\n');
        text += &title(run.scheduler);
        text += &timeline(run);
        text += &tasks(run);
    }
    if runs.len() > 1 {
        text.push('\n');
        text += &comparison(runs);
    }
    text
}

fn head(name: &str, set: &TaskSet, run: Option<&Run>) -> String {
    let about = if set.about.is_empty() {
        name.to_owned()
    } else {
        format!("{name}: {}", set.about)
    };
    let mut text = textwrap::fill(&about, WIDTH) + "\n";
    let cores = set.machine.cores;
    let counts = format!(
        "{} task{} on {cores} core{}, seed {}, a switch costs {}",
        set.tasks.len(),
        if set.tasks.len() == 1 { "" } else { "s" },
        if cores == 1 { "" } else { "s" },
        run.map_or(0, |run| run.seed),
        time(set.machine.switch_cost_ns as f64)
    );
    text += &(textwrap::fill(&counts, WIDTH) + "\n");
    let legend = "Timelines: a letter is the task that runs, . an idle core, + mostly switches.";
    text += &(textwrap::fill(legend, WIDTH) + "\n");
    text
}

/// The name of a scheduler, and what it is.
fn title(scheduler: Scheduler) -> String {
    let kernel = match scheduler.kernel {
        Kernel::Fifo => "FIFO",
        Kernel::RoundRobin => "round robin",
        Kernel::Cfs => "CFS",
        Kernel::Eevdf => "EEVDF",
    };
    let what = match (scheduler.model, scheduler.kernel) {
        (Model::OneToOne, Kernel::Fifo) => "kernel threads, first in, first out".to_owned(),
        (Model::OneToOne, Kernel::RoundRobin) => "kernel threads, round robin".to_owned(),
        (Model::OneToOne, Kernel::Cfs) => "kernel threads, least virtual runtime".to_owned(),
        (Model::OneToOne, Kernel::Eevdf) => {
            "kernel threads, earliest eligible virtual deadline".to_owned()
        }
        (Model::ManyToOne, _) => "green threads on one kernel thread (M:1)".to_owned(),
        (Model::ManyToMany, _) => format!("green threads on kernel threads (M:N), {kernel} below"),
        (Model::HandOff, _) => format!("M:N with hand-off, {kernel} below"),
    };
    let name = scheduler.name();
    let words = format!("-- {name}: {what} ");
    format!("{words:-<WIDTH$}\n")
}

/// One row for each core, and a scale.
fn timeline(run: &Run) -> String {
    let margin = format!("core {} |", run.cores - 1).len();
    let columns = WIDTH - margin - 1;
    let mut text = String::new();
    for core in 0..run.cores {
        let head = format!("core {core}");
        let row: String = row(run, core, columns).into_iter().collect();
        let _ = writeln!(text, "{head:<width$}|{row}|", width = margin - 1);
    }
    text += &scale(run, margin, columns);
    text
}

/// What the core did for most of each column's time.
fn row(run: &Run, core: usize, columns: usize) -> Vec<char> {
    let length = u128::from(run.length_ns.max(1));
    let edge = |column: usize| (column as u128 * length / columns as u128) as u64;
    let spans: Vec<_> = run.spans_of(core).collect();
    let mut first = 0;
    (0..columns)
        .map(|column| {
            let (from, to) = (edge(column), edge(column + 1).max(edge(column) + 1));
            while spans.get(first).is_some_and(|span| span.to_ns <= from) {
                first += 1;
            }
            let inside = spans[first..].iter().take_while(|span| span.from_ns < to);
            let mut parts: Vec<(Doing, u64)> = Vec::new();
            for span in inside {
                let ns = span.to_ns.min(to) - span.from_ns.max(from);
                match parts.iter_mut().find(|(doing, _)| *doing == span.doing) {
                    Some((_, sum)) => *sum += ns,
                    None => parts.push((span.doing, ns)),
                }
            }
            let idle = (to - from).saturating_sub(parts.iter().map(|(_, ns)| ns).sum());
            // Of equal parts the first: what began earlier.
            match parts.iter().rev().max_by_key(|(_, ns)| *ns) {
                Some((doing, ns)) if *ns >= idle => sign(*doing),
                _ => IDLE,
            }
        })
        .collect()
}

fn sign(doing: Doing) -> char {
    match doing {
        Doing::Task(task) => letter(task),
        Doing::Switch => SWITCH,
    }
}

/// The begin, the middle and the end of the time, below the rows.
fn scale(run: &Run, margin: usize, columns: usize) -> String {
    let middle = time(run.length_ns as f64 / 2.0);
    let end = time(run.length_ns as f64);
    let before = (columns / 2).saturating_sub(middle.chars().count() / 2 + 1);
    let left = format!("{:<before$}{middle}", "0");
    let room = columns.saturating_sub(left.chars().count());
    format!("{:margin$}{left}{end:>room$}\n", "")
}

/// What became of each task.
fn tasks(run: &Run) -> String {
    let mut text = format!(
        "  {:<NAME$} {:>9} {:>10} {:>9} {:>9} {:>6} {:>5} {:>9}\n",
        "task", "waiting", "turnaround", "response", "CPU", "share", "runs", "preempted"
    );
    for (index, task) in run.tasks.iter().enumerate().take(LINES_MAX) {
        text += &task_line(index, task);
    }
    if run.tasks.len() > LINES_MAX {
        let left = run.tasks.len() - LINES_MAX;
        let _ = writeln!(text, "  and {left} more (--json has them all)");
    }
    text
}

fn task_line(index: usize, task: &Outcome) -> String {
    let name: String = task.name.chars().take(NAME - 2).collect();
    let name = format!("{} {name}", letter(index));
    format!(
        "  {name:<NAME$} {:>9} {:>10} {:>9} {:>9} {:>6} {:>5} {:>9}\n",
        time(task.waiting_ns as f64),
        time_or_none(task.turnaround_ns),
        time_or_none(task.response_ns),
        time(task.cpu_ns as f64),
        percent(task.share, 1),
        task.runs,
        task.preempted
    )
}

/// One line for each scheduler.
fn comparison(runs: &[Run]) -> String {
    let mut text = format!("{:-<WIDTH$}\n", "-- all beside each other ");
    let heads = [
        ["", "mean", "longest", "mean", "", "kernel", "", ""],
        [
            "policy",
            "waiting",
            "waiting",
            "turnaround",
            "end",
            "switches",
            "hand-offs",
            "busy",
        ],
    ];
    for [
        policy,
        waiting,
        longest,
        turnaround,
        end,
        switches,
        hand_offs,
        busy,
    ] in heads
    {
        let head = format!(
            "{policy:<13} {waiting:>9} {longest:>10} {turnaround:>10} {end:>9} {switches:>8} \
             {hand_offs:>9} {busy:>5}"
        );
        let _ = writeln!(text, "{}", head.trim_end());
    }
    for run in runs {
        let longest = run.tasks.iter().map(|task| task.waiting_ns).max();
        let turnaround = run.mean_turnaround_ns();
        let _ = writeln!(
            text,
            "{:<13} {:>9} {:>10} {:>10} {:>9} {:>8} {:>9} {:>5}",
            run.scheduler.name(),
            time(run.mean_waiting_ns()),
            time(longest.unwrap_or(0) as f64),
            turnaround.map_or_else(|| "-".to_owned(), time),
            time(run.length_ns as f64),
            run.switches,
            run.hand_offs,
            percent(run.utilisation, 0),
        );
    }
    text += "Waiting: could run and did not. Turnaround: from coming to end.\n";
    text
}

#[cfg(test)]
mod tests {
    use brigade_sim::{builtin, simulate};

    use super::*;

    fn text_of(name: &str, schedulers: &[Scheduler]) -> String {
        let set = builtin::find(name).unwrap().set();
        let all: Vec<Run> = schedulers
            .iter()
            .map(|scheduler| simulate(&set, scheduler, 1).unwrap())
            .collect();
        runs(name, &set, &all)
    }

    #[test]
    fn every_built_in_set_is_shown_in_80_columns() {
        for entry in &builtin::ALL {
            let schedulers = [Scheduler::FIFO, Scheduler::CFS, Scheduler::EEVDF];
            for line in text_of(entry.name, &schedulers).lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn a_timeline_shows_who_ran_when() {
        let text = text_of("convoy", &[Scheduler::FIFO]);
        let row = text
            .lines()
            .find(|line| line.starts_with("core 0"))
            .unwrap();
        let signs: Vec<char> = row.trim_start_matches("core 0 |").chars().collect();
        // 30 ms of the long one, then five times 1 ms: 72 columns of 35 ms.
        let long = signs.iter().filter(|sign| **sign == 'A').count();
        assert!((60..=63).contains(&long), "{row}");
        for short in ['B', 'C', 'D', 'E', 'F'] {
            assert!(signs.contains(&short), "{short} is missing: {row}");
        }
        assert!(text.contains("B short-1"), "{text}");
        assert!(!text.contains("all beside each other"));
    }

    #[test]
    fn more_than_one_scheduler_is_compared() {
        let text = text_of("convoy", &[Scheduler::FIFO, Scheduler::ROUND_ROBIN]);
        let after = text.split("all beside each other").nth(1).unwrap();
        assert!(
            after.contains("\nfifo ") && after.contains("\nrr "),
            "{after}"
        );
    }

    #[test]
    fn tasks_beyond_the_letters_share_a_sign_and_lines_are_limited() {
        let tasks: String = (0..60)
            .map(|number| format!("[[task]]\nname = \"t{number}\"\nsteps = [\"compute 1ms\"]\n"))
            .collect();
        let set = TaskSet::parse(&tasks).unwrap();
        let run = simulate(&set, &Scheduler::FIFO, 1).unwrap();
        let text = runs("many", &set, &[run]);
        assert!(text.contains("and 48 more") && text.contains(ONE_OF_MANY));
    }
}
