//! TLS by `rustls`: both ends on green threads, and `ureq` over it; the certificate is made by `rcgen`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use brigade::runtime::Runtime;
use brigade_ecosystem::http::{self, Request, Server};
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{Stream, StreamOwned};

/// A self-signed certificate for `localhost` and the two ends that use it.
struct Identity {
    certificate: CertificateDer<'static>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .expect("a key and a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a key that fits");
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Identity {
        certificate,
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

/// A server of HTTPS.
fn listen(
    runtime: &Runtime,
    identity: &Identity,
    handle: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
) -> Server {
    let config = Arc::clone(&identity.server);
    Server::accepting(runtime, move |mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).expect("a valid configuration");
        match http::serve(Stream::new(&mut tls, &mut stream), &handle) {
            // ureq hangs up without the good-bye of TLS.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            served => served?,
        }
        tls.send_close_notify();
        // The client may have gone already.
        let _ = tls.write_tls(&mut stream);
        Ok(())
    })
}

/// A client of HTTPS after its handshake.
fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TcpStream::connect(address).expect("a listening server");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a valid configuration");
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).expect("a handshake");
    }
    StreamOwned::new(tls, stream)
}

/// Sends a request and returns the body of the answer, which is as long as the request's own.
fn ask(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    body: &[u8],
) -> std::io::Result<Vec<u8>> {
    let length = body.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    stream.flush()?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let mut answer = vec![0; head.len() + length];
    stream.read_exact(&mut answer)?;
    assert!(answer.starts_with(head.as_bytes()));
    Ok(answer.split_off(head.len()))
}

/// Says good-bye as TLS demands.
fn close(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    stream.conn.send_close_notify();
    stream.flush().expect("an open connection");
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the other end's good-bye");
    assert_eq!(rest, b"");
}

#[test]
fn slow_conversations_overlap() {
    on_two_workers(|runtime| {
        let identity = identity();
        let server = listen(runtime, &identity, |request| {
            std::thread::sleep(SLOW);
            request.body.clone()
        });
        let address = server.address();
        let config = Arc::clone(&identity.client);
        let streams = on_green_threads(runtime, 40, move |_| connect(&config, address));
        Overlap::of(SLOW).check(runtime, streams, |index, mut stream| {
            let body = format!("conversation {index}");
            let answer = ask(&mut stream, body.as_bytes()).expect("an answer");
            assert_eq!(answer, body.as_bytes());
            close(stream);
        });
        assert_eq!(server.stop(), 40);
    });
}

#[test]
fn slow_requests_of_ureq_over_tls_overlap() {
    on_two_workers(|runtime| {
        let identity = identity();
        let server = listen(runtime, &identity, |request| {
            if request.path != "/warm" {
                std::thread::sleep(SLOW);
            }
            request.path.clone().into_bytes()
        });
        let url = format!("https://localhost:{}", server.address().port());
        let certificate = identity.certificate.clone();
        let to = url.clone();
        // One agent, so one connection, per thread; the handshakes are done before the clock runs.
        let agents = on_green_threads(runtime, 40, move |_| {
            let certificate = ureq::tls::Certificate::from_der(&certificate).to_owned();
            let roots = ureq::tls::RootCerts::new_with_certs(&[certificate]);
            let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
            let config = ureq::Agent::config_builder().tls_config(tls).build();
            let agent = ureq::Agent::new_with_config(config);
            let mut answer = agent.get(format!("{to}/warm")).call().expect("an answer");
            assert_eq!(answer.body_mut().read_to_string().expect("a text"), "/warm");
            agent
        });
        let answers = Overlap::of(SLOW).check(runtime, agents, move |index, agent| {
            let mut answer = agent
                .get(format!("{url}/{index}"))
                .call()
                .expect("an answer");
            answer.body_mut().read_to_string().expect("a text")
        });
        let expected: Vec<String> = (0..40).map(|index| format!("/{index}")).collect();
        assert_eq!(answers, expected);
        assert_eq!(server.stop(), 40);
    });
}

#[test]
fn bytes_through_tls_are_exact_under_load() {
    const CLIENTS: usize = 16;
    on_two_workers(|runtime| {
        let identity = identity();
        let server = listen(runtime, &identity, |request| {
            request.body.iter().rev().copied().collect()
        });
        let address = server.address();
        let config = Arc::clone(&identity.client);
        on_green_threads(runtime, CLIENTS, move |index| {
            let mut stream = connect(&config, address);
            for round in 0..20 {
                // Up to 256 KiB: many records, more than the buffers of a socket hold.
                let sent = payload::bytes(index, round, 1 << (round % 19));
                let seen = ask(&mut stream, &sent).expect("an answer");
                assert!(seen.iter().rev().eq(&sent), "{index}/{round} differs");
            }
            close(stream);
        });
        assert_eq!(server.stop(), CLIENTS);
    });
}
