//! Layering and style checks of the Brigade workspace.
fn main() {}
