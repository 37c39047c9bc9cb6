//! `brigade inspect PID`: what the threads of a process do, green ones too.
//!
//! A page is what happened between two looks. On a terminal `--watch` redraws one page; elsewhere pages follow each
//! other. What needs more privilege is left out, and a line says what it was.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use brigade_observe::{
    Activity, Error, Green, GreenReport, GreenThread, Look, Missing, SCHEMA_VERSION, Source,
    ThreadActivity, green_threads,
};
use serde::Serialize;

use crate::args_observe::InspectArgs;
use crate::exit::Exit;
use crate::inspect_text::{self, Page};
use crate::output::{Output, Screen};
use crate::signals::Signals;

/// How long a signal may wait to be noticed.
const SIGNAL_PAUSE: Duration = Duration::from_millis(50);

/// What `--json` writes.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    program_version: &'static str,
    #[serde(flatten)]
    activity: Summary<'a>,
    green: GreenDocument<'a>,
    missing: &'a [Missing],
    inspect_cpu_percent: f64,
}

/// The activity; each thread only where all are wanted.
#[derive(Serialize)]
struct Summary<'a> {
    process: &'a brigade_observe::Process,
    interval_s: f64,
    threads: usize,
    total: brigade_observe::Rates,
    groups: &'a [brigade_observe::Group],
    #[serde(skip_serializing_if = "Option::is_none")]
    each: Option<&'a [ThreadActivity]>,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum GreenDocument<'a> {
    Threads {
        #[serde(flatten)]
        report: &'a GreenReport,
        #[serde(skip_serializing_if = "Option::is_none")]
        each: Option<&'a [GreenThread]>,
    },
    NotBrigade,
    Denied {
        why: &'a str,
        remedy: &'a str,
    },
    Unreadable {
        why: &'a str,
    },
}

impl<'a> GreenDocument<'a> {
    fn new(green: &'a Green, all: bool) -> Self {
        match green {
            Green::Threads(report) => Self::Threads {
                report,
                each: all.then_some(report.each.as_slice()),
            },
            Green::Denied { why, remedy } => Self::Denied { why, remedy },
            Green::Unreadable(why) => Self::Unreadable { why },
            _ => Self::NotBrigade,
        }
    }
}

/// What ended the pages.
enum End {
    /// One page was asked for.
    Done,
    /// The process has ended.
    Gone,
    Signal(u8),
}

/// Shows the threads of a process.
pub(crate) fn run(args: &InspectArgs, out: &Output) -> io::Result<Exit> {
    let signals = Signals::catch();
    let source = Source::new();
    let first = match Look::take(&source, args.pid) {
        Ok(look) => look,
        Err(error) => return Ok(refuse(&error, out)),
    };
    if first.process.pid != args.pid {
        out.note(&format!(
            "note: {} is a thread of process {}, which is shown",
            args.pid, first.process.pid
        ));
    }
    let mut pages = Pages {
        args,
        out,
        source,
        screen: None,
        last: String::new(),
        shown: 0,
    };
    if args.watch && !args.json && io::stdout().is_terminal() {
        pages.screen = Some(out.screen()?);
    }
    let end = pages.show_all(first, &signals);
    let was_redrawn = pages.screen.take().is_some();
    let end = end?;
    if was_redrawn && pages.shown > 0 {
        out.print(&pages.last)?;
    }
    Ok(match end {
        End::Done => Exit::Clean,
        End::Signal(signal) => Exit::Signal(signal),
        End::Gone => {
            out.note(&format!("process {} has ended", args.pid));
            if pages.shown > 0 {
                Exit::Clean
            } else {
                Exit::Inconclusive
            }
        }
    })
}

/// One line that says why there is no answer.
pub(crate) fn refuse(error: &Error, out: &Output) -> Exit {
    out.note(&format!("error: {error}"));
    Exit::Inconclusive
}

struct Pages<'a> {
    args: &'a InspectArgs,
    out: &'a Output,
    source: Source,
    screen: Option<Screen>,
    /// The last page as text.
    last: String,
    shown: usize,
}

impl Pages<'_> {
    fn show_all(&mut self, first: Look, signals: &Signals) -> io::Result<End> {
        let mut before = first;
        let mut own_before = own_cpu_ns();
        loop {
            pause(Duration::from_secs_f64(self.args.interval), signals);
            let after = match Look::take(&self.source, before.process.pid) {
                Ok(after) if after.is_same_process(&before) => after,
                _ => return Ok(End::Gone),
            };
            let own = own_cpu_ns();
            let activity = Activity::between(&before, &after);
            let interval_ns = activity.interval_s.max(1e-3) * 1e9;
            let own_cpu = own.saturating_sub(own_before) as f64 / interval_ns;
            let green = green_threads(&self.source, &after.process);
            self.show(&activity, &green, own_cpu)?;
            if let Some(signal) = signals.caught() {
                return Ok(End::Signal(signal));
            }
            if !self.args.watch {
                return Ok(End::Done);
            }
            (before, own_before) = (after, own);
        }
    }

    fn show(&mut self, activity: &Activity, green: &Green, own_cpu: f64) -> io::Result<()> {
        self.shown += 1;
        let missing = self.source.missing();
        let all = self.args.all;
        if self.args.json {
            let document = Document {
                schema_version: SCHEMA_VERSION,
                program_version: env!("CARGO_PKG_VERSION"),
                activity: Summary {
                    process: &activity.process,
                    interval_s: activity.interval_s,
                    threads: activity.threads,
                    total: activity.total,
                    groups: &activity.groups,
                    each: all.then_some(activity.each.as_slice()),
                },
                green: GreenDocument::new(green, all),
                missing: &missing,
                inspect_cpu_percent: 100.0 * own_cpu,
            };
            return if self.args.watch {
                self.out.print_json_line(&document)
            } else {
                self.out.print_json(&document)
            };
        }
        let mut page = Page {
            activity,
            green,
            missing: &missing,
            own_cpu,
            all,
            lines: None,
        };
        match &mut self.screen {
            Some(screen) => {
                page.lines = screen.lines();
                self.last = inspect_text::page(&page);
                screen.draw(&self.last)
            }
            None => {
                let gap = if self.shown > 1 { "\n" } else { "" };
                self.out
                    .print(&format!("{gap}{}", inspect_text::page(&page)))
            }
        }
    }
}

/// Waits so long, or until a signal.
pub(crate) fn pause(time: Duration, signals: &Signals) {
    let begun = Instant::now();
    while signals.caught().is_none() {
        let left = time.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(SIGNAL_PAUSE));
    }
}

/// CPU time of this program.
fn own_cpu_ns() -> u64 {
    let me = Look::take(&Source::new(), std::process::id());
    me.map_or(0, |me| me.threads.iter().map(|thread| thread.run_ns).sum())
}
