//! TLS for a hook with `https://`: the CAs that it trusts and the certificate that it presents, from `ca`, `cert` and `key`.
//!
//! Promises: an unusable file is refused at its key, but a start continues without that hook; without `ca` the system's
//! CAs are trusted, with `ca` only those in the file; verification cannot be switched off. Two values are equal only if
//! their files had the same content, so a reload notices a renewed one. TLS 1.2 and 1.3 only. Opens no connection.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

use super::url::Url;
use crate::config::document::Document;
use crate::config::error::{ConfigError, Problem, problem};
use crate::config::keys::HookTable;
use crate::config::origin::At;

/// Where systems keep their trusted CAs; the first path that exists is used.
pub(in crate::config) const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const NO_CERTIFICATE: &str = "it does not contain a certificate";

/// TLS settings of one hook.
#[derive(Clone)]
pub struct HookTls {
    /// The file of trusted CAs.
    pub authorities: PathBuf,
    /// The TLS client, or why it could not be made, if gipam was started with unusable files.
    pub client: Result<Arc<ClientConfig>, String>,
    /// A digest of the contents of all files.
    content: [u8; 32],
}

impl PartialEq for HookTls {
    fn eq(&self, other: &Self) -> bool {
        (&self.authorities, self.content) == (&other.authorities, other.content)
    }
}

impl Eq for HookTls {}

impl std::fmt::Debug for HookTls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HookTls").field("authorities", &self.authorities).finish_non_exhaustive()
    }
}

/// Whether to read the files that the configuration names.
#[derive(Clone, Copy)]
pub(in crate::config) enum Files {
    /// Read them; an unusable file is an error.
    Read,
    /// Read them, but an unusable one disables only its hook, because serving addresses must not wait for it.
    Serve,
    /// Do not read them, because a command that only queries the daemon does not need them.
    Named,
}

/// Reads the TLS keys of this hook; `None` with `http://`.
pub(super) fn read(
    document: &Document,
    table: &HookTable,
    url: &At<Url>,
    files: Files,
    system: &[PathBuf],
) -> Result<Option<HookTls>, ConfigError> {
    let first = table.ca.as_ref().or(table.cert.as_ref()).or(table.key.as_ref());
    if let (false, Some(key)) = (url.secure, first) {
        return Err(document.refuse(&key.place, problem!("ca, cert and key need a url with https://")));
    }
    if let (Some(alone), None) | (None, Some(alone)) = (&table.cert, &table.key) {
        let problem = problem!("cert and key belong together; give both or neither");
        return Err(document.refuse(&alone.place, problem));
    }
    if !url.secure {
        return Ok(None);
    }
    let mut digest = Sha256::new();
    let (authorities, client) = match files {
        Files::Named => (PathBuf::new(), Err("its files were not read".to_owned())),
        Files::Read | Files::Serve => match client(document, table, url, system, &mut digest) {
            Ok((authorities, client)) => (authorities, Ok(Arc::new(client))),
            Err(error) if matches!(files, Files::Serve) && is_of_a_file(&error) => {
                (PathBuf::new(), Err(format!("{error}; fix it, then run gipam reload")))
            }
            Err(error) => return Err(error),
        },
    };
    Ok(Some(HookTls { authorities, client, content: digest.finalize().into() }))
}

/// Whether the error is about a file that is missing or has the wrong content.
fn is_of_a_file(error: &ConfigError) -> bool {
    matches!(error, ConfigError::Document { problem: Problem::File(_), .. })
}

/// The path of the CA file, and a TLS client that trusts its CAs and presents the hook's certificate, if it has one.
fn client(
    document: &Document,
    table: &HookTable,
    url: &At<Url>,
    system: &[PathBuf],
    digest: &mut Sha256,
) -> Result<(PathBuf, ClientConfig), ConfigError> {
    let (authorities, roots) = match &table.ca {
        Some(ca) => document.value(ca, |_| named(document.path(ca), digest))?,
        None => document.value(url, |_| of_system(system, digest))?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let refuse = |error| document.refuse(&url.place, problem!("cannot call over TLS: {error}"));
    let builder = builder.map_err(refuse)?.with_root_certificates(roots);
    let mut client = match (&table.cert, &table.key) {
        (Some(cert), Some(key)) => {
            let [cert_path, key_path] = [cert, key].map(|file| document.path(file));
            let chain = document.value(cert, |_| certificates(&cert_path, digest))?;
            document.value(key, |_| {
                let secret = private_key(&key_path, digest)?;
                builder.with_client_auth_cert(chain, secret).map_err(|why| {
                    let (cert, key) = (cert_path.display(), key_path.display());
                    Problem::File(format!("{cert} and {key} do not match: {why}"))
                })
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each delivery does a full handshake; events are rare enough for that.
    client.resumption = Resumption::disabled();
    Ok((authorities, client))
}

/// The CAs in the file that the hook names.
fn named(path: PathBuf, digest: &mut Sha256) -> Result<(PathBuf, RootCertStore), Problem> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(&path, digest)? {
        let other = |_| unusable(&path, "it contains something other than certificates");
        roots.add(authority).map_err(other)?;
    }
    Ok((path, roots))
}

/// The CAs that the system trusts.
fn of_system(system: &[PathBuf], digest: &mut Sha256) -> Result<(PathBuf, RootCertStore), Problem> {
    let path = system.iter().find(|path| path.exists()).ok_or_else(|| {
        let places = system.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        Problem::File(format!("this system has no CA bundle ({places}); set ca to a CA file"))
    })?;
    let mut roots = RootCertStore::empty();
    // The user does not control the system's list, so an unreadable certificate among hundreds is skipped.
    match roots.add_parsable_certificates(certificates(path, digest)?) {
        (0, _) => Err(unusable(path, NO_CERTIFICATE)),
        _ => Ok((path.clone(), roots)),
    }
}

fn certificates(path: &Path, digest: &mut Sha256) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let content = content(path, digest)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let found = found.map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, NO_CERTIFICATE));
    }
    Ok(found)
}

fn private_key(path: &Path, digest: &mut Sha256) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_slice(&content(path, digest)?).map_err(|error| match error {
        pem::Error::NoItemsFound => unusable(path, "it does not contain an unencrypted private key"),
        error => unusable(path, error),
    })
}

fn content(path: &Path, digest: &mut Sha256) -> Result<Vec<u8>, Problem> {
    let read = |path: &Path| match fs::metadata(path)?.is_file() {
        true => fs::read(path),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
    };
    let content = read(path).map_err(|error| unusable(path, error))?;
    digest.update(Sha256::digest(&content));
    Ok(content)
}

fn unusable(path: &Path, why: impl Display) -> Problem {
    let text = format!("cannot use {}: {why}", path.display());
    Problem::File(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Top;
    use crate::config::{Options, Surroundings};

    const ODD: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn made(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    fn parsed(directory: &Path, toml: &str) -> (Document, Top) {
        let path = directory.join("gipam.toml");
        fs::write(&path, toml).unwrap();
        let surroundings = Surroundings { default_configuration: path, ..Surroundings::default() };
        Document::read(&Options::default(), &surroundings).unwrap()
    }

    /// A hook with these keys next to its URL, in a directory with these files; the system's first CA bundle is missing.
    fn hook(keys: &str, files: &[(&str, &str)]) -> Result<(PathBuf, usize, HookTls), String> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        files.iter().for_each(|(name, content)| fs::write(path(name), content).unwrap());
        let toml = format!("[[hook]]\nname = \"x\"\nurl = \"https://192.0.2.7/\"\n{keys}\n");
        let (document, top) = parsed(directory.path(), &toml);
        let table = &top.hook[0];
        let url = table.url.as_ref().unwrap();
        let system = ["missing.pem", "system.pem", "other.pem"].map(path);
        let shown =
            |error: ConfigError| error.to_string().replace(&directory.path().display().to_string(), "");
        let tls = read(&document, table, url, Files::Read, &system).map_err(shown)?.unwrap();
        let digest = &mut Sha256::new();
        let (file, roots) = match &table.ca {
            Some(ca) => named(document.path(ca), digest),
            None => of_system(&system, digest),
        }
        .unwrap();
        assert_eq!(tls.authorities, file);
        Ok((file.strip_prefix(directory.path()).unwrap().to_owned(), roots.len(), tls))
    }

    #[test]
    fn without_a_ca_the_systems_first_list_is_trusted_except_for_unreadable_certificates() {
        let (list, one) = (made("a") + ODD + &made("b"), made("c"));
        let (file, roots, _) = hook("", &[("system.pem", &list), ("other.pem", &one)]).unwrap();
        assert_eq!((file.as_path(), roots), (Path::new("system.pem"), 2));
        let none = hook("", &[]).unwrap_err();
        assert!(none.contains("key hook[1].url: this system has no CA bundle"), "{none}");
        assert!(none.contains("(/missing.pem, /system.pem, /other.pem)"), "{none}");
        let odd = hook("", &[("system.pem", ODD)]).unwrap_err();
        assert!(odd.ends_with("cannot use /system.pem: it does not contain a certificate"), "{odd}");
    }

    #[test]
    fn with_a_ca_no_other_ca_is_trusted() {
        let (list, one) = (made("a") + &made("b"), made("c"));
        let (file, roots, _) = hook("ca = \"ca.pem\"", &[("system.pem", &list), ("ca.pem", &one)]).unwrap();
        assert_eq!((file.as_path(), roots), (Path::new("ca.pem"), 1));
    }

    #[test]
    fn a_renewed_file_is_a_change_and_an_unchanged_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let load = |keys: &str| {
            let toml =
                format!("[[hook]]\nname = \"x\"\nurl = \"https://192.0.2.7/\"\nca = \"ca.pem\"\n{keys}");
            let (document, top) = parsed(directory.path(), &toml);
            let table = &top.hook[0];
            read(&document, table, table.url.as_ref().unwrap(), Files::Read, &[]).unwrap().unwrap()
        };
        let write = |name: &str, content: String| fs::write(directory.path().join(name), content).unwrap();
        write("ca.pem", made("a"));
        let first = load("");
        assert_eq!(first, load(""));
        write("ca.pem", made("a"));
        assert_ne!(first, load(""));
        let shows = |key: &rcgen::KeyPair| {
            let params = rcgen::CertificateParams::new(vec!["gipam".to_owned()]).unwrap();
            write("our.pem", params.self_signed(key).unwrap().pem());
            write("our.key", key.serialize_pem());
            load("cert = \"our.pem\"\nkey = \"our.key\"")
        };
        let keys = [rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap()];
        let ours = shows(&keys[0]);
        assert_ne!(ours, load(""));
        assert_ne!(ours, shows(&keys[1]));
        assert!(!format!("{ours:?}").contains("PrivateKey"), "{ours:?}");
    }
}
