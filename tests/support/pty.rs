//! A pseudoterminal for interactive programs, and their output.
//!
//! Promises: output is read at once, so that a program never blocks on a full terminal buffer.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

pub struct Pty {
    /// The master side of the terminal, and the slave side.
    pub ours: File,
    pub its: File,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    pub fn new(rows: u16, columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let ours = File::from(ours);
        // The terminal must not become the test's controlling terminal: its end would send SIGHUP to the
        // test.
        let its = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOCTTY.bits().cast_signed())
            .open(name)
            .unwrap();
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut reading, heard) = (ours.try_clone().unwrap(), written.clone());
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(length @ 1..) = reading.read(&mut some) {
                heard.lock().unwrap().extend(&some[..length]);
            }
        });
        let pty = Self { ours, its, written };
        pty.resize(rows, columns);
        pty
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.its, size).unwrap();
    }

    /// The slave side, for a program.
    pub fn end(&self) -> Stdio {
        Stdio::from(self.its.try_clone().unwrap())
    }

    /// Everything that was written to the terminal.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }
}
