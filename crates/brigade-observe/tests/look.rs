//! Processes of all kinds, and files that are not there.

mod common;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use brigade_observe::{Activity, Green, Look, Source, green_threads};
use common::{Target, example, until};

#[test]
fn every_thread_is_shown_with_what_it_waits_in() {
    let target = Target::start(Command::new(example("busy")).args(["sockets", "20"]));
    let source = Source::new();
    let look = until(
        || Look::take(&source, target.pid()).unwrap(),
        |look| {
            let waits = |channel: &str| {
                let each = look.threads.iter();
                each.filter(|t| {
                    t.wait_channel
                        .as_deref()
                        .is_some_and(|at| at.contains(channel))
                })
                .count()
            };
            waits("unix_stream") == 20 && waits("nanosleep") == 1
        },
    );
    assert_eq!(look.threads.len(), 21);
    assert!(look.process.command.ends_with("busy sockets 20"));
}

#[test]
fn a_thread_that_computes_shows_cpu_time_between_looks_and_a_sleeper_none() {
    let target = Target::start(Command::new(example("busy")).args(["hogs", "1"]));
    let source = Source::new();
    let before = Look::take(&source, target.pid()).unwrap();
    let activity = until(
        || Activity::between(&before, &Look::take(&source, target.pid()).unwrap()),
        |activity| activity.total.cpu_percent > 0.0,
    );
    assert_eq!(activity.each.len(), 2);
    assert!(activity.each[0].rates.cpu_percent > 0.0);
    assert_eq!(activity.each[0].state, 'R');
    assert_eq!(activity.each[1].tid, target.pid());
}

#[test]
fn a_process_that_has_ended_is_no_such_process_or_a_zombie_and_never_a_panic() {
    let mut target = Target::start(Command::new("sh").args(["-c", "echo ready; read x"]));
    let pid = target.pid();
    target.0.kill().unwrap();
    let look = until(
        || Look::take(&Source::new(), pid).unwrap(),
        |look| look.process.is_zombie,
    );
    assert_eq!(
        green_threads(&Source::new(), &look.process),
        Green::NotBrigade
    );
    target.0.wait().unwrap();
    let error = Look::take(&Source::new(), pid).unwrap_err();
    assert!(error.is_no_such_process(), "{error}");
    assert!(error.to_string().contains(&pid.to_string()));
}

#[test]
fn a_thread_of_the_kernel_is_told_as_one() {
    let look = Look::take(&Source::new(), 2).unwrap();
    if look.process.name != "kthreadd" {
        return eprintln!("skipped: a container shows no threads of the kernel");
    }
    assert!(look.process.is_kernel_thread);
    assert_eq!(
        green_threads(&Source::new(), &look.process),
        Green::NotBrigade
    );
}

#[test]
fn the_number_of_a_thread_leads_to_its_process() {
    let target = Target::start(Command::new(example("busy")).args(["hogs", "1"]));
    let source = Source::new();
    let look = Look::take(&source, target.pid()).unwrap();
    let tid = look.threads[1].tid;
    assert_eq!(Look::take(&source, tid).unwrap().process.pid, target.pid());
}

/// Runs this test again as a user without privilege, to look at a process of this one.
#[test]
fn the_process_of_another_user_is_shown_and_what_lacks_is_named_with_what_would_help() {
    const PID: &str = "BRIGADE_LOOK_AT";
    if let Ok(pid) = std::env::var(PID) {
        let source = Source::new();
        let look = Look::take(&source, pid.parse().unwrap()).unwrap();
        assert!(look.threads.len() > 1);
        let missing = source.missing();
        let wait = missing
            .iter()
            .find(|missing| missing.what.contains("wait channel"));
        assert!(wait.unwrap().remedy.contains("root"), "{missing:?}");
        let Green::Denied { why, remedy } = green_threads(&source, &look.process) else {
            panic!("it could be read");
        };
        assert!(
            why.contains("user 0") && remedy.contains("root"),
            "{why}: {remedy}"
        );
        return;
    }
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return eprintln!("skipped: only root can be another user");
    }
    let target = Target::start(Command::new(example("parked")).args(["mix", "4"]));
    // The test program may stand where the other user may not go.
    let copy = std::env::temp_dir().join(format!("brigade-look-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let name = "the_process_of_another_user_is_shown_and_what_lacks_is_named_with_what_would_help";
    let output = Command::new(&copy)
        .args([name, "--exact", "--nocapture"])
        .env(PID, target.pid().to_string())
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:#?}");
}

/// A tree that looks like `/proc`, removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("brigade-proc-{name}-{}", std::process::id()));
        let tree = Tree(root);
        let stat = "7 (planted) S 1 7 7 0 -1 4194560 1 0 0 0 30 20 0 0 20 0 1 0 55 0 0 0 0 0 0 0 0 \
                    0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0";
        let status = "Name:\tplanted\nTgid:\t7\nUid:\t0\t0\t0\t0\nvoluntary_ctxt_switches:\t5\n\
                      nonvoluntary_ctxt_switches:\t6\n";
        for (file, text) in [
            ("7/stat", stat),
            ("7/status", status),
            ("7/task/7/stat", stat),
        ] {
            tree.write(file, text);
        }
        tree
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_that_the_kernel_lacks_are_named_and_times_are_taken_from_ticks() {
    let tree = Tree::new("bare");
    let source = Source::at(&tree.0);
    let look = Look::take(&source, 7).unwrap();
    let thread = &look.threads[0];
    // Fifty ticks, of which there are a hundred in a second.
    assert_eq!((thread.run_ns, thread.queue_ns), (500_000_000, None));
    assert_eq!(
        (thread.voluntary, thread.wait_channel.as_deref()),
        (None, None)
    );
    let missing = source.missing();
    let lacks = |word: &str| missing.iter().any(|missing| missing.what.contains(word));
    assert!(
        lacks("run queue") && lacks("switches") && lacks("wait channel"),
        "{missing:?}"
    );
}

#[test]
fn a_schedstat_of_zeroes_is_taken_as_none() {
    let tree = Tree::new("zeroes");
    tree.write("7/task/7/schedstat", "0 0 0\n");
    let source = Source::at(&tree.0);
    let look = Look::take(&source, 7).unwrap();
    assert_eq!(look.threads[0].queue_ns, None);
    tree.write("7/task/7/schedstat", "12 34 5\n");
    let look = Look::take(&source, 7).unwrap();
    assert_eq!(
        (look.threads[0].run_ns, look.threads[0].queue_ns),
        (12, Some(34))
    );
}

#[test]
fn like_threads_are_summed_up_and_others_kept_apart() {
    let tree = Tree::new("groups");
    for (tid, name, state) in [
        (8, "worker-1", 'S'),
        (9, "worker-22", 'S'),
        (10, "worker-3", 'R'),
    ] {
        let stat = format!(
            "{tid} ({name}) {state} 1 7 7 0 -1 4194560 1 0 0 0 30 20 0 0 20 0 1 0 55 0 0 0 0 0 0 0 \
             0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0"
        );
        tree.write(&format!("7/task/{tid}/stat"), &stat);
    }
    let look = Look::take(&Source::at(&tree.0), 7).unwrap();
    let activity = Activity::between(&look, &look);
    let groups: Vec<_> = activity
        .groups
        .iter()
        .map(|group| (group.name.as_str(), group.state, group.count))
        .collect();
    assert_eq!(
        groups,
        [
            ("worker-#", 'S', 2),
            ("planted", 'S', 1),
            ("worker-3", 'R', 1)
        ]
    );
}

#[test]
fn a_missing_proc_is_told_as_such() {
    let error = Look::take(&Source::at("/nonexistent"), 7).unwrap_err();
    assert!(
        error.to_string().contains("/proc is not mounted"),
        "{error}"
    );
    let tree = Tree::new("garbage");
    tree.write("7/stat", "7 (x");
    let error = Look::take(&Source::at(&tree.0), 7).unwrap_err();
    assert!(!error.is_no_such_process(), "{error}");
}
