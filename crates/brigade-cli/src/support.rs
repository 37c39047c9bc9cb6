//! What the runtime says about this machine, in the words of `doctor`.
//!
//! The only place of the program that asks the runtime; the rest of `doctor` reads the machine.

use brigade::runtime::Model;
use brigade_lab::machine;

/// One thing that matters to green threads.
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) ok: bool,
    /// What is lost where it is not ok.
    pub(crate) note: String,
}

impl Fact {
    fn yes_or_no(name: &str, ok: bool, note: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: if ok { "yes" } else { "no" }.to_owned(),
            ok,
            note: note.to_owned(),
        }
    }
}

/// Which model is active and why.
pub(crate) struct Support {
    pub(crate) model: &'static str,
    /// Whether threads are green where nothing else is asked for.
    pub(crate) is_green: bool,
    pub(crate) reason: Option<String>,
    pub(crate) facts: Vec<Fact>,
}

/// Asks the runtime, and the machine for what the runtime needs from it.
pub(crate) fn support() -> Support {
    let support = brigade::doctor::support();
    let mut facts = Vec::from(needs());
    // The runtime tells its C library only where it can use it.
    if support.facts.iter().all(|fact| fact.name != "C library") {
        facts.push(Fact {
            name: "C library".to_owned(),
            value: machine::libc_version().unwrap_or_else(|| "not glibc".to_owned()),
            ok: machine::libc_version().is_some(),
            note: "the layout of thread-local storage is known for glibc only".to_owned(),
        });
    }
    facts.extend(support.facts.into_iter().map(|fact| Fact {
        name: fact.name.to_owned(),
        value: fact.value,
        ok: fact.ok,
        note: if fact.note.is_empty() {
            UNEXPLAINED.to_owned()
        } else {
            fact.note
        },
    }));
    Support {
        model: model_name(support.model),
        is_green: support.model == Model::ManyToMany,
        reason: support.reason,
        facts,
    }
}

const UNEXPLAINED: &str = "threads may be kernel threads: see the model above";

fn needs() -> [Fact; 3] {
    [
        Fact::yes_or_no(
            "FSGSBASE",
            machine::fsgsbase() == Some(true),
            "a switch cannot change the thread-local block without a system call: each thread \
             gets a kernel thread instead",
        ),
        Fact::yes_or_no(
            "MADV_GUARD_INSTALL",
            machine::light_guards(),
            "each stack's guard splits a mapping, so vm.max_map_count limits the number of \
             threads",
        ),
        Fact::yes_or_no(
            "membarrier",
            machine::membarrier(),
            "entering the runtime needs a fence each time, and is slower",
        ),
    ]
}

/// Which libc functions park green threads in this program.
pub(crate) fn hooks() -> Vec<Fact> {
    let hooks = match brigade::hooks::self_test() {
        Ok(hooks) => hooks,
        Err(error) => {
            let failed = format!("not known: {error}");
            return vec![hook_fact("live", failed, false)];
        }
    };
    let live = hooks.iter().filter(|hook| hook.is_live()).count();
    let all = hooks.len();
    let mut facts = vec![hook_fact(
        "live",
        format!("{live} of {all}"),
        live == all && all != 0,
    )];
    facts.extend(hooks.iter().filter(|hook| !hook.is_live()).map(|hook| {
        let what = match (hook.is_linked(), hook.is_exported()) {
            (false, _) => "not linked",
            (true, false) => "not exported",
            (true, true) => "not reached",
        };
        hook_fact(hook.name(), what.to_owned(), false)
    }));
    facts
}

fn hook_fact(name: &str, value: String, ok: bool) -> Fact {
    Fact {
        name: name.to_owned(),
        value,
        ok,
        note: "such calls block a kernel thread until its processor is handed to another"
            .to_owned(),
    }
}

fn model_name(model: Model) -> &'static str {
    match model {
        Model::ManyToMany => "many-to-many",
        Model::ManyToOne => "many-to-one",
        Model::OneToOne => "one-to-one",
    }
}
