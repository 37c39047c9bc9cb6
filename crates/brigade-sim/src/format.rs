//! Task sets as text: TOML, so that people can write them and errors know their line.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::error::Error;
use crate::task::{
    LONGEST_NS, Length, Machine, Step, StepKind, Task, TaskSet, check_size, steps_of,
};

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, deserialize_with = "about")]
    about: String,
    cores: Option<usize>,
    until: Option<Time>,
    quantum: Option<Time>,
    switch_cost: Option<Time>,
    green_switch_cost: Option<Time>,
    tick: Option<Time>,
    base_slice: Option<Time>,
    latency: Option<Time>,
    min_granularity: Option<Time>,
    hand_off_after: Option<Time>,
    block_noticed_after: Option<Time>,
    task: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "name")]
    name: String,
    arrival: Option<Time>,
    #[serde(default, deserialize_with = "nice")]
    nice: i8,
    #[serde(default = "once")]
    repeat: u32,
    #[serde(default = "one", deserialize_with = "count")]
    count: usize,
    steps: Vec<Step>,
}

/// The longest name of a task, in characters.
const NAME_MAX: usize = 40;
/// The longest sentence about a set, in characters.
const ABOUT_MAX: usize = 200;

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = plain(deserializer, NAME_MAX)?;
    if name.trim().is_empty() {
        return Err(D::Error::custom("a task needs a name"));
    }
    Ok(name)
}

fn about<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    plain(deserializer, ABOUT_MAX)
}

/// Text of one line that a terminal shows as it is.
fn plain<'de, D: Deserializer<'de>>(deserializer: D, most: usize) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.chars().count() > most || text.contains(char::is_control) {
        let reason = format!("text must be one line of at most {most} characters");
        return Err(D::Error::custom(reason));
    }
    Ok(text)
}

fn once() -> u32 {
    1
}

fn one() -> usize {
    1
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = usize::deserialize(deserializer)?;
    if (1..=10_000).contains(&count) {
        Ok(count)
    } else {
        Err(D::Error::custom("count must be 1 to 10000"))
    }
}

fn nice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i8, D::Error> {
    let nice = i64::deserialize(deserializer)?;
    i8::try_from(nice)
        .ok()
        .filter(|nice| (-20..=19).contains(nice))
        .ok_or_else(|| D::Error::custom("nice must be -20 to 19"))
}

/// A time such as `"1.5ms"`, in nanoseconds.
#[derive(Clone, Copy)]
struct Time(u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_step(&text).map_err(D::Error::custom)
    }
}

/// Reads a time such as `10ms`, `1.5us`, `2s` or `0`, in nanoseconds.
///
/// # Errors
///
/// One line that says what is wrong with it.
///
/// ```
/// assert_eq!(brigade_sim::task::parse_time("1.5ms"), Ok(1_500_000));
/// assert!(brigade_sim::task::parse_time("1 hour").is_err());
/// ```
pub fn parse_time(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is no time: write a number and ns, us, ms or s, as in \"4ms\"");
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = match text[digits.len()..].trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "" if digits.trim() == "0" => 1.0,
        _ => return Err(wrong()),
    };
    let digits = digits.trim();
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = digits.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    let ns = (value * unit).round();
    if ns > LONGEST_NS as f64 {
        return Err(format!("{text:?} is longer than eleven days"));
    }
    Ok(ns as u64)
}

fn parse_step(text: &str) -> Result<Step, String> {
    let (word, length) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let kind = match word {
        "compute" => StepKind::Compute,
        "wait" => StepKind::Wait,
        "block" => StepKind::Block,
        _ => {
            return Err(format!(
                "{text:?} is no step: it begins with compute, wait or block, as in \"compute 4ms\""
            ));
        }
    };
    let (low, high) = length.split_once("..").unwrap_or((length, length));
    let (low_ns, high_ns) = (parse_time(low)?, parse_time(high)?);
    if low_ns > high_ns {
        return Err(format!("{text:?} ends before it begins"));
    }
    Ok(Step {
        kind,
        length: Length { low_ns, high_ns },
    })
}

impl TaskSet {
    /// Reads a task set.
    ///
    /// ```toml
    /// about = "An editor beside a compiler"   # optional, as everything but the tasks
    /// cores = 2                               # default 1
    /// until = "200ms"                         # stop then; default: when all tasks are over
    /// quantum = "4ms"                         # of round robin
    /// switch_cost = "2us"
    ///
    /// [[task]]
    /// name = "editor"
    /// arrival = "5ms"                         # default 0
    /// nice = 0
    /// repeat = 10                             # does its steps so often
    /// count = 2                               # two of them: editor-1, editor-2
    /// steps = ["wait 2ms..8ms", "compute 500us"]
    /// ```
    ///
    /// Steps are `compute`, `wait` (a green thread parks) and `block` (its kernel thread is blocked), with a
    /// time or two ends between which the seed draws one. Further settings, all times: `green_switch_cost`,
    /// `tick`, `base_slice`, `latency`, `min_granularity`, `hand_off_after`, `block_noticed_after`; see
    /// [`Machine`].
    ///
    /// # Errors
    ///
    /// One line that says what is wrong and, if it is in one place, in which line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|error| located(text, &error))?;
        let mut machine = Machine::new(file.cores.unwrap_or(1));
        let settings = [
            (file.quantum, &mut machine.quantum_ns),
            (file.switch_cost, &mut machine.switch_cost_ns),
            (file.green_switch_cost, &mut machine.green_switch_cost_ns),
            (file.tick, &mut machine.tick_ns),
            (file.base_slice, &mut machine.base_slice_ns),
            (file.latency, &mut machine.latency_ns),
            (file.min_granularity, &mut machine.min_granularity_ns),
            (file.hand_off_after, &mut machine.hand_off_after_ns),
            (
                file.block_noticed_after,
                &mut machine.block_noticed_after_ns,
            ),
        ];
        for (given, setting) in settings {
            if let Some(Time(ns)) = given {
                *setting = ns;
            }
        }
        // Before the copies are made, which may be more than there is memory for.
        let steps = |entry: &Entry| entry.count as u128 * steps_of(entry.repeat, entry.steps.len());
        check_size(
            file.task.iter().map(|entry| entry.count).sum(),
            file.task.iter().map(steps).sum(),
        )?;
        let set = Self {
            about: file.about,
            machine,
            until_ns: file.until.map(|time| time.0),
            tasks: file.task.into_iter().flat_map(copies).collect(),
        };
        set.check()?;
        Ok(set)
    }
}

/// The tasks that one entry stands for.
fn copies(entry: Entry) -> impl Iterator<Item = Task> {
    (1..=entry.count).map(move |number| Task {
        name: match entry.count {
            1 => entry.name.clone(),
            _ => format!("{}-{number}", entry.name),
        },
        arrival_ns: entry.arrival.map_or(0, |time| time.0),
        nice: entry.nice,
        steps: entry.steps.clone(),
        repeat: entry.repeat,
    })
}

/// The reader's error with its line, in one line.
fn located(text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let message = message.replace(char::is_control, "?");
    match error.span() {
        // A key that is missing is missing from the whole text.
        Some(span) if span != (0..text.len()) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            Error::at_line(line, message)
        }
        _ => Error::new(message),
    }
}
