//! The packages on a whole machine with systemd and a Docker Engine: installed, used, upgraded under load,
//! removed.

use crate::machine::{Machine, SOCKET};
use crate::{deb, next_deb, packages, page, tarball};
use serde_json::{Value, json};
use std::fs;

const TOML: &str = "/etc/gipam/gipam.toml";

/// Lists the directories in which a package could leave something.
const LISTING: &str = "ls /etc /etc/systemd/system /etc/systemd/system/*.wants /run /var/lib";

/// Adds and removes networks with a container.
const LOAD: &str = "i=0
    while [ ! -e /srv/enough ]; do
      i=$((i + 1))
      docker network create --ipam-driver gipam n$i && docker run --rm --network n$i bb true && docker network rm n$i || break
      echo $i >/srv/rounds
    done
    [ -e /srv/enough ]; echo $? >/srv/ended
";

/// Copies the packages that make built into the target directory of the machine's clone.
fn carry(m: &Machine) {
    let there = m.path("/srv/gipam/target/package");
    fs::create_dir_all(&there).unwrap();
    for name in [deb(), next_deb(), tarball()] {
        fs::copy(packages().join(&name), there.join(&name)).unwrap();
    }
    // there are two versions; the page's pattern must match only the first
    let next = there.join(next_deb());
    fs::rename(next, m.path("/srv/next.deb")).unwrap();
}

fn install(m: &Machine) {
    carry(m);
    let said = m.try_sh(&page::without(&page::block("Install the package", 0), "make deb"));
    assert!(said.ok && said.err.contains("installed, not started"), "{said:?}");
}

/// Installs the pools of the example as an administrator would.
fn configure(m: &Machine) {
    m.sh(&format!("cp /usr/share/doc/gipam/examples/gipam.toml {TOML}"));
    m.sh(&page::block("Install the package", 1));
}

fn mentions(m: &Machine) -> String {
    m.sh("find / -xdev -iname '*gipam*' ! -path '/srv/*' ! -path '/proc/*' ! -path '/sys/*' ! -path '/var/log/*' ! -path '/var/cache/*'
          find /run -iname '*gipam*'")
}

/// The package starts gipam only if there are pools; a reinstallation continues as before; a purge leaves
/// only the books.
pub fn life(m: &mut Machine) {
    let before = m.sh(LISTING);
    install(m);
    assert_eq!(m.show("gipam.service", "ActiveState"), "inactive", "the unit is neither failed nor running");
    assert_eq!(m.try_sh("systemctl is-enabled gipam.service").out, "disabled");
    configure(m);
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");
    let verified = m.try_sh("systemd-analyze verify gipam.service gipam.socket");
    assert!(verified.ok && verified.err.is_empty(), "{verified:?}");
    m.sh("systemctl reload gipam; docker network create --ipam-driver gipam web");
    assert_eq!(m.prefixes("web"), ["10.20.0.0/24"]);

    let said = m.try_sh("dpkg -r gipam");
    assert!(said.ok && said.err.contains("1 subnets still belong to Docker networks"), "{said:?}");
    assert_eq!(m.try_sh("systemctl is-active gipam.socket gipam.service").out, "inactive\ninactive");
    assert!(!m.path(SOCKET).exists());
    m.sh(&page::without(&page::block("Install the package", 0), "make deb"));
    assert_eq!(m.show("gipam.service", "ActiveState"), "active", "gipam is enabled and configured as before");
    assert_eq!(m.show("gipam.socket", "SubState"), "running");
    assert_eq!(m.view("subnets").len(), 1, "the earlier books are used");

    // with a configuration in place, the package starts gipam by itself
    m.sh("docker network rm web");
    m.sh(&page::block("Remove", 1));
    m.sh(&format!("mkdir -p /etc/gipam; cp /srv/gipam/packaging/gipam.toml {TOML}"));
    m.sh("dpkg --force-confold -i /srv/gipam/target/package/gipam_*.deb");
    assert_eq!(m.sh("systemctl is-enabled gipam.service gipam.socket"), "enabled\nenabled");
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");

    let said = m.try_sh(&page::block("Remove", 1));
    assert!(said.ok && said.err.contains("the books are kept in /var/lib/gipam"), "{said:?}");
    assert_eq!(mentions(m).lines().find(|path| !path.starts_with("/var/lib/gipam")), None);
    assert!(m.path("/var/lib/gipam/gipam.db").exists());
    m.sh("rm -r /var/lib/gipam");
    assert_eq!(m.sh(LISTING), before);
}

/// The leases of containers, with their start times; names that repair learns later do not matter.
fn held(m: &Machine) -> Vec<Value> {
    let row = |lease: &Value| json!([lease["id"], lease["address"], lease["mac"], lease["since"]]);
    m.endpoints().iter().map(row).collect()
}

/// The grants of networks; the name of the network may be learned later.
fn granted(m: &Machine) -> Vec<Value> {
    let row = |subnet: &Value| json!([subnet["id"], subnet["prefix"], subnet["since"]]);
    m.view("subnets").iter().map(row).collect()
}

/// A host with running containers is upgraded while networks and containers come and go: no grant is lost,
/// and no request is refused.
pub fn upgrade(m: &mut Machine) {
    install(m);
    configure(m);
    m.sh("docker network create --ipv6 --ipam-driver gipam web
          for name in one two; do docker run -d --init --name $name --network web bb sleep 3600; done");
    let (subnets, held) = (granted(m), held(m));
    let (process, engine) = (m.show("gipam.service", "MainPID"), m.show("docker.service", "MainPID"));
    let socket = m.sh(&format!("stat -c %i {SOCKET}"));
    // the load runs as fast as Docker can, until the test stops it or a command fails
    m.write("/srv/load.sh", LOAD);
    m.sh("sh /srv/load.sh >/srv/load 2>&1 &");
    let rounds = || m.try_sh("cat /srv/rounds").out.parse::<u32>().unwrap_or(0);
    crate::wait::until("networks come and go", crate::machine::SOON, || rounds() > 2);
    for package in ["/srv/next.deb", "/srv/gipam/target/package/gipam_*.deb", "/srv/next.deb"] {
        let done = rounds();
        m.sh(&format!("dpkg -i {package}"));
        crate::wait::until("networks come and go again", crate::machine::SOON, || rounds() > done + 2);
    }
    m.sh("touch /srv/enough");
    crate::wait::until("the load ends", crate::machine::SOON, || m.path("/srv/ended").exists());
    assert_eq!(m.sh("cat /srv/ended"), "0", "{}", m.sh("cat /srv/load"));

    assert_ne!(m.show("gipam.service", "MainPID"), process, "the new program runs");
    assert_eq!(m.show("docker.service", "MainPID"), engine, "Docker was not touched");
    assert_eq!(m.sh(&format!("stat -c %i {SOCKET}")), socket, "systemd kept the socket");
    assert_eq!(granted(m), subnets);
    assert_eq!(self::held(m), held);
    m.sh(&format!("docker exec one ping -c 1 -w 10 {}", m.address("two")));
    m.sh("docker run --rm --network web bb true; docker rm -f one two; docker network rm web");
    assert!(m.view("leases").is_empty() && m.view("subnets").is_empty());
}

/// The script of the tarball, on the same host.
pub fn archive(m: &mut Machine) {
    carry(m);
    m.sh(&page::without(&page::block("Install the tarball", 0), "make dist"));
    m.sh(&format!(
        "cp /srv/gipam/packaging/gipam.toml {TOML}; systemctl enable --now gipam.socket gipam.service"
    ));
    m.sh("docker network create --ipam-driver gipam web");
    // A check may learn the Engine's name for the network at any moment: the PoolID identifies the grant.
    let ids = "gipam subnets | awk '{print $1, $NF}'";
    let (process, subnets) = (m.show("gipam.service", "MainPID"), m.sh(ids));
    let said = m.sh("cd /srv/gipam/gipam-*-linux; ./install.sh");
    assert!(said.contains("upgraded"), "{said}");
    assert_ne!(m.show("gipam.service", "MainPID"), process);
    assert_eq!(m.sh(ids), subnets);
    m.sh("docker network rm web");
    m.sh(&page::block("Install the tarball", 1));
    m.sh("rm -r /etc/gipam /var/lib/gipam");
    assert_eq!(mentions(m), "");
}
