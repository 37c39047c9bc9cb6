//! The Python interpreters on this machine, as arms of experiments about their lock.
//!
//! Each `python3*` on the `PATH` is asked once for its real file and its version; the same file under several names
//! counts once. An arm's key holds the path, so the process that runs the arm need not search again.
//!
//! Scripts are handed over as arguments and written nowhere. They end by themselves (`signal.alarm`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::experiment::{Arm, ArmError, Scale};
use crate::sample::{Sample, Samples};

/// How keys of arms begin that an interpreter runs.
const KEY: &str = "python:";
/// The key of the arm that stands for interpreters where there is none.
pub(crate) const NONE: &str = "python";
/// How many interpreters are measured at the small scale.
const QUICK: usize = 2;
/// How long an interpreter may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(3);

const WHO: &str = "import os, sys, sysconfig
print(os.path.realpath(sys.executable))
print('%d.%d%s' % (sys.version_info[0], sys.version_info[1], 't' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''))";

/// An interpreter.
struct Python {
    /// The key of the arm that it runs.
    key: String,
    /// Its name for people.
    name: String,
}

/// All interpreters, the oldest first.
static FOUND: LazyLock<Vec<Python>> = LazyLock::new(|| {
    let answers: Vec<_> = candidates()
        .into_iter()
        .map(|path| thread::spawn(move || who(&path)))
        .collect();
    // By the numbers of the version, so that they are in order; by the file, so that each counts once.
    let distinct: BTreeMap<(Vec<u32>, PathBuf), String> = answers
        .into_iter()
        .filter_map(|answer| answer.join().ok().flatten())
        .map(|(path, version)| ((numbers(&version), path), version))
        .collect();
    let mut seen: Vec<String> = Vec::new();
    let python = |((_, path), version): ((Vec<u32>, PathBuf), String)| {
        seen.push(version.clone());
        let same = seen.iter().filter(|other| **other == version).count();
        Python::new(&path, &numbered(&version, same))
    };
    distinct.into_iter().map(python).collect()
});

impl Python {
    fn new(path: &Path, name: &str) -> Python {
        Python {
            key: format!("{KEY}{}", path.display()),
            name: format!("Python {name}"),
        }
    }
}

/// The text for ever, because arms have static names; each text is kept once.
fn kept(text: String) -> &'static str {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = kept.get(text.as_str()) {
        return same;
    }
    let text = &*Box::leak(text.into_boxed_str());
    kept.insert(text);
    text
}

/// The name of the `count`th interpreter of that version.
fn numbered(version: &str, count: usize) -> String {
    if count > 1 {
        format!("{version} #{count}")
    } else {
        version.to_owned()
    }
}

/// `3.10` after `3.9`.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// `python3`, `python3.12`, `python3.13t`.
fn is_interpreter(name: &OsStr) -> bool {
    let rest = name.to_str().and_then(|name| name.strip_prefix("python3"));
    rest.is_some_and(|rest| {
        let minor = rest.strip_prefix('.').unwrap_or(rest);
        let minor = minor.strip_suffix('t').unwrap_or(minor);
        rest.is_empty()
            || (minor != rest && !minor.is_empty() && numbers(minor).len() == 1)
                && minor.bytes().all(|b| b.is_ascii_digit())
    })
}

fn candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = env::split_paths(&path)
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| is_interpreter(&entry.file_name()))
        .filter_map(|entry| entry.path().canonicalize().ok())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The real file of an interpreter and its version; none if it is no interpreter after all.
///
/// A name of pyenv's runs the version that the user has chosen; one that has another version in it is asked again for
/// that.
fn who(path: &Path) -> Option<(PathBuf, String)> {
    let ask = || {
        let mut command = Command::new(path);
        command.args(["-I", "-S", "-c", WHO]);
        command
    };
    let name = path.file_name()?.to_str()?.strip_prefix("python")?;
    let text = output_within(&mut ask(), PATIENCE)
        .or_else(|| output_within(ask().env("PYENV_VERSION", name), PATIENCE))?;
    let mut lines = text.lines();
    let file = PathBuf::from(lines.next()?);
    let version = lines.next()?.to_owned();
    (file.is_absolute() && version.starts_with('3')).then_some((file, version))
}

/// What `command` writes, if it succeeds in that time.
fn output_within(command: &mut Command, limit: Duration) -> Option<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < limit => thread::sleep(Duration::from_millis(2)),
            _ => {
                // It may just have ended; then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}

/// An arm for each interpreter, which `measure` gets by its key and people read as its name and `words`; for each of
/// `derived`, a way and its words, one more derived from it; at the small scale for the oldest and the newest. Without any
/// interpreter, one arm that is skipped. None of them is required.
pub(crate) fn arms(scale: Scale, words: &str, derived: &[(&str, &str)]) -> Vec<Arm> {
    let found = &*FOUND;
    let count = found.len().min(scale.pick(QUICK, usize::MAX));
    let mut arms = Vec::new();
    for i in 0..count {
        let python = &found[i * (found.len() - 1) / (count - 1).max(1)];
        let label = |words: &str| kept(format!("{}, {words}", python.name));
        let key = kept(python.key.clone());
        arms.push(Arm::measured(key, label(words)).optional());
        for (way, words) in derived {
            let key = kept(derived_key(way, &python.key));
            arms.push(Arm::derived(key, label(words)).optional());
        }
    }
    if arms.is_empty() {
        arms.push(Arm::measured(NONE, "Python").optional());
    }
    arms
}

/// The key of an arm that runs `way` in the newest interpreter; the way, a hyphen and what [`run`] takes.
pub(crate) fn newest_by(way: &str) -> &'static str {
    let newest = FOUND.last().map_or(NONE, |python| &python.key);
    kept(derived_key(way, newest))
}

/// The key of the arm that is derived from the arm `key` and shows `way`.
pub(crate) fn derived_key(way: &str, key: &str) -> String {
    format!("{way}-{key}")
}

/// Whether an interpreter runs the arm.
pub(crate) fn is_arm(arm: &str) -> bool {
    arm == NONE || arm.starts_with(KEY)
}

/// The arms of interpreters that have samples, with a name for people, the oldest version first.
pub(crate) fn measured(samples: &Samples) -> Vec<(String, String)> {
    let of_version = |key: &str| {
        key.strip_prefix(KEY)?;
        Some((samples.median(key, VERSION), key.to_owned()))
    };
    let mut found: Vec<(f64, String)> = samples.arms().filter_map(of_version).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut seen = Vec::new();
    let named = |(version, key): (f64, String)| {
        let name = format!("{}.{}", (version / 1000.0).trunc(), version % 1000.0);
        seen.push(name.clone());
        let same = seen.iter().filter(|other| **other == name).count();
        (key, format!("Python {}", numbered(&name, same)))
    };
    found.into_iter().map(named).collect()
}

/// The number under which a sample of an interpreter holds its version: a thousand times the first part, and the second.
pub(crate) const VERSION: &str = "version";

/// Runs `script` with `arguments` in the interpreter of `arm`; it writes a name and a number on each line, or the word
/// `series`, a name and numbers.
///
/// # Errors
///
/// Skipped if there is no interpreter, failed if the script did.
pub(crate) fn run(arm: &str, script: &str, arguments: &[String]) -> Result<Sample, ArmError> {
    let Some(path) = arm.strip_prefix(KEY) else {
        return Err(ArmError::Skipped("there is no python3 on the PATH".into()));
    };
    let output = Command::new(path)
        .args(["-I", "-S", "-c", script])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| ArmError::Skipped(format!("cannot start {path}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it said nothing").to_owned();
        return Err(ArmError::Failed(format!(
            "{path}: {}: {last}",
            output.status
        )));
    }
    Ok(numbers_in(&String::from_utf8_lossy(&output.stdout)))
}

fn numbers_in(text: &str) -> Sample {
    text.lines().fold(Sample::new(), |sample, line| {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("series"), Some(name)) => {
                sample.with_series(name, words.filter_map(|word| word.parse().ok()))
            }
            (Some(name), Some(number)) => {
                let rest = words.next();
                let number = rest.map_or(number.parse().ok(), |_| None);
                sample.with(name, number.unwrap_or(f64::NAN))
            }
            _ => sample,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interpreters_are_told_from_those_of_their_tools() {
        let is = |name: &str| is_interpreter(OsStr::new(name));
        for name in ["python3", "python3.9", "python3.12", "python3.13t"] {
            assert!(is(name), "{name}");
        }
        for name in [
            "python",
            "python3-config",
            "python3.",
            "python3.x",
            "python3t",
            "python30",
        ] {
            assert!(!is(name), "{name}");
        }
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(numbers("3.10") > numbers("3.9"));
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_and_says_nothing() {
        let mut sleeper = Command::new("sleep");
        assert_eq!(output_within(sleeper.arg("100"), Duration::ZERO), None);
        let mut echo = Command::new("echo");
        assert_eq!(
            output_within(echo.arg("a"), PATIENCE).as_deref(),
            Some("a\n")
        );
        assert_eq!(output_within(&mut Command::new("false"), PATIENCE), None);
    }

    #[test]
    fn lines_become_numbers_and_other_lines_nothing() {
        let sample = numbers_in("took 12.5\nhello\nversion 3012\nnot a number\n");
        assert_eq!((sample.get("took"), sample.get(VERSION)), (12.5, 3012.0));
        assert_eq!(sample.keys().count(), 2);
        let sample = numbers_in("series at 1 2.5\nseries none\n");
        assert_eq!(sample.series("at"), [1.0, 2.5]);
        assert!(sample.series("none").is_empty());
    }

    #[test]
    fn interpreters_that_were_measured_come_by_version_and_arms_of_others_not_at_all() {
        let mut samples = Samples::new();
        let mut add = |key: &str, version| samples.push(key, Sample::new().with(VERSION, version));
        add("python:/a/3.10", 3010.0);
        add("python:/a/3.8", 3008.0);
        add("python:/b/3.8", 3008.0);
        add("processes-python:/a/3.8", 3008.0);
        let names: Vec<_> = measured(&samples)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["Python 3.8", "Python 3.8 #2", "Python 3.10"]);
    }

    #[test]
    fn without_an_interpreter_the_arm_is_skipped() {
        assert!(matches!(run(NONE, "", &[]), Err(ArmError::Skipped(_))));
        let gone = format!("{KEY}/no/such/python3");
        assert!(matches!(run(&gone, "", &[]), Err(ArmError::Skipped(_))));
    }
}
