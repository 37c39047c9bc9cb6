//! Which experiments the words on the command line stand for.

use brigade_lab::{Experiment, Theme, tour};

use crate::args::{EVERY, RunOptions};

/// Whether `word` stands for `experiment`: its name, its theme, or all.
fn stands_for(word: &str, experiment: &dyn Experiment) -> bool {
    let name = experiment.info().name;
    word == name || word == EVERY || word == Theme::of(name).key()
}

/// The experiments that `words` stand for, each once: in the order of the words, and in that of the tour
/// where one word stands for several.
pub(crate) fn named(words: &[String]) -> Vec<&'static dyn Experiment> {
    let mut chosen: Vec<&dyn Experiment> = Vec::new();
    for word in words {
        for experiment in tour() {
            let is_known = |known: &&dyn Experiment| known.info().name == experiment.info().name;
            if stands_for(word, experiment) && !chosen.iter().any(is_known) {
                chosen.push(experiment);
            }
        }
    }
    chosen
}

/// Those of `experiments` that `--only` and `--skip` leave.
pub(crate) fn left(
    experiments: Vec<&'static dyn Experiment>,
    options: &RunOptions,
) -> Vec<&'static dyn Experiment> {
    let any = |words: &[String], e: &dyn Experiment| words.iter().any(|word| stands_for(word, e));
    experiments
        .into_iter()
        .filter(|e| options.only.is_empty() || any(&options.only, *e))
        .filter(|e| !any(&options.skip, *e))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(experiments: &[&dyn Experiment]) -> Vec<&'static str> {
        experiments.iter().map(|e| e.info().name).collect()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn names_keep_their_order_and_nothing_is_chosen_twice() {
        let chosen = named(&words(&["gil", "deadlock", "locks", "gil"]));
        let names = names(&chosen);
        assert_eq!(names[..2], ["gil", "deadlock"]);
        assert_eq!(names.iter().filter(|name| **name == "deadlock").count(), 1);
        assert!(names.contains(&"lost-updates"));
        assert_eq!(named(&words(&["all"])).len(), brigade_lab::all().len());
    }

    #[test]
    fn only_and_skip_take_names_and_themes_and_skip_has_the_last_word() {
        let options = RunOptions {
            only: words(&["locks", "gil"]),
            skip: words(&["deadlock"]),
            ..RunOptions::default()
        };
        let chosen = left(tour(), &options);
        let names = names(&chosen);
        assert!(names.contains(&"gil") && names.contains(&"lock-order"));
        assert!(!names.contains(&"deadlock") && !names.contains(&"context-switch"));
        let nothing = RunOptions {
            skip: words(&["all"]),
            ..RunOptions::default()
        };
        assert!(left(tour(), &nothing).is_empty());
    }
}
