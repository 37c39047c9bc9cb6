//! Task sets that come with the program: one for each thing that is worth seeing.

use crate::task::TaskSet;

/// A task set with a name.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// The name on the command line.
    pub name: &'static str,
    /// The set as a file would hold it.
    pub text: &'static str,
}

/// All of them.
pub const ALL: [Builtin; 8] = [
    Builtin {
        name: "convoy",
        text: include_str!("builtin/convoy.toml"),
    },
    Builtin {
        name: "nice",
        text: include_str!("builtin/nice.toml"),
    },
    Builtin {
        name: "equal",
        text: include_str!("builtin/equal.toml"),
    },
    Builtin {
        name: "io-beside-cpu",
        text: include_str!("builtin/io-beside-cpu.toml"),
    },
    Builtin {
        name: "two-cooks",
        text: include_str!("builtin/two-cooks.toml"),
    },
    Builtin {
        name: "blocked",
        text: include_str!("builtin/blocked.toml"),
    },
    Builtin {
        name: "hogs-and-requests",
        text: include_str!("builtin/hogs-and-requests.toml"),
    },
    Builtin {
        name: "stealing",
        text: include_str!("builtin/stealing.toml"),
    },
];

impl Builtin {
    /// Reads the set.
    ///
    /// # Panics
    ///
    /// Never: each set is read by a test.
    #[must_use]
    pub fn set(&self) -> TaskSet {
        TaskSet::parse(self.text).expect("a built-in set is sound")
    }
}

/// The built-in set of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}
