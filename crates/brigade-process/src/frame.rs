//! What goes over the connection between a pool and a worker: frames of a head and a body.
//!
//! A head is `length: u32, kind: u8, id: u64`, little endian; the length is that of the body. Both ends run the same
//! program, so the form may change with every version; [`VERSION`] is there for a file that was replaced while the
//! program ran.
//!
//! | frame | from | id | body |
//! |---|---|---|---|
//! | Hello | pool | 0 | [`Hello`] |
//! | Ready | worker | 0 | the nonce of the Hello |
//! | Refused | worker | 0 | why, as text |
//! | Request | pool | of the job | index of the job's type: u32, then the job |
//! | Reply | worker | of the job | the reply |
//! | Panicked | worker | of the job | the message of the panic, as text |
//! | Failed | worker | of the job | why the job could not be read or the reply not be written, as text |
//!
//! # Invariants
//!
//! 1. The first frame of each side is part of the handshake. After it a worker answers each Request with one frame of
//!    the same id, and has at most one Request.
//! 2. No body is longer than the limit of the pool. A head that says so is refused before memory is taken, and the
//!    memory taken for a body grows with the bytes that have come.

use std::io;

/// The version of this form.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a head.
pub(crate) const HEAD: usize = 13;
/// Bytes of a nonce.
pub(crate) const NONCE: usize = 16;
/// The longest text in a frame, in bytes.
const TEXT: usize = 64 * 1024;
/// How much is asked for at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Ready = 2,
    Refused = 3,
    Request = 4,
    Reply = 5,
    Panicked = 6,
    Failed = 7,
}

impl Kind {
    fn from_u8(value: u8) -> Option<Kind> {
        [
            Kind::Hello,
            Kind::Ready,
            Kind::Refused,
            Kind::Request,
            Kind::Reply,
            Kind::Panicked,
            Kind::Failed,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == value)
    }
}

/// One frame, as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) body: Vec<u8>,
}

/// The bytes of a body are more than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) bytes: usize,
}

/// A frame without a body yet: append that, then [`finish`].
pub(crate) fn begin(kind: Kind, id: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    bytes[4] = kind as u8;
    bytes[5..HEAD].copy_from_slice(&id.to_le_bytes());
    bytes
}

/// Writes the length into the head.
pub(crate) fn finish(bytes: &mut [u8], limit: usize) -> Result<(), TooLarge> {
    let body = bytes.len() - HEAD;
    match u32::try_from(body) {
        Ok(length) if body <= limit => {
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        _ => Err(TooLarge { bytes: body }),
    }
}

/// A whole frame with `text`, of which as much is taken as a frame may have.
pub(crate) fn text(kind: Kind, id: u64, text: &str, limit: usize) -> Vec<u8> {
    let mut bytes = begin(kind, id);
    let end = text.floor_boundary(limit.min(TEXT));
    bytes.extend_from_slice(&text.as_bytes()[..end]);
    finish(&mut bytes, limit).expect("the text was cut to the limit");
    bytes
}

trait FloorBoundary {
    fn floor_boundary(&self, at: usize) -> usize;
}

impl FloorBoundary for str {
    /// The largest place up to `at` where the text can be cut.
    fn floor_boundary(&self, at: usize) -> usize {
        let at = at.min(self.len());
        (0..=at)
            .rev()
            .find(|&place| self.is_char_boundary(place))
            .unwrap_or(0)
    }
}

/// What a pool tells a worker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) nonce: [u8; NONCE],
    pub(crate) fingerprint: u64,
    /// The longest body, in bytes.
    pub(crate) limit: u64,
    /// For `RLIMIT_AS`, in bytes; 0 for none.
    pub(crate) memory_limit: u64,
}

impl Hello {
    const LENGTH: usize = 4 + NONCE + 8 + 8 + 8;

    pub(crate) fn to_frame(self) -> Vec<u8> {
        let mut bytes = begin(Kind::Hello, 0);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.nonce);
        for number in [self.fingerprint, self.limit, self.memory_limit] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        finish(&mut bytes, Hello::LENGTH).expect("a hello has a fixed length");
        bytes
    }

    /// `None` if it is of another version or no Hello at all.
    pub(crate) fn from_frame(frame: &Frame) -> Option<Hello> {
        if frame.kind != Kind::Hello || frame.body.len() != Hello::LENGTH {
            return None;
        }
        let (version, rest) = frame.body.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>()?;
        let (fingerprint, rest) = rest.split_first_chunk::<8>()?;
        let (limit, rest) = rest.split_first_chunk::<8>()?;
        let (memory_limit, _) = rest.split_first_chunk::<8>()?;
        (u32::from_le_bytes(*version) == VERSION).then_some(Hello {
            nonce: *nonce,
            fingerprint: u64::from_le_bytes(*fingerprint),
            limit: u64::from_le_bytes(*limit),
            memory_limit: u64::from_le_bytes(*memory_limit),
        })
    }
}

/// Why no frame could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The other end closed the connection between two frames.
    Closed,
    /// It closed the connection inside a frame.
    Torn,
    /// What came is no frame.
    Malformed(String),
    /// Among others, that nothing is there yet: [`io::ErrorKind::WouldBlock`].
    Io(io::Error),
}

/// Puts frames together from what has been read so far.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: usize,
    head: [u8; HEAD],
    /// Bytes of the head that have come.
    head_read: usize,
    body: Vec<u8>,
    /// Bytes of the body that have come; the body may be longer.
    body_read: usize,
}

impl Decoder {
    pub(crate) fn new(limit: usize) -> Decoder {
        Decoder {
            limit,
            head: [0; HEAD],
            head_read: 0,
            body: Vec::new(),
            body_read: 0,
        }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Reads until a frame is complete. After an error that will pass, the next call goes on where this one stopped.
    pub(crate) fn read(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Frame, ReadError> {
        while self.head_read < HEAD {
            match read(&mut self.head[self.head_read..]).map_err(ReadError::Io)? {
                0 if self.head_read == 0 => return Err(ReadError::Closed),
                0 => return Err(ReadError::Torn),
                n => self.head_read += n,
            }
        }
        let (kind, id, length) = self.parse_head()?;
        while self.body_read < length {
            if self.body_read == self.body.len() {
                self.body.resize(length.min(self.body_read + CHUNK), 0);
            }
            match read(&mut self.body[self.body_read..]).map_err(ReadError::Io)? {
                0 => return Err(ReadError::Torn),
                n => self.body_read += n,
            }
        }
        self.head_read = 0;
        self.body_read = 0;
        let body = std::mem::take(&mut self.body);
        Ok(Frame { kind, id, body })
    }

    fn parse_head(&self) -> Result<(Kind, u64, usize), ReadError> {
        let (length, rest) = self.head.split_first_chunk::<4>().expect("a head");
        let (kind, id) = rest.split_first().expect("a head");
        let length = u32::from_le_bytes(*length) as usize;
        let id = u64::from_le_bytes(id.try_into().expect("the rest of a head"));
        let malformed = |what: String| Err(ReadError::Malformed(what));
        match Kind::from_u8(*kind) {
            None => malformed(format!("a frame of the unknown kind {kind}")),
            Some(_) if length > self.limit => malformed(format!(
                "a frame of {length} bytes where {} are the most",
                self.limit
            )),
            Some(kind) => Ok((kind, id, length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn frame(kind: Kind, id: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = begin(kind, id);
        bytes.extend_from_slice(body);
        finish(&mut bytes, LIMIT).expect("within the limit");
        bytes
    }

    /// Hands out `bytes` in pieces of at most `piece`, then `WouldBlock` between pieces, then the end.
    fn pieces(bytes: &[u8], piece: usize) -> impl FnMut(&mut [u8]) -> io::Result<usize> + '_ {
        let mut at = 0;
        let mut is_pause = false;
        move |buffer| {
            is_pause = !is_pause;
            if is_pause && at < bytes.len() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = piece.min(buffer.len()).min(bytes.len() - at);
            buffer[..n].copy_from_slice(&bytes[at..at + n]);
            at += n;
            Ok(n)
        }
    }

    fn next(
        decoder: &mut Decoder,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Frame, ReadError> {
        loop {
            match decoder.read(&mut read) {
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let long: Vec<u8> = (0..CHUNK * 2 + 5).map(|n| n as u8).collect();
        let mut bytes = frame(Kind::Reply, 7, &long);
        bytes.extend(frame(Kind::Panicked, u64::MAX, b""));
        bytes.extend(frame(Kind::Request, 0, b"x"));
        for piece in [1, 2, 13, 14, 4096, usize::MAX] {
            let mut read = pieces(&bytes, piece);
            let mut decoder = Decoder::new(LIMIT);
            let first = next(&mut decoder, &mut read).expect("the first");
            assert_eq!((first.kind, first.id), (Kind::Reply, 7));
            assert!(first.body == long, "pieces of {piece}");
            let second = next(&mut decoder, &mut read).expect("the second");
            assert_eq!((second.kind, second.id), (Kind::Panicked, u64::MAX));
            assert!(second.body.is_empty());
            assert_eq!(next(&mut decoder, &mut read).expect("the third").body, b"x");
            assert!(matches!(
                next(&mut decoder, &mut read),
                Err(ReadError::Closed)
            ));
        }
    }

    #[test]
    fn every_frame_that_is_cut_off_is_torn() {
        let bytes = frame(Kind::Reply, 7, b"some body");
        for end in 1..bytes.len() {
            let result = next(&mut Decoder::new(LIMIT), pieces(&bytes[..end], 4));
            assert!(matches!(result, Err(ReadError::Torn)), "cut at {end}");
        }
    }

    #[test]
    fn a_head_that_promises_too_much_is_refused_before_memory_is_taken() {
        let mut bytes = frame(Kind::Reply, 7, b"");
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut decoder = Decoder::new(LIMIT);
        let result = next(&mut decoder, pieces(&bytes, 100));
        assert!(
            matches!(result, Err(ReadError::Malformed(ref why)) if why.contains("4294967295")),
            "{result:?}"
        );
        assert_eq!(decoder.body.capacity(), 0);
    }

    #[test]
    fn memory_for_a_body_grows_with_what_has_come() {
        let mut bytes = frame(Kind::Reply, 7, b"");
        bytes[..4].copy_from_slice(&(1_u32 << 30).to_le_bytes());
        bytes.extend_from_slice(&[1; 1000]);
        let mut decoder = Decoder::new(1 << 30);
        let result = next(&mut decoder, pieces(&bytes, 100));
        assert!(matches!(result, Err(ReadError::Torn)), "{result:?}");
        assert!(decoder.body.capacity() <= 2 * CHUNK);
    }

    #[test]
    fn kinds_that_do_not_exist_are_refused() {
        for kind in (0..=255_u8).filter(|&kind| Kind::from_u8(kind).is_none()) {
            let mut bytes = frame(Kind::Reply, 7, b"");
            bytes[4] = kind;
            let result = next(&mut Decoder::new(LIMIT), pieces(&bytes, 100));
            assert!(matches!(result, Err(ReadError::Malformed(_))), "{kind}");
        }
    }

    #[test]
    fn a_body_above_the_limit_is_not_sent() {
        let mut bytes = begin(Kind::Reply, 1);
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(finish(&mut bytes, 100), Ok(()));
        assert_eq!(finish(&mut bytes, 99), Err(TooLarge { bytes: 100 }));
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        let bytes = text(Kind::Refused, 0, "aäöü", 4);
        let read = next(&mut Decoder::new(4), pieces(&bytes, 100)).expect("a frame");
        assert_eq!(read.body, "aä".as_bytes());
    }

    #[test]
    fn a_hello_survives_its_frame_and_one_of_another_version_is_none() {
        let hello = Hello {
            nonce: [7; NONCE],
            fingerprint: 1,
            limit: 2,
            memory_limit: u64::MAX,
        };
        let bytes = hello.to_frame();
        let mut frame = next(&mut Decoder::new(LIMIT), pieces(&bytes, 9)).expect("a frame");
        assert_eq!(Hello::from_frame(&frame), Some(hello));
        frame.body[0] ^= 1;
        assert_eq!(Hello::from_frame(&frame), None);
    }
}
