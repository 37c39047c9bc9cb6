//! What the Rust compiler refuses, and what it does not: programs are given to it, with a twin of each that differs
//! where it must.
//!
//! A data race is two threads that use the same memory at the same time, at least one of them to write, without anything
//! that orders them. Safe Rust has none: that is checked by ownership (a thread may outlive what it borrows), by `Send`
//! and `Sync` (what may go to another thread, what may be shared), and by the rule that what is borrowed to be written
//! is borrowed once. A *race condition*, a result that depends on who comes first, is something else, and `race` has
//! one: the text that the compiler accepts is the text that runs here.
//!
//! Without a compiler on the machine the experiment is skipped. What rustc 1.95 says to the programs, for comparison:
//!
//! | program | error |
//! |---|---|
//! | borrow outlives its owner | E0373: closure may outlive the current function, but it borrows `orders` |
//! | `Rc` goes to a thread | E0277: `Rc<i32>` cannot be sent between threads safely |
//! | `Cell` shared by threads | E0277: `Cell<i32>` cannot be shared between threads safely |
//! | two threads write a number | E0499: cannot borrow `counter` as mutable more than once at a time |
//! | `static mut` without `unsafe` | E0133: use of mutable static is unsafe and requires unsafe function or block |
//!
//! `brigade::thread` has the same bounds as `std::thread`, and so the same errors. That is checked where Brigade is
//! built, by the programs of the module `compile_fail`: a compiler here would need Brigade as a library.

mod compiler;
mod programs;
mod race;

use std::time::Instant;

use compiler::{Answer, ask};
use programs::{PROGRAMS, Program, twins};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row};
use crate::kernel_view::{from_series, to_series};
use crate::sample::{Sample, Samples};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, decided};

/// The experiment.
pub(super) struct BorrowChecker;

static INFO: Info = Info {
    name: "borrow-checker",
    claim: "The Rust compiler refuses data races; a race condition that is none it accepts, and \
            updates are lost.",
    said_in: "introductions to Rust (\"fearless concurrency\"), often without the second half",
    method: "Give the compiler of this machine five small programs whose threads would race, and one \
             whose threads load and store an atomic number. Run the latter: both threads load before \
             either stores.",
    control: "The same five programs with the one change that each needs: they must be accepted.",
    premise: "The compiler accepts what is right, and refuses for the reason that is meant.",
    next: "lost-updates (how many are lost when nobody forces the order)",
};

const REFUSED: &str = "refused";
const CODE: &str = "code";
const TIME: &str = "ns";
const LOST: &str = "lost";
const MESSAGE: &str = "message";

static METRICS: [Metric; 4] = [
    Metric::main(REFUSED, "refused", Unit::Share),
    Metric::aside(CODE, "error no.", Unit::Count),
    Metric::aside(TIME, "compiler", Unit::Nanoseconds),
    Metric::data(LOST, "lost", Unit::Count),
];

const COMPILER: &str = "rustc";
const TWINS: &str = "twins";
const RACE: &str = "race";

/// How many letters of a message a figure shows.
const SHOWN: usize = 120;

impl Experiment for BorrowChecker {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let mut arms: Vec<Arm> = PROGRAMS
            .iter()
            .map(|program| Arm::measured(program.key, program.what))
            .collect();
        arms.push(Arm::measured(RACE, "load, then store"));
        arms.push(Arm::control(TWINS, "all five put right"));
        arms
    }

    fn measure(&self, arm: &str, _scale: Scale) -> Result<Sample, ArmError> {
        match arm {
            TWINS => asked(&twins()),
            RACE => {
                let lost = 2.0 - f64::from(race::add_twice());
                Ok(asked(include_str!("race.rs"))?.with(LOST, lost))
            }
            _ => match PROGRAMS.iter().find(|program| program.key == arm) {
                Some(program) => asked(program.text),
                None => Err(unknown_arm(arm)),
            },
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let twins = samples.summary(TWINS, REFUSED).max;
        let as_meant = |program: &Program| {
            let samples = samples.of(program.key);
            let meant =
                |sample: &Sample| sample.get(REFUSED) == 0.0 || sample.get(CODE) == program.code;
            !samples.is_empty() && samples.iter().all(meant)
        };
        let codes: Vec<String> = PROGRAMS
            .iter()
            .map(|program| error_number(samples.median(program.key, CODE)))
            .collect();
        vec![
            Premise::new(
                twins == 0.0,
                format!(
                    "the compiler accepts the programs that are right ({} refused)",
                    show(twins, Unit::Share)
                ),
            ),
            Premise::new(
                PROGRAMS.iter().all(as_meant),
                format!(
                    "each is refused for the reason meant ({})",
                    codes.join(", ")
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let mut parts: Vec<Part> = PROGRAMS
            .iter()
            .map(|program| {
                let refused = samples.summary(program.key, REFUSED).min;
                let answer = match refused == 1.0 {
                    true => error_number(samples.median(program.key, CODE)),
                    false => "accepted".to_owned(),
                };
                Part::new(
                    decided(refused == 1.0, refused),
                    format!("{}: {answer}", program.what),
                )
            })
            .collect();
        let accepted = samples.summary(RACE, REFUSED).max;
        let lost = samples.summary(RACE, LOST).min;
        parts.push(Part::new(
            decided(accepted == 0.0 && lost >= 1.0, accepted + lost),
            format!(
                "a load and a store of an atomic are {} and lose {} of 2 additions: no data race, and a \
                 race",
                if accepted == 0.0 { "accepted" } else { "refused" },
                show(lost, Unit::Count)
            ),
        ));
        parts
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let said = |key: &str| {
            let sample = samples.of(key).last()?;
            Some(match sample.get(REFUSED) == 1.0 {
                true => {
                    let message = from_series(sample.series(MESSAGE));
                    [error_number(sample.get(CODE)), message]
                }
                false => ["accepted".to_owned(), "-".to_owned()],
            })
        };
        let programs = PROGRAMS.iter().map(|program| (program.key, program.what));
        let all = programs.chain([(RACE, "load, then store"), (TWINS, "all five put right")]);
        let rows: Vec<Row> = all
            .filter_map(|(key, what)| {
                let cells = said(key)?;
                Some(Row::new(what, cells.iter().map(String::as_str)))
            })
            .collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let columns = ["answer", "because"].map(str::to_owned).into();
        let content = Content::Matrix { columns, rows };
        vec![Figure::new(
            "What the compiler says to each program",
            content,
        )]
    }
}

fn error_number(code: f64) -> String {
    match code.is_finite() {
        true => format!("E{code:04}"),
        false => "-".to_owned(),
    }
}

/// What the compiler says to `program`.
fn asked(program: &str) -> Result<Sample, ArmError> {
    let begun = Instant::now();
    let answer = ask(COMPILER, program)?;
    let sample = Sample::new().with(TIME, begun.elapsed().as_nanos() as f64);
    Ok(match answer {
        Answer::Accepted => sample.with(REFUSED, 0.0),
        Answer::Refused { code, message } => {
            let shown: String = message.chars().take(SHOWN).collect();
            sample
                .with(REFUSED, 1.0)
                .with(CODE, f64::from(code))
                .with_series(MESSAGE, to_series(&shown))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    struct Machine {
        /// A program that this compiler accepts.
        accepts: Option<&'static str>,
        /// The number of the error for all that it refuses, if not the right one.
        code: Option<f64>,
        twins: f64,
        race: f64,
        lost: f64,
    }

    const GOOD: Machine = Machine {
        accepts: None,
        code: None,
        twins: 0.0,
        race: 0.0,
        lost: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for _ in 0..5 {
                for program in &PROGRAMS {
                    let sample = match self.accepts == Some(program.key) {
                        true => Sample::new().with(REFUSED, 0.0),
                        false => Sample::new()
                            .with(REFUSED, 1.0)
                            .with(CODE, self.code.unwrap_or(program.code))
                            .with_series(MESSAGE, to_series("no")),
                    };
                    samples.push(program.key, sample);
                }
                samples.push(TWINS, Sample::new().with(REFUSED, self.twins));
                let race = Sample::new().with(REFUSED, self.race);
                samples.push(RACE, race.with(LOST, self.lost));
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &BorrowChecker.premises(&samples),
                &BorrowChecker.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        for program in &PROGRAMS {
            let accepts = Some(program.key);
            assert_eq!(Machine { accepts, ..GOOD }.verdict(), Verdict::NotHere);
        }
        assert_eq!(Machine { race: 1.0, ..GOOD }.verdict(), Verdict::NotHere);
        assert_eq!(Machine { lost: 0.0, ..GOOD }.verdict(), Verdict::NotHere);
    }

    /// Planted: a compiler that refuses everything, for want of a standard library.
    #[test]
    fn a_compiler_that_refuses_everything_decides_nothing() {
        let verdict = Machine {
            code: Some(463.0),
            twins: 1.0,
            race: 1.0,
            ..GOOD
        }
        .verdict();
        assert_inconclusive(&verdict, "programs that are right");
    }

    /// Planted: programs that are refused for a slip of the pen.
    #[test]
    fn a_refusal_for_another_reason_decides_nothing() {
        let verdict = Machine {
            code: Some(425.0),
            ..GOOD
        }
        .verdict();
        assert_inconclusive(&verdict, "reason meant (E0425");
    }

    #[test]
    fn a_program_that_was_not_asked_about_leaves_its_part_open() {
        let mut samples = GOOD.samples();
        let mut without = Samples::new();
        for arm in samples
            .arms()
            .filter(|arm| *arm != RACE)
            .map(str::to_owned)
            .collect::<Vec<_>>()
        {
            without.push(&arm, samples.of(&arm)[0].clone());
        }
        std::mem::swap(&mut samples, &mut without);
        assert_inconclusive(&decide(&[], &BorrowChecker.judge(&samples)), "noise");
    }

    #[test]
    fn the_figure_quotes_the_messages_of_the_samples() {
        let figures = BorrowChecker.figures(&GOOD.samples());
        let Content::Matrix { rows, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(
            rows[0],
            Row::new("borrow outlives its owner", ["E0373", "no"])
        );
        assert_eq!(rows[6].cells[0], "accepted");
    }

    #[test]
    fn the_race_loses_one_of_two_additions_every_time() {
        for _ in 0..20 {
            assert_eq!(race::add_twice(), 1);
        }
    }

    /// The tests' machine has the compiler that built them.
    #[test]
    fn the_compiler_refuses_each_program_and_accepts_its_twin() {
        for program in &PROGRAMS {
            let answer = asked(program.text).unwrap();
            assert_eq!(answer.get(CODE), program.code, "{}", program.what);
        }
        assert_eq!(asked(&twins()).unwrap().get(REFUSED), 0.0);
        assert_eq!(asked(include_str!("race.rs")).unwrap().get(REFUSED), 0.0);
    }
}
