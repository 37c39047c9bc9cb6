//! What the runtime says about this machine, in the words of `doctor`.
//!
//! The only place of the program that asks the runtime; the rest of `doctor` reads the machine.

use brigade_lab::machine;

/// One thing that matters to green threads.
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) ok: bool,
    /// What is lost where it is not ok.
    pub(crate) note: String,
}

/// Which model is active and why.
pub(crate) struct Support {
    pub(crate) model: String,
    pub(crate) is_green: bool,
    pub(crate) reason: Option<String>,
    pub(crate) facts: Vec<Fact>,
}

/// Asks the runtime.
pub(crate) fn support() -> Support {
    let fact = |name: &str, ok: bool, note: &str| Fact {
        name: name.to_owned(),
        value: if ok { "yes" } else { "no" }.to_owned(),
        ok,
        note: note.to_owned(),
    };
    Support {
        model: "one-to-one".to_owned(),
        is_green: false,
        reason: Some("this build has no runtime for green threads yet".to_owned()),
        facts: vec![
            fact(
                "FSGSBASE",
                machine::fsgsbase() == Some(true),
                "without it a switch cannot change thread-locals cheaply: one kernel thread per \
                 thread is used instead",
            ),
            fact(
                "MADV_GUARD_INSTALL",
                machine::light_guards(),
                "without it each stack's guard splits a mapping, and vm.max_map_count limits the \
                 number of threads",
            ),
            fact(
                "membarrier",
                machine::membarrier(),
                "without it every entry into the runtime needs a fence of its own",
            ),
        ],
    }
}
