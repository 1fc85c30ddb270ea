//! Switches from the UNIX socket to TCP, to TLS and back, as docs/install.md says; Docker itself shows that
//! each works.

use crate::certificates;
use crate::machine::{Machine, SOCKET};
use crate::page;

const TOML: &str = "/etc/gipam/gipam.toml";
const SPEC: &str = "/etc/docker/plugins/gipam.spec";
const JSON: &str = "/etc/docker/plugins/gipam.json";
const TLS: &str = r#"
[tls]
cert = "/etc/gipam/tls/server.pem"
key = "/etc/gipam/tls/server.key"
client_ca = "/etc/gipam/tls/ca.pem"
engine_ca = "/etc/gipam/tls/ca.pem"
engine_cert = "/etc/gipam/tls/engine.pem"
engine_key = "/etc/gipam/tls/engine.key"
"#;

/// Runs the page's block, with a change of the configuration where the block says so.
fn change(m: &Machine, number: usize, edit: &str) {
    let block = page::block("Switch transport", number);
    let place = "# change the setting in /etc/gipam/gipam.toml";
    assert_eq!(block.lines().filter(|line| *line == place).count(), 1, "{block}");
    m.sh(&block.replace(place, edit));
}

/// Whether each of the three files that Docker looks for exists.
fn files(m: &Machine) -> [bool; 3] {
    [SOCKET, SPEC, JSON].map(|path| m.path(path).exists())
}

pub fn switch(m: &mut Machine) {
    page::install(m);
    m.sh("docker network create --ipv6 --ipam-driver gipam web
          docker run -d --init --name always --restart always --network web bb sleep 3600");
    assert_eq!(files(m), [true, false, false]);
    let ids =
        |m: &Machine| -> Vec<_> { m.view("subnets").iter().map(|subnet| subnet["id"].clone()).collect() };
    let before = ids(m);
    let same = |m: &Machine| {
        assert_eq!(ids(m), before, "the switch must not change a network");
        m.sh("docker run --rm --network web bb ping -c 1 -w 10 always");
        assert_eq!(m.endpoints().len(), 2, "one container, two families: {:?}", m.view("leases"));
    };

    // the last table is that of the second name, which needs a separate address
    m.sh(&format!("cp {TOML} /srv/before.toml"));
    let addresses = format!(
        "sed -i '1i address = \"127.0.0.1:9090\"' {TOML}; echo 'address = \"127.0.0.1:9091\"' >>{TOML}"
    );
    change(m, 0, &addresses);
    assert_eq!(files(m), [false, true, false]);
    assert_eq!(m.sh("cat /etc/docker/plugins/dmz.spec"), "tcp://127.0.0.1:9091");
    assert_eq!(m.sh(&format!("cat {SPEC}")), "tcp://127.0.0.1:9090");
    same(m);

    certificates(m);
    change(m, 0, &format!("cat /srv/tls.toml >>{TOML}"));
    assert_eq!(files(m), [false, false, true]);
    assert!(m.sh(&format!("cat {JSON}")).contains("TLSConfig"));
    same(m);

    // on the way back: the socket unit is left running although the configuration does not use it
    let left = format!(
        "sed -i '/^.tls./,$d' {TOML}; systemctl start gipam.socket gipam.service; ls /etc/docker/plugins >/srv/specs
         systemctl stop gipam.socket gipam.service; cp /srv/before.toml {TOML}"
    );
    change(m, 1, &left);
    let journal = m.journal();
    assert!(
        journal
            .iter()
            .any(|(level, text)| *level == 4 && text.contains("gipam does not listen on 127.0.0.1:9090")),
        "{journal:?}"
    );
    assert_eq!(m.sh("cat /srv/specs"), "dmz.spec");
    assert!(!m.path("/etc/docker/plugins/dmz.spec").exists());
    assert_eq!(files(m), [true, false, false]);
    assert_eq!(m.show("gipam.socket", "SubState"), "running");
    assert_eq!(m.sh("systemctl is-enabled gipam.socket gipam.service"), "enabled\nenabled");
    same(m);
    m.sh("docker rm -f always; docker network rm web");
    assert!(m.view("leases").is_empty() && m.view("subnets").is_empty());
}

/// Puts the certificates where the Engine and gipam find them.
fn certificates(m: &Machine) {
    certificates::make(|name, pem| m.write(&format!("/etc/gipam/tls/{name}"), pem));
    m.write("/srv/tls.toml", TLS);
}
