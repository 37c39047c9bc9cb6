//! Who did what when: one row of letters each.
//!
//! A column stands for what took most of its time there, among what went on; a dot means that nothing went on. What is
//! shorter than a column is seen wherever nothing longer shares the column.

use brigade_lab::figure::{Span, Track};
use brigade_lab::units::Unit;

use super::axis::number;
use super::{INNER, ROWS, clean, fit, left_out, nothing, widest};

/// The widest name of a row.
const NAME: usize = 22;

/// What is kept of the end of a name that is too wide: there the rows of one arm differ.
const TAIL: usize = 8;

/// What stands for the things that no letter was left for.
const OTHERS: char = '?';

/// The rows, a line with the scale, and the letters.
pub(super) fn draw(tracks: &[Track]) -> Vec<String> {
    let spans = || tracks.iter().flat_map(|track| &track.spans);
    let ends = spans().flat_map(|span| [span.from_ns, span.to_ns]);
    let ends = ends.filter(|end| end.is_finite());
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    if low > high {
        return nothing();
    }
    let shown = &tracks[..tracks.len().min(ROWS)];
    let width = widest(shown.iter().map(|track| track.label.as_str()), NAME);
    let columns = INNER - width - 3;
    let letters = Letters::of(shown.iter().flat_map(|track| &track.spans));
    let time = Time { low, high, columns };
    let mut lines: Vec<String> = shown
        .iter()
        .map(|track| {
            let label = shortened(&track.label, width);
            format!("{label:<width$} │{}│", row(&time, &track.spans, &letters))
        })
        .collect();
    lines.push(format!("{:width$}  {}", "", scale(&time)));
    lines.extend(left_out(shown.len(), tracks.len(), "rows"));
    lines.extend(letters.legend());
    lines
}

/// `label` in at most `width` columns, without its middle if it is wider.
fn shortened(label: &str, width: usize) -> String {
    let label = clean(label);
    let count = label.chars().count();
    if count <= width || width <= TAIL {
        return fit(&label, width);
    }
    let tail: String = label.chars().skip(count - TAIL).collect();
    fit(&label, width - TAIL) + &tail
}

/// The time that a row shows.
struct Time {
    low: f64,
    high: f64,
    columns: usize,
}

impl Time {
    /// Where `at` is, in columns from the left.
    fn place(&self, at: f64) -> f64 {
        let whole = self.high / 2.0 - self.low / 2.0;
        let place = (at / 2.0 - self.low / 2.0) / whole;
        if place.is_finite() {
            place.clamp(0.0, 1.0) * self.columns as f64
        } else {
            0.0
        }
    }
}

fn row(time: &Time, spans: &[Span], letters: &Letters) -> String {
    let mut best = vec![(0.0, '.'); time.columns];
    // Spans of one kind add up: (kind, time) of each column.
    let mut sums: Vec<Vec<(char, f64)>> = vec![Vec::new(); time.columns];
    for span in spans {
        let (from, to) = (time.place(span.from_ns), time.place(span.to_ns));
        let letter = letters.of_kind(&span.what);
        let first = (from as usize).min(time.columns - 1);
        let last = (to.ceil() as usize).min(time.columns).max(first + 1);
        for (sums, column) in sums[first..last].iter_mut().zip(first..) {
            let (begin, end) = (column as f64, column as f64 + 1.0);
            // What has no length at all still happened.
            let part = (to.min(end) - from.max(begin)).max(1e-9);
            match sums.iter_mut().find(|(known, _)| *known == letter) {
                Some((_, sum)) => *sum += part,
                None => sums.push((letter, part)),
            }
        }
    }
    for (best, sums) in best.iter_mut().zip(&sums) {
        for (letter, sum) in sums {
            if *sum > best.0 {
                *best = (*sum, *letter);
            }
        }
    }
    best.into_iter().map(|(_, letter)| letter).collect()
}

/// The times at the begin, in the middle and at the end.
fn scale(time: &Time) -> String {
    let name = |place: f64| {
        number(
            time.low * (1.0 - place) + time.high * place,
            Unit::Nanoseconds,
        )
    };
    let (begin, middle, end) = (name(0.0), name(0.5), name(1.0));
    let rest = time
        .columns
        .saturating_sub(begin.chars().count() + end.chars().count());
    format!("{begin}{middle:^rest$}{end}")
}

/// Which letter stands for what.
struct Letters(Vec<(String, char)>);

impl Letters {
    /// The first letter of each word that is still free, in the order in which they appear.
    fn of<'a>(spans: impl Iterator<Item = &'a Span>) -> Self {
        let mut letters = Self(Vec::new());
        for span in spans {
            if letters.0.iter().all(|(what, _)| *what != span.what) {
                let letter = letters.free(&span.what);
                letters.0.push((span.what.clone(), letter));
            }
        }
        letters
    }

    fn free(&self, what: &str) -> char {
        let any = ('A'..='Z').chain('a'..='z').chain('0'..='9');
        let own = what.chars().filter(char::is_ascii_alphanumeric);
        own.flat_map(|c| [c, c.to_ascii_uppercase(), c.to_ascii_lowercase()])
            .chain(any)
            .find(|letter| self.0.iter().all(|(_, known)| known != letter))
            .unwrap_or(OTHERS)
    }

    fn of_kind(&self, what: &str) -> char {
        let known = self.0.iter().find(|(known, _)| known == what);
        known.map_or(OTHERS, |(_, letter)| *letter)
    }

    /// What the letters stand for, in lines of whole entries.
    fn legend(&self) -> Vec<String> {
        let named = self.0.iter().filter(|(_, letter)| *letter != OTHERS);
        let mut entries: Vec<String> = named.map(|(what, letter)| entry(what, *letter)).collect();
        if self.0.iter().any(|(_, letter)| *letter == OTHERS) {
            entries.push(format!("{OTHERS} others"));
        }
        let mut lines: Vec<String> = Vec::new();
        for entry in entries {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 3 + entry.chars().count() <= INNER => {
                    line.push_str("   ");
                    line.push_str(&entry);
                }
                _ => lines.push(entry),
            }
        }
        lines
    }
}

/// A letter and its meaning, which may begin with the letter itself.
fn entry(what: &str, letter: char) -> String {
    let what = fit(what, INNER - 2);
    match what.strip_prefix(letter) {
        Some(rest) if rest.is_empty() || rest.starts_with(' ') => what,
        _ => format!("{letter} {what}"),
    }
}
