//! Compact JSON, written as it is made.
//!
//! Not serde_json, which is a dev-dependency here: it lets numbers and strings be compared with its `Value`, and these
//! impls count in every program that has it anywhere in its graph. In one that merely uses Brigade, the type of the
//! right side of `assert_eq!(total, numbers.sum())` or `assert_eq!(bytes, [])` could no longer be inferred. Reports
//! consist of objects, arrays, strings, whole numbers and booleans, which are soon written.
//!
//! 1. Nothing is kept: what a value writes has gone to `out` when the call returns. An error of `out` ends it.
//! 2. Texts are escaped as serde_json escapes them: what JSON demands, and nothing else.

use std::fmt::Display;
use std::io::{self, Write};

/// What has a form in JSON.
pub(crate) trait Json {
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;
}

impl Json for bool {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }
}

impl Json for i32 {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }
}

impl Json for u16 {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }
}

impl Json for u32 {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }
}

impl Json for u64 {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }
}

impl Json for usize {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }
}

impl Json for str {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        Text(self).write(out)
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        T::write(self, out)
    }
}

/// None is null.
impl<T: Json> Json for Option<T> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Some(value) => value.write(out),
            None => out.write_all(b"null"),
        }
    }
}

impl<T: Json> Json for [T] {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"[")?;
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            item.write(out)?;
        }
        out.write_all(b"]")
    }
}

/// A string with the text that `T` displays.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> Json for Text<T> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"\"")?;
        write!(Escaped(out), "{}", self.0)?;
        out.write_all(b"\"")
    }
}

/// An object whose fields are being written. Without `end` it stays open.
#[must_use]
pub(crate) struct Object<'a> {
    out: &'a mut dyn Write,
    before_next: &'static str,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Object<'a> {
        Object {
            out,
            before_next: "{",
        }
    }

    /// `name` is written as it is: it has nothing to escape.
    pub(crate) fn field(self, name: &'static str, value: impl Json) -> io::Result<Object<'a>> {
        write!(self.out, "{}\"{name}\":", self.before_next)?;
        value.write(self.out)?;
        Ok(Object {
            before_next: ",",
            ..self
        })
    }

    /// Ends an object that has at least one field.
    pub(crate) fn end(self) -> io::Result<()> {
        self.out.write_all(b"}")
    }
}

/// The inside of a string. It looks at bytes, not characters: what is escaped is one byte, and part of no other.
struct Escaped<'a>(&'a mut dyn Write);

impl Write for Escaped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Escaped(out) = self;
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| must_be_escaped(byte)) {
            out.write_all(&rest[..at])?;
            match rest[at] {
                b'\n' => out.write_all(b"\\n")?,
                b'\r' => out.write_all(b"\\r")?,
                b'\t' => out.write_all(b"\\t")?,
                0x08 => out.write_all(b"\\b")?,
                0x0c => out.write_all(b"\\f")?,
                byte @ (b'"' | b'\\') => out.write_all(&[b'\\', byte])?,
                byte => write!(out, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        out.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    fn written(value: impl Json) -> String {
        let mut bytes = Vec::new();
        value.write(&mut bytes).expect("a vector takes everything");
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    /// Displays itself character by character.
    struct Crumbs<'a>(&'a str);

    impl fmt::Display for Crumbs<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.chars().try_for_each(|c| write!(f, "{c}"))
        }
    }

    #[test]
    fn every_text_is_written_as_serde_json_writes_it_and_read_back() {
        let controls: String = ('\0'..='\u{a0}').collect();
        for text in [
            "",
            "plain",
            "\"",
            "\\",
            "\\\"\\\\\"",
            "C:\\new\\table",
            "tab\tline\nreturn\r\u{8}\u{c}",
            "\u{0}\u{1}\u{1f}\u{7f}",
            &controls,
            "Müller, 東京, 🦀",
            "\u{2028}between\u{2029}",
            "\u{feff}\u{10ffff}",
        ] {
            let json = written(text);
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            assert_eq!(written(Text(Crumbs(text))), json, "in pieces");
        }
    }

    #[test]
    fn numbers_keep_all_digits() {
        let all = written(&[u64::MAX, 0][..]);
        assert_eq!(all, "[18446744073709551615,0]");
        assert_eq!(written(i32::MIN), "-2147483648");
    }
}
