//! The thread that Docker waits for: its listeners and the ledger run on one runtime, so that a request is
//! read, decided, committed and answered without switching to another thread.
//!
//! Promises: a commit blocks only this thread; while the listeners finish their requests, the ledger still
//! serves them; if the ledger ends, its reason is passed on at once. The page, the admin socket, hooks and
//! repair run elsewhere.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::DRAIN;
use crate::ledger::{Fatal, Writer};
use crate::server::{Drained, Server};

/// The thread; it runs only the ledger until it gets its listeners.
pub(super) struct DockerThread {
    /// Takes the listeners to serve. Sending fails only if the ledger has ended, which reports that itself.
    pub(super) serve: oneshot::Sender<Server>,
    /// Dropping it closes the listeners, after requests in flight are finished.
    pub(super) open: oneshot::Sender<()>,
    /// Resolves when no request is in flight any more.
    pub(super) drained: oneshot::Receiver<io::Result<Drained>>,
}

impl DockerThread {
    /// Runs the ledger from now on; `ended` receives the reason when it ends.
    pub(super) fn start(
        writer: Writer,
        ended: oneshot::Sender<Result<(), Fatal>>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (serve, served) = oneshot::channel::<Server>();
        let (open, closing) = oneshot::channel::<()>();
        let (tell, drained) = oneshot::channel();
        let work = async move {
            let doors = tokio::spawn(async move {
                let Ok(server) = served.await else { return };
                let shutdown = async { drop(closing.await) };
                let _ = tell.send(server.serve(shutdown, DRAIN).await);
            });
            let _ = ended.send(writer.run().await);
            // Until the listeners end, callers get refusals.
            let _ = doors.await;
        };
        let thread =
            std::thread::Builder::new().name("docker".to_owned()).spawn(move || runtime.block_on(work))?;
        Ok((Self { serve, open, drained }, thread))
    }
}
