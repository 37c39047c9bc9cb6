//! Stacks, thread-local storage blocks and the context switch of Brigade's green threads.
