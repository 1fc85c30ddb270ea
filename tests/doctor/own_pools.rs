//! Docker's own addresses: `daemon.json` read as dockerd reads it, its flags, and the built-in defaults.

use std::fs;

use gipam::doctor::Verdict;

use super::{diagnose, house, of, put};

/// What `doctor` reports of Docker's own pools with this daemon.json.
fn own_pools(json: &[u8]) -> Vec<(Verdict, String)> {
    let house = house();
    put(&house, "etc/docker/daemon.json", "");
    fs::write(house.path("root/etc/docker/daemon.json"), json).unwrap();
    let findings = diagnose(&house);
    of(&findings, "Docker's own pools")
        .into_iter()
        .map(|(verdict, found)| (verdict, found.to_owned()))
        .collect()
}

#[test]
fn every_key_of_daemon_json_that_takes_addresses_counts() {
    for (json, verdict, words) in [
        (r#"{"ipv6":true,"bip6":"2001:db8:77:9::1/64"}"#, Verdict::Wrong, "2001:db8:77:9::/64 (bip6"),
        (r#"{"fixed-cidr-v6":"2001:db8:77:9::/64"}"#, Verdict::Wrong, "fixed-cidr-v6"),
        (r#"{"bip":"198.18.3.1/24"}"#, Verdict::Wrong, "198.18.3.0/24 (bip"),
        (r#"{"bip":"172.30.0.1/24","bip":"198.18.3.1/24"}"#, Verdict::Wrong, "198.18.3.0/24 (bip"),
        (r#"{"fixed-cidr":"198.18.3.0/24"}"#, Verdict::Wrong, "fixed-cidr"),
        (
            r#"{"default-address-pools":[{"Base":"198.18.0.0/15","SIZE":24}]}"#,
            Verdict::Wrong,
            "198.18.0.0/15",
        ),
        (r#"{"default-gateway":"198.18.3.9"}"#, Verdict::Warning, "198.18.3.9 (default-gateway"),
        (r#"{"default-gateway-v6":"2001:db8:77::9"}"#, Verdict::Warning, "default-gateway-v6"),
        (r#"{"dns":["192.0.2.1","198.18.3.9"]}"#, Verdict::Warning, "198.18.3.9 (dns"),
        (r#"{"host-gateway-ip":"198.18.3.9"}"#, Verdict::Warning, "host-gateway-ip"),
        (r#"{"host-gateway-ips":["192.0.2.1","2001:db8:77::9"]}"#, Verdict::Warning, "host-gateway-ips"),
        (r#"{"ip":"198.18.3.9"}"#, Verdict::Warning, "198.18.3.9 (ip"),
        (r#"{"dns":["2001:db8:77::9%eth0"]}"#, Verdict::Warning, "2001:db8:77::9 (dns"),
    ] {
        let found = own_pools(json.as_bytes());
        let right = found.iter().any(|(it, text)| *it == verdict && text.contains(words));
        assert!(right, "{json}: {found:?}");
    }
    let marked = [b"\xef\xbb\xbf".as_slice(), br#"{"bip":"198.18.3.1/24"}"#].concat();
    assert_eq!(own_pools(&marked)[0].0, Verdict::Wrong, "the file begins with a UTF-8 byte order mark");
    let wide: Vec<u8> =
        "\u{feff}{\"bip\":\"198.18.3.1/24\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(own_pools(&wide)[0].0, Verdict::Wrong, "the file is UTF-16, as Windows writes it");
    let wide: Vec<u8> =
        "\u{feff}{\"bip\":\"198.18.3.1/24\"}".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(own_pools(&wide)[0].0, Verdict::Wrong, "the file is UTF-16 in the other byte order");
}

#[test]
fn a_file_that_dockerd_refuses_is_reported() {
    for (json, words) in [
        (
            r#"{"default-address-pools":{"base":"172.30.0.0/16","size":24}}"#,
            "must be a list, but is an object",
        ),
        (r#"{"default-address-pools":[{"base":"172.30.0.0/33","size":24}]}"#, "is not a prefix"),
        (r#"{"default-address-pools":[{"base":"172.30.0.0/16","size":"24"}]}"#, "is not a number"),
        (r#"{"default-address-pools":["172.30.0.0/16"]}"#, "is not an object"),
        (r#"{"bip":["172.30.0.1/24"]}"#, "must be a string, but is a list"),
        (r#"{"BIP":"172.30.0.1/24"}"#, "whose correct spelling is \"bip\""),
        (r#"{"dns":"192.0.2.1"}"#, "must be a list"),
        (r#"["bip"]"#, "is not a JSON object"),
        (r#"{"bip":"172.30.0.1/24",}"#, "cannot be read as JSON"),
        (r#"{"bip":"172.30.0.1/24"} {}"#, "cannot be read as JSON"),
    ] {
        let found = own_pools(json.as_bytes());
        let right = found.iter().any(|(it, text)| *it == Verdict::Warning && text.contains(words));
        assert!(right && found.iter().all(|(it, _)| *it != Verdict::Well), "{json}: {found:?}");
    }
    for json in [
        "",
        " \n",
        "{}",
        "null",
        r#"{"bip":"172.30.0.1/24","labels":["a=b"]}"#,
        // Values that mean no bridge, no address or any address.
        r#"{"bip":"none"}"#,
        r#"{"bip":"","dns":[""],"default-gateway":""}"#,
        r#"{"ip":"0.0.0.0"}"#,
    ] {
        assert_eq!(own_pools(json.as_bytes())[0].0, Verdict::Well, "{json}");
    }
}

#[test]
fn dockers_built_in_pools_count_unless_daemon_json_names_others() {
    let built_in = |pool: &str, file: Option<&str>| {
        let house = house();
        house.configure(&format!("[gc]\nengine = \"\"\n[[pool]]\nname = \"x\"\nv4 = \"{pool}\"\n"));
        if let Some(file) = file {
            put(&house, "etc/docker/daemon.json", file);
        }
        let findings = diagnose(&house);
        of(&findings, "Docker's own pools")
            .first()
            .map(|(verdict, found)| (*verdict, (*found).to_owned()))
            .unwrap()
    };
    for pool in ["172.17.0.0/16", "172.31.0.0/20", "192.168.44.0/24", "172.16.0.0/12"] {
        let (verdict, found) = built_in(pool, None);
        assert!(verdict == Verdict::Warning && found.contains("Docker's built-in pools"), "{pool}: {found}");
        assert_eq!(built_in(pool, Some("{\"debug\": true}")).0, Verdict::Warning, "{pool}");
        let others = r#"{"bip":"10.9.0.1/24","default-address-pools":[{"base":"10.8.0.0/16","size":24}]}"#;
        assert_eq!(built_in(pool, Some(others)).0, Verdict::Well, "{pool}");
    }
    assert_eq!(built_in("172.16.0.0/16", None).0, Verdict::Well);
    // The bridge has another subnet, so Docker does not use this one by default.
    for other in [r#"{"bip":"10.9.0.1/24"}"#, r#"{"fixed-cidr":"10.9.0.0/24"}"#] {
        assert_eq!(built_in("172.17.0.0/16", Some(other)).0, Verdict::Well, "{other}");
        assert_eq!(built_in("172.18.0.0/16", Some(other)).0, Verdict::Warning, "{other}");
    }
}

#[test]
fn flags_of_dockerd_count_as_its_file_does() {
    let house = house();
    let unit = "[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  --bip 198.18.3.1/24\n";
    put(&house, "lib/systemd/system/docker.service", unit);
    let found = of(&diagnose(&house), "Docker's own pools")[0].1.to_owned();
    assert!(found.contains("198.18.3.0/24 (--bip"), "{found}");
    let more = "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --default-address-pool=base=198.18.0.0/16,size=24\n";
    put(&house, "etc/systemd/system/docker.service.d/10-pools.conf", more);
    let found = of(&diagnose(&house), "Docker's own pools")[0].1.to_owned();
    assert!(found.contains("198.18.0.0/16 (--default-address-pool"), "{found}");
    // Docker's configured pools replace the built-in ones.
    house.configure("[gc]\nengine = \"\"\n[[pool]]\nname = \"x\"\nv4 = \"172.20.0.0/16\"\n");
    assert_eq!(of(&diagnose(&house), "Docker's own pools")[0].0, Verdict::Well);
    house.configure("[gc]\nengine = \"\"\n");
    // The running dockerd is decisive, and may use another configuration file.
    put(&house, "proc/4711/cmdline", "/usr/bin/dockerd\0--config-file\0/srv/docker.json\0");
    put(&house, "srv/docker.json", "{\"bip\": \"198.18.7.1/24\"}");
    let found = of(&diagnose(&house), "Docker's own pools")[0].1.to_owned();
    assert!(found.contains("bip in /srv/docker.json"), "{found}");
}

#[test]
fn every_flag_of_dockerd_that_takes_addresses_counts() {
    for (flag, verdict) in [
        ("bip=198.18.3.1/24", Verdict::Wrong),
        ("bip6=2001:db8:77:9::1/64", Verdict::Wrong),
        ("fixed-cidr=198.18.3.0/24", Verdict::Wrong),
        ("fixed-cidr-v6=2001:db8:77:9::/64", Verdict::Wrong),
        ("default-address-pool=size=24,base=198.18.0.0/16", Verdict::Wrong),
        ("default-gateway=198.18.3.9", Verdict::Warning),
        ("default-gateway-v6=2001:db8:77::9", Verdict::Warning),
        ("host-gateway-ip=198.18.3.9", Verdict::Warning),
        ("dns=198.18.3.9", Verdict::Warning),
        ("ip=198.18.3.9", Verdict::Warning),
    ] {
        let name = flag.split('=').next().unwrap();
        for line in [format!("--{flag}"), format!("--{}", flag.replacen('=', "\0", 1))] {
            let house = house();
            put(&house, "proc/4711/cmdline", &format!("dockerd\0--debug\0{line}\0"));
            let findings = diagnose(&house);
            let [(found, text)] = of(&findings, "Docker's own pools")[..] else {
                panic!("{line}: {findings:?}")
            };
            assert!(found == verdict && text.contains(&format!("(--{name} of dockerd)")), "{line}: {text}");
        }
    }
}
