//! A fake Engine: a socket that shows networks and their containers as Docker does, so that the page has
//! names.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

/// The networks that it shows, by name.
pub type Shown = Arc<Mutex<Map<String, Value>>>;

/// Listens at this path until the program ends.
pub fn start(path: &Path) -> Shown {
    let shown = Shown::default();
    let (listener, known) = (UnixListener::bind(path).unwrap(), shown.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let known = known.clone();
            std::thread::spawn(move || answer(stream, &known));
        }
    });
    shown
}

/// Sends an event whenever the shown networks have changed, until the reader disconnects.
fn events(mut stream: UnixStream, shown: &Shown) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let mut before = shown.lock().unwrap().clone();
    loop {
        std::thread::sleep(std::time::Duration::from_millis(50)); // how often this stand-in compares
        let now = shown.lock().unwrap().clone();
        if now != before {
            write!(stream, "3\r\n{{}}\n\r\n")?;
            before = now;
        }
    }
}

fn answer(mut stream: UnixStream, shown: &Shown) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        asked.extend(byte);
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    let path = asked.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    if path == "/events" {
        return events(stream, shown);
    }
    let shown = shown.lock().unwrap().clone();
    let body = match path.as_str() {
        "/_ping" => json!("OK"),
        "/networks" => shown.values().cloned().collect(),
        "/containers/json" => json!([]),
        "/info" => json!({"ID": "stand-in", "DockerRootDir": "/var/lib/docker", "Containers": 0}),
        path => {
            path.strip_prefix("/networks/").and_then(|name| shown.get(name)).cloned().unwrap_or(Value::Null)
        }
    };
    let (status, body) =
        if body.is_null() { ("404 Not Found", "{}".to_owned()) } else { ("200 OK", body.to_string()) };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// The networks that hold these leases; a network's name is the holder's name up to its last dash.
pub fn networks(leases: &Value) -> Map<String, Value> {
    let mut networks: Map<String, Value> = Map::new();
    let text = |lease: &Value, key: &str| lease[key].as_str().unwrap_or_default().to_owned();
    let name_of = |subnet: &str| {
        let named = leases
            .as_array()
            .unwrap()
            .iter()
            .find(|lease| lease["subnet"] == subnet && lease["holder"].is_string());
        let holder = named.map(|lease| text(lease, "holder")).unwrap_or_default();
        holder.rsplit_once('-').map_or(holder.clone(), |(name, _)| name.to_owned())
    };
    for lease in leases.as_array().unwrap() {
        let subnet = text(lease, "subnet");
        let name = name_of(&subnet);
        let network = networks.entry(name.clone()).or_insert_with(|| {
            json!({"Name": name, "Id": name, "Scope": "local", "Containers": {}, "IPAM": {"Driver": "gipam", "Config": []}})
        });
        let config = network["IPAM"]["Config"].as_array_mut().unwrap();
        if !config.iter().any(|known| known["Subnet"] == subnet) {
            config.push(json!({"Subnet": subnet}));
        }
        if let Some(holder) = lease["holder"].as_str() {
            let address = text(lease, "address");
            let field = if address.contains(':') { "IPv6Address" } else { "IPv4Address" };
            let containers = network["Containers"].as_object_mut().unwrap();
            let container =
                containers.entry(format!("id-{holder}")).or_insert_with(|| json!({"Name": holder}));
            container[field] = address.into();
        }
    }
    networks
}
