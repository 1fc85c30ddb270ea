//! Configurations that change, and configurations that are unusable.

use crate::machine::{Machine, SOCKET, SOON};
use crate::page;
use crate::wait::until;

const TOML: &str = "/etc/gipam/gipam.toml";

fn pools(m: &Machine) -> Vec<String> {
    m.view("pools").iter().map(|pool| pool["base"].as_str().unwrap().to_owned()).collect()
}

pub fn changed_pool(m: &mut Machine) {
    page::install(m);
    m.sh("docker network create --ipam-driver gipam before");
    let process = m.show("gipam.service", "MainPID");
    m.sh(&format!("sed -i 's|10.20.0.0/16|10.30.0.0/16|' {TOML}; systemctl reload gipam"));
    assert!(pools(m).contains(&"10.30.0.0/16".into()), "reload returns when the new pool is in force");
    m.sh("docker network create --ipam-driver gipam after");
    // Number 0 is kept for the network that is still on the earlier base, where `gipam renumber` would move it.
    assert_eq!(m.prefixes("after"), ["10.30.1.0/24"]);
    let plan = m.sh("gipam renumber");
    assert!(plan.contains("network before") && plan.contains("10.20.0.0/24 becomes 10.30.0.0/24"), "{plan}");
    assert_eq!(m.prefixes("before"), ["10.20.0.0/24"]);
    let before = pools(m);

    let refused = m.try_sh(&format!("echo 'nonsense = 1' >>{TOML}; systemctl reload gipam"));
    assert!(!refused.ok, "the reload fails visibly");
    until("the mistake is in the journal, as an error", SOON, || {
        m.journal().iter().any(|(level, text)| *level == 3 && text.contains("nonsense"))
    });
    assert_eq!(pools(m), before, "the old configuration stays");
    assert_eq!(m.show("gipam.service", "MainPID"), process, "gipam was not restarted");
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");
}

/// After exit code 2, systemd does not restart the service; the socket starts it a few times while a request
/// waits in it.
pub fn exit_code_2(m: &mut Machine) {
    page::install(m);
    m.sh(&format!(
        "systemctl stop gipam.socket gipam.service; cp {TOML} /srv/good; echo 'nonsense = 1' >>{TOML}"
    ));
    let refused = m.try_sh("systemctl start gipam.service");
    assert!(!refused.ok);
    assert_eq!(m.show("gipam.service", "ActiveState"), "failed");
    assert_eq!(m.show("gipam.service", "ExecMainStatus"), "2");
    assert_eq!(m.show("gipam.service", "NRestarts"), "0");
    let said: Vec<_> = m.journal().into_iter().filter(|(level, _)| *level == 3).collect();
    assert!(said.len() == 1 && said[0].1.contains("nonsense"), "once, as an error: {said:?}");

    m.sh("systemctl start gipam.socket");
    let refused = m.try_sh("docker network create --ipam-driver gipam web");
    assert!(!refused.ok, "{}", refused.out);
    assert_eq!(m.show("gipam.socket", "Result"), "trigger-limit-hit");
    assert!(!m.path(SOCKET).exists(), "the stopped socket unit removes its file");
    let starts = m.journal().into_iter().filter(|(level, _)| *level == 3).count() - 1;
    assert!((1..=5).contains(&starts), "{starts} starts");

    m.sh(&format!("cp /srv/good {TOML}"));
    m.sh(&page::block("Socket activation", 0));
    assert_eq!(m.show("gipam.socket", "SubState"), "running");
    m.sh("docker network create --ipam-driver gipam web");
    assert_eq!(m.view("subnets").len(), 1);
}

/// A hook runs within the service's limits, from a reload on, and does not inherit what systemd passed to
/// gipam.
pub fn hook(m: &mut Machine) {
    page::install(m);
    m.sh("docker network create --ipam-driver gipam before");
    let hook = r#"[[hook]]\nname = "test"\ncommand = ["sh", "-c", "env >>events"]\n"#;
    m.sh(&format!("printf '{hook}' >>{TOML}; systemctl reload gipam"));
    m.sh("docker network create --ipam-driver gipam after");
    let events = "/var/lib/gipam/events";
    until("the hook gets the second network", SOON, || {
        m.try_sh(&format!("grep -x EVENT=subnet_granted {events} && grep -x EVENT=leased {events}")).ok
    });
    let granted = m.sh(&format!("grep -cx EVENT=subnet_granted {events}"));
    assert_eq!(granted, m.prefixes("after").len().to_string(), "the hook must not get the first network");
    assert!(!m.try_sh(&format!("grep -E '^(NOTIFY_SOCKET|LISTEN_)' {events}")).ok);
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");

    // A hook that changes this machine needs the drop-in of docs/hooks.md.
    m.sh(&format!("sed -i 's|env >>events|ip route replace blackhole $EVENT_SUBNET metric 4242|' {TOML}; systemctl reload gipam"));
    m.sh("docker network create --ipam-driver gipam routed");
    let subnet = m.prefixes("routed")[0].clone();
    let family = if subnet.contains(':') { "-6" } else { "-4" };
    until("the hook fails without the capability", SOON, || m.sh("gipam status").contains("failing since"));
    m.sh(
        "mkdir -p /etc/systemd/system/gipam.service.d; \
         printf '[Service]\\nCapabilityBoundingSet=CAP_NET_ADMIN\\n' >/etc/systemd/system/gipam.service.d/hooks.conf; \
         systemctl daemon-reload; systemctl restart gipam.service",
    );
    until("the route exists", SOON, || {
        m.sh(&format!("ip {family} route show type blackhole")).contains(&subnet)
    });
}

/// The unit may not change routes, and says so; with the drop-in of docs/install.md gipam keeps those of the plan.
pub fn kernel_routes(m: &mut Machine) {
    m.sh("ip addr add 192.0.2.11/24 dev up0");
    page::install(m);
    m.write(
        "/etc/gipam/plan.toml",
        "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 20\n\
         [[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\nslices = [\"10.8.0.0/20\"]\n\
         [[host]]\nname = \"b\"\nvia = [\"192.0.2.12\"]\nslices = [\"10.8.16.0/20\"]\n",
    );
    let plan = r#"[plan]\nfile = "/etc/gipam/plan.toml"\nhost = "a"\nroutes = "kernel"\n[[pool]]\nname = "routed"\nv4 = { base = "10.8.0.0/16", slice = 20 }\n"#;
    m.sh(&format!("printf '{plan}' >>{TOML}; systemctl reload gipam"));
    until("doctor names the missing capability", SOON, || {
        m.try_sh("gipam doctor").out.contains("it needs CAP_NET_ADMIN")
    });
    m.sh("docker network create --ipam-driver gipam --ipam-opt pool=routed net");
    assert_eq!(m.prefixes("net"), ["10.8.0.0/24"], "everything else works");
    m.sh(&page::block("Install by hand", 3));
    let routes = "ip route show proto 171";
    until("the routes exist", SOON, || m.sh(routes).lines().count() == 2);
    assert!(m.sh(routes).contains("10.8.16.0/20 via 192.0.2.12 dev up0"), "{}", m.sh(routes));
    let capabilities = m.show("gipam.service", "CapabilityBoundingSet");
    assert!(capabilities.contains("cap_net_admin") && capabilities.contains("cap_chown"), "{capabilities}");
    m.sh("systemctl kill --signal=KILL gipam");
    until("systemd has started it again", SOON, || {
        m.show("gipam.service", "NRestarts") == "1" && m.try_sh("gipam status").ok
    });
    assert_eq!(m.sh(routes).lines().count(), 2);
    m.sh("docker network rm net; systemctl stop gipam.socket gipam.service");
    assert_eq!(m.sh(routes), "");
}
