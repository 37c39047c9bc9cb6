//! Three servers that answer with what they get, and the client that measures them.
//!
//! A message has [`MESSAGE`] bytes, and a client sends the next one on a connection only when the last
//! one has come back. The server with a thread per connection and the one with green threads run the same
//! function, [`servers::answer_all`]; only who runs it differs.

pub(crate) mod client;
pub(crate) mod servers;

/// The length of a message in bytes.
pub(crate) const MESSAGE: usize = 64;
