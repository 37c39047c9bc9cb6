//! What `advise` says, as text in 80 columns.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use brigade_observe::{Advice, Observations};

use crate::advise::Document;
use crate::render::{WIDTH, paragraph};

/// Width of the words at the left.
const MARGIN: usize = 10;

/// The text of a report.
pub(crate) fn report(document: &Document) -> String {
    let seen = &document.observations;
    let mut text = paragraph("Watched", MARGIN, &watched(document));
    text.push('\n');
    text += &numbers(seen);
    for missing in &document.missing {
        let line = format!("{}: {}; {}", missing.what, missing.why, missing.remedy);
        text += &paragraph("Not seen", MARGIN, &line);
    }
    text.push('\n');
    text += &advice(&document.advice);
    text.push('\n');
    text + &table(&document.advice)
}

fn watched(document: &Document) -> String {
    let seen = &document.observations;
    let what = match &document.command {
        Some(command) => format!("{} (process {})", one_line(command), document.pid),
        None => format!("process {}", document.pid),
    };
    let end = match (&document.command, document.ended) {
        (None, false) => String::new(),
        (None, true) => "; it ended meanwhile".to_owned(),
        (Some(_), false) => "; it goes on".to_owned(),
        (Some(_), true) => format!("; it {}", code(document.exit_code, document.signal)),
    };
    let stopped = if document.interrupted {
        "; interrupted"
    } else {
        ""
    };
    format!(
        "{what} for {:.1} s, {} times{end}{stopped}",
        seen.watched_s, seen.looks
    )
}

/// A command of any length on a line or two.
fn one_line(command: &str) -> String {
    const MOST: usize = 100;
    let words: Vec<&str> = command.split_whitespace().collect();
    let line = words.join(" ");
    let visible = line.chars().filter(|c| !c.is_control());
    let mut kept: String = visible.clone().take(MOST).collect();
    if visible.count() > MOST {
        kept += "...";
    }
    kept
}

fn code(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// How a command ended.
pub(crate) fn ending(status: Option<ExitStatus>) -> String {
    code(
        status.and_then(|status| status.code()),
        status.and_then(|status| status.signal()),
    )
}

fn numbers(seen: &Observations) -> String {
    let cpu_s = seen.user_s + seen.system_s;
    let mut text = paragraph(
        "CPU",
        MARGIN,
        &format!(
            "{:.2} of {} CPUs used, {:.2} wanted; {:.2} s, {:.0} % of it in user code",
            seen.cpus_used,
            seen.cpus,
            seen.cpus_wanted,
            cpu_s,
            100.0 * seen.user_s / cpu_s.max(1e-9)
        ),
    );
    let queue = seen.queue_share.map_or_else(
        || "unknown".to_owned(),
        |share| {
            format!(
                "{:.0} % of the time in which threads could run",
                100.0 * share
            )
        },
    );
    text += &paragraph("Run queue", MARGIN, &queue);
    text += &paragraph(
        "Threads",
        MARGIN,
        &format!(
            "{} at most, {:.1} on average, in {} process{}; {} compute",
            seen.threads,
            seen.mean_threads,
            seen.processes,
            if seen.processes == 1 { "" } else { "es" },
            seen.computing_threads
        ),
    );
    text += &paragraph("Waiting", MARGIN, &waits(seen));
    let rate = |rate: Option<f64>| rate.map_or("?".to_owned(), |rate| format!("{rate:.0}"));
    text += &paragraph(
        "Switches",
        MARGIN,
        &format!(
            "{} a second because a thread waited, {} because another was to run",
            rate(seen.voluntary_per_s),
            rate(seen.involuntary_per_s)
        ),
    );
    if let Some(sockets) = seen.sockets {
        text += &paragraph("Sockets", MARGIN, &format!("{sockets} open at most"));
    }
    if let Some(found) = &seen.interpreter {
        let lock = if found.has_lock {
            "one thread computes at a time"
        } else {
            "no interpreter lock"
        };
        let line = format!("{}: {lock} ({})", found.name, found.evidence);
        text += &paragraph("Language", MARGIN, &line);
    }
    text
}

fn waits(seen: &Observations) -> String {
    let mut kinds: Vec<_> = seen
        .waits
        .iter()
        .filter(|(_, threads)| **threads >= 0.05)
        .collect();
    kinds.sort_by(|one, other| other.1.total_cmp(one.1));
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, threads)| format!("{} {threads:.1}", kind.word()))
        .collect();
    let list = if kinds.is_empty() {
        String::new()
    } else {
        format!("; threads on average: {}", kinds.join(", "))
    };
    format!(
        "{:.0} % of all thread time{list}",
        100.0 * seen.waiting_share
    )
}

fn advice(advice: &Advice) -> String {
    let mut text = paragraph("Advice", MARGIN, &advice.model.words().to_uppercase());
    text += &paragraph("Because", MARGIN, &format!("{}.", advice.because));
    text += &paragraph("Do", MARGIN, &advice.advice);
    for note in &advice.notes {
        text += &paragraph("Note", MARGIN, note);
    }
    text
}

/// The rows in their order; the first that applies decides.
fn table(advice: &Advice) -> String {
    let mut text = "Decision table: the first row that applies decides\n".to_owned();
    for step in &advice.table {
        let mark = match step.applies {
            Some(true) => "YES",
            Some(false) => "no",
            None => "",
        };
        let options = textwrap::Options::new(WIDTH)
            .initial_indent("")
            .subsequent_indent("       ");
        let line = format!("  {mark:<4} {}: {}", step.when, step.model.words());
        text += &textwrap::fill(&line, options);
        text.push('\n');
    }
    text
}
