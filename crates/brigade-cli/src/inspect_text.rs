//! What `inspect` shows, as text in 80 columns.

use std::fmt::Write as _;

use brigade_observe::{
    Activity, Green, GreenReport, GreenThread, Group, Missing, Rates, ThreadActivity,
};

use crate::render::WIDTH;

/// What is left to the wait channel.
const CHANNEL: usize = 18;
/// Groups of green threads shown, unless all are wanted.
const GREEN_ROWS: usize = 12;
/// Holders and deadlocks shown.
const HELD_ROWS: usize = 5;

/// What one look shows.
pub(crate) struct Page<'a> {
    pub(crate) activity: &'a Activity,
    pub(crate) green: &'a Green,
    pub(crate) missing: &'a [Missing],
    /// Share of one CPU that this program took.
    pub(crate) own_cpu: f64,
    pub(crate) all: bool,
    /// Lines that the terminal has, if it is one that is redrawn.
    pub(crate) lines: Option<usize>,
}

/// The text of a page. Each line has at most 80 columns.
pub(crate) fn page(page: &Page<'_>) -> String {
    let mut text = head(page);
    let rows = rows(page);
    let mut below = green(page);
    for missing in page.missing {
        let line = format!(
            "Not shown: {}: {}; {}",
            missing.what, missing.why, missing.remedy
        );
        below += &wrapped("", &line);
    }
    text += &columns();
    let used = text.lines().count() + below.lines().count();
    let room = page
        .lines
        .map(|lines| lines.saturating_sub(used + 1).max(3));
    let shown = room.unwrap_or(rows.len()).min(rows.len());
    for row in rows.iter().take(shown) {
        text += row;
    }
    if shown < rows.len() {
        let _ = writeln!(text, "... and {} more rows", rows.len() - shown);
    }
    text + &below
}

fn head(page: &Page<'_>) -> String {
    let activity = page.activity;
    let process = &activity.process;
    let mut what = format!("{} {}", process.pid, process.name);
    if !process.command.is_empty() {
        let _ = write!(what, ": {}", process.command);
    }
    if process.is_kernel_thread {
        what += " (a thread of the kernel)";
    }
    if process.is_zombie {
        what += " (has ended; its parent has not asked for that)";
    }
    let user = process
        .user
        .map_or(String::new(), |user| format!(", user {user}"));
    let total = &activity.total;
    format!(
        "{}\n{}\n\n",
        cut(&what, WIDTH),
        cut(
            &format!(
                "{} thread{}{user}, CPU {} %, queue {} %, in {:.1} s; inspect itself: {:.1} % CPU",
                activity.threads,
                if activity.threads == 1 { "" } else { "s" },
                rate(Some(total.cpu_percent)),
                rate(total.queue_percent),
                activity.interval_s,
                100.0 * page.own_cpu
            ),
            WIDTH
        )
    )
}

fn columns() -> String {
    format!(
        "{:>7} {:<15} S {:>5} {:>6} {:>5} {:>5} {:<6} {:>3} {}\n",
        "TID", "NAME", "CPU%", "QUEUE%", "VOL/s", "INV/s", "CLASS", "CPU", "WAITS IN"
    )
}

fn rows(page: &Page<'_>) -> Vec<String> {
    if page.all {
        page.activity.each.iter().map(thread_row).collect()
    } else {
        page.activity.groups.iter().map(group_row).collect()
    }
}

/// What a row shows.
struct Row<'a> {
    who: String,
    name: &'a str,
    state: char,
    rates: &'a Rates,
    class: String,
    cpu: Option<u32>,
    channel: Option<&'a str>,
}

fn thread_row(thread: &ThreadActivity) -> String {
    row(&Row {
        who: thread.tid.to_string(),
        name: &thread.name,
        state: thread.state,
        rates: &thread.rates,
        class: class(thread.class, thread.nice, thread.rt_priority),
        cpu: thread.cpu,
        channel: thread.wait_channel.as_deref(),
    })
}

fn group_row(group: &Group) -> String {
    row(&Row {
        who: match group.count {
            1 => group.tid.to_string(),
            count => format!("x{count}"),
        },
        name: &group.name,
        state: group.state,
        rates: &group.rates,
        class: class(group.class, group.nice, group.rt_priority),
        cpu: group.cpu,
        channel: group.wait_channel.as_deref(),
    })
}

fn row(row: &Row<'_>) -> String {
    let cpu = row
        .cpu
        .map_or_else(|| "-".to_owned(), |cpu| cpu.to_string());
    let line = format!(
        "{:>7} {:<15} {} {:>5} {:>6} {:>5} {:>5} {:<6} {:>3} {}",
        row.who,
        cut(row.name, 15),
        row.state,
        rate(Some(row.rates.cpu_percent)),
        rate(row.rates.queue_percent),
        rate(row.rates.voluntary_per_s),
        rate(row.rates.involuntary_per_s),
        row.class,
        cpu,
        cut(row.channel.unwrap_or("-"), CHANNEL)
    );
    cut(&line, WIDTH) + "\n"
}

/// Class and nice value, or the priority in a real-time class.
fn class(class: &str, nice: i32, rt_priority: u32) -> String {
    let class = match class {
        "other" => "oth",
        "batch" => "bat",
        "deadline" => "dl",
        class => class,
    };
    match (nice, rt_priority) {
        (0, 0) => class.to_owned(),
        (nice, 0) => format!("{class}{nice:+}"),
        (_, priority) => format!("{class}:{priority}"),
    }
}

/// A number in five columns at most.
fn rate(number: Option<f64>) -> String {
    match number {
        None => "-".to_owned(),
        Some(number) if number >= 99_950_000.0 => format!("{:.0}M", number / 1e6),
        Some(number) if number >= 99_950.0 => format!("{:.0}k", number / 1e3),
        Some(number) if number >= 99.95 => format!("{number:.0}"),
        Some(0.0) => "0".to_owned(),
        Some(number) => format!("{number:.1}"),
    }
}

/// The text, cut to so many columns.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    kept + ".."
}

/// Lines of at most 80 columns; all but the first are indented.
fn wrapped(head: &str, text: &str) -> String {
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(head)
        .subsequent_indent("    ");
    textwrap::fill(text, options) + "\n"
}

/// A time in milliseconds, for people.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..=9_999 => format!("{ms} ms"),
        10_000..=599_999 => format!("{} s", ms / 1000),
        600_000..=35_999_999 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

fn green(page: &Page<'_>) -> String {
    match page.green {
        Green::Threads(report) => green_report(report, page.all),
        Green::NotBrigade => String::new(),
        Green::Denied { why, remedy } => wrapped(
            "\n",
            &format!("Green threads: not shown, as {why}; {remedy}."),
        ),
        Green::Unreadable(why) => wrapped("\n", &format!("Green threads: not shown: {why}.")),
        _ => String::new(),
    }
}

fn green_report(report: &GreenReport, all: bool) -> String {
    let states: Vec<String> = report
        .states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let mut line = format!("Green threads: {}", report.green);
    if !states.is_empty() {
        let _ = write!(line, " ({})", states.join(", "));
    }
    if report.kernel > 0 {
        let _ = write!(
            line,
            "; kernel threads that waited through Brigade: {}",
            report.kernel
        );
    }
    if report.changing > 0 {
        let _ = write!(line, "; changing while they were read: {}", report.changing);
    }
    if report.is_cut {
        line += "; there are more, which were not read";
    }
    if report.runtimes_started == 0 {
        line += "; no runtime has been started";
    }
    let mut text = wrapped("\n", &line);
    if all {
        for thread in &report.each {
            text += &green_thread(thread);
        }
    } else {
        text += &green_groups(report);
    }
    text += &holders(report);
    for circle in report.deadlocks.iter().take(HELD_ROWS) {
        text += &deadlock(circle);
    }
    text
}

fn green_groups(report: &GreenReport) -> String {
    let mut text = String::new();
    if !report.groups.is_empty() {
        text += "    COUNT STATE                 OLDEST WAITS AT / SPAWNED AT\n";
    }
    for group in report.groups.iter().take(GREEN_ROWS) {
        let kind = if group.is_green { ' ' } else { 'k' };
        let oldest = group.longest_wait_ms.map_or_else(|| "-".to_owned(), span);
        let (first, second) = match (&group.waits_at, &group.spawned_at) {
            (Some(waits), Some(spawned)) => (tail(waits), Some(tail(spawned))),
            (Some(waits), None) => (tail(waits), None),
            (None, Some(spawned)) => (format!("- / {}", tail(spawned)), None),
            (None, None) => (group.example.clone(), None),
        };
        let state = cut(&group.state, 20);
        let line = format!("{:>9}{kind}{state:<20} {oldest:>7} {first}", group.count);
        text += &(cut(&line, WIDTH) + "\n");
        if let Some(second) = second {
            text += &(cut(&format!("{:39}{second}", ""), WIDTH) + "\n");
        }
    }
    if report.groups.len() > GREEN_ROWS {
        let more = report.groups.len() - GREEN_ROWS;
        let _ = writeln!(text, "    ... and {more} more groups (--json has all)");
    }
    text
}

/// The end of a place, which tells more than its beginning.
fn tail(place: &str) -> String {
    const ROOM: usize = 41;
    let count = place.chars().count();
    if count <= ROOM {
        return place.to_owned();
    }
    let kept: String = place.chars().skip(count - ROOM + 2).collect();
    format!("..{kept}")
}

fn name(thread: &GreenThread) -> String {
    match &thread.name {
        Some(name) => format!("thread {} \"{name}\"", thread.id),
        None => format!("thread {}", thread.id),
    }
}

fn green_thread(thread: &GreenThread) -> String {
    let mut line = format!("{}: {}", name(thread), thread.state);
    if let Some(waited) = thread.waited_ms {
        let _ = write!(line, " for {}", span(waited));
    }
    if let Some(place) = &thread.waits_at {
        let _ = write!(line, " at {place}");
    }
    if let Some(lock) = &thread.lock {
        let _ = write!(line, ", for {lock}");
    }
    if let Some(other) = &thread.waits_for {
        let _ = write!(line, ", behind {other}");
    }
    if let Some(place) = &thread.spawned_at {
        let _ = write!(line, "; spawned at {place}");
    }
    wrapped("  ", &line)
}

fn holders(report: &GreenReport) -> String {
    let mut text = String::new();
    for held in report.held.iter().take(HELD_ROWS) {
        let waiters = match held.waiters {
            1 => "1 waits".to_owned(),
            waiters => format!("{waiters} wait"),
        };
        let line = match &held.lock {
            Some(lock) => format!(
                "{waiters} for {lock}, which {} holds: {}",
                held.by, held.state
            ),
            None => format!("{waiters} for the end of {}: {}", held.by, held.state),
        };
        text += &wrapped("  ", &line);
    }
    if report.held.len() > HELD_ROWS {
        let more = report.held.len() - HELD_ROWS;
        let _ = writeln!(text, "  ... and {more} more that others wait for");
    }
    text
}

fn deadlock(circle: &[GreenThread]) -> String {
    let mut text = wrapped(
        "  ",
        &format!(
            "DEADLOCK: {} threads wait for each other, for ever:",
            circle.len()
        ),
    );
    for thread in circle.iter().take(10) {
        let lock = thread.lock.as_deref().unwrap_or("the end of a thread");
        let other = thread.waits_for.as_deref().unwrap_or("another");
        let place = thread.waits_at.as_deref().unwrap_or("an unknown place");
        let line = format!("{} waits at {place} for {lock}, of {other}", name(thread));
        text += &wrapped("    ", &line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_columns() {
        for number in [
            0.0, 0.04, 9.96, 99.94, 99.96, 1234.5, 99_960.0, 5e6, 3e8, 1e10,
        ] {
            assert!(rate(Some(number)).len() <= 6, "{}", rate(Some(number)));
        }
        assert_eq!(rate(None), "-");
        assert_eq!(rate(Some(12.34)), "12.3");
        assert_eq!(rate(Some(123_456.0)), "123k");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcd..");
        let place = tail(&format!("{}src/main.rs:1:2", "x/".repeat(40)));
        assert!(place.starts_with("..") && place.ends_with("src/main.rs:1:2"));
        assert_eq!(place.chars().count(), 41);
    }

    #[test]
    fn classes_show_what_is_unusual() {
        assert_eq!(class("other", 0, 0), "oth");
        assert_eq!(class("other", -5, 0), "oth-5");
        assert_eq!(class("fifo", 0, 99), "fifo:99");
    }
}
