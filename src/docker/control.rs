//! The Engine's API as far as `gipam renumber` needs it: reads networks and containers as they are, and changes networks.
//!
//! Promises: works with Engines from 20.10 on, over the newest version of the API that the Engine has; an error contains the
//! Engine's own message. Only commands of people call this, never the daemon. Makes no decisions.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::client::{ClientError, HttpReply, encoded, request};
use crate::text;

/// How long the Engine may take for one call. It calls drivers meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ControlError {
    /// The status, if the Engine refused the call.
    pub status: Option<u16>,
    pub text: String,
}

impl From<ClientError> for ControlError {
    fn from(error: ClientError) -> Self {
        Self { status: None, text: format!("the Engine cannot be reached: {error}") }
    }
}

async fn call(socket: &Path, method: &str, path: &str, body: &Value) -> Result<Value, ControlError> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let HttpReply { status, body } = request(socket, method, path, body, PATIENCE).await?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let said = answer["message"].as_str().unwrap_or("no reason given");
    let text = format!("the Engine refused {method} {path}: {}", text::cut(said, 4 * text::NAME));
    Err(ControlError { status: Some(status), text })
}

async fn found(socket: &Path, path: &str) -> Result<Option<Value>, ControlError> {
    match call(socket, "GET", path, &Value::Null).await {
        Ok(value) => Ok(Some(value)),
        Err(ControlError { status: Some(404), .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All networks, without their containers.
pub async fn networks(socket: &Path) -> Result<Vec<Value>, ControlError> {
    Ok(call(socket, "GET", "/networks", &Value::Null).await?.as_array().cloned().unwrap_or_default())
}

/// A network, with its running containers; `None` if it does not exist.
pub async fn network(socket: &Path, id: &str) -> Result<Option<Value>, ControlError> {
    found(socket, &format!("/networks/{}", encoded(id))).await
}

/// The containers that are attached to a network, running or not, as `docker inspect` shows them.
pub async fn attached(socket: &Path, name: &str, id: &str) -> Result<Vec<Value>, ControlError> {
    let filters = encoded(&json!({"network": [name, id]}).to_string());
    let listed =
        call(socket, "GET", &format!("/containers/json?all=1&filters={filters}"), &Value::Null).await?;
    let mut containers = Vec::new();
    for listed in listed.as_array().into_iter().flatten() {
        // A container may have been removed since the list was read.
        containers.extend(container(socket, listed["Id"].as_str().unwrap_or_default()).await?);
    }
    Ok(containers)
}

/// A container; `None` if it does not exist.
pub async fn container(socket: &Path, id: &str) -> Result<Option<Value>, ControlError> {
    found(socket, &format!("/containers/{}/json", encoded(id))).await
}

/// Disconnects a container from a network.
pub async fn disconnect(socket: &Path, network: &str, container: &str) -> Result<(), ControlError> {
    let body = json!({"Container": container, "Force": false});
    call(socket, "POST", &format!("/networks/{}/disconnect", encoded(network)), &body).await.map(drop)
}

/// Removes a network; one that is already gone counts as removed.
pub async fn remove(socket: &Path, network: &str) -> Result<(), ControlError> {
    match call(socket, "DELETE", &format!("/networks/{}", encoded(network)), &Value::Null).await {
        Ok(_) | Err(ControlError { status: Some(404), .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a network and returns its id.
pub async fn create(socket: &Path, body: &Value) -> Result<String, ControlError> {
    let created = call(socket, "POST", "/networks/create", body).await?;
    let id = created["Id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    id.ok_or_else(|| ControlError {
        status: None,
        text: "the Engine does not say the network's id".to_owned(),
    })
}

/// Connects a container to a network.
pub async fn connect(
    socket: &Path,
    network: &str,
    container: &str,
    endpoint: &Value,
) -> Result<(), ControlError> {
    let body = json!({"Container": container, "EndpointConfig": endpoint});
    call(socket, "POST", &format!("/networks/{}/connect", encoded(network)), &body).await.map(drop)
}
