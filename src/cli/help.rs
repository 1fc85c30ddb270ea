//! What `gipam --help` prints: one screen.
//!
//! Promises: 24 lines of 80 columns, every command and every option of the driver in it (tests hold both).
//! Details of a command are in `gipam COMMAND --help`.

/// The text.
pub(super) const TEXT: &str = "\
gipam: a Docker IPAM driver; every network gets its own routed subnet
gipam -v6 PREFIX -v4 PREFIX     start the driver (as gipam serve does):
  -v4, -v6 PREFIX               pools to cut subnets from, one or both
  -v4ab, -v6ab LENGTH           length of the subnets (24 and 64)
  --file PATH                   the books, or an old lease file to take over
  --socket PATH, --name NAME    plugin socket, driver name (gipam)
  -address HOST:PORT, -unix     listen on TCP; the socket all the same
  --config FILE, --log LEVEL    TOML (/etc/gipam/gipam.toml), log level (info)
  --http [HOST:]PORT            the page and metrics, on loopback (off)
Each has a variable: GIPAM_V4, GIPAM_V4AB, GIPAM_FILE ... One dash or two.
gipam status | pools | subnets  how it does; what is free; what networks have
gipam leases | who ADDRESS      who has which address (--holder, --all ...)
gipam map [POOL|SUBNET]         the address space as a picture
gipam history [ADDRESS|NAME]    what happened, the latest first (--since 2h)
gipam explain --pool ... --address ...    why it would be given or refused
gipam gc [--apply] | adopt SUBNET POOLID  what Docker or the books lost; mend it
gipam release SUBNET [ADDRESS] --force    free it, whoever holds it
gipam reserve | unreserve RANGE | pin NAME ADDRESS | unpin ADDRESS | pool ...
gipam backup FILE | restore FILE; import FILE [--replace] | export (old gipam)
gipam doctor | reload           what is wrong with this host; new settings
gipam config check FILE | show | keys | metrics    mistakes; in force; reference
  --json                        for programs; --admin PATH asks that daemon
gipam COMMAND --help says more; --version. Exit codes: 1 failed, 2 usage,
3 not found, 4 in use, 5 exhausted, 6 daemon not reachable.
";
