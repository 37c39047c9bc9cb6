//! Looks at any process from outside: its threads, its green threads, and which model would fit it.
//!
//! Nothing is stopped, traced or changed. What a user may read of his own processes is read first; what would need more
//! is left out, and [`Source::missing`] says what it was and what would show it.
//!
//! * [`Look`] is what each thread of a process has done so far, [`Activity`] what it did between two looks.
//! * [`green_threads`] reads the green threads of a process that runs Brigade.
//! * [`Observer`] watches a program and its children, and [`advise`] says which model fits what it saw.
//!
//! ```
//! use brigade_observe::{Activity, Look, Source};
//!
//! let source = Source::new();
//! let before = Look::take(&source, std::process::id())?;
//! let after = Look::take(&source, std::process::id())?;
//! println!("{:.0} % CPU", Activity::between(&before, &after).total.cpu_percent);
//! # Ok::<(), brigade_observe::Error>(())
//! ```

mod advise;
mod error;
mod green;
mod interpreter;
mod look;
mod proc_text;
mod rates;
mod source;

pub use advise::{
    Advice, Model, Observations, Observer, Step, WaitKind, advise, ended_children_cpu_time,
};
pub use error::Error;
pub use green::{Green, GreenGroup, GreenReport, GreenThread, Held, green_threads};
pub use interpreter::Interpreter;
pub use look::{Look, Process, ThreadLook};
pub use rates::{Activity, Group, Rates, ThreadActivity};
pub use source::{Missing, Source};

/// The version of what is serialised from the types of this crate.
pub const SCHEMA_VERSION: u32 = 1;
