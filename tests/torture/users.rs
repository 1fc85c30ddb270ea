//! OTHER USERS AT THE SOCKETS: real users, as the kernel sees them, try the plugin socket and the admin
//! socket.
//!
//! Promises: an attempt ends with an answered request or with a refusal by the kernel (EACCES), nothing in
//! between. The directory is open to everybody, so that only the mode, owner and group of a socket decide; a
//! socket that is open to all proves this. Users do not need an entry in `/etc/passwd`: the kernel uses
//! numbers.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::Counts;
use crate::crew::POOLS;
use crate::daemon::House;
use crate::http::Wire;

/// A user: number, group, further groups.
#[derive(Clone, Copy, Debug)]
struct User(u32, u32, &'static [u32]);

const ROOT: User = User(0, 0, &[]);
const NOBODY: User = User(65534, 65534, &[]);
/// A member of root's group, which is the default group of a socket.
const ROOTS_GROUP: User = User(65534, 0, &[0]);
const OWNER: User = User(12345, 65534, &[]);
/// The group as a supplementary one, as `usermod -aG` adds it, and as the primary one.
const MEMBER: User = User(12346, 65534, &[54321]);
const MAIN_MEMBER: User = User(12347, 54321, &[]);

/// Runs a function in a thread that belongs to this user and does not have root's rights.
fn as_user<T: Send>(user: User, run: impl FnOnce() -> T + Send) -> T {
    let User(number, group, further) = user;
    let (number, group) = (Uid::from_raw(number), Gid::from_raw(group));
    let become_user = move || {
        set_thread_groups(&further.iter().map(|group| Gid::from_raw(*group)).collect::<Vec<_>>()).unwrap();
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(number, number, number).unwrap();
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            become_user();
            run()
        });
        thread.join().unwrap()
    })
}

/// Whether this user can connect and gets an answer.
fn is_let_in(user: User, socket: &Path, path: &str) -> bool {
    as_user(user, || match UnixStream::connect(socket) {
        Ok(stream) => {
            let mut wire = Wire::over(stream);
            wire.send(format!("GET {path} HTTP/1.1\r\nHost: gipam\r\n\r\n").as_bytes()).unwrap();
            let status = wire.answer().unwrap().status;
            // the plugin socket does not support GET: a refusal with a text counts as an answer, too
            assert!(
                status == 200 || path == "/Plugin.Activate",
                "{user:?} at {}: {status}",
                socket.display()
            );
            true
        }
        Err(error) => {
            assert_eq!(
                error.kind(),
                ErrorKind::PermissionDenied,
                "{user:?} at {}: {error}",
                socket.display()
            );
            false
        }
    })
}

/// A configuration, and the users that are let in at the plugin socket and at the admin socket.
struct Case {
    toml: &'static str,
    plugin: &'static [User],
    admin: &'static [User],
}

const EVERYBODY: [User; 6] = [ROOT, NOBODY, ROOTS_GROUP, OWNER, MEMBER, MAIN_MEMBER];

const CASES: [Case; 6] = [
    Case { toml: "", plugin: &[ROOT], admin: &[ROOT] },
    Case {
        toml: "socket_mode = \"0660\"\nsocket_group = \"54321\"\n",
        plugin: &[ROOT, MEMBER, MAIN_MEMBER],
        admin: &[ROOT],
    },
    Case {
        toml: "admin_mode = \"0660\"\nadmin_group = \"54321\"\n",
        plugin: &[ROOT],
        admin: &[ROOT, MEMBER, MAIN_MEMBER],
    },
    Case {
        toml: "socket_owner = \"12345\"\nadmin_owner = \"12345\"\n",
        plugin: &[ROOT, OWNER],
        admin: &[ROOT, OWNER],
    },
    // by name; setting the group has no effect without a mode that lets the group in
    Case {
        toml: "socket_owner = \"nobody\"\nadmin_group = \"nogroup\"\n",
        plugin: &[ROOT, NOBODY, ROOTS_GROUP],
        admin: &[ROOT],
    },
    // control: the cases above are decided by the socket alone
    Case { toml: "socket_mode = \"0666\"\nadmin_mode = \"0666\"\n", plugin: &EVERYBODY, admin: &EVERYBODY },
];

pub fn run(_long: bool) -> Counts {
    let (mut refused, mut let_in) = (0, 0);
    for case in &CASES {
        let house = House::with_toml(&format!("{}{POOLS}", case.toml));
        fs::set_permissions(house.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let daemon = house.start();
        for (socket, path, wanted) in
            [(&daemon.socket, "/Plugin.Activate", case.plugin), (&daemon.admin, "/v1/subnets", case.admin)]
        {
            for user in EVERYBODY {
                let good = is_let_in(user, socket, path);
                let wanted = wanted.iter().any(|one| one.0 == user.0 && one.1 == user.1);
                assert_eq!(good, wanted, "{user:?} at {} with {:?}", socket.display(), case.toml);
                if good { let_in += 1 } else { refused += 1 }
            }
        }
        client(&house, case);
        assert!(daemon.stop().success(), "{}", house.log());
    }
    vec![("connections by other users refused", refused), ("of owners and members let in", let_in)]
}

/// The program itself, run by the user nobody: its message when access is denied.
fn client(house: &House, case: &Case) {
    // the user nobody cannot read the directory of the original
    let program = house.path("gipam");
    fs::copy(env!("CARGO_BIN_EXE_gipam"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["status", "--admin"]).arg(house.admin()).current_dir("/").env_clear();
    let output = command.uid(NOBODY.0).gid(NOBODY.1).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    let good = case.admin.iter().any(|one| one.0 == NOBODY.0 && one.1 == NOBODY.1);
    assert_eq!(output.status.success(), good, "{:?}: {said}", case.toml);
    assert!(good || said.contains("permission denied"), "{said}");
}
