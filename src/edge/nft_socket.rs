//! gipam's nftables table in the kernel: reads it, puts another one in its place, removes it, and hears of changes.
//!
//! Promises: a table of the same name that gipam did not make is never changed. A table is replaced in one transaction, so that every
//! packet sees either the old rules or the new ones; if any table has changed since the last read, the kernel refuses it, and the
//! caller reads again. Other tables are not even read. Calls block until the kernel answers, at most two seconds.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use rustix::io::Errno;

use super::kernel::is;
use super::nft::{
    BATCH_BEGIN, BATCH_END, DELTABLE, GETCHAIN, GETGEN, GETRULE, GETTABLE, NEWGEN, NftChain, NftMessage,
    TABLE, TableInKernel, batch, generation, is_of_table, of_family, of_table, remove, replace,
};
use crate::host::netlink::{BUFFER, Netlink, messages, receive};

/// The group of notifications about nftables.
const GROUP: u32 = 7;
/// How often the table is read again while other programs change theirs.
const TRIES: u32 = 20;

/// What became of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableChange {
    /// It was as wanted.
    None,
    /// It was made, replaced or removed.
    Made,
    /// There is a table of this name that gipam did not make.
    Foreign,
}

/// A socket for requests, and one that receives every change.
#[derive(Debug)]
pub struct NftSocket {
    netlink: Netlink,
    /// The number of `netlink` in notifications.
    port: u32,
    notices: Socket,
    buffer: Vec<u8>,
}

impl NftSocket {
    pub fn open() -> io::Result<Self> {
        let netlink = Netlink::open_for(NETLINK_NETFILTER)?;
        let mut notices = Socket::new(NETLINK_NETFILTER)?;
        notices.bind_auto()?;
        notices.add_membership(GROUP)?;
        notices.set_non_blocking(true)?;
        Ok(Self { port: netlink.port()?, netlink, notices, buffer: Vec::with_capacity(BUFFER) })
    }

    /// The queue of notifications.
    pub fn notices(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }

    /// Reads all queued notifications; returns whether somebody else may have changed gipam's table.
    pub fn is_doubtful(&mut self) -> io::Result<bool> {
        let mut is_doubtful = false;
        loop {
            match receive(&self.notices, &mut self.buffer) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(is_doubtful),
                Err(error) if is(&error, Errno::NOBUFS) => {
                    is_doubtful = true;
                    continue;
                }
                Err(error) => return Err(error),
            }
            for message in messages(&self.buffer) {
                let Ok(message) = message else { return Ok(true) };
                is_doubtful |= message.port_number() != self.port && is_of_table(message.payload());
            }
        }
    }

    /// Makes the table equal to these chains.
    pub fn keep(&mut self, chains: &[NftChain]) -> io::Result<TableChange> {
        self.settle(|found| (!found.is(chains)).then(|| replace(chains)))
    }

    /// Removes the table.
    pub fn remove(&mut self) -> io::Result<TableChange> {
        self.settle(|found| found.exists().then(remove))
    }

    /// Reads the table, and sends the messages that this calls for, unless anything has changed meanwhile.
    fn settle(
        &mut self,
        decide: impl Fn(&TableInKernel) -> Option<Vec<NftMessage>>,
    ) -> io::Result<TableChange> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (found, generation) = match self.found() {
                Err(error) if is(&error, Errno::INTR) && tries < TRIES => continue,
                found => found?,
            };
            if found.exists() && !found.is_own() {
                return Ok(TableChange::Foreign);
            }
            let Some(messages) = decide(&found) else { return Ok(TableChange::None) };
            match self.netlink.ask_all(&in_batch(messages, generation)) {
                Err(error) if is(&error, Errno::RESTART) && tries < TRIES => {}
                done => return done.map(|()| TableChange::Made),
            }
        }
    }

    /// The table, and the generation in which it was read; an interrupted call if something changed meanwhile.
    fn found(&mut self) -> io::Result<(TableInKernel, Option<u32>)> {
        let before = self.generation()?;
        let mut found = TableInKernel::default();
        match self.netlink.ask(GETTABLE, 0, &of_table(), &mut |kind, body| found.take(kind, body)) {
            Err(error) if is(&error, Errno::NOENT) => return Ok((found, before)),
            done => done?,
        };
        for (kind, body) in [(GETCHAIN, of_family()), (GETRULE, of_table())] {
            if self.netlink.ask(kind, NLM_F_DUMP, &body, &mut |kind, body| found.take(kind, body))? {
                return Err(Errno::INTR.into());
            }
        }
        if self.generation()? != before {
            return Err(Errno::INTR.into());
        }
        Ok((found, before))
    }

    fn generation(&mut self) -> io::Result<Option<u32>> {
        let mut id = None;
        let mut each = |kind, body: &[u8]| {
            if kind == NEWGEN {
                id = generation(body);
            }
        };
        self.netlink.ask(GETGEN, 0, &of_family(), &mut each)?;
        Ok(id)
    }
}

/// The requests of a transaction. Only the last one is acknowledged; errors are always reported.
fn in_batch(messages: Vec<NftMessage>, generation: Option<u32>) -> Vec<(u16, u16, Vec<u8>)> {
    let last = messages.len();
    let flags = |(number, (kind, body)): (usize, NftMessage)| {
        let acknowledged = if number + 1 == last { NLM_F_ACK } else { 0 };
        // A removal must not have the flags with which things are made.
        let made = if kind == DELTABLE { 0 } else { NLM_F_CREATE | NLM_F_APPEND };
        (kind, acknowledged | made, body)
    };
    let mut requests: Vec<(u16, u16, Vec<u8>)> = messages.into_iter().enumerate().map(flags).collect();
    let (begin, end) = (batch(BATCH_BEGIN, generation), batch(BATCH_END, None));
    requests.insert(0, (begin.0, 0, begin.1));
    requests.push((end.0, 0, end.1));
    requests
}

/// What a person reads about a table of somebody else.
pub fn foreign() -> String {
    format!(
        "there is a table ip6 {TABLE} that gipam did not make, and so prefixes are not translated: nft list table ip6 {TABLE}"
    )
}
