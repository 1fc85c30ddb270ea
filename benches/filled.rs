//! BOOKS OF ANY SIZE, made through the ledger, as by requests.
//!
//! Promises: the books equal those that a daemon would have written; half of the subnets are IPv4, half IPv6,
//! each with a gateway and endpoints with names and MACs. The ledger is stopped at the end.

use std::io;
use std::path::Path;

use gipam::clock::Clock;
use gipam::ledger::{Ledger, Writer};
use gipam::plan::Plan;
use gipam::plan::prefix::Family;
use gipam::plan::request::{AddressRequest, Mac, Reply, Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::Settings;
use gipam::store::Books;

/// Fills books that already have their pools; returns PoolIDs and prefixes.
pub fn fill(path: &Path, subnets: usize, leases: usize) -> io::Result<Vec<(String, String)>> {
    let books = Books::open(path).map_err(io::Error::other)?;
    with_ledger(books, async |ledger| fill_through(ledger, subnets, leases).await)
}

/// Creates books with these pools and this many leases in one subnet, then makes this many calls one after
/// another, each with its own sync.
pub fn count(path: &Path, settings: &Settings, leases: usize, calls: u64) -> io::Result<()> {
    let mut books = Books::open(path).map_err(io::Error::other)?;
    books.put_settings(settings).map_err(io::Error::other)?;
    books.commit().map_err(io::Error::other)?;
    with_ledger(books, async |ledger| {
        let subnets = fill_through(ledger, 1, leases).await?;
        for number in 0..calls {
            let holder = leases as u64 + number + 1;
            ledger.ask(lease(&subnets[0].0, false, holder)).await.map_err(io::Error::other)?;
        }
        Ok(())
    })
}

fn with_ledger<T>(books: Books, work: impl AsyncFnOnce(&Ledger) -> io::Result<T>) -> io::Result<T> {
    let mut plan = Plan::new(books.settings().map_err(io::Error::other)?);
    books.load(|change| plan.apply(&change)).map_err(io::Error::other)?;
    let (ledger, writer) = Writer::new(plan, books, Clock::of_this_machine());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let served = tokio::task::spawn_local(writer.run());
        let done = work(&ledger).await?;
        ledger.stop();
        served.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        Ok(done)
    })
}

/// Sends all of these requests at once, and returns their replies in order.
async fn ask_all(ledger: &Ledger, requests: Vec<Request>) -> io::Result<Vec<Reply>> {
    let asking: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let ledger = ledger.clone();
            tokio::task::spawn_local(async move { ledger.ask(request).await })
        })
        .collect();
    let mut replies = Vec::with_capacity(asking.len());
    for answer in asking {
        let answer = answer.await.map_err(io::Error::other)?;
        replies.push(answer.map_err(io::Error::other)?.reply);
    }
    Ok(replies)
}

async fn fill_through(ledger: &Ledger, count: usize, each: usize) -> io::Result<Vec<(String, String)>> {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let (mut subnets, mut holder) = (Vec::with_capacity(count), 0u64);
            while subnets.len() < count {
                let wanted = (0..20.min(count - subnets.len())).map(|number| subnet(number % 2 == 1));
                let mut leases = Vec::with_capacity(20 * each);
                for reply in ask_all(ledger, wanted.collect()).await? {
                    let Reply::Subnet { id, prefix, .. } = reply else { continue };
                    for number in 0..each {
                        holder += 1;
                        leases.push(lease(&id, number == 0, holder));
                    }
                    subnets.push((id, prefix.to_string()));
                }
                ask_all(ledger, leases).await?;
            }
            Ok(subnets)
        })
        .await
}

fn subnet(v6: bool) -> Request {
    Request::Subnet(SubnetRequest {
        space: Space::Local,
        family: if v6 { Family::V6 } else { Family::V4 },
        wanted: Wanted::Any { size: None },
        range: None,
        options: Default::default(),
        pools: None,
        in_use: Vec::new().into(),
        in_a_row: 0,
        dead: Default::default(),
        cannot: Default::default(),
    })
}

/// A gateway, or an endpoint with a name and a MAC, as Engine 29 requests it.
fn lease(id: &str, gateway: bool, holder: u64) -> Request {
    let [.., a, b, c, d] = holder.to_be_bytes();
    Request::Address(AddressRequest {
        id: id.to_owned(),
        gateway,
        name: (!gateway).then(|| format!("container-{holder}").into()),
        mac: (!gateway).then_some(Mac([2, 0x42, a, b, c, d])),
        ..AddressRequest::default()
    })
}
