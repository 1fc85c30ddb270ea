//! Which `[plan]` tables are accepted, and what the refusals say.

use crate::config::{Config, ConfigError, EtcdEndpoint, Options, PlanKeeper, Surroundings};

fn read(table: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let default_configuration = directory.path().join("gipam.toml");
    std::fs::write(&default_configuration, format!("[plan]\nhost = \"a\"\n{table}")).unwrap();
    // Whatever this machine trusts.
    let authorities = Vec::new();
    let surroundings = Surroundings { default_configuration, authorities, ..Surroundings::default() };
    Config::load(&Options::default(), &surroundings)
}

#[test]
fn endpoints_user_and_certificates_are_read_with_paths_relative_to_the_file() {
    let table = r#"
        etcd = ["https://192.0.2.21:2379", "https://[2001:db8::22]:2379/"]
        via = ["192.0.2.11", "2001:db8::11"]
        user = "gipam"
        password_file = "password"
        cert = "/c"
        key = "/k"
        server_name = "etcd.example"
        timeout = "1s"
    "#;
    let plan = read(table).unwrap().plan.unwrap();
    let PlanKeeper::Etcd(etcd) = plan.keeper else { panic!("{plan:?}") };
    let second = EtcdEndpoint { secure: true, address: "[2001:db8::22]:2379".parse().unwrap() };
    assert_eq!((etcd.endpoints.len(), &etcd.endpoints[1]), (2, &second));
    assert_eq!((etcd.prefix.as_str(), etcd.timeout, etcd.via.len()), ("/gipam/", 1_000, 2));
    let (user, file) = etcd.user.unwrap();
    assert!(user == "gipam" && file.is_absolute() && file.ends_with("password"), "{file:?}");
    assert_eq!(etcd.server_name.as_deref(), Some("etcd.example"));
}

#[test]
fn what_does_not_belong_together_is_refused_with_the_remedy() {
    let etcd = "etcd = [\"http://192.0.2.21:2379\"]\nvia = [\"192.0.2.11\"]\n";
    let with = |more: &str| format!("{etcd}{more}");
    for (table, says) in [
        (String::new(), "[plan] has neither file nor etcd"),
        (with("file = \"/p\""), "either a file or etcd"),
        ("file = \"/p\"\nvia = [\"192.0.2.11\"]".to_owned(), "this key needs etcd"),
        ("file = \"/p\"\nserver_name = \"a\"".to_owned(), "this key needs etcd"),
        ("etcd = []\nvia = [\"192.0.2.11\"]".to_owned(), "at least one member"),
        ("etcd = [\"http://192.0.2.21:2379\"]".to_owned(), "via is missing"),
        (
            "etcd = [\"http://etcd.example:2379\"]\nvia = [\"192.0.2.11\"]".to_owned(),
            "does not resolve names",
        ),
        ("etcd = [\"ftp://192.0.2.21:1\"]\nvia = [\"192.0.2.11\"]".to_owned(), "is not an endpoint"),
        (
            "etcd = [\"http://192.0.2.21:1\", \"https://192.0.2.22:1\"]\nvia = [\"192.0.2.11\"]".to_owned(),
            "one scheme",
        ),
        (with("ca = \"/c\""), "need endpoints with https://"),
        (with("user = \"a\""), "user and password_file belong together"),
        (with("timeout = \"3s\""), "from 50ms to 1500ms"),
        (with("prefix = \"gipam\""), "end with '/'"),
        ("etcd = [\"http://192.0.2.21:1\"]\nvia = [\"fe80::1\"]".to_owned(), "fe80::1 is link-local"),
        (with("via = [\"a\"]").replace("via = [\"192.0.2.11\"]\n", ""), "is not an IP address"),
    ] {
        let error = read(&table).unwrap_err().to_string();
        assert!(error.contains(says), "{table}\n{error}");
    }
}
