//! Tests of the whole resolution: precedence, listeners, pools, messages.

use std::path::{Path, PathBuf};

use super::*;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::AddressOrder;

/// A temporary directory with a configuration file.
struct House {
    directory: tempfile::TempDir,
    surroundings: Surroundings,
}

fn house(toml: &str, variables: &[(&str, &str)]) -> House {
    let directory = tempfile::tempdir().unwrap();
    let default_configuration = directory.path().join("gipam.toml");
    if !toml.is_empty() {
        std::fs::write(&default_configuration, toml).unwrap();
    }
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let surroundings = Surroundings {
        directory: directory.path().to_owned(),
        variables,
        root: true,
        host_name: "a.example".to_owned(),
        default_configuration,
        authorities: vec![directory.path().join("system.pem")],
    };
    House { directory, surroundings }
}

fn flags(given: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    for (name, value) in given {
        let field = match *name {
            "file" => &mut options.file,
            "socket" => &mut options.socket,
            "name" => &mut options.name,
            "admin" => &mut options.admin,
            "config" => &mut options.config,
            "log" => &mut options.log,
            "v4" => &mut options.v4,
            "v4ab" => &mut options.v4ab,
            "v6" => &mut options.v6,
            "v6ab" => &mut options.v6ab,
            "address" => &mut options.address,
            "unix" => &mut options.unix,
            other => panic!("no flag {other}"),
        };
        *field = Some((*value).to_owned());
    }
    options
}

fn load(toml: &str, variables: &[(&str, &str)], given: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&flags(given), &house(toml, variables).surroundings)
}

fn good(toml: &str, variables: &[(&str, &str)], given: &[(&str, &str)]) -> Config {
    load(toml, variables, given).unwrap_or_else(|error| panic!("{error}"))
}

/// The error message for a mistake in the file, without the file's path.
fn mistake(toml: &str) -> String {
    let house = house(toml, &[]);
    let message = Config::load(&Options::default(), &house.surroundings).unwrap_err().to_string();
    message.replace(&house.directory.path().display().to_string(), "").trim_start_matches('/').to_owned()
}

fn door(config: &Config) -> String {
    config.drivers[0].door.to_string()
}

const TWO_POOLS: &str = "[[pool]]\nname = \"lan\"\nv4 = { base = \"10.20.0.0/16\" }\n\
    [[pool]]\nname = \"dmz\"\nv6 = { base = \"2001:db8:d::/48\", size = 60, addresses = \"stable\" }\n";

#[test]
fn without_settings_gipam_listens_on_the_default_socket() {
    let config = good("", &[], &[]);
    assert_eq!(door(&config), "unix:///run/docker/plugins/gipam.sock");
    assert_eq!(config.admin, Path::new("/run/gipam/admin.sock"));
    assert_eq!(config.file.named, Path::new("/var/lib/gipam/gipam.db"));
    assert_eq!(config.pools_origin, PoolsOrigin::Nowhere);
    assert!(
        config.drivers[0].requires_mac_address
            && config.warnings.is_empty()
            && config.settings.pools.is_empty()
    );
    assert_eq!(config.socket_access, SocketAccess { mode: 0o600, owner: None, group: None });
}

#[test]
fn flags_override_variables_which_override_the_file_which_overrides_defaults() {
    let toml = "log = \"error\"\nname = \"third\"\n";
    let variables = [("GIPAM_LOG", "warn"), ("GIPAM_NAME", "second")];
    assert_eq!(**good(toml, &variables, &[("log", "debug")]).keys.log, tracing::Level::DEBUG);
    assert_eq!(**good(toml, &variables, &[]).keys.log, tracing::Level::WARN);
    assert_eq!(**good(toml, &[], &[]).keys.log, tracing::Level::ERROR);
    assert_eq!(**good("", &[], &[]).keys.log, tracing::Level::INFO);
    assert_eq!(good(toml, &variables, &[]).drivers[0].name, "second");
}

#[test]
fn v4_and_v6_make_the_pool_default_with_the_old_sizes() {
    let config = good("", &[("GIPAM_V6", "fe80::/56"), ("GIPAM_V4AB", "26")], &[("v4", "192.168.0.0/16")]);
    let pool = &config.settings.pools[0];
    assert_eq!((pool.name.as_str(), config.settings.pools.len()), ("default", 1));
    assert_eq!(pool.v4.map(|base| (base.base.to_string(), base.size)), Some(("192.168.0.0/16".into(), 26)));
    assert_eq!(pool.v6.map(|base| (base.base.to_string(), base.size)), Some(("fe80::/56".into(), 64)));
    let (v4, v6) = (Some(Origin::Flag("-v4")), Some(Origin::Variable("GIPAM_V6")));
    assert_eq!(config.pools_origin, PoolsOrigin::Options { v4, v6 });
}

#[test]
fn neither_family_is_mandatory() {
    assert_eq!(good("", &[], &[("v6", "2001:db8::/48")]).settings.pools[0].v4, None);
    assert_eq!(good("", &[], &[("v4", "10.0.0.0/8")]).settings.pools[0].v6, None);
}

#[test]
fn an_empty_flag_hides_the_variable() {
    let config =
        good("", &[("GIPAM_V4", "10.0.0.0/8"), ("GIPAM_ADDRESS", ":1")], &[("v4", ""), ("address", "")]);
    assert_eq!(config.settings.pools, []);
    assert_eq!(door(&config), "unix:///run/docker/plugins/gipam.sock");
}

#[test]
fn host_bits_of_an_option_are_masked_with_a_warning() {
    let config = good("", &[], &[("v4", "10.1.2.3/16")]);
    assert_eq!(config.settings.pools[0].v4.unwrap().base.to_string(), "10.1.0.0/16");
    assert_eq!(config.warnings, ["-v4: 10.1.2.3/16 has host bits set; 10.1.0.0/16 is used"]);
}

#[test]
fn an_error_names_an_option_as_the_user_wrote_it() {
    for (variables, given, message) in [
        (&[][..], &[("v4", " 10.0.0.0/8")][..], "-v4: \" 10.0.0.0/8\" is not a prefix; write it like"),
        (&[], &[("v4", "2001:db8::/48")], "-v4: 2001:db8::/48 is not an IPv4 prefix"),
        (&[("GIPAM_V6", "x")], &[], "GIPAM_V6: \"x\" is not a prefix"),
        (&[("GIPAM_V4AB", "33")], &[("v4", "10.0.0.0/8")], "GIPAM_V4AB: \"33\" is not a prefix length"),
        (
            &[],
            &[("v4", "10.0.0.0/28")],
            "-v4: size /24 does not fit 10.0.0.0/28; give a length from 28 to 32",
        ),
        (&[("GIPAM_UNIX", "yes")], &[], "GIPAM_UNIX: \"yes\" is not a boolean"),
        (&[], &[("name", "default")], "--name: \"default\" cannot be a driver name: the Engine has"),
        (&[("GIPAM_LOG", "loud")], &[], "GIPAM_LOG: \"loud\" is not a log level"),
        (&[], &[("address", "9090")], "-address: \"9090\" is not a TCP address"),
        (&[], &[("socket", "/a.sock"), ("address", ":1")], "-address: both a socket and a TCP address"),
    ] {
        let error = load("", variables, given).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn the_old_spellings_choose_the_same_listeners() {
    for (variables, given, expected) in [
        (&[("GIPAM_UNIX", "false")][..], &[][..], "tcp://:9090"),
        (&[("GIPAM_UNIX", "false"), ("GIPAM_ADDRESS", "127.0.0.1:7")], &[], "tcp://127.0.0.1:7"),
        (&[("GIPAM_ADDRESS", ":9090")], &[], "tcp://:9090"),
        (&[("GIPAM_ADDRESS", ":9090")], &[("unix", "true")], "unix:///run/docker/plugins/gipam.sock"),
        (&[("GIPAM_ADDRESS", ":9090")], &[("socket", "/x/y.sock")], "unix:///x/y.sock"),
        (&[("GIPAM_SOCKET", "/x/y.sock")], &[("address", ":9090")], "tcp://:9090"),
        (&[("GIPAM_UNIX", "true")], &[("unix", "false")], "tcp://:9090"),
    ] {
        assert_eq!(door(&good("", variables, given)), expected, "{variables:?} {given:?}");
    }
}

#[test]
fn the_admin_socket_follows_a_named_socket() {
    assert_eq!(good("", &[], &[("socket", "/x/y.sock")]).admin, Path::new("/x/y.admin.sock"));
    let other = good("", &[], &[("socket", "/run/docker/plugins/y.sock")]);
    assert_eq!(other.admin, Path::new("/run/gipam/y.admin.sock"));
    assert_eq!(other.warnings.len(), 1, "Docker will find the driver as y: {:?}", other.warnings);
    assert_eq!(good("", &[], &[("socket", "/x/y.sock"), ("admin", "/z.sock")]).admin, Path::new("/z.sock"));
    assert_eq!(good("", &[], &[("address", ":1")]).admin, Path::new("/run/gipam/admin.sock"));
}

#[test]
fn a_json_file_flag_puts_the_books_next_to_it() {
    let house = house("", &[]);
    let config = Config::load(&flags(&[("file", "old.json")]), &house.surroundings).unwrap();
    assert_eq!(config.file.named, house.directory.path().join("old.json"));
    assert_eq!(config.file.derived, house.directory.path().join("old.db"));
    assert_eq!(config.file.origin, Origin::Flag("--file"));
}

#[test]
fn the_contract_file_parses_to_its_settings() {
    let toml = r#"
        socket_mode = "0600"
        [[pool]]
        name = "dmz"
        v4 = { base = "198.51.100.0/24", size = 28 }
        v6 = { base = "2001:db8:d::/48", size = 64, addresses = "stable" }   # sequential | eui64 | stable
        reserved = ["198.51.100.0/28", "198.51.100.100-198.51.100.110"]
        cooling = "5m"
        [[pool]]
        name = "lan"
        v4 = { base = "10.20.0.0/16", size = 24 }
        [driver.gipam]
        pools = ["lan", "dmz"]
        [driver.dmz]                     # docker network create --ipam-driver dmz
        pools = ["dmz"]
    "#;
    let config = good(toml, &[], &[]);
    let [dmz, lan] = &config.settings.pools[..] else { panic!("{:?}", config.settings.pools) };
    assert_eq!((dmz.cooling, lan.cooling), (300_000, 600_000));
    assert_eq!(dmz.v6.unwrap().addresses, AddressOrder::Stable);
    assert_eq!(config.settings.reserved.len(), 2);
    let names: Vec<_> =
        config.drivers.iter().map(|driver| (driver.name.as_str(), driver.pools.clone())).collect();
    let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(names, [("gipam", list(&["lan", "dmz"])), ("dmz", list(&["dmz"]))]);
    assert_eq!(config.drivers[1].door.to_string(), "unix:///run/docker/plugins/dmz.sock");
}

#[test]
fn a_mistake_in_the_file_names_file_line_column_and_key() {
    let pool = |rest: &str| format!("[[pool]]\nname = \"a\"\n{rest}\n");
    for (toml, message) in [
        (
            "log = \"info\"\ncoling = \"1m\"\n".to_owned(),
            "gipam.toml, line 2, column 1, key coling: unknown key; the",
        ),
        (
            "log = 1".to_owned(),
            "gipam.toml, line 1, column 7, key log: expected a string, found a number; write \"1\"",
        ),
        ("log = \"\nx".to_owned(), "gipam.toml, line 1, column 8: invalid basic string"),
        (
            pool("v4 = { base = \"10.0.0.1/8\" }"),
            "gipam.toml, line 3, column 15, key pool[1].v4.base: 10.0.0.1/8 has",
        ),
        (
            pool("v4 = { base = \"10.0.0.0/8\", size = 7 }"),
            "gipam.toml, line 3, column 36, key pool[1].v4.size: size /7",
        ),
        (
            pool("v4 = { base = \"10.0.0.0/8\", sise = 7 }"),
            "gipam.toml, line 3, column 29, key pool[1].v4.sise: unknown",
        ),
        (
            pool("v6 = { base = \"10.0.0.0/8\" }"),
            "gipam.toml, line 3, column 15, key pool[1].v6.base: 10.0.0.0/8 is not",
        ),
        (
            pool("v4 = { base = \"10.0.0.0/8\", addresses = \"stable\" }"),
            "gipam.toml, line 3, column 41, key pool[1].v4",
        ),
        (
            pool("cooling = \"10\""),
            "gipam.toml, line 3, column 11, key pool[1].cooling: \"10\" is not a duration",
        ),
        (
            pool(""),
            "gipam.toml, line 2, column 8, key pool[1].name: pool a has neither v4 nor v6; give it a prefix of at least one of them",
        ),
        (
            format!("{}{}", pool("v4.base = \"10.0.0.0/8\""), pool("v4.base = \"10.1.0.0/16\"")),
            "gipam.toml, line 5, column 8, key pool[2].name: pool a is configured twice",
        ),
        (
            format!("{TWO_POOLS}[[pool]]\nname = \"x\"\nv4.base = \"10.20.4.0/22\""),
            "gipam.toml, line 9, column 11, key pool[3].v4.base: pool lan (10.20.0.0/16) overlaps pool x",
        ),
        (
            pool("v4.base = \"10.0.0.0/8\"\nreserved = [\"11.0.0.1\"]"),
            "gipam.toml, line 4, column 13, key pool[1].reser",
        ),
        (
            format!("{TWO_POOLS}[driver.x]\npools = [\"lan\", \"lab\"]"),
            "gipam.toml, line 8, column 17, key driver.x.pools[2]: pool \"lab\" does not exist; the pools are: lan, dmz",
        ),
        (
            "[driver.x]\npools = []".to_owned(),
            "gipam.toml, line 2, column 9, key driver.x.pools: an empty list",
        ),
        (
            "[driver.null]".to_owned(),
            "gipam.toml, line 1, column 9, key driver.null: \"null\" cannot be a driver name",
        ),
        (
            "unix = false\n[driver.x]".to_owned(),
            "gipam.toml, line 2, column 9, key driver.x: driver x needs its own address",
        ),
        (
            "socket_mode = \"rw\"".to_owned(),
            "gipam.toml, line 1, column 15, key socket_mode: \"rw\" is not a mode",
        ),
        (
            "[tls]\ncert = \"c\"\nkey = \"k\"\nengine_key = \"e\"".to_owned(),
            "gipam.toml, line 4, column 14, key tls.engine_key",
        ),
    ] {
        let said = mistake(&toml);
        assert!(said.starts_with(message), "{toml}\n{said}");
    }
}

#[test]
fn pools_in_the_file_override_flags_with_a_warning() {
    let config = good(TWO_POOLS, &[], &[("v4", "10.0.0.0/8")]);
    assert_eq!(config.settings.pools.len(), 2);
    assert!(matches!(config.pools_origin, PoolsOrigin::Document(_)));
    assert!(config.warnings[0].contains("are ignored"), "{:?}", config.warnings);
}

#[test]
fn further_drivers_have_sockets_next_to_the_first_or_their_own_address() {
    let config = good("[driver.x]\n[driver.y]\naddress = \":7\"", &[], &[("socket", "/s/gipam.sock")]);
    let doors: Vec<String> = config.drivers.iter().map(|driver| driver.door.to_string()).collect();
    assert_eq!(doors, ["unix:///s/gipam.sock", "unix:///s/x.sock", "tcp://:7"]);
}

#[test]
fn no_two_listeners_share_a_place() {
    let shared = load("[driver.x]\naddress = \":7\"", &[], &[("address", ":7")]).unwrap_err().to_string();
    assert!(shared.contains("driver gipam and driver x would both listen at tcp://:7"), "{shared}");
    let shared = load("", &[], &[("socket", "/s/a.sock"), ("admin", "/s/a.sock")]).unwrap_err().to_string();
    assert!(shared.contains("would both listen at unix:///s/a.sock"), "{shared}");
}

#[test]
fn relative_tls_paths_start_at_the_directory_of_the_file() {
    let toml = "address = \":7\"\nadvertise = \"host.example:7\"\n[tls]\ncert = \"c.pem\"\nkey = \"/k.pem\"";
    let house = house(toml, &[]);
    let config = Config::load(&Options::default(), &house.surroundings).unwrap();
    let DoorSettings::Tcp { tls: Some(tls), advertise: Some(advertise), .. } = &config.drivers[0].door else {
        panic!("{:?}", config.drivers)
    };
    assert_eq!(tls.cert, house.directory.path().join("c.pem"));
    assert_eq!((tls.key.as_path(), advertise.to_string().as_str()), (Path::new("/k.pem"), "host.example:7"));
}

#[test]
fn a_socket_path_that_the_kernel_would_refuse_is_refused() {
    let long = format!("/{}.sock", "x".repeat(110));
    let error = load("", &[], &[("socket", &long)]).unwrap_err().to_string();
    assert!(error.contains("has 116 bytes"), "{error}");
}

#[test]
fn a_client_ignores_a_broken_default_file_but_not_one_that_a_flag_names() {
    let house = house("log = 1", &[]);
    let client = ClientConfig::load(&Options::default(), &house.surroundings).unwrap();
    assert_eq!((client.warnings.len(), client.admin), (1, PathBuf::from("/run/gipam/admin.sock")));
    let given = flags(&[("config", "gipam.toml")]);
    assert!(ClientConfig::load(&given, &house.surroundings).is_err());
}

#[test]
fn a_reload_reads_the_file_again() {
    let house = house("log = \"warn\"", &[]);
    let config = Config::load(&Options::default(), &house.surroundings).unwrap();
    std::fs::write(&house.surroundings.default_configuration, "log = \"debug\"").unwrap();
    assert_eq!(
        (**config.keys.log, **config.reload().unwrap().keys.log),
        (tracing::Level::WARN, tracing::Level::DEBUG)
    );
}

#[test]
fn a_missing_file_that_a_flag_names_is_an_error() {
    let error = load("", &[], &[("config", "none.toml")]).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
}

#[test]
fn p29_each_driver_name_has_its_own_setting_for_requesting_macs() {
    let pools = "[[pool]]\nname = \"lan\"\nv4 = { base = \"10.20.0.0/16\" }\n";
    let of = |toml: &str| -> Vec<bool> {
        good(toml, &[], &[]).drivers.iter().map(|driver| driver.requires_mac_address).collect()
    };
    let ipvlan = format!("{pools}[driver.gipam]\n[driver.ipvlan]\nrequires_mac_address = false\n");
    assert_eq!(of(&ipvlan), [true, false]);
    let turned = format!(
        "requires_mac_address = false\n{pools}[driver.gipam]\nrequires_mac_address = true\n[driver.b]\n"
    );
    assert_eq!(of(&turned), [true, false], "the top-level key is the default for the others");
    let shown = good(&ipvlan, &[], &[]).shown;
    let ipvlan = shown.iter().find(|shown| shown.key == "driver.ipvlan").unwrap();
    assert!(ipvlan.value.ends_with("ipvlan.sock, without MACs"), "{}", ipvlan.value);
}

#[test]
fn a_shared_pool_is_one_subnet_in_slices_of_addresses() {
    let pool = |keys: &str| {
        let plan = "[plan]\nfile = \"/p\"\nhost = \"a\"\n";
        format!("{plan}[[pool]]\nname = \"lan\"\nv4 = {{ base = \"192.0.2.0/24\", {keys} }}\n")
    };
    let good_keys = r#"slice = 28, shared = true, gateway = "192.0.2.1", by_number = "192.0.2.240/29""#;
    let base = good(&pool(good_keys), &[], &[]).settings.pools[0].v4.unwrap();
    let shared = base.shared.unwrap();
    assert_eq!((base.size, base.slice), (24, Some(28)));
    assert_eq!(base.base.address(base.gateway.unwrap()).to_string(), "192.0.2.1");
    assert_eq!(shared.by_number.unwrap().to_string(), "192.0.2.240/29");
    for (keys, expected) in [
        ("shared = true", "it also needs slice = LENGTH"),
        ("slice = 28, shared = true, size = 26", "so it is one subnet"),
        ("slice = 24, by_number = \"192.0.2.240/29\"", "this also needs shared = true"),
        ("slice = 28, shared = true, gateway = \"198.51.100.1\"", "198.51.100.1 lies outside 192.0.2.0/24"),
        ("gateway = \"2001:db8::1\"", "2001:db8::1 lies outside 192.0.2.0/24"),
        (
            "size = 26, gateway = \"192.0.2.64\"",
            "the gateway 192.0.2.64 is the network address of 192.0.2.64/26; choose another one",
        ),
        ("slice = 28, shared = true, gateway = \"router\"", "\"router\" is not an IP address"),
        ("slice = 28, shared = true, by_number = \"192.0.2.241/29\"", "write 192.0.2.240/29"),
        ("slice = 23, shared = true", "slice /23 does not fit 192.0.2.0/24"),
    ] {
        let said = load(&pool(keys), &[], &[]).unwrap_err().to_string();
        assert!(said.contains(expected), "{keys}: {said}");
    }
}

#[test]
fn a_base_from_a_source_may_be_proxied_discarded_and_probed_but_not_have_a_gateway() {
    let pool = |base: &str, keys: &str| format!("[[pool]]\nname = \"home\"\nv6 = {base}\n{keys}\n");
    let config =
        good(&pool("\"pd:eth0/56\"", "ndp_proxy = \"eth0\"\ndiscard = true\nprobe = true"), &[], &[]);
    let edge = &config.edge()[0];
    assert_eq!((edge.uplink(Family::V6), edge.discard), (Some("eth0"), true));
    let mut home = config.settings.pools[0].clone();
    home.set_sourced(Family::V6, Prefix::parse("2001:db8:a::/56"));
    assert!(home.v6.unwrap().probe, "whatever its prefix is");
    for (base, keys, expected) in [
        ("\"pd:eth0/56\"", "arp_proxy = \"eth0\"", "arp_proxy also needs v4: pool home has no such base"),
        (
            "{ base = \"file:/p\", gateway = \"2001:db8::1\" }",
            "",
            "the prefix of file:/p may change, and a gateway lies in it; write the prefix itself",
        ),
        ("{ base = \"file:/p\", by_number = \"2001:db8::/64\" }", "", "this also needs shared = true"),
    ] {
        let said = load(&pool(base, keys), &[], &[]).unwrap_err().to_string();
        assert!(said.contains(expected), "{base} {keys}: {said}");
    }
}
