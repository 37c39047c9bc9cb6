//! `rusqlite`, bundled: C code that sleeps, calls back and locks files.
//!
//! SQLite waits for a locked database in `usleep`, which parks the green thread. Its file locks, reads, writes and
//! `fsync` do not wait for anybody, or wait for the disk: they are handed off or just made, so no number of kernel
//! threads is asserted for databases in files.

use std::path::Path;
use std::time::Duration;

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, TransactionBehavior, params};

/// A database in memory whose function `pause()` sleeps.
fn with_pause() -> Connection {
    let connection = Connection::open_in_memory().expect("memory");
    connection
        .create_scalar_function("pause", 1, FunctionFlags::SQLITE_UTF8, |context| {
            std::thread::sleep(SLOW);
            context.get::<i64>(0)
        })
        .expect("a function");
    connection
}

/// A database in a file, as a program with many writers opens it.
fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection
        .busy_timeout(Duration::from_secs(60))
        .expect("an open database");
    connection
}

#[test]
fn callbacks_that_sleep_inside_c_code_overlap() {
    on_two_workers(|runtime| {
        let connections = on_green_threads(runtime, 40, |_| with_pause());
        let answers = Overlap::of(SLOW).check(runtime, connections, |index, connection| {
            let index = i64::try_from(index).expect("a small number");
            connection
                .query_row("SELECT pause(?1) + 1", [index], |row| row.get::<_, i64>(0))
                .expect("a row")
        });
        assert_eq!(answers, (1..=40).collect::<Vec<i64>>());
    });
}

#[test]
fn writers_that_wait_for_a_locked_database_wait_together() {
    on_two_workers(|runtime| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("locked.sqlite");
        let mut holder = open(&path);
        holder
            .execute_batch("PRAGMA synchronous = OFF; CREATE TABLE numbers (number INTEGER)")
            .expect("an empty database");
        let lock = holder
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .expect("the only writer");
        // Its busy handler gives up after the timeout, which is what makes the operation slow.
        let to = path.clone();
        let waiting = on_green_threads(runtime, 40, move |_| {
            let connection = open(&to);
            connection.busy_timeout(SLOW).expect("an open database");
            connection
        });
        // The handler counts the pauses it asked for, so it gives up a little early.
        let errors = Overlap::of(SLOW / 2).check(runtime, waiting, |index, connection| {
            connection
                .execute("INSERT INTO numbers VALUES (?1)", params![index])
                .expect_err("the database is locked")
                .sqlite_error_code()
        });
        assert_eq!(errors, vec![Some(rusqlite::ErrorCode::DatabaseBusy); 40]);
        lock.commit().expect("a commit");
    });
}

#[test]
fn rows_in_one_file_are_exact_under_load() {
    const WRITERS: usize = 12;
    const ROUNDS: usize = 25;
    on_two_workers(|runtime| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("shared.sqlite");
        let main = open(&path);
        main.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE total (n INTEGER);
             INSERT INTO total VALUES (0);
             CREATE TABLE blobs (writer INTEGER, round INTEGER, bytes BLOB)",
        )
        .expect("an empty database");
        let to = path.clone();
        on_green_threads(runtime, WRITERS, move |writer| {
            let mut connection = open(&to);
            connection
                .execute_batch("PRAGMA synchronous = NORMAL")
                .expect("an open database");
            for round in 0..ROUNDS {
                let transaction = connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .expect("a turn to write");
                transaction
                    .execute("UPDATE total SET n = n + ?1", params![writer + round])
                    .expect("one row");
                let bytes = payload::bytes(writer, round, 100 * round);
                transaction
                    .execute(
                        "INSERT INTO blobs VALUES (?1, ?2, ?3)",
                        params![writer, round, bytes],
                    )
                    .expect("one row");
                transaction.commit().expect("a commit");
            }
        });
        let total: usize = main
            .query_row("SELECT n FROM total", [], |row| row.get(0))
            .expect("one row");
        let expected: usize = (0..WRITERS)
            .flat_map(|writer| (0..ROUNDS).map(move |round| writer + round))
            .sum();
        assert_eq!(total, expected);
        let mut statement = main
            .prepare("SELECT writer, round, bytes FROM blobs ORDER BY writer, round")
            .expect("a query");
        let rows: Vec<(usize, usize, Vec<u8>)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .and_then(Iterator::collect)
            .expect("rows");
        assert_eq!(rows.len(), WRITERS * ROUNDS);
        for (at, (writer, round, bytes)) in rows.iter().enumerate() {
            assert_eq!((*writer, *round), (at / ROUNDS, at % ROUNDS));
            assert!(*bytes == payload::bytes(*writer, *round, 100 * round));
        }
    });
}
