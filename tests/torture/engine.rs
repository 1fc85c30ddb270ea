//! A DOCKER ENGINE IN MEMORY, as far as `gipam renumber` sees it: networks, containers and their connections, over the Engine's API on a
//! socket; addresses come from the real daemon, by Docker's calls.
//!
//! Promises: one request at a time, each carried out as a whole, also if its client ends before the answer; refuses what dockerd refuses: a
//! second network of a name, the removal of a network with endpoints, a second connection of a container. Real Engines are in
//! `tests/engines`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::http::Wire;

/// A status, and the body.
type Reply = (u16, Value);

/// A network.
struct Network {
    /// The body of the request that created it.
    create: Value,
    /// PoolID and gateway of each subnet.
    subnets: Vec<(String, String)>,
}

/// A container's connection to a network.
struct Connection {
    config: Value,
    /// PoolID and address, while the container runs.
    addresses: Vec<(String, String)>,
}

/// A container.
struct Container {
    is_running: bool,
    /// By the id of the network.
    connections: BTreeMap<String, Connection>,
}

/// Everything that the Engine knows.
struct Engine {
    plugin: PathBuf,
    created: u64,
    networks: BTreeMap<String, Network>,
    containers: BTreeMap<String, Container>,
}

fn refuse(status: u16, text: &str) -> Reply {
    (status, json!({"message": text}))
}

impl Engine {
    fn call(&self, method: &str, body: &Value) -> Result<Value, Reply> {
        let answer = Wire::unix(&self.plugin).call(&format!("IpamDriver.{method}"), body.to_string());
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            200 => Ok(value),
            _ => Err(refuse(500, value["Err"].as_str().unwrap_or("no reason"))),
        }
    }

    fn address(&self, id: &str, address: &str, options: Value) -> Result<String, Reply> {
        let body = json!({"PoolID": id, "Address": address, "Options": options});
        Ok(self.call("RequestAddress", &body)?["Address"].as_str().unwrap_or_default().to_owned())
    }

    fn release(&self, id: &str, address: &str) {
        let bare = address.split('/').next().unwrap_or_default();
        let _ = self.call("ReleaseAddress", &json!({"PoolID": id, "Address": bare}));
    }

    /// The id of the network with this id or name.
    fn network(&self, word: &str) -> Option<String> {
        let is_it = |(id, it): &(&String, &Network)| *id == word || it.create["Name"] == word;
        self.networks.iter().find(is_it).map(|(id, _)| id.clone())
    }

    fn answer(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let done = match (method, &parts[..]) {
            ("GET", ["networks"]) => {
                let all = self.networks.keys().map(|id| self.shown_network(id, false));
                Ok(json!(all.collect::<Vec<_>>()))
            }
            ("GET", ["networks", word]) => self
                .network(word)
                .map(|id| self.shown_network(&id, true))
                .ok_or_else(|| refuse(404, "network not found")),
            ("GET", ["containers", "json"]) => Ok(self.attached(query)),
            ("GET", ["containers", id, "json"]) if self.containers.contains_key(*id) => {
                Ok(self.shown_container(id))
            }
            ("POST", ["networks", "create"]) => self.create(body),
            ("POST", ["networks", word, "connect"]) => self.connect(word, body),
            ("POST", ["networks", word, "disconnect"]) => self.disconnect(word, body),
            ("DELETE", ["networks", word]) => self.remove(word),
            _ => Err(refuse(404, &format!("there is no {method} {path}"))),
        };
        done.map_or_else(|refusal| refusal, |value| (200, value))
    }

    fn create(&mut self, body: &Value) -> Result<Value, Reply> {
        if self.network(body["Name"].as_str().unwrap_or_default()).is_some() {
            return Err(refuse(409, "network with this name already exists"));
        }
        let mut subnets: Vec<(String, String)> = Vec::new();
        for config in body["IPAM"]["Config"].as_array().into_iter().flatten() {
            let subnet = config["Subnet"].as_str().unwrap_or_default();
            let pool = json!({"AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": body["IPAM"]["Options"],
                "V6": subnet.contains(':')});
            let id = self.call("RequestPool", &pool)?["PoolID"].as_str().unwrap_or_default().to_owned();
            let gateway = config["Gateway"].as_str().unwrap_or_default();
            let options = json!({"RequestAddressType": "com.docker.network.gateway"});
            let gateway = self.address(&id, gateway, options)?;
            subnets.push((id, gateway));
        }
        self.created += 1;
        let id = format!("n{}", self.created);
        self.networks.insert(id.clone(), Network { create: body.clone(), subnets });
        Ok(json!({"Id": id, "Warning": ""}))
    }

    fn remove(&mut self, word: &str) -> Result<Value, Reply> {
        let Some(id) = self.network(word) else { return Err(refuse(404, "network not found")) };
        let is_there = |it: &Container| it.is_running && it.connections.contains_key(&id);
        if self.containers.values().any(is_there) {
            return Err(refuse(403, "network has active endpoints"));
        }
        for (pool, gateway) in &self.networks[&id].subnets {
            self.release(pool, gateway);
            self.call("ReleasePool", &json!({"PoolID": pool}))?;
        }
        self.networks.remove(&id);
        Ok(Value::Null)
    }

    fn connect(&mut self, word: &str, body: &Value) -> Result<Value, Reply> {
        let name = body["Container"].as_str().unwrap_or_default().to_owned();
        let (Some(id), Some(container)) = (self.network(word), self.containers.get(&name)) else {
            return Err(refuse(404, "no such network or container"));
        };
        let of_name = |other: &String| {
            self.networks.get(other).is_some_and(|it| it.create["Name"] == self.networks[&id].create["Name"])
        };
        if container.connections.keys().any(of_name) {
            return Err(refuse(403, "endpoint already exists in the network"));
        }
        let config = body["EndpointConfig"].clone();
        let mut addresses = Vec::new();
        for (pool, gateway) in self.networks[&id].subnets.iter().filter(|_| container.is_running) {
            let key = if gateway.contains(':') { "IPv6Address" } else { "IPv4Address" };
            let fixed = config["IPAMConfig"][key].as_str().unwrap_or_default();
            let options = json!({"com.docker.network.endpoint.name": name});
            addresses.push((pool.clone(), self.address(pool, fixed, options)?));
        }
        let container = self.containers.get_mut(&name).unwrap();
        // The connection of a stopped container to a network that is gone is replaced.
        container.connections.retain(|other, _| self.networks.contains_key(other));
        container.connections.insert(id, Connection { config, addresses });
        Ok(Value::Null)
    }

    fn disconnect(&mut self, word: &str, body: &Value) -> Result<Value, Reply> {
        let name = body["Container"].as_str().unwrap_or_default();
        let (Some(id), Some(container)) = (self.network(word), self.containers.get_mut(name)) else {
            return Err(refuse(404, "no such network or container"));
        };
        let Some(gone) = container.connections.remove(&id) else {
            return Err(refuse(403, "container is not connected to the network"));
        };
        gone.addresses.iter().for_each(|(pool, address)| self.release(pool, address));
        Ok(Value::Null)
    }

    fn shown_network(&self, id: &str, with_containers: bool) -> Value {
        let network = &self.networks[id];
        let mut shown = network.create.clone();
        (shown["Id"], shown["Scope"], shown["Ingress"]) = (json!(id), json!("local"), json!(false));
        shown["ConfigFrom"] = json!({"Network": ""});
        let running =
            self.containers.iter().filter(|(_, it)| it.is_running && it.connections.contains_key(id));
        let containers: BTreeMap<&String, Value> =
            running.map(|(name, _)| (name, json!({"Name": name}))).collect();
        shown["Containers"] = if with_containers { json!(containers) } else { json!({}) };
        shown
    }

    /// The containers that are attached to one of the networks in the filter.
    fn attached(&self, query: &str) -> Value {
        let filter = query.split('&').find_map(|pair| pair.strip_prefix("filters=")).unwrap_or_default();
        let has = |id: &String| {
            let name = self.networks.get(id).and_then(|it| it.create["Name"].as_str()).unwrap_or(id);
            [id.as_str(), name].iter().any(|word| filter.contains(&format!("%22{word}%22")))
        };
        let attached = self.containers.iter().filter(|(_, it)| it.connections.keys().any(has));
        json!(attached.map(|(name, _)| json!({"Id": name})).collect::<Vec<_>>())
    }

    fn shown_container(&self, name: &str) -> Value {
        let container = &self.containers[name];
        let mut networks = BTreeMap::new();
        for (id, connection) in &container.connections {
            let mut shown = connection.config.clone();
            shown["NetworkID"] = json!(id);
            for (_, address) in &connection.addresses {
                let key = if address.contains(':') { "GlobalIPv6Address" } else { "IPAddress" };
                shown[key] = json!(address.split('/').next());
            }
            let known = self.networks.get(id).and_then(|it| it.create["Name"].as_str());
            networks.insert(known.unwrap_or(id).to_owned(), shown);
        }
        json!({
            "Id": name, "Name": format!("/{name}"), "State": {"Running": container.is_running, "Paused": false},
            "HostConfig": {"NetworkMode": "default"}, "NetworkSettings": {"Networks": networks},
        })
    }
}

/// The Engine, with its socket. It ends when dropped.
pub struct Served {
    engine: Arc<Mutex<Engine>>,
    pub socket: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// An Engine with these containers, of which those in the second list are stopped; `plugin` is gipam's socket.
    pub fn start(directory: &Path, plugin: &Path, containers: &[&str], stopped: &[&str]) -> Served {
        let container = |name: &&str| {
            (
                (*name).to_owned(),
                Container { is_running: !stopped.contains(name), connections: BTreeMap::new() },
            )
        };
        let containers = containers.iter().chain(stopped).map(container).collect();
        let engine = Engine { plugin: plugin.to_owned(), created: 0, networks: BTreeMap::new(), containers };
        let (engine, is_over) = (Arc::new(Mutex::new(engine)), Arc::new(AtomicBool::new(false)));
        let socket = directory.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (serves, ends) = (engine.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let engine = serves.clone();
                std::thread::spawn(move || serve(&engine, stream.unwrap()));
            }
        });
        Served { engine, socket, is_over, thread: Some(thread) }
    }

    /// A request, which must succeed.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, value) = self.engine.lock().unwrap().answer(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {value}");
        value
    }

    /// Networks and containers without ids, which differ from run to run.
    pub fn shown(&self) -> Value {
        let engine = self.engine.lock().unwrap();
        let mut networks: Vec<Value> =
            engine.networks.keys().map(|id| engine.shown_network(id, true)).collect();
        networks.iter_mut().for_each(|network| network["Id"] = Value::Null);
        let mut containers: Vec<Value> =
            engine.containers.keys().map(|name| engine.shown_container(name)).collect();
        for container in &mut containers {
            for (_, connection) in container["NetworkSettings"]["Networks"].as_object_mut().unwrap() {
                connection["NetworkID"] = Value::Null;
            }
        }
        json!([networks, containers])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Serves one connection until its client closes it.
fn serve(engine: &Mutex<Engine>, stream: UnixStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok()?;
        let (method, rest) = first.split_once(' ')?;
        let path = rest.split(' ').next()?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().to_lowercase().split_once(": ") {
                Some(("content-length", text)) => length = text.parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, value) = engine.lock().unwrap().answer(method, path, &body);
        let text = value.to_string();
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        reader.get_mut().write_all((head + &text).as_bytes()).ok()?;
    }
}
