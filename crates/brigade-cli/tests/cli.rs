//! The program from outside: exit codes, streams, JSON, signals.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use brigade_lab::{Document, Report, SCHEMA_VERSION, Verdict};
use serde_json::Value;

fn brigade() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    command
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    brigade()
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

#[test]
fn without_arguments_it_prints_a_short_help_and_not_an_error() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("Usage: brigade"));
    assert!(stdout(&output).contains("brigade lab"));
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_long_help_states_examples_and_exit_codes_in_80_columns() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for word in ["Examples:", "Exit codes:", "130"] {
        assert!(stdout(&output).contains(word), "{word}");
    }
    assert!(
        stdout(&output)
            .lines()
            .all(|line| line.chars().count() <= 80)
    );
}

#[test]
fn an_unknown_experiment_is_a_usage_error_with_the_nearest_name() {
    let output = run(&["lab", "run", "context-swich"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("'context-switch'"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for arguments in [
        &["lab", "run"][..],
        &["lba"],
        &["lab", "--seed", "x"],
        &["doctor", "x"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_list_names_every_experiment_with_its_claim() {
    let output = run(&["lab", "list"]);
    assert_eq!(output.status.code(), Some(0));
    for experiment in brigade_lab::all() {
        assert!(stdout(&output).contains(experiment.info().name));
    }
    let json: Value = serde_json::from_slice(&run(&["lab", "list", "--json"]).stdout).unwrap();
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    assert_eq!(
        json["experiments"].as_array().unwrap().len(),
        brigade_lab::all().len()
    );
}

#[test]
fn the_doctor_reports_as_text_and_as_json_with_the_same_exit_code() {
    let text = run(&["doctor"]);
    let json = run(&["doctor", "--json"]);
    assert_eq!(text.status.code(), json.status.code());
    assert!(matches!(text.status.code(), Some(0 | 1)));
    assert!(stdout(&text).contains("Model"));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    assert!(json["model"].is_string());
    assert!(
        json["facts"]
            .as_array()
            .unwrap()
            .iter()
            .all(|fact| fact["ok"].is_boolean())
    );
}

#[test]
fn a_run_writes_one_document_whose_verdict_the_exit_code_repeats() {
    let output = run(&["lab", "run", "lost-updates", "--json", "--seed", "42"]);
    let document: Document = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(
        (document.schema_version, document.seed),
        (SCHEMA_VERSION, 42)
    );
    let [report] = &document.reports[..] else {
        panic!("one report")
    };
    let code = match report.verdict {
        Verdict::Confirmed => 0,
        Verdict::NotHere => 1,
        Verdict::Inconclusive(_) | Verdict::Skipped(_) => 3,
    };
    assert_eq!(output.status.code(), Some(code), "{:?}", report.verdict);
    assert!(report.arms.iter().any(|arm| arm.samples.len() >= 5));
    assert_eq!(stderr(&output), "", "no progress without a terminal");
}

#[test]
fn a_run_reads_in_80_columns_without_colour_or_progress_in_a_pipe() {
    let output = run(&["lab", "run", "spawn-cost", "--seed", "7"]);
    let text = stdout(&output);
    for word in ["Claim", "Done", "Control", "Verdict", "Next", "seed 7"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!text.contains('\u{1b}'));
    assert_eq!(stderr(&output), "");
}

#[test]
fn colour_follows_the_flag_and_no_color() {
    let always = run(&["doctor", "--color", "always"]);
    assert!(stdout(&always).contains('\u{1b}'));
    let forced = |no_color: &str| {
        let mut command = brigade();
        command
            .arg("doctor")
            .env("CLICOLOR_FORCE", "1")
            .env("NO_COLOR", no_color);
        command.output().expect("the program starts")
    };
    assert!(!stdout(&run(&["doctor", "--color", "never"])).contains('\u{1b}'));
    assert!(stdout(&forced("")).contains('\u{1b}'));
}

#[test]
fn without_a_utf8_locale_the_text_is_ascii() {
    let mut command = brigade();
    command.args(["lab", "list"]).env("LC_ALL", "C");
    let output = command.output().expect("the program starts");
    assert!(output.stdout.is_ascii());
    assert!(stdout(&output).contains("10 us"));
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = brigade();
    let output = command
        .args(["lab", "list"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}

/// Whether a living process carries `mark` in its environment.
fn somebody_carries(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.flatten().any(|entry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(mark)
    })
}

#[test]
fn an_interrupt_ends_the_arm_prints_what_there_is_and_exits_with_130() {
    let mark = format!("BRIGADE_TEST_MARK={}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = brigade();
    command
        .args(["lab", "run", "all", "--full"])
        .env(name, value);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut head = String::new();
    while !head.contains("Run") {
        head.clear();
        assert_ne!(
            lines.read_line(&mut head).unwrap(),
            0,
            "the head is printed first"
        );
    }
    assert!(
        somebody_carries(&mark),
        "the mark is found while the program runs"
    );
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: sends a signal to a child of this process that has not been waited for, so the id
    // still names it; no memory is involved.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(rest.contains("INCONCLUSIVE"), "{rest}");
    assert!(stderr(&output).contains("interrupted"));
    assert!(!somebody_carries(&mark), "no process is left behind");
}

/// The processes that carry `mark` in their environment and were started as `name`.
fn carriers_named(mark: &str, name: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap();
    let carries = |path: &std::path::Path| {
        let read = |file| std::fs::read(path.join(file)).unwrap_or_default();
        read("cmdline").starts_with(name.as_bytes())
            && String::from_utf8_lossy(&read("environ")).contains(mark)
    };
    processes
        .flatten()
        .filter(|entry| carries(&entry.path()))
        .count()
}

/// Waits until `done`; fails after far longer than it may take.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn arms_that_talk_to_a_server_have_one_each_and_leave_none_behind() {
    let mark = format!("BRIGADE_TEST_PEERS={}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = brigade();
    command
        .args(["lab", "run", "io-bound", "event-loop-scale", "--json"])
        .env(name, value);
    let output = command.output().expect("the program starts");
    let document: Document = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(document.reports.len(), 2);
    for report in &document.reports {
        for arm in &report.arms {
            assert_eq!(arm.problem, None, "{} {}", report.name, arm.key);
            assert_eq!(arm.samples.len(), report.repeats);
        }
    }
    assert!(!somebody_carries(&mark), "no process is left behind");
}

#[test]
fn a_server_ends_with_its_arm_even_when_the_arm_is_killed() {
    let mark = format!("BRIGADE_TEST_KILL={}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = brigade();
    command
        .args(["__arm", "io-bound", "in-turn", "full"])
        .env(name, value);
    let mut arm = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("the server starts", || {
        carriers_named(&mark, "brigade-peer") == 1
    });
    arm.kill().unwrap();
    arm.wait().unwrap();
    wait_until("the server ends", || !somebody_carries(&mark));
}

/// The values under `key` in the samples of an arm.
fn values(report: &Report, arm: &str, key: &str) -> Vec<f64> {
    let arm = report.arms.iter().find(|found| found.key == arm);
    let samples = &arm.expect("the arm exists").samples;
    samples.iter().map(|sample| sample.get(key)).collect()
}

#[test]
fn deadlocks_hang_their_own_process_alone_and_are_reported_only_where_there_are_any() {
    let mark = format!("BRIGADE_TEST_HANG={}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = brigade();
    command
        .args(["lab", "run", "deadlock", "--json"])
        .env(name, value);
    let output = command.output().expect("the program ends");
    let document: Document = serde_json::from_slice(&output.stdout).expect("one document");
    let [report] = &document.reports[..] else {
        panic!("one report")
    };
    for arm in &report.arms {
        assert_eq!(arm.problem, None, "{}", arm.key);
    }
    assert!(!somebody_carries(&mark), "no process is left behind");
    // Where another program kept the two threads apart in every round, there is no deadlock to be seen.
    let hung = |arm| {
        let done = values(report, arm, "done");
        done.into_iter().map(|done| done < 1.0).collect::<Vec<_>>()
    };
    for arm in ["report-kernel", "report-green"] {
        let reports = values(report, arm, "reports");
        for (hung, reports) in hung(arm).into_iter().zip(reports) {
            assert_eq!(reports, f64::from(u8::from(hung)), "{arm}");
        }
    }
    assert!(hung("opposite").contains(&true));
    assert!(hung("report-green").contains(&true));
    assert_eq!(values(report, "twin", "reports"), vec![0.0; report.repeats]);
    for arm in [
        "shared",
        "back-off",
        "preempted",
        "ordered",
        "unwound",
        "twin",
    ] {
        assert_eq!(values(report, arm, "done"), vec![1.0; report.repeats]);
    }
}

#[test]
fn a_crash_takes_the_threads_of_its_process_along_and_no_other_process() {
    let output = run(&["lab", "run", "crash-isolation", "--json"]);
    let document: Document = serde_json::from_slice(&output.stdout).expect("one document");
    let [report] = &document.reports[..] else {
        panic!("one report")
    };
    assert_eq!(report.verdict, Verdict::Confirmed, "{:?}", report.parts);
    for (arm, finished) in [
        ("panic-kernel", 1.0),
        ("panic-green", 1.0),
        ("fault-thread", 0.0),
        ("fault-process", 1.0),
        ("fault-worker", 1.0),
        ("abort-worker", 1.0),
    ] {
        assert_eq!(
            values(report, arm, "finished"),
            vec![finished; report.repeats]
        );
    }
}

#[test]
fn contradictory_orders_are_reported_on_one_thread_and_one_order_is_not() {
    let output = run(&["lab", "run", "lock-order", "--json"]);
    let document: Document = serde_json::from_slice(&output.stdout).expect("one document");
    let [report] = &document.reports[..] else {
        panic!("one report")
    };
    assert_eq!(report.verdict, Verdict::Confirmed, "{:?}", report.parts);
}

/// Whatever their verdicts: those depend on what else the machine does.
#[test]
fn experiments_on_tasks_and_pools_have_every_sample_and_every_number_they_judge_by() {
    let names = [
        "preemption-fairness",
        "coroutines",
        "event-loop-freeze",
        "pool-vs-thread-per-task",
        "pool-size",
    ];
    let output = run(&[&["lab", "run", "--json"], &names[..]].concat());
    let document: Document = serde_json::from_slice(&output.stdout).expect("one document");
    let reports = document.reports.iter();
    assert_eq!(
        reports.clone().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        names
    );
    for report in reports {
        for arm in &report.arms {
            let name = format!("{}, {}", report.name, arm.key);
            assert_eq!(arm.problem, None, "{name}");
            assert_eq!(arm.samples.len(), report.repeats, "{name}");
            for metric in &report.metrics {
                let known = |sample: &brigade_lab::Sample| !sample.get(&metric.key).is_nan();
                assert!(arm.samples.iter().any(known), "{name}, {}", metric.key);
            }
        }
        assert!(!report.premises.is_empty() && !report.parts.is_empty());
    }
}
