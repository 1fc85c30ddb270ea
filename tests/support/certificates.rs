//! Authorities and certificates, made for one test. Shared by several test programs, none of which uses all of it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub struct Identity {
    pub chain: String,
    pub key: String,
}

impl Authority {
    /// One of the usual name; two of them have different keys.
    pub fn new() -> Authority {
        Authority::named("gipam tests")
    }

    pub fn named(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server with this name, changed a little.
    pub fn signs(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Identity { chain, key: key.serialize_pem() }
    }

    /// The one that most tests need.
    pub fn signs_loopback(&self) -> Identity {
        self.signs("127.0.0.1", |_| {})
    }
}

/// Hands over `ca.pem`, and `server` and `engine`, each with `.pem` and `.key`: a name and its content.
pub fn make(mut write: impl FnMut(&str, &str)) {
    let authority = Authority::new();
    write("ca.pem", &authority.pem());
    for (name, purpose) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("engine", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let made = authority.signs("127.0.0.1", |params| params.extended_key_usages = vec![purpose]);
        write(&format!("{name}.pem"), &made.chain);
        write(&format!("{name}.key"), &made.key);
    }
}
