//! Debian's own Prometheus reads our metrics and our alert rules.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::browser::Browser;
use super::daemon::until;
use super::site::{Site, TOML};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/prometheus.sh")
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The result of a request to its API.
fn ask(port: u16, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1)?).ok()?;
    Some(body["data"].clone())
}

/// The value of a query that has one series.
fn value(port: u16, query: &str) -> Option<String> {
    let data = ask(port, &format!("query?query={query}"))?;
    data["result"][0]["value"][1].as_str().map(str::to_owned)
}

/// Prometheus scrapes gipam, evaluates the rules, and fires only the alert for a full pool.
pub fn reads(_: &mut Browser) {
    let got = Command::new(script()).arg("get").stdin(Stdio::null()).output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    let site = Site::new(&TOML.replace("198.51.100.0/24\", size = 28", "198.51.100.0/27\", size = 28"));
    let mut wire = site.daemon.wire();
    let pool =
        json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {"pool": "dmz"}, "V6": false});
    let (id, _) = wire.pool(&pool);
    wire.address(&id, "", json!({}));
    let directory = tempfile::tempdir().unwrap();
    let rules = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/gipam.rules.yml"),
    );
    // Conditions that must last for minutes fire at once here.
    let rules: String = rules
        .unwrap()
        .lines()
        .filter(|line| !line.trim().starts_with("for: "))
        .map(|line| line.to_owned() + "\n")
        .collect();
    std::fs::write(directory.path().join("rules.yml"), rules).unwrap();
    let target = site.address.trim_start_matches("http://").trim_end_matches('/');
    let configuration = format!(
        "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nrule_files: [rules.yml]\n\
         scrape_configs: [{{job_name: gipam, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    std::fs::write(directory.path().join("prometheus.yml"), configuration).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let _running = Running(
        Command::new(script())
            .args(["run", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let said = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    until("Prometheus scrapes gipam", || (value(port, "up").as_deref() == Some("1")).then_some(()));
    assert_eq!(
        value(port, "gipam_pool_subnets%7Bpool=%22dmz%22,family=%22v4%22,state=%22used%22%7D").as_deref(),
        Some("1"),
        "{}",
        said()
    );
    assert_eq!(
        value(port, "gipam_requests_total%7Bmethod=%22RequestPool%22,outcome=%22ok%22%7D").as_deref(),
        Some("1")
    );
    let alerts = until("an alert fires", || {
        let alerts = ask(port, "alerts")?["alerts"].as_array()?.clone();
        (!alerts.is_empty()).then_some(alerts)
    });
    for alert in &alerts {
        let name = alert["labels"]["alertname"].as_str().unwrap();
        assert!(name.starts_with("GipamPool") && alert["labels"]["pool"] == "dmz", "{alert}");
        let text = alert["annotations"]["summary"].as_str().unwrap();
        assert!(text.contains("Pool dmz (v4)") && !text.contains("<no value>"), "{text}");
    }
    // Every rule was evaluated without an error.
    let healthy = || {
        let groups = ask(port, "rules")?;
        let rules = groups["groups"][0]["rules"].as_array()?.clone();
        rules.iter().all(|rule| rule["health"] == "ok").then_some(rules.len())
    };
    assert!(until("all rules are evaluated", healthy) > 10);
}
