//! TLS to a webhook: the handshake, and helpful messages about its failures.
//!
//! Promises: the request is not sent before the server's certificate is verified; each common kind of failure
//! has its own message, which says what to change. Text from the server is escaped and truncated. Reads no
//! files.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::webhook::EARLY;
use crate::config::hooks::{HookTls, Url};
use crate::plan::settings::rfc3339;

/// How many characters of the names in a certificate a message shows.
const KEPT: usize = 200;

/// Starts TLS on this connection; fails unless the server's certificate matches the URL.
pub(super) async fn shake(
    stream: TcpStream,
    url: &Url,
    tls: &HookTls,
) -> Result<TlsStream<TcpStream>, String> {
    let client = tls.client.clone().map_err(|why| unusable(&why))?;
    let connecting = TlsConnector::from(client).connect(url.name.clone(), stream);
    connecting.await.map_err(|error| {
        let early = error.kind() == std::io::ErrorKind::UnexpectedEof;
        let why = || if early { EARLY.to_owned() } else { error.to_string() };
        failure(&error, url, tls).unwrap_or_else(|| other(&url.shown(), &why()))
    })
}

/// The message if the certificate files of a hook cannot be used.
pub(super) fn unusable(why: &str) -> String {
    format!("cannot use TLS: {why}")
}

fn other(url: &str, why: &str) -> String {
    format!("TLS with {url} failed: {why}")
}

/// The message for an error, if it comes from TLS; the server may reject our certificate even after the
/// handshake. The reason comes first, because `gipam status` may truncate the message.
pub(super) fn failure(error: &std::io::Error, url: &Url, tls: &HookTls) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    let name = url.name.to_str();
    let url = url.shown();
    Some(match error {
        TlsError::InvalidCertificate(error) => certificate(error, &url, &name, tls),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("no TLS: {url} does not speak TLS; write http:// if it is a plain HTTP server")
        }
        TlsError::AlertReceived(why) if is_about_us(*why) => {
            match tls.client.as_ref().is_ok_and(|client| client.client_auth_cert_resolver.has_certs()) {
                true => format!(
                    "not accepted: {url} rejects gipam's certificate ({why:?}); see the keys cert and key"
                ),
                false => {
                    format!("no certificate: {url} requires a client certificate ({why:?}); set cert and key")
                }
            }
        }
        error => other(&url, &error.to_string()),
    })
}

/// The message for an error in the server's certificate.
fn certificate(error: &CertificateError, url: &str, name: &str, tls: &HookTls) -> String {
    match error {
        // A bad signature means that a CA with the same name has another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "unknown issuer: no authority in {} has signed the certificate of {url}; set ca to the certificate file of the authority that did",
            tls.authorities.display()
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = names(presented);
            format!(
                "wrong name: the certificate of {url} is for {names}, not for {name}; use one of these names in url (with connect \
                 for its address), or give the server a certificate for {name}"
            )
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            let when = date(*not_after);
            format!("expired: a certificate of {url} was valid until {when}; renew it on that server")
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let when = date(*not_before);
            format!(
                "not valid yet: a certificate of {url} becomes valid at {when}; check the clocks of both machines"
            )
        }
        CertificateError::InvalidPurposeContext { .. } => {
            format!("not for a server: the certificate of {url} lacks serverAuth in its extended key usage")
        }
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => format!(
            "not for a server: the certificate of {url} is a CA certificate (CA:TRUE); use one with CA:FALSE, which may be self-signed"
        ),
        error => other(url, &error.to_string().escape_debug().take(KEPT).collect::<String>()),
    }
}

/// Turns names such as `DnsName("a.example")` and `IpAddress(192.0.2.1)` into their usual form.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inside.trim_matches('"').to_owned()
    };
    let names = presented.iter().map(bare).collect::<Vec<_>>().join(", ");
    match names.is_empty() {
        true => "no host (it has no subjectAltName)".to_owned(),
        false => names.escape_debug().take(KEPT).collect(),
    }
}

fn date(time: UnixTime) -> String {
    rfc3339(time.as_secs().saturating_mul(1000))
}

/// Whether the server rejects our certificate, or requires one.
const fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printed_as_people_write_them() {
        let presented =
            ["DnsName(\"a.example\")", "IpAddress(192.0.2.1)", "Unsupported(0x81)"].map(str::to_owned);
        assert_eq!(names(&presented), "a.example, 192.0.2.1, 0x81");
        assert_eq!(names(&["DnsName(\"a\nb\")".to_owned()]), "a\\nb");
        assert_eq!(names(&["x".repeat(1000)]).len(), KEPT);
        assert!(names(&[]).starts_with("no host"));
    }

    #[test]
    fn times_beyond_the_calendar_do_not_panic() {
        let _ = date(UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::MAX)));
        assert_eq!(
            date(UnixTime::since_unix_epoch(std::time::Duration::from_secs(0))),
            "1970-01-01T00:00:00Z"
        );
    }
}
