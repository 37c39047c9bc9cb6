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

    /// Writes a result on one line, for programs that read many.
    ///
    /// # Errors
    ///
    /// As [`Output::print`].
    pub(crate) fn print_json_line(&self, value: &impl serde::Serialize) -> io::Result<()> {
        let mut stream = io::stdout().lock();
        serde_json::to_writer(&mut stream, value).map_err(io::Error::from)?;
        writeln!(stream)?;
        stream.flush()
    }

    /// Takes the screen of the terminal, until the value is dropped.
    ///
    /// # Errors
    ///
    /// As [`Output::print`].
    pub(crate) fn screen(&self) -> io::Result<Screen> {
        Screen::open(*self)
    }

    /// Writes a note to standard error. A note that nobody can read is dropped.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(anstream::stderr().lock(), "{}", self.encode(text));
    }

    /// Says in one line why the program does not do what it was asked to do.
    pub(crate) fn refuse(&self, why: &str) -> Exit {
        // Names and documents come from anybody.
        self.note(&format!("error: {}", why.replace(char::is_control, "?")));
        Exit::Usage
    }

    /// As [`Output::print`], for text that quotes a stranger: without what a terminal might obey.
    ///
    /// # Errors
    ///
    /// As [`Output::print`].
    pub(crate) fn print_quoted(&self, text: &str) -> io::Result<()> {
        self.print(&text.replace(|c: char| c.is_control() && c != '\n', "?"))
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

/// The screen of the terminal, for pages that replace each other. What was on it comes back at the end.
#[derive(Debug)]
pub(crate) struct Screen {
    out: Output,
}

impl Screen {
    /// The other screen of the terminal, without a cursor.
    const OPEN: &str = "\x1b[?1049h\x1b[?25l";
    const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

    fn open(out: Output) -> io::Result<Self> {
        let screen = Self { out };
        screen.write(Self::OPEN)?;
        Ok(screen)
    }

    /// Lines of the terminal.
    pub(crate) fn lines(&self) -> Option<usize> {
        terminal_size::terminal_size().map(|(_, height)| usize::from(height.0))
    }

    /// Draws a page over the one before.
    ///
    /// # Errors
    ///
    /// As [`Output::print`].
    pub(crate) fn draw(&mut self, page: &str) -> io::Result<()> {
        let lines = self.lines().unwrap_or(usize::MAX);
        let page: Vec<&str> = page.lines().take(lines).collect();
        // Each line is cleared to its end, and what is below the last; a line end at the end would scroll.
        let text = self.out.encode(&page.join("\x1b[K\r\n"));
        self.write(&format!("\x1b[H{text}\x1b[K\x1b[J"))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut stream = io::stdout().lock();
        stream.write_all(text.as_bytes())?;
        stream.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = self.write(Self::CLOSE);
    }
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
