//! `ureq`: HTTP requests over plain connections, to a server in plain blocking code on the same green threads.

use std::io;
use std::time::Duration;

use brigade_ecosystem::http::{Request, Server};
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};

/// Answers the path after a while.
fn slow(request: &Request) -> Vec<u8> {
    std::thread::sleep(SLOW);
    request.path.clone().into_bytes()
}

/// Answers the path and the body, backwards.
fn backwards(request: &Request) -> Vec<u8> {
    let mut answer = request.path.clone().into_bytes();
    answer.extend(request.body.iter().rev());
    answer
}

#[test]
fn slow_requests_overlap() {
    on_two_workers(|runtime| {
        let server = Server::start(runtime, slow);
        let address = server.address();
        let answers = Overlap::of(SLOW).check(runtime, vec![(); 40], move |index, ()| {
            let url = format!("http://{address}/{index}");
            let agent = ureq::Agent::new_with_defaults();
            let mut answer = agent.get(&url).call().expect("an answer");
            answer.body_mut().read_to_string().expect("a text")
        });
        let expected: Vec<String> = (0..40).map(|index| format!("/{index}")).collect();
        assert_eq!(answers, expected);
        assert_eq!(server.stop(), 40);
    });
}

#[test]
fn slow_requests_with_timeouts_overlap() {
    on_two_workers(|runtime| {
        let server = Server::start(runtime, slow);
        let address = server.address();
        // Timeouts make ureq set SO_RCVTIMEO and SO_SNDTIMEO, and connect without blocking.
        let answers = Overlap::of(SLOW).check(runtime, vec![(); 40], move |index, ()| {
            let limit = Some(Duration::from_secs(60));
            let config = ureq::Agent::config_builder()
                .timeout_connect(limit)
                .timeout_send_request(limit)
                .timeout_recv_response(limit)
                .build();
            let agent = ureq::Agent::new_with_config(config);
            let url = format!("http://{address}/{index}");
            let mut answer = agent.get(&url).call().expect("an answer");
            answer.body_mut().read_to_string().expect("a text")
        });
        let expected: Vec<String> = (0..40).map(|index| format!("/{index}")).collect();
        assert_eq!(answers, expected);
        assert_eq!(server.stop(), 40);
    });
}

#[test]
fn a_timeout_ends_a_request_that_has_no_answer() {
    on_two_workers(|runtime| {
        // Reads until the client hangs up, and says nothing.
        let server = Server::accepting(runtime, |mut stream| {
            io::copy(&mut stream, &mut io::sink()).map(drop)
        });
        let address = server.address();
        let timed_out = on_green_threads(runtime, 20, move |index| {
            let config = ureq::Agent::config_builder()
                .timeout_recv_response(Some(Duration::from_millis(100)))
                .build();
            let agent = ureq::Agent::new_with_config(config);
            let answer = agent.get(format!("http://{address}/{index}")).call();
            matches!(answer, Err(ureq::Error::Timeout(_)))
        });
        assert_eq!(timed_out, vec![true; 20]);
        assert_eq!(server.stop(), 20);
    });
}

#[test]
fn many_requests_through_one_agent_get_their_own_answers() {
    const THREADS: usize = 32;
    const ROUNDS: usize = 40;
    on_two_workers(|runtime| {
        let server = Server::start(runtime, backwards);
        let address = server.address();
        let agent = ureq::Agent::new_with_defaults();
        let shared = agent.clone();
        on_green_threads(runtime, THREADS, move |index| {
            for round in 0..ROUNDS {
                let path = format!("/{index}/{round}");
                let body = payload::bytes(index, round, 37 * (index + 1) * (round % 8));
                let mut answer = shared
                    .post(format!("http://{address}{path}"))
                    .send(&body[..])
                    .expect("an answer");
                let answer = answer.body_mut().read_to_vec().expect("a body");
                let (head, tail) = answer.split_at(path.len());
                assert_eq!(head, path.as_bytes());
                assert!(tail.iter().rev().eq(&body), "{path} has another body");
            }
        });
        drop(agent);
        let connections = server.stop();
        assert!(
            (1..THREADS * ROUNDS).contains(&connections),
            "{connections} connections: none was used twice"
        );
    });
}
