//! How a process knows that it is a worker: a variable in its environment names the process and a nonce.
//!
//! `BRIGADE_PROCESS_WORKER=1:<process, ten digits>:<nonce, 32 hexadecimal digits>`. The connection to the pool is
//! descriptor [`CONNECTION`], and the first frame on it must bring the same nonce.
//!
//! # Invariants
//!
//! 1. The variable is set between the fork and the exec of a worker, with the worker's own number in it. Whoever
//!    inherits it has another number, and so knows that it descends from a worker.
//! 2. In a process with the variable no pool is started: neither a worker nor a program that a worker runs can
//!    multiply without end.

use crate::frame::NONCE;

/// The name of the variable.
pub(crate) const VARIABLE: &str = "BRIGADE_PROCESS_WORKER";
/// The descriptor of a worker's connection to its pool.
pub(crate) const CONNECTION: i32 = 3;
/// Digits of a process number in the variable.
const DIGITS: usize = 10;
const FORM: &str = "1:";

/// What the environment says about this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing.
    Ordinary,
    /// It is a worker.
    Worker([u8; NONCE]),
    /// It descends from the worker of this number.
    Descendant(u32),
}

/// What the environment says about this process.
pub(crate) fn origin() -> Origin {
    let value = std::env::var_os(VARIABLE);
    parse(value.as_ref().and_then(|v| v.to_str()), std::process::id())
}

fn parse(value: Option<&str>, own: u32) -> Origin {
    let Some((pid, nonce)) = value
        .and_then(|value| value.strip_prefix(FORM))
        .and_then(|rest| rest.split_once(':'))
    else {
        return Origin::Ordinary;
    };
    match (pid.parse(), parse_nonce(nonce)) {
        (Ok(pid), Some(nonce)) if pid == own => Origin::Worker(nonce),
        (Ok(pid), Some(_)) => Origin::Descendant(pid),
        _ => Origin::Ordinary,
    }
}

fn parse_nonce(text: &str) -> Option<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    if text.len() != 2 * NONCE || !text.is_ascii() {
        return None;
    }
    for (n, byte) in nonce.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(nonce)
}

/// The variable for a worker whose number is not known yet, as the C library has it.
pub(crate) struct Draft {
    bytes: Vec<u8>,
    digits: usize,
}

impl Draft {
    pub(crate) fn new(nonce: &[u8; NONCE]) -> Draft {
        let mut bytes = format!("{VARIABLE}={FORM}").into_bytes();
        let digits = bytes.len();
        bytes.extend_from_slice(&[b'0'; DIGITS]);
        bytes.push(b':');
        for byte in nonce {
            bytes.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        bytes.push(0);
        Draft { bytes, digits }
    }

    /// The text, with a zero at its end.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// Where in the text the digits of the process are.
    pub(crate) fn digits(&self) -> usize {
        self.digits
    }
}

/// Writes the number of a process to its place; allocates nothing.
///
/// # Safety
///
/// * `digits` is the place [`Draft::digits`] in the text of a [`Draft`] that lives, and nobody else uses the text.
pub(crate) unsafe fn write_pid(digits: *mut u8, pid: u32) {
    let mut rest = pid;
    for place in (0..DIGITS).rev() {
        // SAFETY: a draft has `DIGITS` bytes there, and the caller is alone with it.
        unsafe { digits.add(place).write(b'0' + (rest % 10) as u8) };
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(pid: u32, nonce: &[u8; NONCE]) -> String {
        let mut draft = Draft::new(nonce);
        let digits = draft.digits();
        // SAFETY: the place of the digits of a draft that this function owns.
        unsafe { write_pid(draft.as_mut_ptr().add(digits), pid) };
        let text = String::from_utf8(draft.bytes).expect("only digits");
        let text = text.strip_suffix('\0').expect("a zero at the end");
        let (name, value) = text.split_once('=').expect("a variable");
        assert_eq!(name, VARIABLE);
        value.to_owned()
    }

    #[test]
    fn a_worker_knows_itself_and_its_descendants_know_it() {
        let nonce: [u8; NONCE] = std::array::from_fn(|n| (n * 17 + 3) as u8);
        for pid in [1, 4_194_304, u32::MAX] {
            let value = value(pid, &nonce);
            assert_eq!(parse(Some(&value), pid), Origin::Worker(nonce));
            assert_eq!(parse(Some(&value), pid - 1), Origin::Descendant(pid));
        }
    }

    #[test]
    fn what_is_no_marker_means_nothing() {
        let good = value(7, &[0xab; NONCE]);
        assert_eq!(parse(None, 7), Origin::Ordinary);
        for bad in ["", "1", "1:7", "1:7:", "1:x:00", "0:7:00", "ü"] {
            assert_eq!(parse(Some(bad), 7), Origin::Ordinary, "{bad}");
        }
        let cut = &good[..good.len() - 1];
        assert_eq!(parse(Some(cut), 7), Origin::Ordinary);
        let odd = format!("{cut}ü");
        assert_eq!(parse(Some(&odd), 7), Origin::Ordinary);
    }
}
