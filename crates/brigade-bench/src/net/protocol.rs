//! What client and server say to each other, and whether the answer is right.

use clap::ValueEnum;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// The same bytes come back, one at a time.
    Byte,
    /// The same bytes come back, 64 at a time.
    Echo,
    /// HTTP/1.1 with keep-alive; the answer is "Hello, World!".
    Http,
}

/// The body of every HTTP answer.
pub(crate) const HELLO: &str = "Hello, World!";

/// The length of an echoed message.
const MESSAGE: usize = 64;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// One request, no two of which are the same where the protocol allows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) connection: usize,
    pub(crate) number: u64,
}

impl Request {
    /// Writes the request to `text`, which is empty.
    pub(crate) fn write(self, protocol: Protocol, text: &mut Vec<u8>) {
        match protocol {
            Protocol::Byte => text.push(self.connection as u8),
            Protocol::Echo => text.extend_from_slice(&self.message()),
            Protocol::Http => text.extend_from_slice(GET),
        }
    }

    /// Whether `text` is the whole answer; `Ok(false)` as long as it may become so.
    ///
    /// # Errors
    ///
    /// When it is not the answer to this request, nor a beginning of it.
    pub(crate) fn is_answered_by(self, protocol: Protocol, text: &[u8]) -> Result<bool, String> {
        match protocol {
            Protocol::Byte => same(text, &[self.connection as u8]),
            Protocol::Echo => same(text, &self.message()),
            Protocol::Http => is_hello(text),
        }
    }

    fn message(self) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        let mut word = (self.connection as u64) << 40 ^ self.number;
        for piece in message.chunks_exact_mut(8) {
            piece.copy_from_slice(&word.to_le_bytes());
            word = word.rotate_left(9).wrapping_add(1);
        }
        message
    }
}

fn same(text: &[u8], want: &[u8]) -> Result<bool, String> {
    if want.starts_with(text) {
        Ok(text.len() == want.len())
    } else {
        Err(format!("the server echoed {text:?} for {want:?}"))
    }
}

fn is_hello(text: &[u8]) -> Result<bool, String> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let wrong = || format!("the server answered {:?}", String::from_utf8_lossy(text));
    let head = match response.parse(text).map_err(|_| wrong())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(false),
    };
    let mut lengths = response.headers.iter().filter(|header| {
        header.name.eq_ignore_ascii_case("content-length")
            && header.value == HELLO.len().to_string().as_bytes()
    });
    let right = response.code == Some(200)
        && response.version == Some(1)
        && lengths.next().is_some()
        && HELLO.as_bytes().starts_with(&text[head..]);
    match right {
        true => Ok(text.len() == head + HELLO.len()),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request = Request {
        connection: 3,
        number: 5,
    };

    #[test]
    fn an_echo_is_the_same_bytes_and_nothing_else() {
        let mut text = Vec::new();
        REQUEST.write(Protocol::Echo, &mut text);
        assert_eq!(text.len(), MESSAGE);
        let answered = |text: &[u8]| REQUEST.is_answered_by(Protocol::Echo, text);
        assert_eq!(answered(&text), Ok(true));
        assert_eq!(answered(&text[..63]), Ok(false));
        text[63] ^= 1;
        assert!(answered(&text).is_err());
        text[63] ^= 1;
        text.push(0);
        assert!(answered(&text).is_err());
    }

    #[test]
    fn the_messages_of_connections_and_requests_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for connection in 0..100 {
            for number in 0..100 {
                assert!(seen.insert(Request { connection, number }.message()));
            }
        }
    }

    #[test]
    fn an_http_answer_has_the_status_the_length_and_the_body() {
        let answered = |text: &str| REQUEST.is_answered_by(Protocol::Http, text.as_bytes());
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\ndate: now\r\n\r\nHello, World!";
        assert_eq!(answered(good), Ok(true));
        assert_eq!(answered(&good[..good.len() - 1]), Ok(false));
        assert_eq!(answered(&good[..20]), Ok(false));
        for bad in [
            good.replace("200 OK", "404 Not Found"),
            good.replace("13", "12"),
            good.replace("World", "world"),
            good.to_owned() + "!",
            "nonsense\r\n\r\n".to_owned(),
        ] {
            assert!(answered(&bad).is_err(), "{bad}");
        }
    }
}
