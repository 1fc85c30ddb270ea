//! Tests of what `gipam renumber` decides.

use super::*;
use crate::view::rows::StaleRow;

fn rows() -> [SubnetRow; 2] {
    let row = |prefix: &str, gateway: &str| SubnetRow {
        prefix: prefix.to_owned(),
        gateway: Some(gateway.to_owned()),
        ..SubnetRow::default()
    };
    let stale =
        StaleRow { base: "2001:db8:b::/56".to_owned(), same_number: Some("2001:db8:b:3::/64".to_owned()) };
    [
        row("192.0.2.0/24", "192.0.2.1"),
        SubnetRow {
            stale: Some(stale),
            pool: Some("home".to_owned()),
            ..row("2001:db8:a:3::/64", "2001:db8:a:3::1")
        },
    ]
}

fn network() -> Value {
    json!({
        "Name": "web_default", "Id": "n1", "Scope": "local", "Driver": "bridge", "EnableIPv4": true, "EnableIPv6": true,
        "Internal": false, "Attachable": true, "Ingress": false, "ConfigFrom": {"Network": ""},
        "IPAM": {"Driver": "gipam", "Options": {"pool": "home"}, "Config": [
            {"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"},
            {"Subnet": "2001:db8:a:3::/64", "AuxiliaryAddresses": {"router": "2001:db8:a:3::fe"}},
        ]},
        "Options": {"com.docker.network.enable_ipv6": "true", "com.docker.network.bridge.name": "br-web"},
        "Labels": {PROJECT: "web", "other": "label"},
        "Containers": {"aaaaaaaaaaaabbbb": {}},
    })
}

fn container() -> Value {
    json!({
        "Id": "aaaaaaaaaaaabbbb", "Name": "/web-db-1", "State": {"Running": true, "Paused": false, "Restarting": false},
        "HostConfig": {"NetworkMode": "web_default"},
        "NetworkSettings": {"Networks": {"web_default": {
            "NetworkID": "n1", "IPAMConfig": {"IPv6Address": "2001:db8:a:3::77"}, "Links": null,
            "Aliases": ["db", "aaaaaaaaaaaa"], "DriverOpts": null, "GwPriority": 0,
            "IPAddress": "192.0.2.5", "GlobalIPv6Address": "2001:db8:a:3::77", "MacAddress": "02:42:ac:11:00:02",
        }, "other": {"NetworkID": "n2"}}},
    })
}

fn moved(network: &Value, containers: &[Value]) -> Result<NetworkMove, RenumberError> {
    let rows = rows();
    network_move(network, containers, &rows.iter().collect::<Vec<_>>())
}

#[test]
fn a_network_keeps_everything_but_its_prefix() {
    let found = moved(&network(), &[container()]).unwrap();
    assert_eq!(found.project.as_deref(), Some("web"));
    let expected = json!({
        "Name": "web_default", "CheckDuplicate": true, "Driver": "bridge", "Internal": false, "Attachable": true,
        "EnableIPv4": true, "EnableIPv6": true,
        "IPAM": {"Driver": "gipam", "Options": {"pool": "home"}, "Config": [
            {"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"},
            {"Subnet": "2001:db8:b:3::/64", "Gateway": "2001:db8:b:3::1",
             "AuxiliaryAddresses": {"router": "2001:db8:b:3::fe"}},
        ]},
        "Options": {"com.docker.network.bridge.name": "br-web"}, "Labels": {PROJECT: "web", "other": "label"},
    });
    assert_eq!(found.create, expected);
    let [container] = &found.containers[..] else { panic!("{found:?}") };
    assert_eq!(
        container.endpoint,
        json!({"IPAMConfig": {"IPv6Address": "2001:db8:b:3::77"}, "Aliases": ["db"]})
    );
    assert!(container.running && container.chosen, "its IPv4 address is not fixed");
    let file = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<NetworkMove>(&file).unwrap(), found);
}

#[test]
fn what_docker_cannot_do_is_refused_with_the_reason() {
    let changed = |pointer: &str, value: Value| {
        let mut all = json!({"network": network(), "container": container()});
        *all.pointer_mut(pointer).unwrap() = value;
        moved(&all["network"], &[all["container"].clone()]).unwrap_err().to_string()
    };
    for (pointer, value, why) in [
        ("/network/Scope", json!("swarm"), "belongs to a swarm"),
        ("/network/Ingress", json!(true), "belongs to a swarm"),
        (
            "/network/ConfigFrom/Network",
            json!("template"),
            "takes its subnets from the configuration network template",
        ),
        (
            "/network/Containers",
            json!({"ep-1": {"Name": "gone"}}),
            "first: docker network disconnect -f web_default gone",
        ),
        ("/network/Containers", json!({"other": {}}), "which the Engine does not list"),
        ("/container/HostConfig/NetworkMode", json!("n1"), "names network web_default by its id"),
        ("/container/HostConfig/NetworkMode", json!("n"), "names network web_default by its id"),
        ("/container/State/Paused", json!(true), "docker unpause web-db-1"),
        ("/container/State/Restarting", json!(true), "docker stop web-db-1"),
        (
            "/container/NetworkSettings/Networks/web_default/IPAMConfig/IPv6Address",
            json!("2001:db8:9::1"),
            "the fixed address 2001:db8:9::1, which lies outside",
        ),
    ] {
        let error = changed(pointer, value);
        assert!(error.contains(why), "{pointer}: {error}");
    }
    let mut rows = rows();
    rows[1].stale.as_mut().unwrap().same_number = None;
    let error = network_move(&network(), &[], &rows.iter().collect::<Vec<_>>()).unwrap_err();
    assert!(error.to_string().contains("has no place for the number of 2001:db8:a:3::/64"), "{error}");
}

#[test]
fn a_container_whose_fixed_mac_would_be_lost_is_refused() {
    let refused = |of_container: &str, shown: &str, key: &str| {
        let mut container = container();
        container["Config"]["MacAddress"] = json!(of_container);
        let endpoint = &mut container["NetworkSettings"]["Networks"]["web_default"];
        endpoint["MacAddress"] = json!(shown);
        endpoint[key] = Value::Null;
        moved(&network(), &[container]).is_err_and(|error| error.to_string().contains("has the fixed MAC"))
    };
    let (fixed, made_up) = ("00:16:3e:01:02:03", "02:42:ac:11:00:02");
    assert!(refused(fixed, fixed, "DNSNames"));
    assert!(refused(made_up, made_up, "DNSNames"));
    assert!(refused(fixed, "", "DNSNames"), "a stopped container");
    assert!(refused("", fixed, "DNSNames"), "the MAC is that of this connection only");
    assert!(!refused("", made_up, "DNSNames"), "Docker generated it");
    assert!(!refused(fixed, fixed, "other"), "Engines before 25 keep it");
}

#[test]
fn containers_are_connected_in_the_order_of_their_addresses() {
    let named = |id: &str, address: &str| {
        let mut container = container();
        container["Id"] = json!(id);
        container["NetworkSettings"]["Networks"]["web_default"]["IPAMConfig"] = Value::Null;
        container["NetworkSettings"]["Networks"]["web_default"]["GlobalIPv6Address"] = json!(address);
        container
    };
    let all = [named("c", "2001:db8:a:3::9"), named("b", ""), named("a", "2001:db8:a:3::2")];
    let mut network = network();
    network["Containers"] = json!({});
    let found = moved(&network, &all).unwrap();
    let order: Vec<&str> = found.containers.iter().map(|container| container.id.as_str()).collect();
    assert_eq!(order, ["b", "a", "c"], "192.0.2.5 is a smaller number than any IPv6 address");
    assert!(found.containers.iter().all(|container| container.chosen && container.fixed.is_empty()));
}

fn pool(family: &str, base: &str) -> PoolRow {
    PoolRow {
        pool: "home".to_owned(),
        family: family.to_owned(),
        base: base.to_owned(),
        ..PoolRow::default()
    }
}

#[test]
fn a_base_that_changes_again_before_the_network_exists_is_followed() {
    let before = moved(&network(), &[container()]).unwrap();
    let v4 = pool("v4", "192.0.0.0/16");
    let mut network = before.clone();
    network.follow(&[v4.clone(), pool("v6", "2001:db8:b::/56")]).unwrap();
    assert_eq!(network, before, "it is the same base");
    network.follow(std::slice::from_ref(&v4)).unwrap();
    assert_eq!(network, before, "the pool has left the configuration");
    network.follow(&[v4.clone(), pool("v6", "2001:db8:c::/56")]).unwrap();
    let file = serde_json::to_string(&network).unwrap();
    assert_eq!(file, serde_json::to_string(&before).unwrap().replace("2001:db8:b:", "2001:db8:c:"));
    let error = network.follow(&[v4, pool("v6", "2001:db8:d::/63")]).unwrap_err().to_string();
    assert!(
        error.contains("2001:db8:d::/63, which has no place for the number of 2001:db8:c:3::/64"),
        "{error}"
    );
}

#[test]
fn a_connection_without_its_fixed_addresses_is_not_done() {
    let found = moved(&network(), &[container()]).unwrap();
    let has = |shown: Value| found.containers[0].has_its_addresses(&shown);
    assert!(has(json!({"IPAMConfig": {"IPv6Address": "2001:db8:b:3:0::77", "IPv4Address": "192.0.2.9"}})));
    assert!(!has(json!({"IPAMConfig": null})));
    assert!(!has(json!({"IPAMConfig": {"IPv6Address": "2001:db8:b:3::78"}})));
}

#[test]
fn a_link_local_address_is_passed_on_and_does_not_count_as_fixed() {
    let mut container = container();
    let addresses = json!({"IPv4Address": "192.0.2.5", "LinkLocalIPs": ["169.254.0.9"]});
    container["NetworkSettings"]["Networks"]["web_default"]["IPAMConfig"] = addresses.clone();
    let found = moved(&network(), &[container]).unwrap();
    assert_eq!(found.containers[0].endpoint["IPAMConfig"], addresses);
    assert!(found.containers[0].chosen, "the IPv6 address is not fixed");
}
