//! Several driver names, TCP and TLS: the files through which the Engine finds them, and calls through each.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::daemon::{Daemon, House, PATIENCE, POOLS, until};
use crate::facts::{asked, gateway};
use crate::http::Wire;

const TWO: &str = r#"
[[pool]]
name = "dmz"
v4 = { base = "198.51.100.0/24", size = 28 }
[[pool]]
name = "lan"
v4 = { base = "198.18.0.0/16", size = 24 }
v6 = { base = "2001:db8:77::/48", size = 64 }
[driver.gipam]
pools = ["lan", "dmz"]
[driver.dmz]
pools = ["dmz"]
"#;

#[test]
fn p9_two_names_have_their_own_pools_and_share_the_books() {
    let house = House::with_toml(TWO);
    let daemon = house.start();
    let mut lan = daemon.wire();
    let mut dmz = Wire::unix(&house.path("dmz.sock"));
    let (lan_id, lan_prefix) = lan.subnet(false);
    let (dmz_id, dmz_prefix) = dmz.subnet(false);
    assert!(lan_prefix.starts_with("198.18.") && lan_prefix.ends_with("/24"), "{lan_prefix}");
    assert!(dmz_prefix.starts_with("198.51.100.") && dmz_prefix.ends_with("/28"), "{dmz_prefix}");
    // None of the pools of `dmz` has this family.
    let text = dmz.refused("RequestPool", &asked("local", "", "", json!({}), true));
    assert!(text.starts_with("no available pool: no pool open to this driver has IPv6"), "{text}");
    // A PoolID works on any listener, and all of them share one address space.
    let address = dmz.address(&lan_id, "", gateway());
    lan.release(&lan_id, &address);
    lan.address(&dmz_id, "", Value::Null);
    let text = dmz.refused("RequestPool", &asked("local", &lan_prefix, "", json!({}), false));
    assert!(text.starts_with("pool overlaps with other one on this address space: "), "{text}");
    // The option may name any pool; if one does not have enough room, the next one is used.
    let (_, named) = lan.pool(&asked("local", "", "", json!({"pool": "dmz"}), false));
    assert!(named.starts_with("198.51.100."), "{named}");
    let (_, named) = dmz.pool(&asked("local", "", "", json!({"pool": "dmz,lan", "v4.size": "23"}), false));
    assert!(named.starts_with("198.18.") && named.ends_with("/23"), "{named}");
    lan.release_pool(&dmz_id);
    assert!(daemon.stop().success());
    for name in ["d.sock", "dmz.sock", "d.admin.sock"] {
        assert!(!house.path(name).exists(), "{name}");
    }
}

/// A house with its own versions of the directories in which the Engine looks for sockets and specs.
fn engine_house(toml: &str) -> House {
    let mut house = House::with_toml("");
    house.configure(toml);
    let keep: Vec<String> = ["--config", "--file"]
        .iter()
        .flat_map(|flag| {
            let at = house.arguments.iter().position(|argument| argument == flag).unwrap();
            house.arguments[at..at + 2].to_vec()
        })
        .collect();
    house.arguments = keep;
    house.arguments.extend(["--admin".to_owned(), house.admin().display().to_string()]);
    house.arguments.extend(POOLS.map(str::to_owned));
    house
}

/// Waits for the file through which the Engine finds the daemon.
fn announced(house: &House, daemon: &mut Daemon, name: &str) -> String {
    until(name, || {
        assert!(daemon.child.try_wait().unwrap().is_none(), "{}", house.log());
        fs::read_to_string(house.path(name)).ok()
    })
}

fn tcp(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn p1_switching_between_socket_and_tcp_leaves_no_file_that_docker_would_prefer() {
    let mut house = engine_house("");
    let plain = house.arguments.clone();
    let socket = house.path("sockets/gipam.sock");
    let spec = house.path("specs/gipam.spec");
    // First the socket; the daemon is killed, and the socket file stays behind.
    let daemon = house.spawn();
    let id = until("the socket answers", || Wire::try_unix(&socket)).subnet(false).0;
    daemon.kill();
    assert!(socket.exists());
    // Then TCP: the spec appears, and the stale socket is removed.
    house.arguments.extend(["-address".to_owned(), "127.0.0.1:0".to_owned()]);
    let mut daemon = house.spawn();
    let text = announced(&house, &mut daemon, "specs/gipam.spec");
    let address = text.trim().strip_prefix("tcp://").unwrap();
    assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{text}");
    until("the stale socket is removed", || (!socket.exists()).then_some(()));
    let mut wire = Wire::over(tcp(address));
    wire.address(&id, "", gateway());
    daemon.kill();
    assert!(spec.exists());
    // Then the socket again: the stale spec is removed.
    house.arguments = plain;
    let daemon = house.spawn();
    until("the socket answers", || Wire::try_unix(&socket)).release_pool(&id);
    until("the stale spec is removed", || (!spec.exists()).then_some(()));
    assert!(daemon.stop().success());
    assert!(!socket.exists());
}

#[test]
fn p1_a_wildcard_listener_is_announced_as_loopback_and_the_spec_is_removed_at_the_end() {
    let house = {
        let mut house = engine_house("");
        house.arguments.extend(["-address".to_owned(), ":0".to_owned()]);
        house
    };
    let mut daemon = house.spawn();
    let text = announced(&house, &mut daemon, "specs/gipam.spec");
    let address = text.trim().strip_prefix("tcp://").unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{text}");
    Wire::over(tcp(address)).call("Plugin.Activate", "").ok();
    assert!(daemon.stop().success());
    assert!(!house.path("specs/gipam.spec").exists());
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(directory: &Path) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    authority
}

/// Writes `NAME.pem` and `NAME.key`, signed by `authority`.
fn issue(directory: &Path, name: &str, purpose: ExtendedKeyUsagePurpose, authority: &Authority) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    let certificate = params.signed_by(&key, authority).unwrap();
    fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// Connects as the Engine does, with the settings in the `.json` file.
fn engine_client(spec: &Value, with_identity: bool) -> StreamOwned<ClientConnection, TcpStream> {
    let path = |key: &str| PathBuf::from(spec["TLSConfig"][key].as_str().unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("CAFile")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if with_identity {
        let chain = vec![CertificateDer::from_pem_file(path("CertFile")).unwrap()];
        builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(path("KeyFile")).unwrap()).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let address = spec["Addr"].as_str().unwrap().strip_prefix("https://").unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp(address))
}

#[test]
fn p1_tls_with_a_client_certificate_as_the_json_file_says() {
    let mut house = engine_house(
        "address = \"127.0.0.1:0\"\n[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"ca.pem\"\n\
         engine_ca = \"ca.pem\"\nengine_cert = \"engine.pem\"\nengine_key = \"engine.key\"\n",
    );
    let directory = house.directory.path().to_owned();
    let authority = authority(&directory);
    issue(&directory, "server", ExtendedKeyUsagePurpose::ServerAuth, &authority);
    issue(&directory, "engine", ExtendedKeyUsagePurpose::ClientAuth, &authority);
    let mut daemon = house.spawn();
    let spec: Value = serde_json::from_str(&announced(&house, &mut daemon, "specs/gipam.json")).unwrap();
    assert_eq!((&spec["Name"], &spec["TLSConfig"]["InsecureSkipVerify"]), (&json!("gipam"), &json!(false)));
    let mut wire = Wire::over(engine_client(&spec, true));
    let (id, _) = wire.subnet(true);
    assert!(wire.address(&id, "", gateway()).ends_with("::1/64"));
    // A client without a certificate does not get an answer; neither does plain HTTP.
    let mut stranger = engine_client(&spec, false);
    let reply = stranger.write_all(&Wire::request("", "Plugin.Activate", b"")).and_then(|()| {
        let mut answer = Vec::new();
        stranger.read_to_end(&mut answer).map(|_| answer)
    });
    assert!(reply.is_err() || reply.is_ok_and(|answer| answer.is_empty()));
    let mut plain = Wire::over(tcp(spec["Addr"].as_str().unwrap().strip_prefix("https://").unwrap()));
    assert!(plain.try_call("Plugin.Activate", "").is_none());
    drop(wire);
    // Back to plain TCP: the Engine must no longer find the .json file.
    daemon.kill();
    house.configure("");
    house.arguments.extend(["-address".to_owned(), "127.0.0.1:0".to_owned()]);
    let mut daemon = house.spawn();
    let text = announced(&house, &mut daemon, "specs/gipam.spec");
    until("the .json file is removed", || (!house.path("specs/gipam.json").exists()).then_some(()));
    Wire::over(tcp(text.trim().strip_prefix("tcp://").unwrap())).release_pool(&id);
    assert!(daemon.stop().success());
    assert_eq!(fs::read_dir(house.path("specs")).unwrap().count(), 0);
}

#[test]
fn p1_a_name_that_another_program_serves_is_not_taken_from_it() {
    let house = engine_house("");
    fs::create_dir_all(house.path("specs")).unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("tcp://{}\n", other.local_addr().unwrap());
    fs::write(house.path("specs/gipam.spec"), &spec).unwrap();
    let (code, text) = house.refuse();
    assert_eq!(code, 1);
    assert!(text.contains("already served at"), "{text}");
    assert_eq!(fs::read_to_string(house.path("specs/gipam.spec")).unwrap(), spec);
    assert!(!house.path("sockets/gipam.sock").exists());
}
