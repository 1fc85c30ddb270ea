//! Install, use, upgrade and remove, as docs/install.md says; what the hardened unit may and may not do.

use crate::machine::{Machine, SOCKET, SOON};
use crate::page;
use crate::wait::until;
use std::os::unix::fs::PermissionsExt;

/// Permission bits of a file of the machine.
fn mode(m: &Machine, path: &str) -> u32 {
    let found = std::fs::symlink_metadata(m.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    found.permissions().mode() & 0o7777
}

pub fn install_use_remove(m: &mut Machine) {
    let before =
        m.sh("ls /etc /etc/systemd/system/*.d /run /usr/local/bin /var/lib /tmp 2>/dev/null || true");
    page::install(m);
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");
    assert_eq!(m.show("gipam.service", "Type"), "notify");
    assert_eq!(m.show("gipam.socket", "SubState"), "running");
    assert_eq!(m.sh("systemctl is-enabled gipam.service gipam.socket"), "enabled\nenabled");
    let verified = m.try_sh("systemd-analyze verify gipam.service gipam.socket");
    assert!(verified.ok && verified.err.is_empty(), "{verified:?}");
    m.sh(&page::block("Install by hand", 1));
    assert_eq!(m.prefixes("web"), ["10.20.0.0/24"]);
    assert_eq!(m.prefixes("web6"), ["10.20.1.0/24", "2001:db8:d::/64"]);
    m.sh("docker run -d --init --name one --network web6 bb sleep 3600
          docker run -d --init --name two --network web6 bb sleep 3600");
    m.sh(&format!("docker exec one ping -c 1 -w 10 {}", m.address("two")));
    let subnets = m.sh("gipam subnets");

    m.sh(&page::block("Upgrade", 0));
    assert_eq!(m.sh("gipam subnets"), subnets, "an upgrade keeps the earlier networks");
    assert_eq!(m.endpoints().len(), 4, "two containers, two families: {:?}", m.view("leases"));
    m.sh("docker rm -f one two; docker network rm web web6");
    assert!(m.view("leases").is_empty() && m.view("subnets").is_empty());

    m.sh(&page::block("Remove", 0));
    assert_eq!(m.sh("systemctl list-unit-files --no-legend 'gipam*' || true"), "");
    assert_eq!(m.sh("systemctl list-units --all --no-legend 'gipam*'"), "");
    let rest = "find / -xdev -iname '*gipam*' ! -path '/srv/*' ! -path '/proc/*' ! -path '/sys/*'; find /run -iname '*gipam*'";
    let left = m.sh(rest);
    // a machine's own name is part of the path of its log
    let left: Vec<_> = left.lines().filter(|path| !path.starts_with("/var/log/journal")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let after = m.sh("ls /etc /etc/systemd/system/*.d /run /usr/local/bin /var/lib /tmp 2>/dev/null || true");
    assert_eq!(after, before);
}

/// Everything that gipam does works under the unit: books, netlink, resolv.conf, sockets; other users cannot
/// access anything.
pub fn hardened(m: &mut Machine) {
    // known through netlink: an on-link route; read from the file: a nameserver
    m.sh("ip route add 10.20.0.0/25 dev up0; echo 'nameserver 10.20.1.53' >>/etc/resolv.conf");
    page::install(m);
    m.sh(&page::block("Install by hand", 1));
    assert_eq!(m.prefixes("web"), ["10.20.2.0/24"], "gipam avoids the route and the nameserver");
    // read from Docker's own API: the name of the container
    m.sh("docker run -d --init --name one --network web bb sleep 3600");
    assert_eq!(m.sh("gipam gc"), "books and Engine agree: no differences");
    let held = m.endpoints();
    assert!(held.len() == 1 && held[0]["holder"] == "one", "{held:?}");
    for (path, bits) in [
        (SOCKET, 0o600),
        ("/run/docker/plugins/dmz.sock", 0o600),
        ("/run/gipam/admin.sock", 0o600),
        ("/run/docker", 0o700),
        ("/run/docker/plugins", 0o700),
        ("/etc/docker/plugins", 0o755),
        ("/var/lib/gipam", 0o700),
        ("/var/lib/gipam/gipam.db", 0o600),
    ] {
        assert_eq!(format!("{path} {:o}", mode(m, path)), format!("{path} {bits:o}"));
    }
    let process = m.show("gipam.service", "MainPID");
    let status = m.sh(&format!("cat /proc/{process}/status"));
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    let shut = "nsenter --mount --target $1 sh -c 'for d in /etc /usr /var/lib /root; do ! touch $d/probe 2>/dev/null || exit 1; done
        for d in /etc/docker/plugins /run/docker/plugins /var/lib/gipam /run/gipam; do touch $d/probe; rm $d/probe; done'";
    m.sh(&format!("set -- {process}; {shut}"));
    let journal = m.journal();
    assert!(
        journal.iter().any(|(level, text)| *level == 6
            && text == "driver gipam listens on unix:///run/docker/plugins/gipam.sock"),
        "{journal:?}"
    );
    assert!(!journal.iter().any(|(level, text)| *level < 6 || text.starts_with('<')), "{journal:?}");
    // variables do not override the file, and a warning says so
    m.write("/etc/gipam/gipam.env", "GIPAM_V4=10.99.0.0/16\n");
    m.sh("systemctl restart gipam");
    let journal = m.journal();
    assert!(journal.iter().any(|(level, text)| *level == 4 && text.contains("GIPAM_V4")), "{journal:?}");
}

/// `systemctl start` returns only after the driver listens: here gipam waits for its configuration.
pub fn notify(m: &mut Machine) {
    page::install(m);
    m.sh("systemctl stop gipam.socket gipam.service; systemctl disable gipam.socket
          mkfifo /etc/gipam/slow.toml; echo GIPAM_CONFIG=/etc/gipam/slow.toml >/etc/gipam/gipam.env");
    assert!(!m.path(SOCKET).exists());
    m.sh("systemctl start --no-block gipam");
    until("gipam waits for its configuration", SOON, || {
        let process = m.show("gipam.service", "MainPID");
        m.try_sh(&format!("grep -q '^gipam$' /proc/{process}/comm")).ok
    });
    assert_eq!(m.show("gipam.service", "ActiveState"), "activating");
    assert!(!m.path(SOCKET).exists());
    m.sh("cat /etc/gipam/gipam.toml >/etc/gipam/slow.toml; systemctl start gipam; gipam status; test -S /run/docker/plugins/gipam.sock");
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");
    assert_eq!(m.show("gipam.service", "NRestarts"), "0");
    m.sh(&page::block("Install by hand", 1));
    m.sh("systemctl stop gipam");
    assert!(!m.path(SOCKET).exists(), "gipam removes its own socket when it stops");
    assert_eq!(m.show("gipam.service", "Result"), "success");
}
