//! Whoever types the pages: a shell with gipam in it, and Docker's part played by the calls that an Engine 29 would send.
//!
//! Promises: `gipam` and other commands are really run, in a directory of their own; `docker network create`, `network rm`,
//! `run`, `stop`, `start`, `rm` become calls at the driver's socket, in an Engine's order; `systemctl` starts, stops and
//! reloads the daemon of the test. What a page types beyond that fails. No container runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::daemon::{Daemon, House};
use crate::http::Wire;

/// A subnet that Docker was given.
#[derive(Clone)]
struct Granted {
    id: String,
    gateway: String,
}

#[derive(Clone, Default)]
struct Network {
    driver: String,
    subnets: Vec<Granted>,
}

#[derive(Clone, Default)]
struct Container {
    network: String,
    asked: [String; 2],
    mac: String,
    held: Vec<(String, String)>,
}

pub struct Stand {
    house: House,
    daemon: Option<Daemon>,
    networks: BTreeMap<String, Network>,
    containers: BTreeMap<String, Container>,
}

/// Options that stand for themselves; all others take a value.
const BARE: [&str; 5] = ["-d", "--ipv6", "-f", "--ipv4=false", "--internal"];

/// The words of a command: its options (all values of each), and the rest.
fn parsed(words: &[&str]) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let (mut options, mut rest) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !rest.is_empty() || !word.starts_with('-') {
            rest.push((*word).to_owned());
        } else if BARE.contains(word) {
            options.entry((*word).to_owned()).or_default();
        } else {
            let value = words.next().unwrap_or_else(|| panic!("{word} takes a value"));
            options.entry((*word).to_owned()).or_default().push((*value).to_owned());
        }
    }
    (options, rest)
}

impl Stand {
    pub fn new(toml: &str) -> Self {
        // Docker is played, so there is no Engine to compare the books with.
        let house = House::with_toml(&format!("{toml}\n[gc]\nengine = \"\"\n"));
        let program = house.path("gipam");
        let variables = [
            ("ADMIN", house.admin()),
            ("CONFIG", house.path("gipam.toml")),
            ("FILE", house.path("gipam.db")),
        ];
        let exports = variables.map(|(name, path)| format!("export GIPAM_{name}='{}'\n", path.display()));
        let script =
            format!("#!/bin/sh\n{}exec '{}' \"$@\"\n", exports.concat(), env!("CARGO_BIN_EXE_gipam"));
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let daemon = Some(house.start());
        Self { house, daemon, networks: BTreeMap::new(), containers: BTreeMap::new() }
    }

    /// One line at the prompt, and what came of it on both streams.
    pub fn type_in(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = match words.as_slice() {
            ["docker", "network", "create", rest @ ..] => self.create_network(rest),
            ["docker", "network", "rm", name] => {
                self.remove_network(name);
                Ok(())
            }
            ["docker", "run", rest @ ..] => self.run(rest),
            ["docker", "start", name] => self.start(name),
            ["docker", "stop", name] => {
                self.stop(name);
                Ok(())
            }
            ["docker", "rm", "-f", name] => {
                self.stop(name);
                self.containers.remove(*name);
                Ok(())
            }
            ["docker", ..] => panic!("the stand-in cannot play {line}"),
            ["systemctl", "stop", ..] => {
                assert!(self.daemon.take().expect("it runs").stop().success());
                Ok(())
            }
            ["systemctl", "start", ..] => {
                self.daemon = Some(self.house.start());
                Ok(())
            }
            _ => return self.shell(line),
        };
        done.err().unwrap_or_default()
    }

    fn shell(&self, line: &str) -> String {
        let here = self.house.directory.path();
        let path = format!("{}:/usr/bin:/bin", here.display());
        let mut command = std::process::Command::new("sh");
        command.args(["-c", line]).current_dir(here).env_clear().env("PATH", path);
        let output = command.output().unwrap();
        let text = [output.stderr, output.stdout].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        let places = [
            (self.house.admin(), "/run/gipam/admin.sock"),
            (self.house.path("gipam.db"), "/var/lib/gipam/gipam.db"),
        ];
        let told = places.iter().fold(text, |text, (from, to)| text.replace(&from.display().to_string(), to));
        told.replace(&format!("{}/", here.display()), "")
    }

    /// A call, and its answer or the text that Docker shows. A daemon that is down answers nothing.
    fn call(&self, driver: &str, method: &str, body: &Value) -> Result<Value, String> {
        let socket =
            if driver == "gipam" { self.house.socket() } else { self.house.path(&format!("{driver}.sock")) };
        let Some(mut wire) = Wire::try_unix(&socket) else { return Err("no daemon".to_owned()) };
        let answer = wire.call(&format!("IpamDriver.{method}"), body.to_string());
        let text: Value = serde_json::from_slice(&answer.body).unwrap();
        let refused =
            || format!("Error response from daemon: IpamDriver.{method}: {}", text["Err"].as_str().unwrap());
        if answer.status == 200 { Ok(text) } else { Err(refused()) }
    }

    fn create_network(&mut self, words: &[&str]) -> Result<(), String> {
        let (options, names) = parsed(words);
        let all = |name: &str| options.get(name).cloned().unwrap_or_default();
        let driver = all("--ipam-driver").first().cloned().unwrap_or_default();
        let opts: BTreeMap<String, String> = all("--ipam-opt")
            .iter()
            .filter_map(|opt| opt.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let families: &[bool] = if options.contains_key("--ipv6") { &[false, true] } else { &[false] };
        let mut network = Network { driver, subnets: Vec::new() };
        for v6 in families {
            let of =
                |name: &str| all(name).into_iter().find(|text| text.contains(':') == *v6).unwrap_or_default();
            let body = json!({"AddressSpace": "local", "Pool": of("--subnet"), "SubPool": of("--ip-range"), "Options": opts, "V6": v6});
            let id = self.call(&network.driver, "RequestPool", &body)?["PoolID"].as_str().unwrap().to_owned();
            let body = json!({"PoolID": id, "Address": of("--gateway"), "Options": {"RequestAddressType": "com.docker.network.gateway"}});
            let gateway = self.call(&network.driver, "RequestAddress", &body)?;
            network.subnets.push(Granted { id, gateway: bare(&gateway) });
        }
        self.networks.insert(names.concat(), network);
        Ok(())
    }

    fn remove_network(&mut self, name: &str) {
        let network = self.networks.remove(name).unwrap_or_else(|| panic!("there is no network {name}"));
        for Granted { id, gateway } in network.subnets {
            let _ = self.call(&network.driver, "ReleaseAddress", &json!({"PoolID": id, "Address": gateway}));
            let _ = self.call(&network.driver, "ReleasePool", &json!({"PoolID": id}));
        }
    }

    fn run(&mut self, words: &[&str]) -> Result<(), String> {
        let (options, _) = parsed(words);
        let one =
            |name: &str| options.get(name).and_then(|values| values.first()).cloned().unwrap_or_default();
        let mac = format!("02:42:00:00:00:{:02x}", self.containers.len());
        let container = Container {
            network: one("--network"),
            asked: [one("--ip"), one("--ip6")],
            mac,
            held: Vec::new(),
        };
        self.containers.insert(one("--name"), container);
        self.start(&one("--name")).map_err(|text| format!("docker: {text}"))
    }

    fn start(&mut self, name: &str) -> Result<(), String> {
        let mut container = self.containers[name].clone();
        let network = self.networks[&container.network].clone();
        for (granted, asked) in network.subnets.iter().zip(&container.asked) {
            let options = json!({"com.docker.network.endpoint.name": name, "com.docker.network.endpoint.macaddress": container.mac});
            let body = json!({"PoolID": granted.id, "Address": asked, "Options": options});
            let address = self.call(&network.driver, "RequestAddress", &body)?;
            container.held.push((granted.id.clone(), bare(&address)));
        }
        self.containers.insert(name.to_owned(), container);
        Ok(())
    }

    fn stop(&mut self, name: &str) {
        let container =
            self.containers.get_mut(name).unwrap_or_else(|| panic!("there is no container {name}"));
        let held = std::mem::take(&mut container.held);
        let driver = self.networks[&self.containers[name].network].driver.clone();
        for (id, address) in held {
            let _ = self.call(&driver, "ReleaseAddress", &json!({"PoolID": id, "Address": address}));
        }
    }
}

/// The address of an answer, without its length.
fn bare(answer: &Value) -> String {
    answer["Address"].as_str().unwrap().split('/').next().unwrap().to_owned()
}
