//! Futures on Brigade's processors: tasks, timers, asynchronous input and output.

#[cfg(not(loom))]
mod driver;
#[cfg(not(loom))]
mod io;
#[cfg(not(loom))]
mod time;

#[cfg(not(loom))]
pub use io::{Async, Incoming, IncomingUnix};
#[cfg(not(loom))]
pub use time::{Interval, Sleep, TimedOut, interval, interval_at, sleep, sleep_until, timeout};
