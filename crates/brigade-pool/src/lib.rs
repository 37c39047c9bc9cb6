//! A pool of kernel threads, and fork-join on green threads whose waiters park.
