//! A receiver of events over TLS: the request that came on each connection, or why there was no request.
//!
//! Promises: a request that arrives was sent as HTTP/1.1 after a separate TLS handshake, or the test fails.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use super::certificates::{Authority, Identity};
use super::daemon::{PATIENCE, until};
use super::webhook::{Asked, serve};

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A server with this certificate; with `clients`, it accepts only clients whose certificate that authority
/// has signed.
pub fn settings(
    identity: &Identity,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&authority.pem())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut settings = builder.with_single_cert(vec![certificate(&identity.chain)], key).unwrap();
    settings.alpn_protocols = ["h2", "http/1.1"].map(Vec::from).into();
    settings
}

/// The result of one connection: the server name that was requested, and the request; or why there was none.
pub type Came = io::Result<(Option<String>, Asked)>;

/// A server that answers with success over TLS.
pub fn receiver(identity: &Identity) -> (SocketAddr, Receiver<Came>) {
    listening(settings(identity, None, rustls::ALL_VERSIONS))
}

/// Like [`receiver`], with these settings.
pub fn listening(settings: ServerConfig) -> (SocketAddr, Receiver<Came>) {
    let (listener, settings) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(settings));
    let address = listener.local_addr().unwrap();
    let (sender, came) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(settings.clone()).unwrap(), stream);
            let asked = serve(&mut stream, "204 No Content");
            if asked.is_ok() {
                assert_eq!(
                    stream.conn.alpn_protocol(),
                    Some(&b"http/1.1"[..]),
                    "the client negotiates HTTP/1.1"
                );
                let kind = stream.conn.handshake_kind();
                assert!(
                    kind.is_some_and(|kind| kind != HandshakeKind::Resumed),
                    "{kind:?}: each connection makes a full handshake"
                );
            }
            let came = asked.map(|asked| (stream.conn.server_name().map(str::to_owned), asked));
            if sender.send(came).is_err() {
                return;
            }
        }
    });
    (address, came)
}

/// Checks that no request arrived: all connections failed.
pub fn received_nothing(came: &Receiver<Came>) {
    assert!(
        came.recv_timeout(PATIENCE).unwrap().is_err(),
        "a server without a valid certificate must not get an event"
    );
    assert!(came.try_iter().all(|came| came.is_err()));
}

/// The next request that arrived.
pub fn arrived(came: &Receiver<Came>) -> (Option<String>, Asked) {
    until("a request arrives", || came.recv_timeout(PATIENCE).unwrap().ok())
}
