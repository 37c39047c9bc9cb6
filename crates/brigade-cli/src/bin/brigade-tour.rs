//! The `brigade-tour` program.

fn main() {}
