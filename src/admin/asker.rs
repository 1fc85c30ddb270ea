//! Who sends a request, and what everyone who can reach the page may read.
//!
//! Promises: the page's listener serves only these paths, and shortens long answers. Answers nothing itself.

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Anyone who can open the admin socket.
    Admin,
    /// Anyone who can reach the page.
    Everybody,
}

/// The maximum number of history lines in one answer on the page's listener.
pub(super) const MOST_LINES: u32 = 1_000;

/// The paths that everyone who can reach the page may read.
pub(super) const FOR_EVERYBODY: [&str; 13] = [
    "/v1/status",
    "/v1/pools",
    "/v1/subnets",
    "/v1/leases",
    "/v1/history",
    "/v1/reserved",
    "/v1/map",
    "/v1/who",
    "/v1/explain",
    "/v1/usage",
    "/v1/hosts",
    "/v1/slices",
    "/v1/routes",
];
