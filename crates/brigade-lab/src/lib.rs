//! Experiments that measure what is commonly said about threads.
