//! TLS and mutual TLS, with certificates made by the tests.

use crate::support::*;
use gipam::server::{Limits, Listener};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes `NAME.pem` and `NAME.key`, signed by `authority`, valid for centuries.
fn issue(
    directory: &Path,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    authority: &Authority,
) -> [PathBuf; 2] {
    issue_for(directory, name, purpose, authority, [1975, 4096])
}

/// Like [`issue`], valid from the first day of one year to the first day of another.
fn issue_for(
    directory: &Path,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    authority: &Authority,
    years: [i32; 2],
) -> [PathBuf; 2] {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    [params.not_before, params.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
    let certificate = params.signed_by(&key, authority).unwrap();
    let paths = ["pem", "key"].map(|kind| directory.join(format!("{name}.{kind}")));
    std::fs::write(&paths[0], certificate.pem()).unwrap();
    std::fs::write(&paths[1], key.serialize_pem()).unwrap();
    paths
}

pub(crate) struct Secured {
    pub(crate) running: Running,
    authority: Authority,
    files: PathBuf,
}

pub(crate) fn secured(mutual: bool) -> Secured {
    let directory = TempDir::new().unwrap();
    let files = directory.path().to_owned();
    let authority = authority();
    let [certificate, key] = issue(&files, "server", ExtendedKeyUsagePurpose::ServerAuth, &authority);
    let ca = files.join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let plain = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = plain.with_tls(&certificate, &key, mutual.then_some(ca.as_path())).unwrap();
    let running = Running::on(listener, directory, Limits::default(), PATIENCE);
    Secured { running, authority, files }
}

/// The name in the server's certificate.
pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").unwrap()
}

impl Secured {
    /// Connects, with a client certificate if there is one.
    pub(crate) async fn connect(
        &self,
        client: Option<&[PathBuf; 2]>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector(client).connect(name(), self.running.connect_tcp().await).await
    }

    pub(crate) fn connector(&self, client: Option<&[PathBuf; 2]>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some([certificate, key]) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_file(certificate).unwrap()],
                    PrivateKeyDer::from_pem_file(key).unwrap(),
                )
                .unwrap(),
        };
        TlsConnector::from(Arc::new(config))
    }

    /// Whether a client gets an answer. With TLS 1.3 a refusal may appear only at the first read.
    async fn serves(&mut self, client: Option<&[PathBuf; 2]>) -> bool {
        let Ok(mut stream) = self.connect(client).await else { return false };
        let _ = stream.write_all(&post("/x", "y")).await;
        let served = stream.read_u8().await.is_ok();
        if !served {
            assert!(self.running.events.try_recv().is_err(), "the handler must not see the request");
        }
        served
    }
}

#[tokio::test]
async fn tls_serves_requests() {
    let server = secured(false);
    let mut client = server.connect(None).await.unwrap();
    for n in 0..20 {
        let body = n.to_string();
        assert_eq!(ask(&mut client, &post("/x", &body)).await.body, body);
    }
}

#[tokio::test]
async fn tls_carries_large_answers() {
    let server = secured(false);
    let mut client = server.connect(None).await.unwrap();
    assert_eq!(ask(&mut client, &post("/big", "")).await.body.len(), 8 << 20);
}

#[tokio::test]
async fn tls_undo_client_gone_drops_the_future() {
    let mut server = secured(false);
    let mut client = server.connect(None).await.unwrap();
    client.write_all(&post("/never", "")).await.unwrap();
    server.running.began("/never").await;
    drop(client);
    assert_eq!(server.running.event().await, Event::Dropped("/never".into()));
}

#[tokio::test]
async fn tls_undo_is_not_called_for_a_delivered_answer() {
    let mut server = secured(false);
    let mut client = server.connect(None).await.unwrap();
    ask(&mut client, &post("/x", "y")).await;
    server.running.began("/x").await;
    assert_eq!(server.running.event().await, Event::Kept("/x".into()));
}

#[tokio::test]
async fn tls_shutdown_closes_idle_and_finishes_busy_connections() {
    let mut server = secured(false);
    let mut idle = server.connect(None).await.unwrap();
    ask(&mut idle, &post("/x", "y")).await;
    let mut busy = server.connect(None).await.unwrap();
    busy.write_all(&post("/wait", "y")).await.unwrap();
    server.running.began("/x").await;
    assert_eq!(server.running.event().await, Event::Kept("/x".into()));
    server.running.began("/wait").await;
    server.running.stop();
    assert_eq!(rest(&mut idle).await, b"");
    server.running.permit();
    assert!(answer(&mut busy).await.head.contains("connection: close"));
    assert_eq!(server.running.ended().await.cut_off, 0);
}

#[tokio::test]
async fn tls_plain_http_is_refused() {
    let mut server = secured(false);
    let mut client = server.running.connect_tcp().await;
    client.write_all(&post("/x", "y")).await.unwrap();
    let got = rest(&mut client).await;
    assert!(!got.starts_with(b"HTTP"), "{got:?}");
    assert!(server.running.events.try_recv().is_err(), "the handler must not see the request");
}

#[tokio::test]
async fn mutual_tls_serves_a_client_with_the_right_certificate() {
    let mut server = secured(true);
    let client = issue(&server.files, "client", ExtendedKeyUsagePurpose::ClientAuth, &server.authority);
    assert!(server.serves(Some(&client)).await);
}

#[tokio::test]
async fn mutual_tls_refuses_a_client_without_a_certificate() {
    let mut server = secured(true);
    assert!(!server.serves(None).await);
}

#[tokio::test]
async fn mutual_tls_refuses_a_client_of_another_authority() {
    let mut server = secured(true);
    let client = issue(&server.files, "stranger", ExtendedKeyUsagePurpose::ClientAuth, &authority());
    assert!(!server.serves(Some(&client)).await);
}

#[tokio::test]
async fn mutual_tls_refuses_a_server_certificate_as_a_client() {
    let mut server = secured(true);
    let client = issue(&server.files, "server2", ExtendedKeyUsagePurpose::ServerAuth, &server.authority);
    assert!(!server.serves(Some(&client)).await);
}

/// The right authority and purpose, at the wrong time.
#[tokio::test]
async fn mutual_tls_refuses_an_expired_certificate_and_one_that_is_not_valid_yet() {
    let mut server = secured(true);
    for (name, years, good) in
        [("expired", [1975, 2001], false), ("early", [3000, 4096], false), ("timely", [2001, 3000], true)]
    {
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        let client = issue_for(&server.files, name, purpose, &server.authority, years);
        assert_eq!(server.serves(Some(&client)).await, good, "{name}");
    }
}

#[test]
fn files_that_are_not_certificates_are_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let authority = authority();
    let [certificate, key] = issue(directory.path(), "a", ExtendedKeyUsagePurpose::ServerAuth, &authority);
    let [other, _] = issue(directory.path(), "b", ExtendedKeyUsagePurpose::ServerAuth, &authority);
    let nonsense = directory.path().join("nonsense.pem");
    std::fs::write(&nonsense, "nonsense").unwrap();
    let absent = directory.path().join("absent.pem");
    let refused = |certificate: &Path, key: &Path, client: Option<&Path>| {
        let plain = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        plain.with_tls(certificate, key, client).unwrap_err().to_string()
    };
    for (text, name) in [
        (refused(&absent, &key, None), &absent),
        (refused(&nonsense, &key, None), &nonsense),
        (refused(&certificate, &absent, None), &absent),
        (refused(&certificate, &certificate, None), &certificate),
        (refused(&certificate, &key, Some(&nonsense)), &nonsense),
        (refused(&other, &key, None), &other),
    ] {
        assert!(text.contains(&name.display().to_string()), "{text}");
    }
}
