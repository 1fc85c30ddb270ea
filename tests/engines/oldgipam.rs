//! A stand-in for the old gipam that users run today: answers dockerd as that program does, and writes its
//! lease file.
//!
//! It imitates the behaviour that is visible from outside: opaque ids of 16 letters and digits, subnets cut
//! in order, addresses counted up from the gateway, the last freed address given first, requested addresses
//! ignored, and a file that is written now and then, so that it lags behind the grants.

use crate::wire::{Call, Server};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Default)]
struct Block {
    id: String,
    version: u8,
    prefix: String,
    next: u64,
    allocated: Vec<String>,
    freed: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    v4: &'static str,
    v6: &'static str,
    cut: [u64; 2],
    allocated: Vec<Block>,
    free: Vec<Block>,
}

pub struct OldGipam {
    state: Arc<Mutex<State>>,
    _server: Server,
}

impl OldGipam {
    /// Its pools are PREFIX.0.0/16 in /24 and PREFIX::/56 in /64, as in "192.168" and "fe80".
    pub fn start(socket: &Path, v4: &'static str, v6: &'static str) -> Self {
        let state = Arc::new(Mutex::new(State { v4, v6, ..State::default() }));
        let shared = state.clone();
        let server = Server::start(socket, move |call| {
            let answer = shared.lock().unwrap().answer(call);
            let status = if answer.get("Err").is_some() { 500 } else { 200 };
            Some((status, answer.to_string()))
        });
        Self { state, _server: server }
    }

    /// The lease file as that program writes it: indented, empty lists as null.
    pub fn file(&self) -> String {
        let state = self.state.lock().unwrap();
        let list = |all: &[String]| if all.is_empty() { Value::Null } else { json!(all) };
        let blocks = |all: &[Block]| -> Value {
            all.iter()
                .map(|b| {
                    json!({"id": b.id, "v": b.version, "pool": b.prefix, "idx": b.next,
                        "allocated": list(&b.allocated), "free": list(&b.freed)})
                })
                .collect()
        };
        let whole = json!({"v6": format!("{}::/56", state.v6), "v6ab": 64, "v6idx": state.cut[1],
            "v4": format!("{}.0.0/16", state.v4), "v4ab": 24,
            "v4idx": state.cut[0], "allocated": blocks(&state.allocated), "free": blocks(&state.free)});
        serde_json::to_string_pretty(&whole).unwrap()
    }

    /// dockerd's id for a subnet.
    pub fn id(&self, prefix: &str) -> String {
        let state = self.state.lock().unwrap();
        state.allocated.iter().find(|block| block.prefix == prefix).unwrap().id.clone()
    }
}

impl State {
    fn answer(&mut self, call: &Call) -> Value {
        let body: Value = serde_json::from_str(&call.body).unwrap_or_default();
        let id = body["PoolID"].as_str().unwrap_or_default();
        match call.method.as_str() {
            "Plugin.Activate" => json!({"Implements": ["IpamDriver"]}),
            "IpamDriver.GetCapabilities" => json!({"RequiresMACAddress": true}),
            "IpamDriver.GetDefaultAddressSpaces" => {
                json!({"LocalDefaultAddressSpace": "", "GlobalDefaultAddressSpace": ""})
            }
            "IpamDriver.RequestPool" => {
                let block = self.cut(body["V6"] == true);
                json!({"PoolID": block.id, "Pool": block.prefix, "Data": null})
            }
            "IpamDriver.RequestAddress" => match self.allocated.iter_mut().find(|block| block.id == id) {
                Some(block) => json!({"Address": block.give(), "Data": null}),
                None => json!({"Err": format!("{id} address block not found")}),
            },
            "IpamDriver.ReleaseAddress" => {
                let address = body["Address"].as_str().unwrap_or_default();
                for block in self.allocated.iter_mut().filter(|block| block.id == id) {
                    block.allocated.retain(|held| held != address);
                    block.freed.push(address.to_owned());
                }
                json!({})
            }
            "IpamDriver.ReleasePool" => {
                if let Some(at) = self.allocated.iter().position(|block| block.id == id) {
                    let block = self.allocated.remove(at);
                    self.free.push(Block { next: 1, allocated: vec![], freed: vec![], ..block });
                }
                json!({})
            }
            other => json!({"Err": format!("no method {other}")}),
        }
    }

    fn cut(&mut self, v6: bool) -> Block {
        let version = if v6 { 6 } else { 4 };
        let block = match self.free.iter().position(|block| block.version == version) {
            Some(at) => self.free.remove(at),
            None => {
                let number = &mut self.cut[usize::from(v6)];
                let prefix = if v6 {
                    format!("{}:0:0:{number:x}::/64", self.v6)
                } else {
                    format!("{}.{number}.0/24", self.v4)
                };
                *number += 1;
                let prefix = prefix.parse::<ipnet::IpNet>().unwrap().to_string();
                Block {
                    id: format!("{version}Zq{:013x}", *number * 7_919_131),
                    version,
                    prefix,
                    next: 1,
                    ..Block::default()
                }
            }
        };
        self.allocated.push(block.clone());
        block
    }
}

impl Block {
    fn give(&mut self) -> String {
        let address = self.freed.pop().unwrap_or_else(|| {
            self.next += 1;
            let before = self.next - 1;
            match self.prefix.split_once("::/") {
                Some((head, _)) => format!("{head}::{before:x}"),
                None => self.prefix.replace(".0/24", &format!(".{before}")),
            }
        });
        self.allocated.push(address.clone());
        format!("{address}/{}", self.prefix.split('/').nth(1).unwrap())
    }
}
