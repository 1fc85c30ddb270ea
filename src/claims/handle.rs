//! What a person asks of the daemon's task of claims: the task is the only one that calls the plan's store.
//!
//! Promises: each command gets one answer, or the text that nothing takes commands; a command that was sent is not taken back.
//! Does not know what a command needs: the machine decides.

use tokio::sync::{mpsc, oneshot};

/// The commands that may wait for the task.
const WAITING: usize = 16;

/// Sends commands to the task of claims; cheap to clone.
#[derive(Clone, Debug)]
pub struct ClaimsHandle(mpsc::Sender<ClaimCommand>);

/// A command for the task of claims.
#[derive(Debug)]
pub enum ClaimCommand {
    /// A person says that the host with this id is gone for good.
    Forget { id: String, answer: oneshot::Sender<Result<(), String>> },
    /// A person lets this host take part in the plan, which is created first if it is to be `new`.
    Join { new: bool, dry_run: bool, answer: oneshot::Sender<Result<Vec<String>, String>> },
    /// A person says that the plan's store was restored from a backup.
    Restored { answer: oneshot::Sender<Result<Vec<String>, String>> },
}

impl ClaimsHandle {
    /// A handle, and what the task receives. Without a task, the receiver is dropped.
    pub fn new() -> (Self, mpsc::Receiver<ClaimCommand>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Forgets the host with this id.
    pub async fn forget(&self, id: String) -> Result<(), String> {
        self.send(|answer| ClaimCommand::Forget { id, answer }).await
    }

    /// Lets this host take part in the plan; returns lines for a person.
    pub async fn join(&self, new: bool, dry_run: bool) -> Result<Vec<String>, String> {
        self.send(|answer| ClaimCommand::Join { new, dry_run, answer }).await
    }

    /// Says that the plan's store was restored; returns lines for a person.
    pub async fn restored(&self) -> Result<Vec<String>, String> {
        self.send(|answer| ClaimCommand::Restored { answer }).await
    }

    async fn send<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> ClaimCommand,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        let nobody = || {
            "the configuration has no [plan] with etcd, so this host does not agree with others through a store".to_owned()
        };
        self.0.send(command(answer)).await.map_err(|_| nobody())?;
        answered
            .await
            .unwrap_or_else(|_| Err("gipam stopped before the store answered; see gipam hosts".to_owned()))
    }
}
