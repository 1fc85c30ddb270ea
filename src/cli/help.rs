//! What `gipam --help` prints: a line for each command and each option of the driver, in groups.
//!
//! Promises: 80 columns; it contains every command and every option of the driver (tests check both).
//! Details of a command are in `gipam COMMAND --help`.

/// The help text.
pub(super) const TEXT: &str = "\
gipam: a Docker IPAM driver; every network gets its own routed subnet

gipam [OPTIONS]                   start the driver (as gipam serve does)
gipam COMMAND [ARGUMENTS]         query or change the running driver

Show:
  status                          the state of the driver, on one screen
  top                             status and the last events, live; q quits
  pools                           the pools, and how many subnets are free
  subnets                         the subnets, their networks and gateways
  hosts                           the hosts of the plan, and their last signs
  slices                          the slices of shared pools, and their hosts
  routes [--format ip|frr|...]    the routes to the slices of other hosts
  leases [SUBNET]                 who has which address
                                  (--holder, --state, --since, --all)
  who ADDRESS|NAME                details of an address, container or network
  history [ADDRESS|NAME]          what happened, latest first (--since 2h)
  map [POOL|SUBNET]               the address space as a map
  explain --pool ... --address ...
                                  why an address or a subnet would be given
                                  or refused
  doctor                          what is wrong with this host and how to fix it

Change:
  reserve [RANGE]                 never give these addresses dynamically;
                                  without a range: list the reservations
  unreserve RANGE                 remove a reservation
  pin NAME|MAC ADDRESS            keep an address for a container
  unpin ADDRESS                   remove a pin
  pool add|resize|close NAME      change the pools
  release SUBNET [ADDRESS] --force
                                  free a subnet or an address
  hosts forget NAME               let other hosts take the slices of a dead one
  renumber [NAME] [--yes]         move networks to the current prefix of a pool
  reload [--dry-run]              read the configuration file again
  join [--new] [--dry-run]        take part in a plan of several hosts in etcd

Repair:
  gc [--apply]                    compare the books with Docker, and repair them
  adopt SUBNET POOLID             add a network that the books lack

Files:
  backup FILE                     copy the books, even while the driver runs
  restore FILE                    replace the books with FILE (driver stopped)
  import FILE [--apply]           add networks and addresses from a file
                                  (--inspect, --replace)
  export                          print a lease file for the old gipam
  config check FILE               check a configuration file
  plan check FILE                 check a plan file of several hosts
  config show                     the settings in force, and their origin
  config keys | metrics           all settings, or all metrics, explained

Options of the driver (each has a variable: GIPAM_V4, GIPAM_FILE ...):
  -v4 PREFIX, -v6 PREFIX          the pools to cut subnets from, one or both
  -v4ab LENGTH, -v6ab LENGTH      the length of the subnets (24 and 64)
  --file PATH                     the books (/var/lib/gipam/gipam.db),
                                  or an old lease file to take over
  --config FILE                   configuration (/etc/gipam/gipam.toml)
  --name NAME                     the driver's name (gipam)
  --socket PATH                   the socket that Docker connects to
  -address HOST:PORT              listen on TCP instead
  -unix                           listen on the socket even if -address is set
  --http [HOST:]PORT              web page and metrics (off)
  --log LEVEL                     error, warn, info, debug or trace (info)

Options of every command:
  --admin PATH                    the admin socket of the driver
  --json                          print JSON for programs
  --help, --version               gipam COMMAND --help explains one command

One dash or two: -v4 and --v4 are the same.
Exit codes: 1 failed, 2 usage, 3 not found, 4 in use, 5 exhausted,
6 driver not reachable.
";
