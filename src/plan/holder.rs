//! Text for messages: who holds something, what is full, and what a person can do about it.
//!
//! Promises: Docker's own command comes first, since Docker frees what Docker holds; `gipam release` comes last, and
//! queries the Engine first. A name is used in a command only if it needs no quoting. Makes no decisions.

use std::net::IpAddr;

use super::change::{Kind, Record};
use super::error::Refusal;
use super::prefix::Prefix;
use super::request::{Dead, Space};
use super::settings::rfc3339;
use super::{Plan, Subnet};

/// The holder, for a message.
pub(super) fn holder_text(record: &Record) -> String {
    match (record.kind, &record.name, record.mac) {
        (Kind::Gateway, ..) => "the gateway".to_owned(),
        (Kind::Auxiliary, ..) => "an auxiliary address of the network".to_owned(),
        (Kind::Stranger, _, mac) => {
            let mac = mac.map_or_else(String::new, |mac| format!("{mac}, "));
            format!("{mac}a machine on the LAN that is not a container of this host")
        }
        (_, Some(name), _) => name.to_string(),
        (_, None, Some(mac)) => format!("an endpoint with MAC {}", mac),
        (Kind::Endpoint, None, None) => {
            format!("an endpoint without a name since {}", rfc3339(record.since))
        }
        (Kind::Unknown, None, None) => "a lease from an old lease file".to_owned(),
    }
}

/// Whether this is a name that Docker accepts and that needs no quotes in a shell.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && !name.starts_with('-') && name.chars().all(plain)
}

/// The command that makes Docker release what a container holds.
pub fn container_command(name: &str, id: &str) -> String {
    match (is_plain(name), is_plain(id)) {
        (true, _) => format!("docker rm -f {name}"),
        (false, true) => format!("docker rm -f {id}"),
        (false, false) => "docker rm -f CONTAINER".to_owned(),
    }
}

/// The command that makes Docker release what a network holds.
pub fn network_command(name: &str) -> String {
    format!("docker network rm {}", if is_plain(name) { name } else { "NETWORK" })
}

/// The range or prefix from which dynamic addresses come.
fn place_name(subnet: &Subnet) -> String {
    let prefix = subnet.state.prefix;
    subnet.state.range.map_or_else(|| prefix.text(), |range| format!("range {range} of {prefix}"))
}

impl Plan {
    /// Why an address requested by number is refused.
    pub(super) fn in_use(&self, subnet: &Subnet, address: u128, record: &Record, known: &Dead) -> Refusal {
        let state = &subnet.state;
        let number = state.prefix.address(address);
        let network = known.network(state.serial, state.generation);
        let of_network = network.map_or_else(String::new, |name| format!(" (network {name})"));
        let in_network = format!("{}{of_network}", holder_text(record));
        let release = self.release_command(subnet, Some(number));
        let shown = known.holder(state.serial, address, record.generation);
        let (holder, remedy) = match (record.kind, shown, &record.name) {
            (Kind::Gateway, ..) => (in_network, "choose another address".to_owned()),
            (Kind::Stranger, ..) => {
                (holder_text(record), format!("choose another address; see: gipam who {number}"))
            }
            (Kind::Auxiliary, ..) => {
                (in_network, "choose another address, or recreate the network without it".to_owned())
            }
            (_, Some(shown), _) => (
                shown.to_string(),
                format!("free it with: {}", container_command(&shown.container, &shown.container_id)),
            ),
            (_, None, Some(name)) => (
                format!("container {name}{of_network}"),
                format!(
                    "free it with: {}; if that container does not exist: {release}",
                    container_command(name, "")
                ),
            ),
            (_, None, None) => (
                in_network,
                format!("find its container with: docker network inspect; if none has it: {release}"),
            ),
        };
        Refusal::in_use(number, &holder, &remedy)
    }

    /// Why the configured gateway is refused to a container.
    pub(super) fn is_router(&self, subnet: &Subnet, address: IpAddr) -> Refusal {
        let pool = subnet.state.pool.as_deref().unwrap_or("this subnet");
        Refusal::in_use(address, &format!("the gateway of pool {pool}"), "choose another address")
    }

    /// Why a subnet requested by number is refused.
    pub(super) fn overlap(&self, subnet: &Subnet, asked: Prefix, known: &Dead) -> Refusal {
        let state = &subnet.state;
        let release = self.release_command(subnet, None);
        match known.network(state.serial, state.generation) {
            Some(name) => {
                let remedy = network_command(name);
                let remedy = format_args!("use another subnet, or free it with: {remedy}");
                Refusal::pool_overlap(asked, state, format_args!("to network {name}"), remedy)
            }
            None if state.space == Space::Global => {
                let remedy = format_args!(
                    "use another subnet, or free it with: docker network rm; if no network has it: {release}"
                );
                Refusal::pool_overlap(asked, state, "to a network of the Swarm", remedy)
            }
            None => {
                let remedy = format_args!(
                    "use another subnet, or find its network with: docker network inspect; if none has it: {release}"
                );
                Refusal::pool_overlap(asked, state, "to a network", remedy)
            }
        }
    }

    /// Why no address is left in a subnet or its range.
    pub(super) fn exhausted(&self, subnet: &Subnet) -> Refusal {
        let gateway = subnet.gateway_lease().map(|(address, _)| address);
        let larger = if subnet.state.range.is_some() { "--ip-range" } else { "subnet" };
        if let Some(text) = self.no_room(subnet, gateway) {
            return Refusal::no_available_addresses(text);
        }
        Refusal::no_available_addresses(format_args!(
            "all of {} is leased or reserved (leases: {}); stop containers, or recreate the network with a larger {larger}; \
             see: gipam leases --all",
            place_name(subnet),
            subnet.addresses.leased_inside()
        ))
    }

    /// The refusal if this host has no address left in a subnet that it shares, and cannot get another slice.
    pub(super) fn exhausted_because(&self, subnet: &Subnet, why: &str) -> Refusal {
        let slices = self.slices.meeting(subnet.state.prefix).count();
        Refusal::no_available_addresses(format_args!(
            "this host has no free address in its slices of {} (slices: {slices}, leases: {}); {why}",
            place_name(subnet),
            subnet.addresses.leased_inside()
        ))
    }

    /// The refusal of a new address in a network whose slice this host has lost.
    pub(super) fn in_lost_slice(&self, subnet: &Subnet, slice: Prefix, why: &str) -> Refusal {
        Refusal::no_available_addresses(format_args!(
            "this host has lost slice {slice} around {}, so only containers that had an address there get theirs again: {why}; for a \
             new container use another network, or recreate this one: docker network rm, then docker network create",
            subnet.state.prefix
        ))
    }

    /// Why a container can never get an address here without `--ip`, if the gateway is at this address; `None` if it can.
    pub(super) fn no_room(&self, subnet: &Subnet, gateway: Option<u128>) -> Option<String> {
        if subnet.has_room_with(gateway) {
            return None;
        }
        let (prefix, range) = (subnet.state.prefix, subnet.state.range);
        let inside = gateway.filter(|it| range.unwrap_or(prefix).contains_number(*it));
        let left = inside.map_or_else(
            || "since all are reserved or never given".to_owned(),
            |it| format!("only the gateway's, {}", prefix.address(it)),
        );
        let larger = match (range.is_some(), inside.is_some()) {
            (true, true) => "--ip-range, or with a --gateway outside it",
            (true, false) => "--ip-range",
            (false, _) => "subnet",
        };
        Some(format!(
            "{} has no address for containers, {left}; recreate the network with a larger {larger}, or start containers with --ip",
            place_name(subnet)
        ))
    }

    /// The gipam command that frees a subnet or one of its addresses.
    pub(super) fn release_command(&self, subnet: &Subnet, address: Option<IpAddr>) -> String {
        let address = address.map_or_else(String::new, |address| format!(" {address}"));
        format!("gipam release {}{address} --force", self.command_name(subnet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_would_split_never_becomes_part_of_a_command() {
        assert_eq!(container_command("web_1.a-b", "id"), "docker rm -f web_1.a-b");
        assert_eq!(container_command("a; rm -rf /", "4f"), "docker rm -f 4f");
        assert_eq!(container_command("$(x)", "`"), "docker rm -f CONTAINER");
        assert_eq!(network_command("-f"), "docker network rm NETWORK");
        assert_eq!(network_command("front"), "docker network rm front");
    }
}
