//! What this machine offers, for `brigade doctor`. Not part of the stable interface.

use brigade_runtime::Model;

/// One fact about the machine.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// What was found.
    pub value: String,
    /// Whether it is as Brigade wants it.
    pub ok: bool,
    /// What is lost if it is not.
    pub note: String,
}

/// Which model is active and why.
#[derive(Clone, Debug)]
pub struct Support {
    /// The model that a runtime gets where [`Model::ManyToMany`] is asked for.
    pub model: Model,
    /// Why it is another one.
    pub reason: Option<String>,
    /// What was found out on the way.
    pub facts: Vec<Fact>,
}

/// Runs the self-check of the context layer, once per process, and says what it found.
#[must_use]
pub fn support() -> Support {
    let facts = |known: &[(&'static str, String)]| {
        let fact = |(name, value): &(&'static str, String)| Fact {
            name,
            value: value.clone(),
            ok: true,
            note: String::new(),
        };
        known.iter().map(fact).collect()
    };
    match brigade_context::support() {
        Ok(support) => Support {
            model: Model::ManyToMany,
            reason: None,
            facts: facts(support.facts()),
        },
        Err(reason) => Support {
            model: Model::OneToOne,
            reason: Some(reason.to_string()),
            facts: facts(reason.facts()),
        },
    }
}
