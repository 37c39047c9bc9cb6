//! `redis`: the blocking client against a real redis-server.

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use brigade_ecosystem::server::Redis;
use redis::{Client, Commands, Connection};

fn connect(url: &str) -> Connection {
    Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("a server that listens")
}

#[test]
fn slow_commands_overlap() {
    let Some(server) = Redis::start() else {
        return;
    };
    on_two_workers(|runtime| {
        let url = server.url();
        let connections = on_green_threads(runtime, 40, move |_| connect(&url));
        // Nobody pushes: each waits until its time is up.
        let answers = Overlap::of(SLOW).check(runtime, connections, |index, mut connection| {
            let answer: Option<(String, String)> = connection
                .blpop(format!("nothing {index}"), SLOW.as_secs_f64())
                .expect("an answer");
            answer
        });
        assert_eq!(answers, vec![None; 40]);
    });
}

#[test]
fn every_item_of_a_queue_reaches_one_of_the_threads_that_wait_for_it() {
    const CONSUMERS: usize = 16;
    const PRODUCERS: usize = 8;
    const ITEMS: usize = 200;
    let Some(server) = Redis::start() else {
        return;
    };
    on_two_workers(|runtime| {
        let url = server.url();
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| {
                let url = url.clone();
                runtime.spawn(move || {
                    let mut connection = connect(&url);
                    let mut seen = Vec::new();
                    loop {
                        let (_, item): (String, String) =
                            connection.blpop("queue", 0.0).expect("an item");
                        if item == "end" {
                            return seen;
                        }
                        seen.push(item.parse::<usize>().expect("a number"));
                    }
                })
            })
            .collect();
        let to = url.clone();
        on_green_threads(runtime, PRODUCERS, move |index| {
            let mut connection = connect(&to);
            for item in 0..ITEMS {
                let _: usize = connection
                    .rpush("queue", index * ITEMS + item)
                    .expect("room");
            }
        });
        let mut connection = connect(&url);
        let _: usize = connection
            .rpush("queue", vec!["end"; CONSUMERS])
            .expect("room");
        let mut seen: Vec<usize> = consumers
            .into_iter()
            .flat_map(|consumer| consumer.join().expect("a consumer"))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..PRODUCERS * ITEMS).collect::<Vec<_>>());
    });
}

#[test]
fn sums_and_bytes_are_exact_under_load() {
    const CLIENTS: usize = 32;
    const ROUNDS: usize = 50;
    let Some(server) = Redis::start() else {
        return;
    };
    on_two_workers(|runtime| {
        let url = server.url();
        let to = url.clone();
        on_green_threads(runtime, CLIENTS, move |index| {
            let mut connection = connect(&to);
            for round in 0..ROUNDS {
                let _: usize = connection.incr("sum", index + round).expect("a number");
                // Up to 256 KiB: more than the buffers of a socket hold.
                let sent = payload::bytes(index, round, 1 << (round % 19));
                let key = format!("bytes {index}");
                let (seen,): (Vec<u8>,) = redis::pipe()
                    .set(&key, &sent)
                    .ignore()
                    .get(&key)
                    .query(&mut connection)
                    .expect("two answers");
                assert!(seen == sent, "{index}/{round} differs");
            }
        });
        let sum: usize = connect(&url).get("sum").expect("a number");
        let expected: usize = (0..CLIENTS)
            .flat_map(|index| (0..ROUNDS).map(move |round| index + round))
            .sum();
        assert_eq!(sum, expected);
    });
}
