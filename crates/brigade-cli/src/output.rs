//! Where text goes: results to standard output, notes to standard error.
//!
//! Colour is taken out here, by anstream, where it is not wanted; text without UTF-8 is made here.
//! No other module writes.

use std::io::{self, Write};

use crate::exit::Exit;

/// The program's two streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    ascii: bool,
}

impl Output {
    /// Writes ASCII only if `ascii`, or if the locale is not UTF-8.
    pub(crate) fn new(ascii: bool) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        Self {
            ascii: ascii || !locale.is_some_and(|locale| is_utf8(&locale)),
        }
    }

    /// Writes everything as it is.
    pub(crate) fn exact() -> Self {
        Self { ascii: false }
    }

    /// Writes a result and a line end.
    ///
    /// # Errors
    ///
    /// Those of the stream; a closed pipe is [`io::ErrorKind::BrokenPipe`].
    pub(crate) fn print(&self, text: &str) -> io::Result<()> {
        let mut stream = anstream::stdout().lock();
        writeln!(stream, "{}", self.encode(text).trim_end())?;
        stream.flush()
    }

    /// Writes a result as it is, for programs to read.
    ///
    /// # Errors
    ///
    /// As [`Output::print`].
    pub(crate) fn print_json(&self, value: &impl serde::Serialize) -> io::Result<()> {
        let mut stream = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stream, value).map_err(io::Error::from)?;
        writeln!(stream)?;
        stream.flush()
    }

    /// Writes a note to standard error. A note that nobody can read is dropped.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(anstream::stderr().lock(), "{}", self.encode(text));
    }

    /// Says in one line why the program does not do what it was asked to do.
    pub(crate) fn refuse(&self, why: &str) -> Exit {
        self.note(&format!("error: {why}"));
        Exit::Usage
    }

    fn encode(&self, text: &str) -> String {
        if self.ascii {
            text.chars().fold(String::new(), |mut ascii, c| {
                match plain(c) {
                    Some(plain) => ascii.push_str(plain),
                    None => ascii.push(c),
                }
                ascii
            })
        } else {
            text.to_owned()
        }
    }
}

/// What stands for `c` where only ASCII is written; none if it is ASCII already. What the figures draw with
/// keeps its width.
fn plain(c: char) -> Option<&'static str> {
    if c.is_ascii() {
        return None;
    }
    Some(match c {
        'µ' => "u",
        '█' => "#",
        '▒' => "=",
        '░' | '─' => "-",
        '▌' | '▋' | '▊' | '▉' => "#",
        '▏' | '▎' | '▍' => " ",
        '▁' => "_",
        '▂' | '·' => ".",
        '▃' => ":",
        '▄' => "-",
        '▅' => "=",
        '▆' => "+",
        '▇' => "*",
        '│' => "|",
        '┼' | '└' => "+",
        '…' => "~",
        '×' => "x",
        '–' | '—' => "-",
        '’' | '‘' => "'",
        '≤' => "<=",
        '≥' => ">=",
        '→' => "->",
        '≈' => "~",
        '²' => "2",
        _ => "?",
    })
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_utf8_locale_gets_more_than_ascii() {
        assert!(is_utf8("en_US.UTF-8") && is_utf8("C.utf8"));
        assert!(!is_utf8("C") && !is_utf8("de_DE.ISO-8859-1"));
        let ascii = Output { ascii: true };
        assert_eq!(ascii.encode("2 µs ██▒ 長"), "2 us ##= ?");
        assert_eq!(Output { ascii: false }.encode("2 µs █"), "2 µs █");
    }
}
