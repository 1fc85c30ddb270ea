//! The driver over TCP and over mutual TLS: the Engine finds it through the file that gipam writes (P1).

use crate::certificates;
use crate::scenario::{Scenario, scenario};
use crate::world::World;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("door_tcp_found_by_spec_file", "P1 P3 D16", tcp),
        scenario("door_mutual_tls_found_by_json_file", "P1 D16", mutual_tls),
    ]
}

/// `gipam` stays on its socket; a second driver name is served over TCP, from the same pools and books.
const POOLS: &str = r#"
[[pool]]
name = "default"
v4 = { base = "10.77.0.0/16", size = 24 }
v6 = { base = "fd77:77::/48", size = 64 }
[driver.gipam]
pools = ["default"]
"#;

/// Waits for the plugin file and returns its content. gipam writes it once all its listeners are open, a
/// moment after the first one answers.
fn announced(w: &World, file: &str) -> String {
    let path = format!("/etc/docker/plugins/{file}");
    w.inside(&format!("for n in $(seq 100); do [ -s {path} ] && exec cat {path}; sleep 0.1; done; echo {path} is missing; exit 1"))
}

fn tcp(w: &mut World) {
    w.configure(&format!("{POOLS}\n[driver.overtcp]\npools = [\"default\"]\naddress = \"127.0.0.1:9191\"\n"));
    w.also_driver("overtcp");
    let spec = announced(w, "overtcp.spec");
    assert_eq!(spec, "tcp://127.0.0.1:9191");
    serves(w, "overtcp");
    w.stop();
    w.inside("test ! -e /etc/docker/plugins/overtcp.spec");
    w.start();
    w.docker("rm -f c1"); // dockerd opens a new connection, because it remembers the address
    w.agree();
}

fn mutual_tls(w: &mut World) {
    certificates(w);
    w.configure(&format!(
        "{POOLS}\n[driver.overtls]\npools = [\"default\"]\naddress = \"127.0.0.1:9292\"\n\
         [tls]\ncert = \"/etc/gipam-tls/server.pem\"\nkey = \"/etc/gipam-tls/server.key\"\n\
         client_ca = \"/etc/gipam-tls/ca.pem\"\nengine_ca = \"/etc/gipam-tls/ca.pem\"\n\
         engine_cert = \"/etc/gipam-tls/engine.pem\"\nengine_key = \"/etc/gipam-tls/engine.key\"\n"
    ));
    w.also_driver("overtls");
    let json = announced(w, "overtls.json");
    assert!(json.contains("TLSConfig"), "{json}");
    serves(w, "overtls");
}

/// Two listeners share the books: neither gives an address that the other gave.
fn serves(w: &World, driver: &str) {
    w.docker(&format!("network create --ipv6 --ipam-driver {driver} n1"));
    w.network("--ipv6 n2");
    assert_eq!(w.prefixes("n1"), ["10.77.0.0/24", "fd77:77::/64"]);
    assert_eq!(w.prefixes("n2"), ["10.77.1.0/24", "fd77:77:0:1::/64"]);
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    w.ping("c1", &w.v6("c2", "n1"));
    w.agree();
}

/// The paths at which the Engine and gipam find the certificates.
fn certificates(w: &World) {
    certificates::make(|name, pem| w.write(&format!("/etc/gipam-tls/{name}"), pem));
}
