//! Every key of the configuration file, declared once: its type, default, options, when a change takes effect, and what it
//! sets.
//!
//! Promises: this table produces the types that the reader fills, the defaults, the list of keys that a reload does not change,
//! and `docs/configuration.md`. Does not read files or texts; `keys_page` writes that page.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::Deserialize;
use toml::Spanned;

use super::door::TcpAddress;
use super::edge::KernelAtEnd;
use super::hooks::{Connect, Url};
use super::options::{ADDRESS, ADMIN, FILE, HTTP, LOG, NAME, SOCKET, Spelling, UNIX, V4, V4AB, V6, V6AB};
use super::origin::{At, Spot};
use super::plan::{EtcdEndpoint, KeyPrefix};
use super::probe_on::ProbeOn;
use super::value::{
    Begin, DriverName, EventName, HookName, HostName, Interface, LogLevel, Mode, PageAddress, PlanHost,
    PlanRoutes, PoolName, Share, Text, Time, Translate, UnknownSubnets,
};
use crate::plan::prefix::AddressRange;
use crate::plan::settings::AddressOrder;

/// A table of the file with its keys.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// How the table is written; empty = the top of the file.
    pub table: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
}

#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    /// The value if the key is absent, as written in the file, or in words.
    pub default: &'static str,
    /// The flags and variables for the same setting.
    pub(super) options: &'static [Spelling],
    /// When a change takes effect.
    pub(super) follows: Follows,
    /// What it sets.
    pub meaning: &'static str,
}

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    Reload,
    /// At the next start.
    Start,
}

impl std::fmt::Display for Follows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if *self == Self::Reload { "reload" } else { "start" })
    }
}

impl Key {
    /// Whether the default is written as a TOML value, not in words.
    pub(super) fn is_value(&self) -> bool {
        let number = self.default.bytes().all(|byte| byte.is_ascii_digit());
        number || self.default == "true" || self.default.starts_with(['"', '['])
    }
}

/// Whether a change of this setting takes effect only at the next start; `shown` is its name in `gipam config show`.
pub fn waits(shown: &str) -> bool {
    let (keys, name) = match shown.split_once('.') {
        Some(("plan", name)) => (PLAN, name),
        Some((top, _)) => (TOP, top),
        None => (TOP, shown),
    };
    keys.iter().any(|key| key.name == name && key.follows == Follows::Start)
}

/// All tables of the file.
pub const SECTIONS: &[Section] = &[
    Section { table: "", about: "At the top of the file, before the first table:", keys: TOP },
    Section {
        table: "[[pool]]",
        about: "One table for each pool. Pools must not overlap. A reload opens new pools and closes removed ones:",
        keys: POOL,
    },
    Section {
        table: "v4 = { ... }, v6 = { ... }",
        about: "One family of a `[[pool]]`. `v4 = \"10.20.0.0/16\"` sets only the base and uses the default size:",
        keys: BASE,
    },
    Section {
        table: "[driver.NAME]",
        about: "A driver that Docker may use as `--ipam-driver NAME`. The first driver (`name`) may have such a table, \
                every further driver must have one:",
        keys: DRIVER,
    },
    Section {
        table: "[tls]",
        about: "Certificates for every driver that listens on TCP (PEM files). gipam writes the `engine_` keys into \
                the `.json` file that the Engine reads; they are paths as the Engine sees them:",
        keys: TLS,
    },
    Section {
        table: "[gc]",
        about: "Repair: gipam compares the books with the Engine's own lists to find the releases that Docker lost, and frees \
                a lease once at least two checks have found it dead:",
        keys: GC,
    },
    Section {
        table: "[plan]",
        about: "Pools that several hosts share: each host gives only from its own slices; see [The plan file](#the-plan-file):",
        keys: PLAN,
    },
    Section {
        table: "[[hook]]",
        about: "One table for each program or URL that receives the events of leases and subnets; see [hooks.md](hooks.md). A reload adds, \
                removes and changes hooks:",
        keys: HOOK,
    },
];

/// Turns each table into the type that the reader fills and the rows that the page shows.
macro_rules! keys {
    ($(
        $(#[$attribute:meta])*
        $table:ident $rows:ident {
            $($(#[$how:meta])* $name:ident: $kind:ty = $default:literal, $options:expr, $follows:ident, $meaning:literal;)*
        }
    )*) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        $(#[$attribute])*
        #[serde(deny_unknown_fields)]
        pub struct $table {
            $($(#[$how])* pub $name: $kind,)*
        }

        pub(super) const $rows: &[Key] = &[$(Key {
            name: stringify!($name),
            default: $default,
            options: $options,
            follows: Follows::$follows,
            meaning: $meaning,
        }),*];
    )*};
}

// name: type = default as written in the file, or in words; options; when a change takes effect; what it sets.
keys! {
    /// The top level of the file.
    Top TOP {
        file: Option<At<Text>> = "see below", &[FILE], Start,
            "the books, or a lease file of the old gipam";
        name: At<DriverName> = "\"gipam\"", &[NAME], Start,
            "name of the first driver";
        socket: Option<At<Text>> = "`/run/docker/plugins/NAME.sock`", &[SOCKET], Start,
            "plugin socket of the first driver";
        address: Option<At<TcpAddress>> = "none", &[ADDRESS], Start,
            "TCP instead of the socket: `HOST:PORT` or `:PORT`";
        advertise: Option<At<TcpAddress>> = "`address`, with 127.0.0.1 if that listens on all addresses", &[], Start,
            "`HOST:PORT` announced to Docker instead of `address`; over plain TCP, also the only host name that requests may use";
        unix: Option<At<bool>> = "none", &[UNIX], Start,
            "true: the socket, even if `address` is set; false: TCP, `:9090`";
        admin: Option<At<Text>> = "`/run/gipam/admin.sock`", &[ADMIN], Start,
            "admin socket; see below";
        log: At<LogLevel> = "\"info\"", &[LOG], Start,
            "error, warn, info, debug or trace";
        socket_mode: At<Mode> = "\"0600\"", &[], Start,
            "permission bits of the plugin sockets, octal";
        socket_owner: Option<At<Text>> = "the user of the gipam process", &[], Start,
            "their owner, by name or number";
        socket_group: Option<At<Text>> = "the group of the gipam process", &[], Start,
            "their group";
        admin_mode: At<Mode> = "\"0600\"", &[], Start,
            "permission bits of the admin socket: everyone who can open it can free addresses";
        admin_owner: Option<At<Text>> = "the user of the gipam process", &[], Start,
            "its owner";
        admin_group: Option<At<Text>> = "the group of the gipam process", &[], Start,
            "its group";
        socket_dir: At<Text> = "\"/run/docker/plugins\"", &[], Start,
            "where Docker looks for plugin sockets";
        spec_dir: At<Text> = "\"/etc/docker/plugins\"", &[], Start,
            "where Docker looks for `.spec` and `.json` files";
        requires_mac_address: At<bool> = "true", &[], Start,
            "ask Docker for the MAC of every address; Engines before 28 then generate random MACs instead of deriving them from the address. For ipvlan networks, set it to false for a separate driver name";
        cooling: At<Time> = "\"10m\"", &[], Reload,
            "how long a released address is not given to others; \"0\" = off";
        subnet_cooling: At<Time> = "\"60s\"", &[], Reload,
            "how long a released subnet is not given to others";
        restart_window: At<Time> = "\"15s\"", &[], Reload,
            "for Engines that do not send container names (before 29): if only one address of a subnet was released within this time, the next container without a known MAC gets it, so that a restart keeps the address; \"0\" = off";
        quarantine: At<Time> = "\"5m\"", &[], Reload,
            "how often an address in quarantine is probed again (`probe` of a pool); it is free again when it did not answer twice";
        kernel_at_end: At<KernelAtEnd> = "\"remove\"", &[], Reload,
            "what happens to routes, proxy entries and translations in the kernel when gipam is stopped: \"remove\"; or \"keep\", until the next start corrects them, so that containers stay reachable while gipam is replaced";
        storm_limit: At<u32> = "64", &[], Reload,
            "how many subnets Docker may request one right after another within a minute, without using them, before gipam refuses the next; 16 times as many if they are requested one by one or in parallel; 0 = off";
        history: At<u32> = "10000", &[], Start,
            "number of history entries that the books keep; 0 = none";
        max_connections: At<NonZeroU16> = "512", &[], Start,
            "connections that one listener serves at a time; further connections wait, and gipam closes idle ones for them";
        http: Option<At<PageAddress>> = "none", &[HTTP], Start,
            "where the page and the metrics are served: `PORT` or `:PORT` on loopback, or `HOST:PORT`; see [page.md](page.md)";
        http_hosts: At<Vec<At<HostName>>> = "[]", &[], Start,
            "host names by which a browser may request the page, in addition to IP addresses and `localhost`: those of this host, or of a proxy in front of it";
        metrics_subnets: At<u16> = "100", &[], Start,
            "subnets whose addresses the metrics count one by one, the fullest first; the others are counted together";
        warn_at: At<Share> = "\"80%\"", &[], Reload,
            "share of a pool's space, or of a subnet's addresses, from which gipam warns that the pool or subnet is filling up; \"off\" = never";
        reserved: Vec<At<AddressRange>> = "[]", &[], Reload,
            "addresses, prefixes and ranges (`A-B`) that are never given dynamically";
        #[serde(default)] pool: Vec<PoolTable> = "none", &[V4, V4AB, V6, V6AB], Reload,
            "the pools, see below; the options create one named `default`";
        #[serde(default)] driver: BTreeMap<Spanned<String>, DriverTable> = "none", &[], Start,
            "further drivers, and pools for each, see below";
        tls: Option<TlsTable> = "none", &[], Start,
            "certificates, see below";
        plan: Option<PlanTable> = "none", &[], Reload,
            "which slices of shared pools belong to which host, see below";
        gc: GcTable = "as below", &[], Start,
            "repair of lost releases, see below";
        #[serde(default)] hook: Vec<HookTable> = "none", &[], Reload,
            "programs and URLs that receive events, see below";
    }

    /// One `[[pool]]`.
    PoolTable POOL {
        name: At<PoolName> = "must be given", &[], Reload,
            "1 to 63 letters, digits, `-`, `_`, `.`; for `--ipam-opt pool=NAME`";
        v4: Option<BaseTable> = "none", &[V4], Reload,
            "its IPv4 part; a pool has v4, v6 or both";
        v6: Option<BaseTable> = "none", &[V6], Reload,
            "its IPv6 part";
        reserved: Vec<At<AddressRange>> = "[]", &[], Reload,
            "as above, for addresses of this pool";
        cooling: Option<At<Time>> = "as above", &[], Reload,
            "as above, for addresses in this pool";
        subnet_cooling: Option<At<Time>> = "as above", &[], Reload,
            "as above, for subnets of this pool";
        warn_at: Option<At<Share>> = "as above", &[], Reload,
            "as above, for this pool and its subnets";
        translate: Option<At<Translate>> = "none", &[], Reload,
            "\"nptv6\": the v6 base is translated 1:1 to `outer` (RFC 6296), so that containers keep their addresses when the provider's prefix changes; needs CAP_NET_ADMIN; see [ipv6.md](ipv6.md)";
        outer: Option<At<String>> = "none", &[], Reload,
            "with `translate`: the prefix by which the provider reaches this host, at least as large as the v6 base; or where it comes from: `file:PATH` or `pd:INTERFACE/LENGTH`";
        ndp_proxy: Option<At<Interface>> = "none", &[], Reload,
            "an interface, such as \"eth0\": gipam lets the host answer there for the IPv6 address of each container of this pool, which a provider's on-link /64 needs; see [ipv6.md](ipv6.md)";
        arp_proxy: Option<At<Interface>> = "none", &[], Reload,
            "an interface: what `ndp_proxy` does, for the IPv4 addresses of containers";
        discard: Option<At<bool>> = "false", &[], Reload,
            "gipam keeps an unreachable route for the base, so that packets to addresses without a network do not loop between router and host";
        probe: Option<At<ProbeOn>> = "false", &[], Reload,
            "for networks on a LAN (macvlan, ipvlan): gipam probes an address before its first use (ARP, NDP), and quarantines it if a machine answers; true: on the interface that has an address in the network; or the name of an interface. Needs CAP_NET_RAW";
    }

    /// One family of a pool.
    #[serde(expecting = "a prefix, or a table with base and size")]
    BaseTable BASE {
        base: At<String> = "must be given", &[], Reload,
            "the prefix from which subnets are cut, without host bits; or where to find it, if it may change: `file:PATH` or `pd:INTERFACE/LENGTH`, see [ipv6.md](ipv6.md#a-prefix-that-changes)";
        size: Option<At<u8>> = "24 for v4, 64 for v6", &[V4AB, V6AB], Reload,
            "prefix length of a subnet, if the network does not request one";
        slice: Option<At<u8>> = "none", &[], Reload,
            "prefix length of a slice, if several hosts share the base: this host then gives only from its own slices; with `[plan]`";
        shared: Option<At<bool>> = "false", &[], Reload,
            "the base is one subnet that networks of several hosts share (macvlan, ipvlan): slices contain addresses; with `slice`";
        gateway: Option<At<String>> = "none", &[], Reload,
            "the gateway of each subnet that contains it, usually the router of a LAN (macvlan, ipvlan): gipam returns it to Docker and never gives it to a container";
        by_number: Option<At<String>> = "none", &[], Reload,
            "with `shared`: in this part every address is a slice of its own, given only to a container that requests it (`--ip`)";
        addresses: At<AddressOrder> = "\"sequential\"", &[], Reload,
            "how addresses are chosen; for v6 also \"eui64\" (from the MAC) and \"stable\" (RFC 7217)";
    }

    /// One `[driver.NAME]`.
    #[derive(Default)]
    DriverTable DRIVER {
        pools: Option<At<Vec<At<String>>>> = "all", &[], Start,
            "names of the pools that it may use, in the order in which gipam tries them";
        socket: Option<At<Text>> = "`NAME.sock` next to the first", &[], Start,
            "its plugin socket";
        address: Option<At<TcpAddress>> = "none", &[], Start,
            "TCP instead; required if the first driver listens on TCP";
        advertise: Option<At<TcpAddress>> = "as above", &[], Start,
            "as above";
        requires_mac_address: Option<At<bool>> = "as above", &[], Start,
            "as above, for networks of this driver name; containers on ipvlan networks start only with false";
    }

    /// `[tls]`.
    TlsTable TLS {
        cert: At<Text> = "must be given", &[], Start,
            "gipam's certificate chain";
        key: At<Text> = "must be given", &[], Start,
            "its private key";
        client_ca: Option<At<Text>> = "none", &[], Start,
            "the authority that signs the Engine's certificate; if set, the Engine must present one";
        engine_ca: Option<At<Text>> = "none", &[], Start,
            "`CAFile`: the authority that signs gipam's certificate";
        engine_cert: Option<At<Text>> = "none", &[], Start,
            "`CertFile`: the certificate that the Engine presents; with `engine_key`";
        engine_key: Option<At<Text>> = "none", &[], Start,
            "`KeyFile`: its private key";
    }

    /// `[plan]`.
    PlanTable PLAN {
        file: Option<At<Text>> = "none", &[], Reload,
            "the plan file, the same on all hosts: which host has which slices; or `etcd`";
        host: Option<At<PlanHost>> = "the host name of the machine", &[], Reload,
            "the name of this host in the plan";
        routes: At<PlanRoutes> = "\"none\"", &[], Reload,
            "\"kernel\": gipam keeps the routes of `gipam routes` in the kernel of this host, which needs CAP_NET_ADMIN";
        etcd: Option<At<Vec<At<EtcdEndpoint>>>> = "none", &[], Start,
            "the members of etcd through which the hosts agree: `http://ADDRESS:PORT` or `https://ADDRESS:PORT`";
        prefix: At<KeyPrefix> = "\"/gipam/\"", &[], Start,
            "with `etcd`: what all keys of the plan begin with; plans with different prefixes can share one etcd";
        via: At<Vec<At<IpAddr>>> = "[]", &[], Start,
            "with `etcd`: the addresses at which the other hosts reach this one; must be given";
        timeout: At<Time> = "\"500ms\"", &[], Start,
            "with `etcd`: how long one attempt at one member may take; a request waits 2 s in all";
        user: Option<At<Text>> = "none", &[], Start,
            "with `etcd`: the user; with `password_file`";
        password_file: Option<At<Text>> = "none", &[], Start,
            "the file that contains the user's password";
        ca: Option<At<Text>> = "the system's", &[], Start,
            "with `https://`: the only authorities that are trusted (PEM file)";
        cert: Option<At<Text>> = "none", &[], Start,
            "with `https://`: the certificate chain that gipam presents (PEM file); with `key`";
        key: Option<At<Text>> = "none", &[], Start,
            "its private key (PEM file)";
        server_name: Option<At<HostName>> = "the address of the endpoint", &[], Start,
            "with `https://`: the name in the certificates of all members";
    }

    /// `[gc]`.
    GcTable GC {
        engine: At<String> = "\"/var/run/docker.sock\"", &[], Start,
            "the Engine's API socket; \"\" turns repair off";
        grace: At<Time> = "\"10m\"", &[], Start,
            "time between the two checks that must find a lease dead before it is freed; the first check is at least a minute after the grant";
        unknown_subnets: At<UnknownSubnets> = "\"report\"", &[], Start,
            "subnets that do not belong to any network of the Engine: \"report\", or \"free\" if this is the only Engine";
    }

    /// One `[[hook]]`.
    HookTable HOOK {
        name: At<HookName> = "must be given", &[], Reload,
            "1 to 63 letters, digits, `-`, `_`, `.`; the books store the hook's progress under this name";
        command: Option<At<Vec<At<String>>>> = "none", &[], Reload,
            "a program and its arguments, run once for each event, without a shell; or `url`";
        url: Option<At<Url>> = "none", &[], Reload,
            "`http://HOST[:PORT]/PATH`, or `https://`: events are sent there with POST, as JSON; HOST is an address, `localhost`, or a name with `connect`";
        connect: Option<At<Connect>> = "the host of `url`", &[], Reload,
            "`ADDRESS[:PORT]` at which the host of `url` is reached: gipam does not resolve names";
        ca: Option<At<Text>> = "the system's", &[], Reload,
            "with `https://`: the only authorities that are trusted (PEM file)";
        cert: Option<At<Text>> = "none", &[], Reload,
            "with `https://`: the certificate chain that gipam presents (PEM file); with `key`";
        key: Option<At<Text>> = "none", &[], Reload,
            "its private key (PEM file)";
        events: Vec<At<EventName>> = "[]", &[], Reload,
            "the events that it receives; empty = all";
        timeout: At<Time> = "\"10s\"", &[], Reload,
            "how long one delivery may take, at most 1h; after that it counts as failed";
        batch: At<u16> = "32", &[], Reload,
            "with `url`: at most this many events at a time, 1 to 256";
        from: At<Begin> = "\"now\"", &[], Reload,
            "where a new hook begins: \"now\", or \"start\" for all events that are still in the history";
    }
}

/// Declares which keys `gipam config show` prints as they are written.
macro_rules! plain {
    ($($name:ident)*) => {
        impl Top {
            pub(super) fn plain(&self) -> Vec<(&'static str, String, &Spot)> {
                vec![$((stringify!($name), self.$name.to_string(), &self.$name.place)),*]
            }
        }
    };
}

plain!(
    name log cooling subnet_cooling restart_window quarantine kernel_at_end storm_limit history max_connections metrics_subnets
    requires_mac_address socket_mode admin_mode warn_at
);

#[cfg(test)]
mod tests;
