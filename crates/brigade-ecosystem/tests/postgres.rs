//! `postgres`: the blocking client against a real PostgreSQL server.
//!
//! The crate runs a small tokio of its own in each client, on the thread that calls: no kernel thread of its own, and
//! what blocks is `epoll_wait`.

use std::io::{Read, Write};

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use brigade_ecosystem::server::Postgres;
use postgres::{Client, IsolationLevel, NoTls};

fn connect(to: &str) -> Client {
    Client::connect(to, NoTls).expect("a server that listens")
}

#[test]
fn slow_queries_overlap() {
    let Some(server) = Postgres::start() else {
        return;
    };
    on_two_workers(|runtime| {
        let to = server.over_tcp();
        let clients = on_green_threads(runtime, 40, move |_| connect(&to));
        let answers = Overlap::of(SLOW).check(runtime, clients, |index, mut client| {
            let index = i32::try_from(index).expect("a small number");
            let row = client
                .query_one(
                    "SELECT $1::int4 FROM pg_sleep($2)",
                    &[&index, &SLOW.as_secs_f64()],
                )
                .expect("an answer");
            row.get::<_, i32>(0)
        });
        assert_eq!(answers, (0..40).collect::<Vec<i32>>());
    });
}

#[test]
fn clients_that_wait_for_a_row_lock_wait_together_and_lose_no_update() {
    const CLIENTS: usize = 24;
    const ROUNDS: usize = 20;
    let Some(server) = Postgres::start() else {
        return;
    };
    on_two_workers(|runtime| {
        let to = server.over_unix_socket();
        let mut main = connect(&to);
        main.batch_execute(
            "CREATE TABLE total (n int8 NOT NULL);
             INSERT INTO total VALUES (0);
             CREATE TABLE seen (client int4, round int4, PRIMARY KEY (client, round))",
        )
        .expect("an empty database");
        on_green_threads(runtime, CLIENTS, move |index| {
            let mut client = connect(&to);
            let client_number = i32::try_from(index).expect("a small number");
            for round in 0..ROUNDS {
                let round_number = i32::try_from(round).expect("a small number");
                let mut transaction = client
                    .build_transaction()
                    .isolation_level(IsolationLevel::ReadCommitted)
                    .start()
                    .expect("a transaction");
                let added = i64::try_from(index * ROUNDS + round).expect("a small number");
                transaction
                    .execute("UPDATE total SET n = n + $1", &[&added])
                    .expect("one row");
                transaction
                    .execute(
                        "INSERT INTO seen VALUES ($1, $2)",
                        &[&client_number, &round_number],
                    )
                    .expect("a new key");
                if round % 5 == 4 {
                    transaction.rollback().expect("a rollback");
                } else {
                    transaction.commit().expect("a commit");
                }
            }
        });
        let committed = |number: &usize| number % ROUNDS % 5 != 4;
        let expected: usize = (0..CLIENTS * ROUNDS).filter(committed).sum();
        let total: i64 = main
            .query_one("SELECT n FROM total", &[])
            .expect("one row")
            .get(0);
        assert_eq!(usize::try_from(total), Ok(expected));
        let seen: i64 = main
            .query_one("SELECT count(*) FROM seen", &[])
            .expect("one row")
            .get(0);
        let rows = (0..CLIENTS * ROUNDS).filter(committed).count();
        assert_eq!(usize::try_from(seen), Ok(rows));
    });
}

#[test]
fn bytes_copied_in_come_out_exactly() {
    const CLIENTS: usize = 8;
    const LINES: usize = 2000;
    let Some(server) = Postgres::start() else {
        return;
    };
    on_two_workers(|runtime| {
        let to = server.over_tcp();
        on_green_threads(runtime, CLIENTS, move |index| {
            let mut client = connect(&to);
            client
                .batch_execute("CREATE TEMPORARY TABLE lines (number int4, text text)")
                .expect("a table of this connection");
            let mut sent = Vec::new();
            for line in 0..LINES {
                let bytes = payload::bytes(index, line, 64);
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(sent, "{line}\t{text}").expect("memory");
            }
            let mut writer = client
                .copy_in("COPY lines FROM STDIN")
                .expect("a copy to begin");
            writer.write_all(&sent).expect("a server that reads");
            assert_eq!(writer.finish().expect("a copy to end"), LINES as u64);
            let mut seen = Vec::new();
            client
                .copy_out("COPY (SELECT * FROM lines ORDER BY number) TO STDOUT")
                .expect("a copy to begin")
                .read_to_end(&mut seen)
                .expect("a copy to end");
            assert!(seen == sent, "client {index} reads other bytes");
        });
    });
}
