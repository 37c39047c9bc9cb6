//! `tiny_http`: its requests are received and answered on green threads.
//!
//! The crate keeps one kernel thread that accepts and one per connection (a pool that starts with four); they are its
//! own, and wait in the kernel, so no number of kernel threads is asserted here.

use std::net::SocketAddr;
use std::sync::Arc;

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use tiny_http::{Response, Server};

fn listen() -> (Arc<Server>, SocketAddr) {
    let server = Server::http("127.0.0.1:0").expect("a free port on loopback");
    let address = server.server_addr().to_ip().expect("a TCP socket");
    (Arc::new(server), address)
}

#[test]
fn slow_handlers_overlap_for_a_ureq_client_per_green_thread() {
    const CLIENTS: usize = 40;
    on_two_workers(|runtime| {
        let (server, address) = listen();
        let handlers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let server = Arc::clone(&server);
                runtime.spawn(move || {
                    let request = server.recv().expect("a request");
                    std::thread::sleep(SLOW);
                    let answer = Response::from_string(request.url());
                    request.respond(answer).expect("a client that reads");
                })
            })
            .collect();
        let answers = Overlap::of(SLOW).any_kernel_threads().check(
            runtime,
            vec![(); CLIENTS],
            move |index, ()| {
                let mut answer = ureq::get(format!("http://{address}/{index}"))
                    .call()
                    .expect("an answer");
                answer.body_mut().read_to_string().expect("a text")
            },
        );
        let expected: Vec<String> = (0..CLIENTS).map(|index| format!("/{index}")).collect();
        assert_eq!(answers, expected);
        for handler in handlers {
            handler.join().expect("a handler");
        }
    });
}

#[test]
fn many_requests_get_their_own_answers() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 40;
    const HANDLERS: usize = 8;
    on_two_workers(|runtime| {
        let (server, address) = listen();
        let handlers: Vec<_> = (0..HANDLERS)
            .map(|_| {
                let server = Arc::clone(&server);
                runtime.spawn(move || {
                    let mut served = 0;
                    while let Ok(mut request) = server.recv() {
                        let mut body = Vec::new();
                        request.as_reader().read_to_end(&mut body).expect("a body");
                        body.reverse();
                        let answer = Response::from_data(body);
                        request.respond(answer).expect("a client that reads");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        on_green_threads(runtime, CLIENTS, move |index| {
            let agent = ureq::Agent::new_with_defaults();
            for round in 0..ROUNDS {
                let body = payload::bytes(index, round, 91 * (index + 1) * (round % 8));
                let mut answer = agent
                    .post(format!("http://{address}/"))
                    .send(&body[..])
                    .expect("an answer");
                let answer = answer.body_mut().read_to_vec().expect("a body");
                assert!(answer.iter().rev().eq(&body), "{index}/{round} differs");
            }
        });
        // Each call ends one `recv`.
        (0..HANDLERS).for_each(|_| server.unblock());
        let served: usize = handlers
            .into_iter()
            .map(|handler| handler.join().expect("a handler"))
            .sum();
        assert_eq!(served, CLIENTS * ROUNDS);
    });
}
