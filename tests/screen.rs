//! `gipam status` of the real daemon: one screen, the same from the books when the daemon is down, and its
//! JSON; and screens and tables adapt to the terminal.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "page/engine.rs"]
#[allow(dead_code, reason = "shared with the tests of the page")]
mod engine;
#[path = "support/http.rs"]
mod http;
#[path = "support/pty.rs"]
mod pty;

use std::process::{Command, Output};

use daemon::{Daemon, House, until};
use http::Wire;
use pty::Pty;
use serde_json::{Value, json};

const TOML: &str = r#"
[gc]
engine = ""
[[pool]]
name = "lan"
v4 = { base = "198.18.0.0/16", size = 24 }
v6 = { base = "2001:db8:77::/48", size = 64 }
reserved = ["198.18.0.200-198.18.0.203"]
[[pool]]
name = "small"
v4 = { base = "198.51.100.0/24", size = 28 }
"#;

fn named(name: &str) -> Value {
    json!({"com.docker.network.endpoint.name": name})
}

/// A network of each pool, a container, one that was just removed, and a refusal.
fn life(daemon: &Daemon) -> String {
    let mut wire: Wire = daemon.wire();
    let (lan, _) = wire.subnet(false);
    wire.subnet(true);
    let (small, _) = wire.pool(&json!({"AddressSpace": "local", "Options": {"pool": "small"}}));
    for n in 0..10 {
        wire.address(&small, "", named(&format!("small-{n}")));
    }
    wire.address(&lan, "", named("web"));
    let gone = wire.address(&lan, "", named("gone"));
    wire.release(&lan, &gone);
    wire.refused("RequestPool", &json!({"AddressSpace": "local", "Options": {"pol": "x"}}))
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.lines().count() <= 24 && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour on a pipe: {text}");
    text
}

#[test]
fn status_is_one_screen_with_and_without_the_daemon() {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    life(&daemon);
    let running = text(&house.gipam(&["status"]));
    for part in [
        "is running since",
        "driver     d at unix://",
        "lan          198.18.0.0/16            [#...............]  <1%  1 of 256 /24",
        "lan          2001:db8:77::/48         [#...............]  <1%  1 of 65,536 /64",
        "-            198.51.100.0/28          [############....]  76%  10 of 13",
        "3 subnets, 11 addresses; 1 cooling (released recently)",
        "0 pinned (by --ip or by hand), 4 reserved (not given dynamically)",
        "Engine     not checked: repair is off (gc.engine)",
        "1 refused; the latest:",
        "RequestPool invalid request: unknown option pol=x",
    ] {
        let part = part.replace("driver     d at", "driver     gipam at");
        assert!(running.contains(&part), "{part} is missing:\n{running}");
    }
    daemon.stop();
    let books = house.path("gipam.db").display().to_string();
    let down = house.gipam(&["status", "--file", &books]);
    let said = String::from_utf8_lossy(&down.stderr).into_owned();
    assert!(
        said.contains("no daemon answers at") && said.contains("this answer comes from the books"),
        "{said}"
    );
    let down = text(&down);
    assert!(down.starts_with("gipam is not running; these numbers come from its books.\n"), "{down}");
    let same = |screen: &str| {
        let end = screen.find("books  ").unwrap();
        screen[screen.find("POOLS").unwrap()..end].to_owned()
    };
    assert_eq!(same(&running), same(&down));
}

#[test]
fn status_as_json_keeps_its_keys_and_agrees_with_the_other_views() {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    let refused = life(&daemon);
    let pin = house.gipam(&["pin", "cache", "198.18.0.50"]);
    assert!(pin.status.success(), "{}", String::from_utf8_lossy(&pin.stderr));
    let status = house.json(&["status"]);
    assert_eq!(status["pinned"], 1, "{status}");
    let keys: Vec<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let kept = [
        "running",
        "names",
        "doors",
        "version",
        "books",
        "pools",
        "subnets",
        "leases",
        "started",
        "last_error",
    ];
    assert_eq!(keys[..kept.len()], kept);
    for counter in ["requests", "refused", "empty_bodies", "undone"] {
        assert!(status[counter].is_u64(), "{counter}: {status}");
    }
    let count = |state: &str| house.json(&["leases", "--state", state]).as_array().unwrap().len();
    assert_eq!(status["cooling"], count("cooling"));
    assert_eq!(status["pinned"], count("pinned"));
    assert_eq!(status["leases"], count("leased"));
    assert_eq!(status["reserved"], 4);
    let pools: Vec<Value> = house.json(&["pools"]).as_array().unwrap().clone();
    for (usage, pool) in status["usage"].as_array().unwrap().iter().zip(&pools) {
        for (key, value) in pool.as_object().unwrap() {
            assert_eq!(&usage[key], value, "{key}");
        }
    }
    assert_eq!(status["fullest"][0]["prefix"], "198.51.100.0/28");
    assert_eq!(status["fullest"][2]["share"], Value::Null, "a /64 is never full");
    assert_eq!((&status["refusals"][0]["text"], &status["repair"]), (&Value::from(refused), &json!(false)));
    assert!(status["books_bytes"].as_u64().unwrap() > 0 && status["synced"].is_string(), "{status}");
    assert_eq!(status["events"], Value::Null, "events are included only on request");
    let events = daemon.view("/v1/status?events=2")["events"].clone();
    assert_eq!((events.as_array().unwrap().len(), &events[0]["event"]), (2, &Value::from("pinned")));
}

#[test]
fn an_engine_that_does_not_answer_is_shown_with_time_reason_and_next_step() {
    let house = House::with_toml(&TOML.replace("engine = \"\"", "engine = \"/nowhere/docker.sock\""));
    let _daemon = house.start();
    let status = until("repair has asked the Engine", || {
        Some(house.json(&["status"])).filter(|status| status["engine"] == false)
    });
    assert!(status["engine_since"].is_string() && status["next_look"].is_string(), "{status}");
    assert!(status["engine_error"].as_str().unwrap().contains("/nowhere/docker.sock"), "{status}");
    assert_eq!((&status["repair"], &status["findings"]), (&json!(true), &json!(0)));
    let screen = text(&house.gipam(&["status"]));
    assert!(screen.contains("Engine     does not answer since "), "{screen}");
    assert!(screen.contains("repair     no check yet; next try in "), "{screen}");
}

/// A fake Engine, and a house that uses it.
fn with_engine() -> (engine::Shown, House) {
    let house = House::with_toml("");
    let socket = house.path("engine.sock");
    let shown = engine::start(&socket);
    house.configure(&TOML.replace("engine = \"\"", &format!("engine = {:?}", socket.display().to_string())));
    (shown, house)
}

#[test]
fn networks_have_the_names_that_the_engine_shows_in_status_who_and_tables() {
    let (shown, house) = with_engine();
    let daemon = house.start();
    let (id, prefix) = daemon.wire().subnet(false);
    let address = daemon.wire().address(&id, "", named("front-1"));
    *shown.lock().unwrap() = engine::networks(&daemon.view("/v1/leases"));
    let said = |arguments: &[&str]| String::from_utf8(house.gipam(arguments).stdout).unwrap();
    said(&["gc"]);
    let status =
        until("status names the network", || Some(said(&["status"])).filter(|it| it.contains("front ")));
    let line = status.lines().find(|line| line.starts_with("front ")).unwrap();
    assert!(line.contains(&prefix), "{status}");
    let who = said(&["who", &address]);
    let lines: Vec<Vec<&str>> = who.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in [["holder:", "front-1"], ["network:", "front"], ["container:", "id-front-1"]] {
        assert!(lines.iter().any(|words| words[..] == line), "{line:?}: {who}");
    }
    for (arguments, column) in [(["subnets"], 1), (["leases"], 4)] {
        let table = said(&arguments);
        let cells =
            |line: usize| table.lines().nth(line).unwrap().split_whitespace().nth(column).unwrap().to_owned();
        assert_eq!([cells(0), cells(1)], ["NETWORK", "front"], "{table}");
    }
}

/// Engines before 29 do not send names.
#[test]
fn who_finds_a_container_that_has_just_started() {
    let (shown, house) = with_engine();
    let daemon = house.start();
    until("the first check is over", || Some(()).filter(|()| house.json(&["status"])["looked"].is_string()));
    let (id, prefix) = daemon.wire().subnet(false);
    let address = daemon.wire().address(
        &id,
        "",
        json!({"com.docker.network.endpoint.macaddress": "02:00:00:00:00:01"}),
    );
    let front = json!({"Name": "front", "Id": "front", "Scope": "local", "IPAM": {"Driver": "gipam", "Config": [{"Subnet": prefix}]},
        "Containers": {"id-web": {"Name": "web", "IPv4Address": address, "MacAddress": ""}}});
    shown.lock().unwrap().insert("front".to_owned(), front);
    let who = house.gipam(&["who", "web"]);
    let text = String::from_utf8_lossy(&who.stdout).into_owned();
    assert!(
        text.contains(address.split('/').next().unwrap()),
        "{text}{}",
        String::from_utf8_lossy(&who.stderr)
    );
    assert_eq!(house.gipam(&["who", "nobody"]).status.code(), Some(3));
}

/// Repair waits half a minute for an Engine that accepts and does not answer; a command does not.
#[test]
fn who_does_not_wait_long_for_a_silent_engine() {
    let house = House::with_toml("");
    let socket = house.path("engine.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    house.configure(&TOML.replace("engine = \"\"", &format!("engine = {:?}", socket.display().to_string())));
    let _daemon = house.start();
    let begun = std::time::Instant::now();
    assert_eq!(house.gipam(&["who", "nobody"]).status.code(), Some(3));
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// The lines that a command prints on a terminal of this size.
fn on_terminal(house: &House, arguments: &[&str], rows: u16, columns: u16) -> Vec<String> {
    let terminal = Pty::new(rows, columns);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gipam"));
    command.env_clear().env("NO_COLOR", "1").args(arguments).arg("--admin").arg(house.admin());
    let status =
        command.stdin(terminal.end()).stdout(terminal.end()).stderr(terminal.end()).status().unwrap();
    assert!(status.success(), "{arguments:?}: {}", terminal.text());
    // The program has written everything to the terminal, but the test may not have read it yet.
    until("the last line is shown", || terminal.text().ends_with("\r\n").then_some(()));
    until("the output is complete", || {
        let before = terminal.text();
        std::thread::sleep(std::time::Duration::from_millis(50));
        (before == terminal.text()).then_some(())
    });
    terminal.text().lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn status_and_tables_fit_the_terminal() {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    life(&daemon);
    let widest = |lines: &[String]| lines.iter().map(|line| line.chars().count()).max().unwrap();
    let (normal, wide) =
        (on_terminal(&house, &["status"], 25, 80), on_terminal(&house, &["status"], 50, 180));
    assert!(widest(&normal) <= 80 && normal.len() <= 24, "{normal:#?}");
    let pool = |lines: &[String]| lines.iter().find(|line| line.starts_with("lan ")).unwrap().chars().count();
    assert!(pool(&wide) > pool(&normal) && widest(&wide) <= 180, "{wide:#?}");
    let id = daemon.view("/v1/subnets")[0]["id"].as_str().unwrap().to_owned();
    let (narrow, wide) =
        (on_terminal(&house, &["subnets"], 25, 119), on_terminal(&house, &["subnets"], 25, 180));
    assert!(widest(&narrow) <= 119, "{narrow:#?}");
    assert!(!narrow[0].contains("ID") && !narrow.iter().any(|line| line.contains(&id)), "{narrow:#?}");
    assert!(narrow.iter().skip(1).all(|line| line.ends_with(" ago")), "{narrow:#?}");
    assert!(wide[0].ends_with("ID") && wide.iter().any(|line| line.ends_with(&id)), "{wide:#?}");
    assert!(wide.iter().skip(1).all(|line| line.contains("Z  ")), "{wide:#?}");
    let leases = on_terminal(&house, &["leases"], 25, 80);
    assert!(
        widest(&leases) <= 80 && leases[0].ends_with("SINCE") && leases[1].ends_with(" ago"),
        "{leases:#?}"
    );
}

#[test]
fn config_show_shows_the_settings_in_force_and_says_whether_a_driver_runs() {
    let house = House::with_toml(&format!("cooling = \"7m\"\n{TOML}"));
    let document = house.path("gipam.toml").display().to_string();
    let show = |house: &House| {
        let output = house.gipam(&["config", "show", "--json", "--config", &document]);
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["key"] == "cooling").unwrap().clone();
        (row["value"].as_str().unwrap().to_owned(), String::from_utf8(output.stderr).unwrap())
    };
    let daemon = house.start();
    house.configure(&format!("cooling = \"9m\"\n{TOML}"));
    let (value, said) = show(&house);
    assert_eq!(
        (value.as_str(), said.as_str()),
        ("7m", "gipam: these are the settings of the running driver\n")
    );
    daemon.stop();
    let (value, said) = show(&house);
    assert_eq!(value, "9m");
    assert!(
        said.contains("no driver is running; these are the settings that gipam serve would start with"),
        "{said}"
    );
}
