//! A pool of worker processes of the same program.
