//! Bytes that dockerd never sends: each is refused with a clear message and changes nothing, and the daemon
//! keeps serving.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::daemon::{Daemon, House, POOLS};
use crate::facts::gateway;
use crate::http::Wire;

const CALLS: [&str; 4] = ["RequestPool", "RequestAddress", "ReleaseAddress", "ReleasePool"];

/// A daemon that holds a subnet of each family with a gateway and an endpoint, and their PoolIDs.
fn furnished() -> (House, Daemon, [String; 2]) {
    let house = House::new(&POOLS);
    let daemon = house.start();
    let mut wire = daemon.wire();
    let ids = [false, true].map(|v6| {
        let (id, _) = wire.subnet(v6);
        wire.address(&id, "", gateway());
        wire.address(&id, "", json!({"com.docker.network.endpoint.name": "web"}));
        id
    });
    (house, daemon, ids)
}

/// Sends bodies, each of which must be refused without changing anything.
fn refuse_all(cases: &[(&str, Vec<u8>)]) {
    let (_house, daemon, ids) = furnished();
    let before = daemon.books();
    let mut wire = daemon.wire();
    for (method, body) in cases {
        let body = replaced(body, &ids);
        let answer = wire.call(&format!("IpamDriver.{method}"), &body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        assert!((400..500).contains(&answer.status), "{method} {shown}: {} {}", answer.status, answer.text());
        let text = answer.refused();
        assert!(text.chars().count() < 2_100, "{shown}: {text}");
        assert_eq!(daemon.books(), before, "{method} {shown}: {text}");
    }
    assert!(wire.address(&ids[0], "", Value::Null).ends_with("/24"), "the daemon still serves");
}

fn replaced(body: &[u8], ids: &[String; 2]) -> Vec<u8> {
    match std::str::from_utf8(body) {
        Ok(text) => text.replace("$4", &ids[0]).replace("$6", &ids[1]).into_bytes(),
        Err(_) => body.to_vec(),
    }
}

#[test]
fn duty_1_bodies_that_are_not_an_object() {
    let deep = |open: &str, close: &str| {
        format!("{}{}", open.repeat(100_000 / open.len()), close.repeat(100)).into_bytes()
    };
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let mut bodies: Vec<Vec<u8>> =
        ["{", "[]", "[{}]", "7", "null", "true", "\"x\"", "{}{}", "{} x", "\u{feff}{}", "{'a':1}", "{\"a\"}"]
            .map(|text| text.as_bytes().to_vec())
            .into();
    bodies.extend([
        vec![0; 10],
        vec![0xff, 0xfe],
        b"{\"AddressSpace\":\"lo\xffcal\"}".to_vec(),
        nested(30_000),
    ]);
    bodies.extend([deep("{\"a\":", "}")[..60_000].to_vec(), vec![b' '; 65_536]]);
    let cases: Vec<_> =
        CALLS.iter().flat_map(|call| bodies.iter().map(|body| (*call, body.clone()))).collect();
    refuse_all(&cases);
}

#[test]
fn duty_1_fields_with_invalid_values() {
    let texts = [
        // Spaces.
        ("RequestPool", r#"{"Pool":"","V6":false}"#),
        ("RequestPool", r#"{"AddressSpace":null}"#),
        ("RequestPool", r#"{"AddressSpace":7}"#),
        ("RequestPool", r#"{"AddressSpace":"Local"}"#),
        ("RequestPool", r#"{"AddressSpace":" local"}"#),
        ("RequestPool", r#"{"AddressSpace":"local\u0000"}"#),
        // A duplicate key: it is unclear which value is meant.
        ("RequestPool", r#"{"AddressSpace":"local","AddressSpace":"global"}"#),
        ("ReleasePool", r#"{"PoolID":"x","PoolID":"$4"}"#),
        ("ReleaseAddress", r#"{"PoolID":"$4","Address":"198.18.0.1","Address":"198.18.0.2"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"key":"a","key":"b"}}"#),
        // Pools.
        ("RequestPool", r#"{"AddressSpace":"local","Pool":[]}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/33"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/-1"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":" 203.0.113.0/24"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24\n"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.000.113.0/24"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/024"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/+24"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","V6":true}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"2001:db8::/64"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"::/64"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"0.0.0.0/24","V6":true}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"fe80::%eth0/64","V6":true}"#),
        ("RequestPool", r#"{"AddressSpace":"local","V6":"true"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","V6":1}"#),
        // Ranges.
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"","SubPool":"203.0.113.0/25"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"0.0.0.0/24","SubPool":"203.0.113.0/25"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","SubPool":"203.0.114.0/25"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","SubPool":"203.0.112.0/23"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","SubPool":"2001:db8::/64"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","SubPool":"x"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","SubPool":"203.0.113.000/25"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","SubPool":{}}"#),
        // Options when gipam chooses the subnet.
        ("RequestPool", r#"{"AddressSpace":"local","Options":[]}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":"x"}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"key":7}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"key":null}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"key":""}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"":"x"}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"pool":"nowhere"}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"pool":""}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"v4.size":"33"}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"v6.size":"+64"}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Pool":"203.0.113.0/24","Options":{"overlap":"maybe"}}"#),
        ("RequestPool", r#"{"AddressSpace":"local","Options":{"a\u0000\nb":"\u001b[31m"}}"#),
        // PoolIDs.
        ("RequestAddress", r#"{"Address":""}"#),
        ("RequestAddress", r#"{"PoolID":null,"Address":""}"#),
        ("RequestAddress", r#"{"PoolID":"","Address":""}"#),
        ("RequestAddress", r#"{"PoolID":"198.18.0.0/24","Address":""}"#),
        ("RequestAddress", r#"{"PoolID":"$4 ","Address":""}"#),
        ("RequestAddress", r#"{"PoolID":"$4\u0000","Address":""}"#),
        ("ReleasePool", r#"{"PoolID":""}"#),
        ("ReleasePool", r#"{"PoolID":{"$4":1}}"#),
        // Addresses.
        ("RequestAddress", r#"{"PoolID":"$4","Address":7}"#),
        ("RequestAddress", r#"{"PoolID":"$4","Address":"198.18.0.7/24"}"#),
        ("RequestAddress", r#"{"PoolID":"$4","Address":" 198.18.0.7"}"#),
        ("RequestAddress", r#"{"PoolID":"$4","Address":"198.18.0.256"}"#),
        ("RequestAddress", r#"{"PoolID":"$4","Address":"::ffff:198.18.0.7"}"#),
        ("RequestAddress", r#"{"PoolID":"$4","Address":"2001:db8:77::7"}"#),
        ("RequestAddress", r#"{"PoolID":"$6","Address":"198.18.0.7"}"#),
        ("RequestAddress", r#"{"PoolID":"$6","Address":"2001:db8:77::7%eth0"}"#),
        ("RequestAddress", r#"{"PoolID":"$6","Address":"2001:db8:77::"}"#),
        ("RequestAddress", r#"{"PoolID":"$4","Address":"0.0.0.0"}"#),
        ("ReleaseAddress", r#"{"PoolID":"$4"}"#),
        ("ReleaseAddress", r#"{"PoolID":"$4","Address":null}"#),
        ("ReleaseAddress", r#"{"PoolID":"$4","Address":""}"#),
        ("ReleaseAddress", r#"{"PoolID":"$4","Address":"all"}"#),
        ("ReleaseAddress", r#"{"Address":"198.18.0.1"}"#),
    ];
    let mut cases: Vec<_> = texts.map(|(method, text)| (method, text.as_bytes().to_vec())).into();
    let huge = "x".repeat(60_000);
    for body in [
        json!({"AddressSpace": huge}),
        json!({"AddressSpace": "local", "Pool": huge}),
        json!({"AddressSpace": "local", "Pool": "203.0.113.0/24", "SubPool": huge}),
        json!({"AddressSpace": "local", "Options": {"key": huge}}),
        json!({"AddressSpace": "local", "Options": {&huge: "x"}}),
        json!({"AddressSpace": "local", "Options": {"pool": huge}}),
        json!({"AddressSpace": "local", "Options": {"v4.size": huge}}),
        json!({"AddressSpace": "local", "Pool": "203.0.113.0/24", "Options": {"overlap": huge}}),
    ] {
        cases.push(("RequestPool", body.to_string().into_bytes()));
    }
    cases.push(("RequestAddress", json!({"PoolID": huge, "Address": ""}).to_string().into_bytes()));
    cases.push(("RequestAddress", json!({"PoolID": "$4", "Address": huge}).to_string().into_bytes()));
    refuse_all(&cases);
}

#[test]
fn odd_names_and_macs_never_refuse_an_address() {
    let (_house, daemon, ids) = furnished();
    let mut wire = daemon.wire();
    let name = "com.docker.network.endpoint.name";
    let mac = "com.docker.network.endpoint.macaddress";
    for options in [
        json!({name: "a\u{0}b\n\u{1b}[31m"}),
        json!({name: "x".repeat(50_000)}),
        json!({name: "é".repeat(200)}),
        json!({name: ""}),
        json!({name: 7, mac: []}),
        json!({mac: "zz:zz"}),
        json!({mac: "02:42:0A:00:00:01"}),
        json!({"RequestAddressType": "something else"}),
        json!([1, 2]),
        json!("x"),
    ] {
        wire.address(&ids[0], "", options);
    }
    let output = _house.gipam(&["leases"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table:?}");
    assert_eq!(table.lines().count(), 1 + 4 + 10);
    for row in daemon.view("/v1/leases").as_array().unwrap() {
        assert!(row["holder"].as_str().is_none_or(|holder| holder.len() <= 255), "{row}");
    }
}

#[test]
fn wrong_methods_and_unknown_paths() {
    let (_house, daemon, _) = furnished();
    let before = daemon.books();
    let mut wire = daemon.wire();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "post", "X"] {
        for path in
            CALLS.map(|call| format!("/IpamDriver.{call}")).iter().chain([&"/Plugin.Activate".to_owned()])
        {
            wire.send(
                format!("{method} {path} HTTP/1.1\r\nHost: \r\nContent-Length: 2\r\n\r\n{{}}").as_bytes(),
            )
            .unwrap();
            let answer = wire.answer().unwrap();
            assert_eq!(
                (answer.status, answer.refused().contains("is not POST")),
                (405, true),
                "{method} {path}"
            );
        }
    }
    for path in [
        "",
        "IpamDriver",
        "IpamDriver.",
        "IpamDriver.Nothing",
        "ipamdriver.requestpool",
        "/IpamDriver.RequestPool",
        "NetworkDriver.GetCapabilities",
        "%49pamDriver.RequestPool",
        "../v1/subnets",
        "v1/subnets",
    ] {
        let answer = wire.call(path, r#"{"AddressSpace":"local"}"#);
        assert_eq!((answer.status, answer.refused().contains("unknown method")), (404, true), "{path}");
    }
    assert_eq!(daemon.books(), before);
}

/// Requests that end early, give a wrong length or are not HTTP at all.
#[test]
fn duty_16_broken_http() {
    let (_house, daemon, ids) = furnished();
    let before = daemon.books();
    let big = vec![b' '; 65_537];
    let text = daemon.wire().call("IpamDriver.RequestPool", &big).refused();
    assert!(text.contains("65536"), "{text}");
    let mut wire = daemon.wire();
    wire.send(b"POST /IpamDriver.RequestPool HTTP/1.1\r\nHost: \r\nContent-Length: 99999999999\r\n\r\n{}")
        .unwrap();
    assert_eq!(wire.answer().unwrap().status, 413);
    let mut wire = daemon.wire();
    wire.send(b"POST /IpamDriver.RequestPool HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    // The daemon may close the connection before everything is sent.
    let _ = (0..9).try_for_each(|_| wire.send(format!("2000\r\n{}\r\n", " ".repeat(0x2000)).as_bytes()));
    assert_eq!(wire.answer().unwrap().status, 413);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GARBAGE\r\n\r\n",
        b"POST /IpamDriver.ReleasePool HTTP/1.1\r\nHost: \r\nContent-Length: -1\r\n\r\n",
        b"POST /IpamDriver.ReleasePool HTTP/1.1\r\nHost: \r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        b"POST /IpamDriver.ReleasePool HTTP/9.9\r\n\r\n",
    ] {
        let mut wire = daemon.wire();
        wire.send(bytes).unwrap();
        if let Ok(answer) = wire.answer() {
            assert!(answer.status >= 400, "{}", answer.text());
        }
    }
    // A body that never arrives completely, as when dockerd dies.
    let body = json!({ "PoolID": ids[0] }).to_string();
    for cut in 0..body.len() {
        let request = Wire::request("", "IpamDriver.ReleasePool", body.as_bytes());
        daemon.wire().send(&request[..request.len() - body.len() + cut]).unwrap();
    }
    daemon.wire().call("Plugin.Activate", "").ok();
    assert_eq!(daemon.books(), before);
}

fn mutated(ids: [String; 2]) -> impl Strategy<Value = Vec<u8>> {
    let templates = prop::sample::select(vec![
        r#"{"AddressSpace":"local","Pool":"","SubPool":"","Options":{"key":"a"},"V6":false}"#,
        r#"{"AddressSpace":"global","Pool":"203.0.113.0/24","SubPool":"203.0.113.0/25","Options":null,"V6":false}"#,
        r#"{"AddressSpace":"local","Pool":"::/64","SubPool":"","Options":{},"V6":true}"#,
        r#"{"PoolID":"$4","Address":"198.18.0.9","Options":{"RequestAddressType":"com.docker.network.gateway"}}"#,
        r#"{"PoolID":"$6","Address":"","Options":{"com.docker.network.endpoint.name":"db"}}"#,
        r#"{"PoolID":"$4","Address":"198.18.0.1"}"#,
        r#"{"PoolID":"$6"}"#,
    ]);
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:0123456789./nullabc".to_vec())];
    let change = (0..3_usize, any::<prop::sample::Index>(), byte);
    (templates, prop::collection::vec(change, 0..6)).prop_map(move |(template, changes)| {
        let mut body = replaced(template.as_bytes(), &ids);
        for (what, at, byte) in changes {
            match (what, body.is_empty()) {
                (0, false) => drop(body.remove(at.index(body.len()))),
                (1, false) => {
                    let at = at.index(body.len());
                    body[at] = byte;
                }
                _ => body.insert(at.index(body.len() + 1), byte),
            }
        }
        body
    })
}

#[test]
fn mutated_bodies_are_granted_or_refused_and_a_refusal_changes_nothing() {
    let (_house, daemon, ids) = furnished();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) };
    let case = (prop::sample::select(CALLS.to_vec()), mutated(ids));
    let outcome = TestRunner::new(config).run(&case, |(call, body)| {
        let before = daemon.books();
        let answer = daemon.wire().call(&format!("IpamDriver.{call}"), &body);
        if answer.status == 200 {
            answer.ok();
        } else {
            answer.refused();
            prop_assert!(answer.status != 500, "{}", answer.text());
            prop_assert_eq!(daemon.books(), before);
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

/// P33: whatever others write, each log entry is one line and begins with gipam's own words.
#[test]
fn foreign_text_cannot_forge_a_line_of_the_log() {
    let (house, daemon, _) = furnished();
    let forged = "198.51.100.0/24\nerror: forged\u{1b}[2J\u{9b}\u{2028}\u{202e}";
    let body = json!({"subnet": forged, "force": true, "without_engine": true}).to_string();
    let mut admin = Wire::unix(&daemon.admin);
    let head = format!("POST /v1/release HTTP/1.1\r\nHost: gipam\r\nContent-Length: {}\r\n\r\n", body.len());
    admin.send((head + &body).as_bytes()).unwrap();
    assert_ne!(admin.answer().unwrap().status, 200);
    let named = json!({"AddressSpace": forged, "Pool": forged, "Options": {forged: forged}});
    daemon.wire().refused("RequestPool", &named);
    let log = house.log();
    assert!(log.contains("forged"), "{log}");
    let steers =
        |letter: char| letter != '\n' && (letter.is_control() || ['\u{2028}', '\u{202e}'].contains(&letter));
    assert!(!log.contains(steers) && !log.contains("\nerror: forged"), "{log:?}");
}
