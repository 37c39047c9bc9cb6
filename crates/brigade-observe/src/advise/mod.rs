//! Which model fits a program: what was seen, the table of rows, the first that applies.
//!
//! [`Observer`] gathers [`Observations`] while the program runs; [`advise`] is a pure function of them, so that each row
//! is tested with planted numbers. A row that applies names the numbers that led to it. Where no row applies there is no
//! advice: [`Model::NotEnoughData`] is an answer too.

mod observations;
mod observer;
mod table;

pub use observations::{Observations, WaitKind};
pub use observer::{Observer, ended_children_cpu_time};
pub use table::{Advice, Model, Step, advise};
