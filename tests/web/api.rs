//! The JSON API behind the page.

use serde_json::{Value, json};

use super::daemon::until;
use super::support::{Site, TOML};

/// A map as the page requests it.
const MAP: &str = "/v1/map?columns=64&lines=16";

fn network(site: &Site, endpoints: usize) -> (String, String) {
    let mut wire = site.daemon.wire();
    let (id, prefix) = wire.subnet(false);
    for at in 0..endpoints {
        let name = json!({"com.docker.network.endpoint.ifname": "eth0", "com.docker.network.endpoint.name": format!("web{at}")});
        wire.address(&id, "", name);
    }
    (id, prefix)
}

/// The page's data once it satisfies `good`.
fn fresh(site: &Site, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    until(path, || Some(site.json(path)).filter(|value| good(value)))
}

#[test]
fn rows_are_those_of_the_admin_views() {
    let site = Site::new(TOML);
    let (_, prefix) = network(&site, 3);
    let leases = fresh(&site, "/v1/leases?limit=9", |page| page["total"] == 3);
    assert_eq!(leases["rows"], site.daemon.view("/v1/leases"));
    let subnets = site.json("/v1/subnets?limit=9");
    let (shown, view) = (&subnets["rows"][0], &site.daemon.view("/v1/subnets")[0]);
    for (key, value) in view.as_object().unwrap() {
        assert_eq!(&shown[key], value, "{key}");
    }
    assert_eq!((&shown["prefix"], &shown["free"]), (&json!(prefix), &json!(10)));
    let pools = site.json("/v1/pools");
    for (shown, view) in
        pools.as_array().unwrap().iter().zip(site.daemon.view("/v1/pools").as_array().unwrap())
    {
        assert_eq!(shown["free"], view["free"]);
    }
}

#[test]
fn networks_have_the_names_that_the_engine_shows_in_lists_maps_and_searches() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("engine.sock");
    let shown = super::engine::start(&socket);
    let site =
        Site::new(&TOML.replace("engine = \"\"", &format!("engine = {:?}", socket.display().to_string())));
    let (_, prefix) = network(&site, 2);
    network(&site, 0);
    // One network has containers, the other does not.
    let of = |name: &str, prefix: &Value, containers: Value| {
        json!({"Name": name, "Id": name, "Scope": "local", "Containers": containers,
            "IPAM": {"Driver": "gipam", "Config": [{"Subnet": prefix}]}})
    };
    let address = site.daemon.view("/v1/leases")[0]["address"].as_str().unwrap().to_owned();
    let containers = json!({"1234567890ab": {"Name": "web0", "IPv4Address": address}});
    let empty = site.daemon.view("/v1/subnets")[1]["prefix"].clone();
    *shown.lock().unwrap() = [
        ("front".to_owned(), of("front", &json!(prefix), containers)),
        ("empty".to_owned(), of("empty", &empty, json!({}))),
    ]
    .into_iter()
    .collect();
    assert_eq!(site.house.gipam(&["gc"]).status.code(), Some(0));
    let named = |rows: &Value| {
        ["front", "empty"].map(|name| {
            rows.as_array().unwrap().iter().any(|row| row["network"] == name || row["name"] == name)
        })
    };
    fresh(&site, "/v1/subnets?limit=9", |page| named(&page["rows"]) == [true, true]);
    let map = fresh(&site, MAP, |map| named(&map[0]["lines"][0]["cells"]) == [true, true]);
    assert_eq!(map[0]["lines"][0]["cells"][1]["label"], prefix, "the label is the prefix");
    assert_eq!(site.json(&format!("{MAP}&of={prefix}"))[0]["network"], "front");
    assert_eq!(site.json("/v1/subnets?limit=9&search=EMPTY")["rows"][0]["prefix"], empty);
    assert_eq!(
        site.json("/v1/leases?limit=9&search=front")["matching"],
        2,
        "the search finds every lease of the network"
    );
}

#[test]
fn many_rows_come_page_by_page() {
    let site = Site::new(TOML);
    network(&site, 9);
    let page = fresh(&site, "/v1/leases?offset=4&limit=3&sort=-address", |page| page["total"] == 9);
    let addresses: Vec<&str> =
        page["rows"].as_array().unwrap().iter().map(|row| row["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["198.51.100.22", "198.51.100.21", "198.51.100.20"]);
    assert_eq!(
        site.json("/v1/leases?limit=100000&search=WEB7").as_object().unwrap()["matching"],
        1,
        "the search ignores the case"
    );
    assert_eq!(site.get("/v1/leases?limit=9&sort=color").status, 400);
}

#[test]
fn the_map_covers_pools_subnets_and_addresses() {
    let site = Site::new(TOML);
    let (_, prefix) = network(&site, 2);
    let map = fresh(&site, MAP, |map| map[0]["lines"][0]["cells"][1]["state"] == "used");
    let [v4, v6] = [0, 1].map(|at| map[at].clone());
    let spans = |row: &Value| -> Vec<(String, u64)> {
        let cells =
            row["lines"].as_array().unwrap().iter().flat_map(|line| line["cells"].as_array().unwrap());
        cells
            .map(|cell| (cell["state"].as_str().unwrap().to_owned(), cell["span"].as_u64().unwrap()))
            .collect()
    };
    let expected = |cells: &[(&str, u64)]| -> Vec<(String, u64)> {
        cells.iter().map(|(state, span)| ((*state).to_owned(), *span)).collect()
    };
    assert_eq!(
        spans(&v4),
        expected(&[("reserved", 1), ("used", 1), ("free", 14)]),
        "the map shows each /28 of the /24"
    );
    assert_eq!(v6["lines"].as_array().unwrap().len(), 1, "65536 free subnets are one line");
    assert_eq!(v6["lines"][0]["lines"], 1_024);
    let inside = site.json(&format!("{MAP}&of={prefix}"));
    let states = [("never", 1), ("slot", 1), ("used", 1), ("used", 1), ("free", 11), ("never", 1)];
    assert_eq!(spans(&inside[0]), expected(&states), "the map shows each address");
    assert_eq!(inside[0]["within"], json!(["198.51.100.0/24", prefix]));
    assert_eq!(site.get("/v1/map?of=203.0.113.0/24").status, 404);
    assert_eq!(site.get("/v1/map?of=192.0.2.0/33").status, 400);
}

#[test]
fn usage_is_computed_from_the_history() {
    let other = "[[pool]]\nname = \"other\"\nv4 = { base = \"192.0.2.0/24\", size = 28 }\n";
    let site = Site::new(&format!("{TOML}{other}"));
    let (id, _) = network(&site, 4);
    site.daemon.wire().release(&id, "198.51.100.18");
    let usage = fresh(&site, "/v1/usage?seconds=3600", |usage| {
        usage["points"].as_array().unwrap().last().unwrap()["leases"] == 3
    });
    assert_eq!(usage["points"].as_array().unwrap().last().unwrap()["subnets"], 1);
    assert!(usage["known_since"].is_string());
    for (pool, leases, subnets) in [("lan", 3, 1), ("other", 0, 0)] {
        let usage = site.json(&format!("/v1/usage?seconds=3600&pool={pool}"));
        let points = usage["points"].as_array().unwrap();
        assert_eq!(
            (&points.last().unwrap()["leases"], &points.last().unwrap()["subnets"]),
            (&json!(leases), &json!(subnets))
        );
        assert!(
            usage["known_since"].is_string(),
            "the start is known although the pool's use did not change"
        );
    }
    assert_eq!(site.get("/v1/usage?pool=nowhere").status, 404);
    let all = site.json("/v1/history?limit=9");
    let second = all[1]["number"].as_u64().unwrap();
    assert_eq!(
        site.json(&format!("/v1/history?limit=9&before={second}")).as_array(),
        Some(&all.as_array().unwrap()[2..].to_vec())
    );
    let history = site.json("/v1/history?limit=1");
    assert_eq!(history[0]["event"], "released");
    let status = site.json("/v1/status");
    assert_eq!(
        (&status["running"], &status["repair"], &status["leases"]),
        (&json!(true), &json!(false), &json!(3))
    );
}

/// This holds for any request, however long the history is.
#[test]
fn one_answer_reads_a_bounded_part_of_the_history() {
    const LINES: u64 = 200_100;
    let site = Site::new(&format!("history = 1000000\n{TOML}"));
    let house = site.house;
    site.daemon.stop();
    let books = rusqlite::Connection::open(house.path("gipam.db")).unwrap();
    // One row per second, the newest now.
    let sql = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
        INSERT INTO history (at, event, space, subnet, id) \
        SELECT (unixepoch() - ?1 + i) * 1000, 'reserved', '', '192.0.2.0/24', '' FROM n";
    books.execute(sql, [LINES.cast_signed()]).unwrap();
    drop(books);
    let site = Site::of(house);
    let usage = site.json("/v1/usage?seconds=18446744073709551615");
    let seconds = |key: &str| {
        let at = gipam::plan::settings::parse_rfc3339(usage[key].as_str().unwrap()).unwrap();
        gipam::clock::now().abs_diff(at) / 1_000
    };
    assert!(seconds("known_since").abs_diff(200_000) < 60, "{}", usage["known_since"]);
    assert!(seconds("from") <= 401 * 86_400, "{}", usage["from"]);
    assert_eq!(site.json("/v1/history?limit=4294967295").as_array().unwrap().len(), 1_000);
}
