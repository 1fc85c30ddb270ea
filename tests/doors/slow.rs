//! Many slow clients that reconnect at once do not keep others out.

use crate::support::*;
use crate::tls::{Secured, name, secured};
use gipam::server::{Limits, LocalAddress};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// More connections than a listener accepts at a time.
const SLOW: usize = 600;
/// The longest that an honest client may wait.
const MOST: Duration = Duration::from_secs(1);

trait Client: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Client for T {}

async fn connect(address: &LocalAddress) -> std::io::Result<Box<dyn Client>> {
    Ok(match address {
        LocalAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        LocalAddress::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    })
}

/// Sends this much and no more, is disconnected, and reconnects.
async fn slow(address: LocalAddress, said: &'static [u8], turns: Arc<AtomicUsize>) {
    loop {
        let Ok(mut stream) = connect(&address).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if stream.write_all(said).await.is_ok() {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// More slow clients than there are places; returns after as many disconnections as there are clients.
async fn besieged(address: &LocalAddress, said: &[&'static [u8]]) -> JoinSet<()> {
    let turns = Arc::new(AtomicUsize::new(0));
    let crowd = (0..SLOW).map(|at| slow(address.clone(), said[at % said.len()], turns.clone())).collect();
    let full = Instant::now();
    while turns.load(Ordering::Relaxed) < SLOW {
        assert!(full.elapsed() < PATIENCE, "{} were turned away", turns.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    crowd
}

/// An honest client is served at once, every time.
async fn crowd(server: Running, said: &[&'static [u8]]) {
    let mut crowd = besieged(&server.address, said).await;
    for _ in 0..10 {
        let begun = Instant::now();
        let mut honest = connect(&server.address).await.unwrap();
        assert_eq!(ask(&mut honest, &post("/x", "y")).await.body, "y");
        assert!(begun.elapsed() < MOST, "an honest client waited {:?}", begun.elapsed());
    }
    crowd.shutdown().await;
}

const HEAD: &[u8] = b"POST /x HTTP/1.1\r\nHost: h\r\nX-A";
const BODY: &[u8] = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc";

#[tokio::test]
async fn slow_clients_that_reconnect_do_not_delay_others_at_a_socket() {
    crowd(Running::unix_with(Limits::default(), Duration::ZERO), &[b"", HEAD, BODY]).await;
}

#[tokio::test]
async fn slow_clients_that_reconnect_do_not_delay_others_over_tcp() {
    crowd(Running::tcp(), &[HEAD, b"", BODY]).await;
}

#[tokio::test]
async fn silent_clients_that_reconnect_do_not_delay_others() {
    crowd(Running::tcp(), &[b""]).await;
}

/// Each kind of client fills the listener alone, so the listener must close clients of that very kind.
#[tokio::test]
async fn clients_that_never_finish_a_request_do_not_delay_others() {
    for said in [HEAD, BODY] {
        crowd(Running::tcp(), &[said]).await;
    }
}

async fn honest_are_served(server: &Secured) {
    for _ in 0..10 {
        let begun = Instant::now();
        let mut honest = server.connect(None).await.unwrap();
        assert_eq!(ask(&mut honest, &post("/x", "y")).await.body, "y");
        assert!(begun.elapsed() < MOST, "an honest client waited {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn slow_clients_that_never_finish_the_tls_handshake_do_not_delay_others() {
    const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let server = secured(false);
    let mut crowd = besieged(&server.running.address, &[b"", HELLO]).await;
    honest_are_served(&server).await;
    crowd.shutdown().await;
}

/// After the handshake nothing is sent, or only the first half of a request.
#[tokio::test]
async fn clients_that_are_silent_after_the_tls_handshake_do_not_delay_others() {
    let server = secured(false);
    let turns = Arc::new(AtomicUsize::new(0));
    let mut crowd = JoinSet::new();
    for at in 0..SLOW {
        let (connector, address, turns) =
            (server.connector(None), server.running.address.clone(), turns.clone());
        crowd.spawn(async move {
            loop {
                let LocalAddress::Tcp(address) = address else { unreachable!() };
                let Ok(stream) = TcpStream::connect(address).await else { continue };
                let shaken = connector.connect(name(), stream).await;
                if let Ok(mut stream) = shaken
                    && stream.write_all([b"", HEAD, BODY][at % 3]).await.is_ok()
                {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let full = Instant::now();
    while turns.load(Ordering::Relaxed) < SLOW {
        assert!(full.elapsed() < PATIENCE, "{} were turned away", turns.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    honest_are_served(&server).await;
    crowd.shutdown().await;
}
