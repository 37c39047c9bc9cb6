//! `tonic`, which insists on tokio: a server and its clients over loopback, with messages and stubs written by hand.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use brigade::task;
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::rig::on_two_workers;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::UnaryService;
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint32, tag = "2")]
    times: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    text: String,
}

/// Repeats what it is asked, slowly.
#[derive(Clone)]
struct Repeat;

impl UnaryService<Question> for Repeat {
    type Response = Answer;
    type Future = BoxFuture<Response<Answer>, Status>;

    fn call(&mut self, request: Request<Question>) -> Self::Future {
        Box::pin(async move {
            tokio::time::sleep(SLOW).await;
            let Question { text, times } = request.into_inner();
            if times == 0 {
                return Err(Status::invalid_argument("not even once"));
            }
            let text = text.repeat(times as usize);
            Ok(Response::new(Answer { text }))
        })
    }
}

impl Service<http::Request<Body>> for Repeat {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let me = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<Answer, Question>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            let response = grpc.unary(me, request).await;
            Ok(response.map(|body| Body::new(body.boxed_unsync())))
        })
    }
}

async fn ask(channel: Channel, text: &str, times: u32) -> Result<String, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let question = Question {
        text: text.to_owned(),
        times,
    };
    let codec = ProstCodec::<Question, Answer>::default();
    let path = http::uri::PathAndQuery::from_static("/test.Repeat/Say");
    let answer = grpc.unary(Request::new(question), path, codec).await?;
    Ok(answer.into_inner().text)
}

/// A server as a task of Brigade, and what ends it.
fn serve() -> (SocketAddr, oneshot::Sender<()>, task::JoinHandle<()>) {
    let (end, ended) = oneshot::channel();
    let _tokio = task::tokio::enter();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = incoming.local_addr().expect("a bound socket");
    let server = task::tokio::spawn(async move {
        let until = async move {
            let _ended = ended.await;
        };
        Server::builder()
            .serve_with_incoming_shutdown(Repeat, incoming, until)
            .await
            .expect("a good end");
    });
    (address, end, server)
}

#[test]
fn calls_of_green_threads_share_a_channel_and_overlap() {
    const CALLS: usize = 30;
    on_two_workers(|runtime| {
        let (address, end, server) = serve();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = task::tokio::block_on(endpoint.connect()).expect("a server");
        let answers = Overlap::of(SLOW).any_kernel_threads().check(
            runtime,
            vec![channel; CALLS],
            |index, channel| {
                let times = u32::try_from(index).expect("a small number");
                task::tokio::block_on(ask(channel, "ab", times))
            },
        );
        for (index, answer) in answers.into_iter().enumerate() {
            match (index, answer) {
                (0, Err(status)) => assert_eq!(status.code(), Code::InvalidArgument),
                (_, Ok(text)) if index > 0 => assert_eq!(text, "ab".repeat(index)),
                (_, other) => panic!("call {index}: {other:?}"),
            }
        }
        end.send(()).expect("a server that waits");
        server.join().expect("no panic");
    });
}
