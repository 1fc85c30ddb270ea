//! A shell that runs the commands of the pages: gipam is real, and Docker is simulated with the behaviour of
//! Engine 28.
//!
//! Promises: `gipam` and other commands are really run, in a separate directory; `docker network create`,
//! `network rm`, `run`, `stop`, `start`, `rm` and `compose` become calls to the driver's socket, in an
//! Engine's order and without names, and appear in the lists of a fake Engine, from which gipam takes the
//! names; `systemctl` starts, stops and reloads the daemon of the test. Any other command of a page fails.
//! Real containers are not run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::console;
use crate::daemon::{Daemon, House};
use crate::engine::{self, Shown};
use crate::http::Wire;

/// A subnet that was granted to Docker.
#[derive(Clone)]
struct Granted {
    id: String,
    prefix: String,
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
    /// The MAC that was requested; without one, Docker generates one at each start.
    fixed_mac: Option<String>,
    held: Vec<(String, String)>,
}

pub struct Stand {
    house: House,
    engine: Shown,
    compose: Option<String>,
    daemon: Option<Daemon>,
    networks: BTreeMap<String, Network>,
    containers: BTreeMap<String, Container>,
    /// The number of container starts so far.
    starts: u8,
}

/// Options without a value; all others need one.
const BARE: [&str; 6] = ["-d", "--init", "--ipv6", "-f", "--ipv4=false", "--internal"];

/// Splits the words of a command into its options (all values of each) and the rest.
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
    pub fn new(page: &str) -> Self {
        let house = House::with_toml("");
        let socket = house.path("engine.sock");
        let engine = engine::start(&socket);
        house.configure(&format!("{}\n[gc]\nengine = {socket:?}\n", console::configuration(page)));
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
        let compose = console::block(page, "yaml").map(str::to_owned);
        Self {
            house,
            engine,
            compose,
            daemon,
            networks: BTreeMap::new(),
            containers: BTreeMap::new(),
            starts: 0,
        }
    }

    /// Runs one command line; returns its output on both streams.
    pub fn type_in(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = match words.as_slice() {
            ["docker", "network", "create", rest @ ..] => self.create_network(rest),
            ["docker", "network", "rm", names @ ..] => {
                names.iter().for_each(|name| self.remove_network(name));
                Ok(())
            }
            ["docker", "compose", "up", "--detach"] => self.compose_up(),
            ["docker", "compose", "down"] => {
                ["demo-web-1", "demo-dns-1"].into_iter().for_each(|name| self.remove(name));
                ["demo_front", "demo_fixed"].into_iter().for_each(|name| self.remove_network(name));
                Ok(())
            }
            ["docker", "run", rest @ ..] => self.run(rest),
            ["docker", "start", name] => self.start(name),
            ["docker", "stop", name] => {
                self.stop(name);
                Ok(())
            }
            ["docker", "rm", "-f", names @ ..] => {
                names.iter().for_each(|name| self.remove(name));
                Ok(())
            }
            ["docker", ..] => panic!("the stand-in cannot run {line}"),
            ["systemctl", "stop", ..] => {
                assert!(self.daemon.take().expect("the daemon runs").stop().success());
                Ok(())
            }
            ["systemctl", "start", ..] => {
                self.daemon = Some(self.house.start());
                Ok(())
            }
            ["sqlite3", "-readonly", "/var/lib/gipam/gipam.db", ..] => {
                return crate::books::shell(&self.house.path("gipam.db"), line.split('"').nth(1).unwrap());
            }
            _ => return self.shell(line),
        };
        done.err().unwrap_or_default()
    }

    /// Starts the page's project: its two networks, and a container in each.
    fn compose_up(&mut self) -> Result<(), String> {
        let file = self.compose.clone().expect("the page shows a compose file");
        let value = |key: &str| {
            let rest = file.split_once(key).unwrap_or_else(|| panic!("no {key} in {file}")).1;
            rest.trim_start().split(['}', ']', '\n']).next().unwrap().to_owned()
        };
        let (subnet, address) = (value("subnet:"), value("ipv4_address:"));
        self.create_network(&["--ipam-driver", "gipam", "--ipv6", "demo_front"])?;
        self.create_network(&["--ipam-driver", "gipam", "--subnet", &subnet, "demo_fixed"])?;
        self.run(&["-d", "--name", "demo-web-1", "--network", "demo_front", "alpine"])?;
        self.run(&["-d", "--name", "demo-dns-1", "--network", "demo_fixed", "--ip", &address, "alpine"])
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
        let shown =
            places.iter().fold(text, |text, (from, to)| text.replace(&from.display().to_string(), to));
        shown.replace(&format!("{}/", here.display()), "")
    }

    /// Makes a call; returns its answer or the text that Docker shows. A daemon that is down does not answer.
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
            let granted = self.call(&network.driver, "RequestPool", &body)?;
            let [id, prefix] = ["PoolID", "Pool"].map(|key| granted[key].as_str().unwrap().to_owned());
            let body = json!({"PoolID": id, "Address": of("--gateway"), "Options": {"RequestAddressType": "com.docker.network.gateway"}});
            let gateway = self.call(&network.driver, "RequestAddress", &body)?;
            network.subnets.push(Granted { id, prefix, gateway: bare(&gateway) });
        }
        let prefixes: Vec<Value> = network
            .subnets
            .iter()
            .map(|subnet| json!({"Subnet": subnet.prefix, "Gateway": subnet.gateway}))
            .collect();
        let listed = json!({"Name": names.concat(), "Id": hex_id("n", &names.concat()), "Scope": "local", "Driver": "bridge",
            "IPAM": {"Driver": network.driver, "Config": prefixes}, "Containers": {}});
        self.engine.lock().unwrap().insert(hex_id("n", &names.concat()), listed);
        self.networks.insert(names.concat(), network);
        Ok(())
    }

    fn remove_network(&mut self, name: &str) {
        let network = self.networks.remove(name).unwrap_or_else(|| panic!("network {name} does not exist"));
        self.engine.lock().unwrap().remove(&hex_id("n", name));
        for Granted { id, gateway, .. } in network.subnets {
            let _ = self.call(&network.driver, "ReleaseAddress", &json!({"PoolID": id, "Address": gateway}));
            let _ = self.call(&network.driver, "ReleasePool", &json!({"PoolID": id}));
        }
    }

    fn run(&mut self, words: &[&str]) -> Result<(), String> {
        let (options, _) = parsed(words);
        let one =
            |name: &str| options.get(name).and_then(|values| values.first()).cloned().unwrap_or_default();
        let container = Container {
            network: one("--network"),
            asked: [one("--ip"), one("--ip6")],
            fixed_mac: options.get("--mac-address").and_then(|values| values.first()).cloned(),
            held: Vec::new(),
        };
        self.containers.insert(one("--name"), container);
        self.start(&one("--name")).map_err(|text| {
            let why = "daemon: failed to set up container networking: ";
            format!("docker: {}", text.replacen("daemon: ", why, 1))
        })
    }

    fn start(&mut self, name: &str) -> Result<(), String> {
        let mut container = self.containers[name].clone();
        let network = self.networks[&container.network].clone();
        self.starts += 1;
        let mac =
            container.fixed_mac.clone().unwrap_or_else(|| format!("02:42:00:00:00:{:02x}", self.starts));
        for (granted, asked) in network.subnets.iter().zip(&container.asked) {
            let options = json!({"com.docker.network.endpoint.macaddress": mac});
            let body = json!({"PoolID": granted.id, "Address": asked, "Options": options});
            let address = self.call(&network.driver, "RequestAddress", &body)?;
            container.held.push((granted.id.clone(), bare(&address)));
        }
        let mut listed = json!({"Name": name, "MacAddress": mac, "EndpointID": hex_id("e", name)});
        for ((_, address), granted) in container.held.iter().zip(&network.subnets) {
            let field = if address.contains(':') { "IPv6Address" } else { "IPv4Address" };
            let length = granted.prefix.split('/').nth(1).unwrap();
            listed[field] = format!("{address}/{length}").into();
        }
        let key = hex_id("n", &container.network);
        self.engine.lock().unwrap()[&key]["Containers"][hex_id("c", name)] = listed;
        self.containers.insert(name.to_owned(), container);
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        self.stop(name);
        self.containers.remove(name);
    }

    fn stop(&mut self, name: &str) {
        let container =
            self.containers.get_mut(name).unwrap_or_else(|| panic!("container {name} does not exist"));
        let held = std::mem::take(&mut container.held);
        let network = self.containers[name].network.clone();
        if let Some(listed) = self.engine.lock().unwrap().get_mut(&hex_id("n", &network)) {
            listed["Containers"].as_object_mut().unwrap().remove(&hex_id("c", name));
        }
        let driver = self.networks[&network].driver.clone();
        for (id, address) in held {
            let _ = self.call(&driver, "ReleaseAddress", &json!({"PoolID": id, "Address": address}));
        }
    }
}

/// An id as Docker makes it, from a kind and a name.
fn hex_id(kind: &str, name: &str) -> String {
    let hex: String = kind.bytes().chain(name.bytes()).map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0<64}")
}

/// The address in an answer, without its prefix length.
fn bare(answer: &Value) -> String {
    answer["Address"].as_str().unwrap().split('/').next().unwrap().to_owned()
}
