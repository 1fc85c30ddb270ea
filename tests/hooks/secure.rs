//! Hooks over TLS: events are sent only to the host of the URL and only if its certificate is valid;
//! otherwise they stay queued, and the reported reason says what to do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConnection, StreamOwned};
use serde_json::json;

use super::certificates::{Authority, Identity};
use super::daemon::{Daemon, House, until};
use super::receiver::{arrived, listening, received_nothing, receiver, settings};
use super::support::{POOLS, events, hook, house, leases};
use super::webhook::delivered;

/// A house with these files and a hook.
fn hooked(url: &str, keys: &str, files: &[(&str, &str)]) -> House {
    let house = house(&table(url, keys));
    files.iter().for_each(|(name, pem)| fs::write(house.path(name), pem).unwrap());
    house
}

fn table(url: &str, keys: &str) -> String {
    format!("[[hook]]\nname = \"web\"\nurl = \"{url}\"\n{keys}\n")
}

/// Waits until the hook reports an error, which must contain these words; the log must say the same.
fn fails(house: &House, daemon: &Daemon, words: &[&str]) {
    let row = until("the hook fails", || Some(hook(daemon)).filter(|row| row["last_error"].is_string()));
    let error = row["last_error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{word:?} in {error:?}");
    }
    assert!(house.log().contains(error), "{}", house.log());
}

#[test]
fn a_hook_over_tls_gets_events_at_an_address_that_the_certificate_names() {
    for version in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let authority = Authority::new();
        let (address, came) = listening(settings(&authority.signs_loopback(), None, version));
        let house =
            hooked(&format!("https://{address}/in?a=1"), "ca = \"ca.pem\"", &[("ca.pem", &authority.pem())]);
        let daemon = house.start();
        leases(&mut daemon.wire(), 1);
        let (name, (head, asked)) = arrived(&came);
        assert_eq!(name, None, "the client does not send an address as a server name");
        assert!(head.starts_with("post /in?a=1 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
        let mut all = delivered(&asked);
        while all.len() < 2 {
            all.extend(delivered(&arrived(&came).1.1));
        }
        assert_eq!(events(&all), ["subnet_granted", "leased"]);
        leases(&mut daemon.wire(), 1);
        arrived(&came);
        until("no event is queued", || (hook(&daemon)["behind"] == 0).then_some(()));
        daemon.stop();
    }
}

#[test]
fn a_hook_with_a_name_gets_events_at_the_address_of_connect() {
    let authority = Authority::new();
    let (address, came) = receiver(&authority.signs("inventory.example", |_| {}));
    let keys = format!("ca = \"ca.pem\"\nconnect = \"{address}\"");
    let house = hooked("https://inventory.example/in", &keys, &[("ca.pem", &authority.pem())]);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    let (name, (head, _)) = arrived(&came);
    assert_eq!(name.as_deref(), Some("inventory.example"));
    assert!(head.contains("\r\nhost: inventory.example\r\n"), "{head}");
    let status =
        house.gipam(&["config", "show", "--config", &house.path("gipam.toml").display().to_string()]);
    let shown = String::from_utf8(status.stdout).unwrap();
    assert!(shown.contains(&format!("https://inventory.example/... at {address}")), "{shown}");
    daemon.stop();
}

#[test]
fn a_server_of_an_unknown_issuer_gets_no_event_until_a_reload_names_the_right_ca() {
    let (stranger, authority) = (Authority::named("somebody else"), Authority::new());
    let (address, came) = receiver(&authority.signs_loopback());
    let url = format!("https://{address}/");
    let files = [("stranger.pem", &*stranger.pem()), ("both.pem", &(stranger.pem() + &authority.pem()))];
    let house = hooked(&url, "ca = \"stranger.pem\"", &files);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    let file = house.path("stranger.pem").display().to_string();
    fails(&house, &daemon, &["unknown issuer: no authority in", &file, "set ca to the certificate file"]);
    received_nothing(&came);
    house.configure(&(POOLS.to_owned() + &table(&url, "ca = \"both.pem\"")));
    assert_eq!(
        house.json(&["reload"]),
        json!([format!("hook web is changed: {url}; it continues where it left off")])
    );
    let (_, (_, asked)) = arrived(&came);
    assert_eq!(delivered(&asked)[0]["event"], "subnet_granted", "queued events are delivered");
    until("the hook works again", || hook(&daemon)["last_error"].is_null().then_some(()));
    daemon.stop();
}

#[test]
fn a_reload_picks_up_a_file_that_was_renewed_and_is_refused_for_one_that_is_gone() {
    let (stranger, authority) = (Authority::new(), Authority::new());
    let (address, came) = receiver(&authority.signs_loopback());
    let house = hooked(&format!("https://{address}/"), "ca = \"ca.pem\"", &[("ca.pem", &stranger.pem())]);
    let daemon = house.start();
    assert_eq!(house.json(&["reload"]), json!([]), "the configuration has not changed");
    leases(&mut daemon.wire(), 1);
    fails(&house, &daemon, &["unknown issuer: no authority in"]);
    received_nothing(&came);
    fs::remove_file(house.path("ca.pem")).unwrap();
    let refused = house.gipam(&["reload"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("key hook[1].ca: cannot use"), "{said}");
    for words in [&["leases"][..], &["config", "show"]] {
        let file = house.path("gipam.toml").display().to_string();
        let asked = house.gipam(&[words, &["--config", &file]].concat());
        let said = String::from_utf8(asked.stderr.clone()).unwrap();
        assert!(
            asked.status.success() && !said.contains("ca.pem"),
            "a client command does not need the certificate: {asked:?}"
        );
    }
    fs::write(house.path("ca.pem"), authority.pem()).unwrap();
    let lines = house.json(&["reload"]);
    assert!(lines[0].as_str().unwrap().starts_with("hook web is changed"), "{lines}");
    arrived(&came);
    daemon.stop();
}

#[test]
fn a_fault_of_a_certificate_is_reported_and_the_server_gets_no_event() {
    let authority = Authority::new();
    let signed = |change: fn(&mut CertificateParams)| authority.signs("127.0.0.1", change);
    for (identity, words) in [
        (
            authority.signs("other.example", |_| {}),
            &["wrong name: ", " is for other.example, not for 127.0.0.1", "connect"][..],
        ),
        (authority.signs("127.0.0.2", |_| {}), &["for 127.0.0.2, not for 127.0.0.1"]),
        (signed(|params| params.subject_alt_names.clear()), &["no subjectAltName"]),
        (
            signed(|params| params.not_after = date_time_ymd(2020, 1, 2)),
            &["expired: ", "until 2020-01-02T00:00:00Z", "renew it"],
        ),
        (
            signed(|params| params.not_before = date_time_ymd(2090, 1, 2)),
            &["not valid yet: ", "valid at 2090-01-02T00:00:00Z", "clocks"],
        ),
        (
            signed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            &["not for a server: ", "lacks serverAuth"],
        ),
        (
            signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            &["not for a server: ", "a CA certificate (CA:TRUE)"],
        ),
    ] {
        let (address, came) = receiver(&identity);
        let house =
            hooked(&format!("https://{address}/"), "ca = \"ca.pem\"", &[("ca.pem", &authority.pem())]);
        let daemon = house.start();
        leases(&mut daemon.wire(), 1);
        fails(&house, &daemon, words);
        received_nothing(&came);
        daemon.stop();
    }
}

#[test]
fn a_name_in_the_url_is_checked_although_the_address_of_connect_fits() {
    let authority = Authority::new();
    let (address, came) = receiver(&authority.signs_loopback());
    let keys = format!("ca = \"ca.pem\"\nconnect = \"{address}\"");
    let house = hooked("https://inventory.example/", &keys, &[("ca.pem", &authority.pem())]);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    fails(&house, &daemon, &["for 127.0.0.1, not for inventory.example"]);
    received_nothing(&came);
    daemon.stop();
}

#[test]
fn a_self_signed_certificate_is_its_own_authority() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    let (address, came) = receiver(&Identity { chain: chain.clone(), key: key.serialize_pem() });
    let house = hooked(&format!("https://{address}/"), "ca = \"own.pem\"", &[("own.pem", &chain)]);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    arrived(&came);
    daemon.stop();
}

#[test]
fn a_server_that_requires_a_client_certificate_gets_it() {
    let authority = Authority::new();
    let server = authority.signs_loopback();
    let us = |authority: &Authority| {
        authority
            .signs("gipam", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
    };
    let good = us(&authority);
    let (foreign, namesake) = (us(&Authority::named("somebody else")), us(&Authority::new()));
    for version in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let (address, came) = listening(settings(&server, Some(&authority), version));
        let url = format!("https://{address}/");
        let ca = authority.pem();
        let files = [
            ("ca.pem", &*ca),
            ("g.pem", &good.chain),
            ("g.key", &good.key),
            ("f.pem", &foreign.chain),
            ("f.key", &foreign.key),
            ("n.pem", &namesake.chain),
            ("n.key", &namesake.key),
        ];
        for (keys, words) in [
            ("", "no certificate: "),
            ("cert = \"f.pem\"\nkey = \"f.key\"", "not accepted: "),
            ("cert = \"n.pem\"\nkey = \"n.key\"", "not accepted: "),
        ] {
            let house = hooked(&url, &format!("ca = \"ca.pem\"\n{keys}"), &files);
            let daemon = house.start();
            leases(&mut daemon.wire(), 1);
            fails(&house, &daemon, &[words, "cert and key"]);
            received_nothing(&came);
            daemon.stop();
        }
        let house = hooked(&url, "ca = \"ca.pem\"\ncert = \"g.pem\"\nkey = \"g.key\"", &files);
        let daemon = house.start();
        leases(&mut daemon.wire(), 1);
        arrived(&came);
        daemon.stop();
    }
}

#[test]
fn a_handshake_that_never_ends_fails_at_the_time_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let keys = "ca = \"ca.pem\"\ntimeout = \"200ms\"";
    let house = hooked(&url, keys, &[("ca.pem", &Authority::new().pem())]);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    fails(&house, &daemon, &["did not answer within 200ms"]);
    assert!(daemon.stop().success());
}

#[test]
fn a_server_without_tls_has_its_own_message() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 16384]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let house =
        hooked(&format!("https://{address}/"), "ca = \"ca.pem\"", &[("ca.pem", &Authority::new().pem())]);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    fails(&house, &daemon, &["no TLS: ", "write http://"]);
    daemon.stop();
}

#[test]
fn a_server_that_hangs_up_in_the_handshake_or_before_the_answer_has_its_own_message() {
    let authority = Authority::new();
    let settings = Arc::new(settings(&authority.signs_loopback(), None, rustls::ALL_VERSIONS));
    for (shakes, words) in [(false, "TLS with https://"), (true, "gave an invalid answer")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, settings) = (listener.local_addr().unwrap(), settings.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                if shakes {
                    let mut stream =
                        StreamOwned::new(ServerConnection::new(settings.clone()).unwrap(), stream);
                    let (mut heard, mut some) = (Vec::new(), [0; 1024]);
                    while !heard.ends_with(b"]}") {
                        let count = stream.read(&mut some).unwrap();
                        heard.extend_from_slice(&some[..count]);
                    }
                } else {
                    let _ = stream.read(&mut [0; 16384]);
                }
            }
        });
        let ca = authority.pem();
        let house = hooked(&format!("https://{address}/"), "ca = \"ca.pem\"", &[("ca.pem", &ca)]);
        let daemon = house.start();
        leases(&mut daemon.wire(), 1);
        fails(&house, &daemon, &[words, "the connection ended early"]);
        daemon.stop();
    }
}

/// Unusable TLS keys and files: the configuration, the key, the message, and whether a file is the cause.
fn unusable() -> Vec<(String, &'static str, &'static str, bool)> {
    let url = "url = \"https://192.0.2.7/\"\n";
    let by_key = |key, toml: &str, words| (toml.to_owned(), key, words, false);
    let by_file = |key, toml: &str, words| (format!("{url}{toml}"), key, words, true);
    vec![
        by_key("url", "url = \"https://inventory.example/\"", "add the address: connect = \"ADDRESS\""),
        by_key("url", "url = \"http://inventory.example/\"", "does not resolve host names"),
        by_key(
            "connect",
            &format!("{url}connect = \"inventory.example\""),
            "is not an address to connect to",
        ),
        by_key("connect", "command = [\"true\"]\nconnect = \"192.0.2.7\"", "need a url"),
        by_key("ca", "command = [\"true\"]\nca = \"ca.pem\"", "need a url"),
        by_key("ca", "url = \"http://192.0.2.7/\"\nca = \"ca.pem\"", "need a url with https://"),
        by_key("ca", &format!("{url}ca = \"\""), "must not be empty"),
        by_key("cert", &format!("{url}ca = \"ca.pem\"\ncert = \"one.pem\""), "cert and key belong together"),
        by_key("key", &format!("{url}ca = \"ca.pem\"\nkey = \"one.key\""), "cert and key belong together"),
        by_file("ca", "ca = \"missing.pem\"", "missing.pem: No such file or directory"),
        by_file("ca", "ca = \".\"", "it is not a file"),
        by_file("ca", "ca = \"one.key\"", "one.key: it does not contain a certificate"),
        by_file("ca", "ca = \"torn.pem\"", "torn.pem: missing section end"),
        by_file("ca", "ca = \"odd.pem\"", "odd.pem: it contains something other than certificates"),
        by_file(
            "key",
            "ca = \"ca.pem\"\ncert = \"one.pem\"\nkey = \"one.pem\"",
            "it does not contain an unencrypted private key",
        ),
        by_file(
            "cert",
            "ca = \"ca.pem\"\ncert = \"one.key\"\nkey = \"one.key\"",
            "it does not contain a certificate",
        ),
        by_file("key", "ca = \"ca.pem\"\ncert = \"one.pem\"\nkey = \"other.key\"", "do not match"),
    ]
}

#[test]
fn unusable_keys_and_files_of_tls_are_refused_with_their_position() {
    let authority = Authority::new();
    let (one, other) = (authority.signs_loopback(), authority.signs_loopback());
    for (toml, key, words, file) in unusable() {
        let house = house(&format!("[[hook]]\nname = \"x\"\n{toml}\n"));
        let ca = authority.pem();
        for (name, pem) in [
            ("ca.pem", &*ca),
            ("one.pem", &one.chain),
            ("one.key", &one.key),
            ("other.key", &other.key),
            ("torn.pem", &ca[..ca.len() / 2]),
            ("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ] {
            fs::write(house.path(name), pem).unwrap();
        }
        let place = format!(", key hook[1].{key}: ");
        let checked = house.gipam(&["config", "check", &house.path("gipam.toml").display().to_string()]);
        let checked = String::from_utf8(checked.stderr).unwrap();
        assert!(checked.contains(words) && checked.contains(&place), "{toml}: {checked}");
        if !file {
            let (code, said) = house.refuse();
            assert_eq!(code, 2, "{toml}: {said}");
            assert!(said.contains(words) && said.contains(&place), "{toml}: {said}");
            continue;
        }
        // Addresses do not depend on a hook's certificate: the daemon starts without that hook.
        let daemon = house.start();
        daemon.wire().subnet(false);
        until("the log says what is wrong with the hook", || {
            let log = house.log();
            (log.contains("cannot use TLS: ") && log.contains(words) && log.contains(&place)).then_some(())
        });
        let refused = house.gipam(&["reload"]);
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(words));
    }
}

#[test]
fn a_hook_whose_authorities_appear_later_gets_all_events_after_a_reload() {
    let authority = Authority::new();
    let (address, came) = receiver(&authority.signs_loopback());
    let house = hooked(&format!("https://{address}/"), "ca = \"ca.pem\"", &[]);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    fails(&house, &daemon, &["cannot use TLS: ", "ca.pem: No such file", "fix it, then run gipam reload"]);
    assert!(came.try_recv().is_err(), "the service must not be called");
    fs::write(house.path("ca.pem"), authority.pem()).unwrap();
    assert!(house.gipam(&["reload"]).status.success());
    let (_, (_, asked)) = arrived(&came);
    assert_eq!(delivered(&asked)[0]["event"], "subnet_granted", "queued events are delivered");
    daemon.stop();
}
