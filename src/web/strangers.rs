//! Whether a request comes from the page itself, or from a page of another site that is open in the same browser.
//!
//! Browsers report this themselves: they send `Sec-Fetch-Site` with every request to an origin that they trust, such as
//! loopback, and `Origin` with every request that crosses sites. A page of another site cannot read our answers, but it could
//! cause work and learn something from the time that the work takes.
//!
//! Promises: requests from other sites are refused, except for the page itself when a person follows a link to it; requests
//! from programs that are not browsers (a scraper, a health check, `curl`) are accepted.

use crate::server::HttpRequest;

/// Whether a request comes from the page, from a person, or from a program that is not a browser.
pub fn is_ours(request: &HttpRequest) -> bool {
    let mut sites = request.values("sec-fetch-site");
    let is_from_here = sites.all(|site| ["same-origin", "none"].contains(&site.trim()));
    (is_from_here || is_a_link(request)) && request.values("origin").all(|origin| is_origin(request, &origin))
}

/// Whether a person followed a link on another site to the page. The opened page then requests everything else itself.
fn is_a_link(request: &HttpRequest) -> bool {
    let says = |name: &str, value: &str| request.value(name).is_some_and(|said| said.trim() == value);
    request.path() == "/" && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

/// Whether an `Origin` is the host that receives the request.
fn is_origin(request: &HttpRequest, origin: &str) -> bool {
    let place = origin.trim().strip_prefix("http://").or_else(|| origin.trim().strip_prefix("https://"));
    place.is_some_and(|place| request.value("host").is_some_and(|host| host.eq_ignore_ascii_case(place)))
}
