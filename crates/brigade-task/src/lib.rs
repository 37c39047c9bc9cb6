//! Futures on Brigade's processors: tasks, timers, asynchronous input and output.
