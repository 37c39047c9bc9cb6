//! `brigade sim`: plays a set of tasks under schedulers and shows who ran when and who waited how long.
//!
//! Everything is read, played and drawn before the first line is written: a set that is wrong leaves
//! nothing half-written.

mod args;
mod text;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use brigade_sim::{Run, TaskSet, builtin, simulate};
use serde::Serialize;

pub(crate) use self::args::SimArgs;
use self::args::{SimCommand, SimOptions};
use crate::exit::Exit;
use crate::output::Output;

/// The version of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// The built-in set that is played if none is named.
const DEFAULT: &str = "io-beside-cpu";

/// No file of a person is larger than this.
const FILE_MAX_BYTES: u64 = 1 << 20;

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    program_version: &'static str,
    set: &'a str,
    about: &'a str,
    runs: &'a [Run],
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    about: String,
    cores: usize,
    tasks: usize,
    text: &'static str,
}

#[derive(Serialize)]
struct List {
    schema_version: u32,
    sets: Vec<Entry>,
}

/// Does what `brigade sim` was asked for.
pub(crate) fn run(args: &SimArgs, out: &Output) -> io::Result<Exit> {
    match args.command {
        Some(SimCommand::List { json }) => list(json, out),
        None => play(&args.options, out),
    }
}

fn list(json: bool, out: &Output) -> io::Result<Exit> {
    let entry = |builtin: &builtin::Builtin| {
        let set = builtin.set();
        Entry {
            name: builtin.name,
            about: set.about,
            cores: set.machine.cores,
            tasks: set.tasks.len(),
            text: builtin.text,
        }
    };
    let sets: Vec<Entry> = builtin::ALL.iter().map(entry).collect();
    if json {
        out.print_json(&List {
            schema_version: SCHEMA_VERSION,
            sets,
        })?;
    } else {
        let lines = sets.iter().map(|entry| (entry.name, entry.about.as_str()));
        out.print(&text::list(lines, example()))?;
    }
    Ok(Exit::Clean)
}

/// The set that shows the form of a file.
fn example() -> &'static str {
    builtin::find(DEFAULT).map_or("", |entry| entry.text)
}

fn play(options: &SimOptions, out: &Output) -> io::Result<Exit> {
    match simulate_all(options) {
        Ok((name, set, runs)) => {
            if options.json {
                out.print_json(&Document {
                    schema_version: SCHEMA_VERSION,
                    program_version: env!("CARGO_PKG_VERSION"),
                    set: &name,
                    about: &set.about,
                    runs: &runs,
                })?;
            } else {
                out.print(&text::runs(&name, &set, &runs))?;
            }
            Ok(Exit::Clean)
        }
        Err(reason) => {
            out.note(&format!("error: {reason}"));
            Ok(Exit::Usage)
        }
    }
}

/// The name of the set, the set, and its run under each scheduler; or what is wrong, in one line.
fn simulate_all(options: &SimOptions) -> Result<(String, TaskSet, Vec<Run>), String> {
    let (name, mut set) = match &options.file {
        Some(file) => {
            let name = printable(&file.display().to_string());
            let set = TaskSet::parse(&read(file)?).map_err(|error| format!("{name}: {error}"))?;
            (name, set)
        }
        None => {
            let name = options.builtin.as_deref().unwrap_or(DEFAULT);
            let found = builtin::find(name).ok_or_else(|| format!("no built-in set is {name}"))?;
            (name.to_owned(), found.set())
        }
    };
    set.machine.cores = options.cores.map_or(set.machine.cores, usize::from);
    set.machine.quantum_ns = options.quantum.unwrap_or(set.machine.quantum_ns);
    set.until_ns = options.until.or(set.until_ns);
    let play = |scheduler| simulate(&set, scheduler, options.seed);
    let runs: Result<Vec<Run>, _> = options.schedulers().iter().map(play).collect();
    let runs = runs.map_err(|error| format!("{name}: {error}"))?;
    Ok((name, set, runs))
}

/// The text of a file, or why there is none, in one line.
fn read(path: &Path) -> Result<String, String> {
    let name = printable(&path.display().to_string());
    let reason = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => format!("cannot read {name}: it is not text"),
        _ => format!("cannot read {name}: {error}"),
    };
    let stream: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(reason)?)
    };
    let mut text = String::new();
    let mut limited = stream.take(FILE_MAX_BYTES + 1);
    limited.read_to_string(&mut text).map_err(reason)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(format!("cannot read {name}: it is larger than 1 MiB"));
    }
    Ok(text)
}

/// `text` without what would move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
