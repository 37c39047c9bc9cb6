//! `reqwest`, which insists on tokio: its futures are polled by green threads, with tokio entered.

use std::time::Duration;

use brigade::task;
use brigade_ecosystem::http::Server;
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};

/// Threads of tokio, and of the default runtime.
const OTHERS: usize = 12;

#[test]
fn slow_answers_overlap_and_hold_no_kernel_threads() {
    const CLIENTS: usize = 40;
    on_two_workers(|runtime| {
        let server = Server::start(runtime, |request| {
            std::thread::sleep(SLOW);
            request.path.clone().into_bytes()
        });
        let address = server.address();
        let client = reqwest::Client::new();
        let answers = Overlap::of(SLOW).own_kernel_threads(OTHERS).check(
            runtime,
            vec![client; CLIENTS],
            move |index, client| {
                task::tokio::block_on(async {
                    let url = format!("http://{address}/{index}");
                    let answer = client.get(url).send().await.expect("an answer");
                    answer.text().await.expect("a text")
                })
            },
        );
        let expected: Vec<String> = (0..CLIENTS).map(|index| format!("/{index}")).collect();
        assert_eq!(answers, expected);
        server.stop();
    });
}

#[test]
fn many_requests_get_their_own_answers() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 20;
    on_two_workers(|runtime| {
        let server = Server::start(runtime, |request| request.body.clone());
        let address = server.address();
        let client = reqwest::Client::new();
        on_green_threads(runtime, CLIENTS, move |sender| {
            let client = client.clone();
            // As a task of Brigade this time.
            let asked = task::tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let body = payload::bytes(sender, round, round * round * 100);
                    let url = format!("http://{address}/");
                    let answer = client.post(url).body(body.clone()).send().await;
                    let bytes = answer.expect("an answer").bytes().await.expect("a body");
                    assert!(bytes == body, "another answer");
                }
            });
            asked.join().expect("all answers");
        });
        server.stop();
    });
}

#[test]
fn its_timeout_ends_a_request_that_gets_no_answer() {
    on_two_workers(|runtime| {
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = silent.local_addr().expect("a bound socket");
        let asked = runtime.spawn(move || {
            task::tokio::block_on(async {
                let client = reqwest::Client::builder()
                    .timeout(Duration::from_millis(50))
                    .build()
                    .expect("a client");
                client.get(format!("http://{address}/")).send().await
            })
        });
        let error = asked.join().expect("no panic").expect_err("nobody answers");
        assert!(error.is_timeout(), "{error}");
    });
}
