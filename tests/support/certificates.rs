//! Authorities and certificates, made for one test. Shared by several test programs; each uses a part of it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

/// An authority that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub struct Identity {
    pub chain: String,
    pub key: String,
}

impl Authority {
    /// An authority with the usual name; any two of them have different keys.
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

    /// A server's certificate for this name, with `change` applied.
    pub fn signs(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Identity { chain, key: key.serialize_pem() }
    }

    /// The certificate that most tests need.
    pub fn signs_loopback(&self) -> Identity {
        self.signs("127.0.0.1", |_| {})
    }
}

/// Makes `ca.pem`, and `server` and `engine`, each with `.pem` and `.key`; calls `write` with each name and
/// content.
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
