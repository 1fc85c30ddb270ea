//! A pool that is completely in use on this host: every view of pools shows it without free subnets, and the
//! reason.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::daemon::{House, until};
use super::http::Wire;

const TOML: &str = "http = \"127.0.0.1:9468\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"gone\"\n\
    v4 = { base = \"198.51.100.0/24\", size = 28 }\n[[pool]]\nname = \"half\"\nv4 = { base = \"203.0.113.0/24\", size = 28 }\n";

/// Starts the daemon in a separate network namespace, in which routes use all of one pool and half of the
/// other. Requests over TCP are sent from inside.
fn inside(house: &House) -> (super::daemon::Daemon, impl Fn(&str) -> String) {
    let script = "ip link set lo up && ip route add 198.51.100.0/24 dev lo scope link && \
        ip route add 203.0.113.0/25 dev lo scope link && exec \"$@\"";
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--net", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_gipam")]).args(&house.arguments);
    let log = std::fs::File::create(house.path("log")).unwrap();
    let child = unshare.env_remove("RUST_LOG").stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let pid = child.id();
    let daemon = house.adopt(child);
    until(&format!("the daemon serves: {}", house.log()), || {
        Wire::try_unix(&daemon.socket)?.try_call("Plugin.Activate", "").map(drop)
    });
    let page = move |path: &str| {
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/9468; printf 'GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
        );
        let net = format!("--net=/proc/{pid}/ns/net");
        let asked = Command::new("nsenter").args([&net, "bash", "-c", &ask]).output().unwrap();
        String::from_utf8(asked.stdout).unwrap()
    };
    (daemon, page)
}

#[test]
fn a_pool_that_the_host_uses_has_no_free_subnets_and_says_why() {
    let house = House::with_toml(TOML);
    let (daemon, page) = inside(&house);
    let refused = daemon.wire().refused(
        "RequestPool",
        &json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {"pool": "gone"}, "V6": false}),
    );
    assert!(refused.contains("on-link route"), "{refused}");
    let of = |rows: &Value, name: &str| {
        rows.as_array().unwrap().iter().find(|row| row["pool"] == name).cloned().unwrap()
    };
    let (pools, usage) = (daemon.view("/v1/pools"), daemon.view("/v1/status")["usage"].clone());
    for rows in [&pools, &usage] {
        let (gone, half) = (of(rows, "gone"), of(rows, "half"));
        assert_eq!((&gone["free"], &half["unusable"]), (&json!(0), &json!(null)), "{rows}");
        assert!(gone["unusable"].as_str().unwrap().contains("on-link route"), "{gone}");
        assert_ne!(half["free"], 0, "{half}");
    }
    let map = of(&daemon.view("/v1/map"), "gone");
    assert_eq!(
        map["segments"],
        json!([{"first": "198.51.100.0", "last": "198.51.100.255", "state": "never", "host": null}])
    );
    for arguments in [&["pools"][..], &["map", "gone"]] {
        let said = String::from_utf8(house.gipam(arguments).stdout).unwrap();
        assert!(said.contains("on-link route"), "{said}");
        assert!(arguments.len() > 1 || said.contains("gone (unusable)"), "{said}");
    }
    let said = String::from_utf8(house.gipam(&["status"]).stdout).unwrap();
    assert!(said.contains("unusable: lies in the on-link route"), "{said}");
    if rustix::process::geteuid().is_root() {
        let body = |path: &str| -> Value {
            let said = page(path);
            serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap_or_else(|_| panic!("{said}"))
        };
        let gone = of(&body("/v1/pools"), "gone");
        assert!(gone["free"] == 0 && gone["unusable"].is_string(), "{gone}");
        let cells = body("/v1/map?columns=64&lines=4")[0]["lines"][0]["cells"].clone();
        assert!(cells.as_array().unwrap().iter().all(|cell| cell["state"] == "never"), "{cells}");
        let metrics = page("/metrics");
        let free = "gipam_pool_subnets{pool=\"gone\",family=\"v4\",state=\"free\"} 0";
        assert!(metrics.contains(free), "{metrics}");
    }
    assert!(daemon.stop().success());
}
