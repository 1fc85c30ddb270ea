//! Which subnets of the books are a network's, and what would keep a network from being created again after it was removed.
//!
//! Promises: pure; compares only what the books and the Engine show now.

use serde_json::Value;

use super::RenumberError;
use super::moves::{NetworkMove, is_true, subnets};
use crate::plan::prefix::Prefix;
use crate::view::rows::SubnetRow;

/// Whether a row of the books is a subnet of this network: by its name, or by prefix and range as long as gipam has not learned
/// the name.
pub(super) fn has(network: &Value, row: &SubnetRow) -> bool {
    // A config-only network shows the subnets of those that are made from it.
    if row.space != "local" || is_true(&network["ConfigOnly"]) {
        return false;
    }
    if let Some(name) = &row.network {
        return network["Name"].as_str() == Some(name);
    }
    let (prefix, range) = (Prefix::parse(&row.prefix), row.range.as_deref().and_then(Prefix::parse));
    let mut configs = network["IPAM"]["Config"].as_array().into_iter().flatten();
    configs.any(|config| {
        let shown = |key: &str| config[key].as_str().and_then(Prefix::parse);
        shown("Subnet") == prefix && shown("IPRange") == range
    })
}

/// Two parts of address space that two networks can have at the same time, because they are disjoint, or disjoint ranges of one
/// prefix.
fn are_apart(one: (Prefix, Option<Prefix>), other: (Prefix, Option<Prefix>)) -> bool {
    let ranges = one.1.zip(other.1).filter(|_| one.0 == other.0);
    ranges.map_or(!one.0.overlaps(other.0), |(range, another)| !range.overlaps(another))
}

/// The new subnets of a network, each with its range.
fn wanted(network: &NetworkMove) -> impl Iterator<Item = (Prefix, Option<Prefix>)> {
    let configs = network.create["IPAM"]["Config"].as_array().into_iter().flatten();
    let of_config = |config: &Value, key: &str| config[key].as_str().and_then(Prefix::parse);
    configs.filter_map(move |config| Some((of_config(config, "Subnet")?, of_config(config, "IPRange"))))
}

/// Why this network could not be created again. `before` are the networks that move before it.
pub(super) fn obstacle(
    network: &NetworkMove,
    before: &[NetworkMove],
    rows: &[SubnetRow],
    networks: &[Value],
) -> Option<RenumberError> {
    let NetworkMove { name, id, .. } = network;
    let id_of = |it: &Value| it["Id"].as_str().unwrap_or_default().to_owned();
    let others = || networks.iter().filter(|it| id_of(it) != *id && !is_true(&it["ConfigOnly"]));
    if let Some(twin) = others().find(|it| it["Name"].as_str() == Some(name)) {
        let twin = id_of(twin);
        return Some(RenumberError(format!(
            "the Engine has another network with this name; remove one of them: docker network rm {twin}"
        )));
    }
    let stays = |prefix: &str| network.subnets.iter().any(|it| it.from == prefix);
    let copies = network.create["IPAM"]["Options"]["overlap"].as_str().is_some_and(|it| it != "false");
    for new in wanted(network).filter(|(prefix, _)| !copies && !stays(&prefix.to_string())) {
        let in_books = rows.iter().filter(|row| row.space == "local").find_map(|row| {
            let held = (Prefix::parse(&row.prefix)?, row.range.as_deref().and_then(Prefix::parse));
            let shown = || others().find(|it| has(it, row)).and_then(|it| it["Name"].as_str());
            let name = || row.network.as_deref().or_else(shown).unwrap_or(&row.prefix).to_owned();
            (!are_apart(new, held)).then(name)
        });
        let at_engine = || {
            let held = |it: &&Value| {
                it["IPAM"]["Driver"] != network.create["IPAM"]["Driver"]
                    && subnets(it).any(|shown| shown.length() > 0 && shown.overlaps(new.0))
            };
            others().find(held).map(|it| it["Name"].as_str().unwrap_or_default().to_owned())
        };
        let moving = || {
            let same = |it: &&NetworkMove| wanted(it).any(|other| !are_apart(new, other));
            before.iter().find(same).map(|it| it.name.clone())
        };
        if let Some(holder) = in_books.or_else(at_engine).or_else(moving) {
            let prefix = new.0;
            return Some(RenumberError(format!(
                "its new subnet {prefix} is that of network {holder}; remove one of them and create it again"
            )));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::renumber::moves::SubnetMove;
    use serde_json::json;

    fn moving(name: &str, range: Option<&str>) -> NetworkMove {
        let subnet = |from: &str, to: &str| SubnetMove { from: from.into(), to: to.into(), of: None };
        let config = json!([{"Subnet": "192.0.2.0/24"}, {"Subnet": "2001:db8:b:3::/64", "IPRange": range}]);
        NetworkMove {
            name: name.to_owned(),
            id: format!("id-{name}"),
            project: None,
            subnets: vec![
                subnet("192.0.2.0/24", "192.0.2.0/24"),
                subnet("2001:db8:a:3::/64", "2001:db8:b:3::/64"),
            ],
            create: json!({"IPAM": {"Driver": "gipam", "Options": {}, "Config": config}}),
            containers: Vec::new(),
        }
    }

    fn row(prefix: &str, network: Option<&str>) -> SubnetRow {
        let network = network.map(str::to_owned);
        SubnetRow { prefix: prefix.to_owned(), space: "local".to_owned(), network, ..SubnetRow::default() }
    }

    fn shown(name: &str, id: &str, driver: &str, subnet: &str) -> Value {
        json!({"Name": name, "Id": id, "IPAM": {"Driver": driver, "Config": [{"Subnet": subnet}]}})
    }

    #[test]
    fn a_network_whose_place_is_taken_is_not_removed() {
        let web = moving("web", None);
        let own = [row("192.0.2.0/24", Some("web")), row("2001:db8:a:3::/64", Some("web"))];
        let itself = [shown("web", "id-web", "gipam", "192.0.2.0/24")];
        let why = |rows: &[SubnetRow], networks: &[Value], before: &[NetworkMove]| {
            obstacle(&web, before, rows, networks).map(|why| why.to_string()).unwrap_or_default()
        };
        assert_eq!(why(&own, &itself, &[]), "", "its own subnets are not in its way");
        let taken = [own[0].clone(), own[1].clone(), row("2001:db8:b::/60", Some("other"))];
        assert!(why(&taken, &itself, &[]).contains("2001:db8:b:3::/64 is that of network other"));
        let twin = [itself[0].clone(), shown("web", "twin", "default", "198.51.100.0/24")];
        assert!(why(&own, &twin, &[]).contains("docker network rm twin"));
        let dockers = [itself[0].clone(), shown("plain", "p", "default", "2001:db8:b:3::/64")];
        assert!(why(&own, &dockers, &[]).contains("is that of network plain"));
        assert!(why(&own, &itself, &[moving("twice", None)]).contains("is that of network twice"));
    }

    #[test]
    fn networks_that_share_a_prefix_move_with_their_own_ranges() {
        let (one, two) =
            (moving("one", Some("2001:db8:b:3::/65")), moving("two", Some("2001:db8:b:3:8000::/65")));
        let rows: Vec<SubnetRow> = Vec::new();
        assert!(obstacle(&one, std::slice::from_ref(&two), &rows, &[]).is_none());
        let held =
            |range: &str| SubnetRow { range: Some(range.to_owned()), ..row("2001:db8:b:3::/64", Some("x")) };
        assert!(obstacle(&one, &[], &[held("2001:db8:b:3:8000::/65")], &[]).is_none());
        assert!(obstacle(&one, &[], &[held("2001:db8:b:3::/66")], &[]).is_some());
        let network = |range: &str| json!({"Name": "one", "IPAM": {"Config": [{"Subnet": "2001:db8:b:3::/64", "IPRange": range}]}});
        let unnamed = SubnetRow { network: None, ..held("2001:db8:b:3:8000::/65") };
        assert!(has(&network("2001:db8:b:3:8000::/65"), &unnamed));
        assert!(
            !has(&network("2001:db8:b:3::/65"), &unnamed),
            "another range of the prefix is another network"
        );
        assert!(
            !has(&network("2001:db8:b:3:8000::/65"), &held("2001:db8:b:3:8000::/65")),
            "x has it, not one"
        );
    }

    #[test]
    fn a_configuration_network_has_no_subnet() {
        let mut network = shown("template", "t", "gipam", "2001:db8:a:3::/64");
        assert!(has(&network, &row("2001:db8:a:3::/64", None)));
        network["ConfigOnly"] = json!(true);
        assert!(!has(&network, &row("2001:db8:a:3::/64", None)));
    }
}
