//! The store of the plan in etcd (API v3, from 3.4 on): the three calls of the machine, and nothing else.
//!
//! Promises: one attempt at one member takes at most the configured time for its connection, and as long again for each page; an error means that
//! the outcome is unknown; after an error the next attempt goes to the next member over a new connection, with certificates
//! and password read again. Nothing but the plan's own keys is read or written. Does not decide what to repeat.

use std::error::Error;
use std::fs;
use std::time::Duration;

use etcd_client::{
    Client, Compare as EtcdCompare, CompareOp, ConnectOptions, GetOptions, GetResponse, TlsOptions, Txn,
    TxnOp, TxnOpResponse,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::machine::calls::{Compare, Effect, Pairs, StoreCall, StoreReply};
use crate::config::{EtcdEndpoint, EtcdSettings};

/// How many keys are read at once: about 250 KB.
const PAGE: i64 = 1_000;

/// The plan's store, with the connection to the member that answered last.
pub struct EtcdStore {
    settings: EtcdSettings,
    client: Option<Client>,
    /// The member to call, counted over all attempts.
    member: usize,
}

impl EtcdStore {
    pub const fn new(settings: EtcdSettings) -> Self {
        Self { settings, client: None, member: 0 }
    }

    /// Makes one attempt at one member. An error names the member, and says what happened.
    pub async fn call(&mut self, call: &StoreCall) -> Result<StoreReply, String> {
        let endpoint = self.endpoint().clone();
        let outcome = self.attempt(call).await;
        if outcome.is_err() {
            self.client = None;
            self.member += 1;
        }
        outcome.map_err(|why| format!("{endpoint}: {why}"))
    }

    fn endpoint(&self) -> &EtcdEndpoint {
        &self.settings.endpoints[self.member % self.settings.endpoints.len()]
    }

    async fn attempt(&mut self, call: &StoreCall) -> Result<StoreReply, String> {
        let mut client = match &self.client {
            Some(client) => client.clone(),
            None => self.within(self.connect()).await?,
        };
        let prefix = self.settings.prefix.clone();
        let reply = match call {
            StoreCall::Get { keys } => {
                let reads: Vec<TxnOp> =
                    keys.iter().map(|key| TxnOp::get(format!("{prefix}{key}"), None)).collect();
                let answer =
                    self.within(async { text(client.txn(Txn::new().and_then(reads)).await) }).await?;
                StoreReply::Pairs(pairs(answer.op_responses(), &prefix))
            }
            StoreCall::List => StoreReply::Pairs(self.list(&mut client).await?),
            StoreCall::Transact { compares, effect } => {
                let txn = transaction(&prefix, compares, effect);
                let answer = self.within(async { text(client.txn(txn).await) }).await?;
                match answer.succeeded() {
                    true => StoreReply::Done,
                    false => StoreReply::Differs(pairs(answer.op_responses(), &prefix)),
                }
            }
        };
        self.client = Some(client);
        Ok(reply)
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let longest = Duration::from_millis(self.settings.timeout);
        timeout(longest, work)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} ms", longest.as_millis())))
    }

    /// All keys of the plan at one revision.
    async fn list(&self, client: &mut Client) -> Result<Pairs, String> {
        let prefix = &self.settings.prefix;
        let end = end_of(prefix);
        let mut all = Pairs::new();
        let (mut from, mut revision) = (prefix.clone().into_bytes(), 0);
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            let answer = self.within(async { text(client.get(from.clone(), Some(options)).await) }).await?;
            revision = answer.header().map_or(0, |header| header.revision());
            let Some(last) = answer.kvs().last() else { return Ok(all) };
            from = [last.key(), &[0]].concat();
            let more = answer.more();
            all.extend(read(&answer, prefix));
            if !more {
                return Ok(all);
            }
        }
    }

    /// A client of the member that is next. Whether it listens is found out first, because the client does not say why it does not connect.
    async fn connect(&self) -> Result<Client, String> {
        let (endpoint, settings) = (self.endpoint(), &self.settings);
        drop(TcpStream::connect(endpoint.address).await.map_err(|error| error.to_string())?);
        let longest = Duration::from_millis(settings.timeout);
        let mut options = ConnectOptions::new()
            .with_connect_timeout(longest)
            .with_require_leader(true)
            .with_auto_token_refresh(true)
            .with_keep_alive(Duration::from_secs(30), longest);
        if endpoint.secure {
            options = options.with_tls(self.tls()?);
        }
        if let Some((user, file)) = &settings.user {
            let password = fs::read_to_string(file)
                .map_err(|error| format!("password_file {} cannot be read: {error}", file.display()))?;
            options = options.with_user(user, password.trim_end_matches(['\r', '\n']));
        }
        text(Client::connect([endpoint.to_string()], Some(options)).await)
    }

    fn tls(&self) -> Result<TlsOptions, String> {
        let pem = |name: &str, file: &std::path::Path| {
            fs::read(file).map_err(|error| format!("{name} {} cannot be read: {error}", file.display()))
        };
        let settings = &self.settings;
        let address = self.endpoint().address.ip().to_string();
        let mut tls = TlsOptions::new().domain_name(settings.server_name.clone().unwrap_or(address));
        let ca = settings.ca.as_deref().ok_or("this system has no file of trusted CAs; set ca")?;
        tls = tls.ca_certificate(etcd_client::Certificate::from_pem(pem("ca", ca)?));
        if let Some((cert, key)) = &settings.identity {
            tls = tls.identity(etcd_client::Identity::from_pem(pem("cert", cert)?, pem("key", key)?));
        }
        Ok(tls)
    }
}

/// The end of the range of all keys with this prefix, which ends with `/`.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn transaction(prefix: &str, compares: &[Compare], effect: &Effect) -> Txn {
    let key = |key: &str| format!("{prefix}{key}");
    let conditions: Vec<EtcdCompare> = compares
        .iter()
        .map(|compare| match &compare.value {
            Some(value) => EtcdCompare::value(key(&compare.key), CompareOp::Equal, value.as_bytes()),
            None => EtcdCompare::version(key(&compare.key), CompareOp::Equal, 0),
        })
        .collect();
    let done = match effect {
        Effect::Put { key: at, value } => TxnOp::put(key(at), value.as_bytes(), None),
        Effect::Delete { key: at } => TxnOp::delete(key(at), None),
    };
    let reads: Vec<TxnOp> = compares.iter().map(|compare| TxnOp::get(key(&compare.key), None)).collect();
    Txn::new().when(conditions).and_then([done]).or_else(reads)
}

fn pairs(answers: Vec<TxnOpResponse>, prefix: &str) -> Pairs {
    let gets = answers.into_iter().filter_map(|answer| match answer {
        TxnOpResponse::Get(get) => Some(get),
        _ => None,
    });
    gets.flat_map(|get| read(&get, prefix)).collect()
}

/// The pairs of an answer, without the prefix. A value that is not text is nothing that gipam wrote: what is kept of it equals no
/// value in the store, so nothing replaces it.
fn read(answer: &GetResponse, prefix: &str) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let known = answer.kvs().iter().map(|pair| (text(pair.key()), text(pair.value())));
    known.filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value))).collect()
}

/// What went wrong, without the words of the layers in between.
fn text<T>(outcome: Result<T, etcd_client::Error>) -> Result<T, String> {
    outcome.map_err(|error| match &error {
        etcd_client::Error::GRpcStatus(status) => {
            let cause = status.source().map(innermost).unwrap_or_default();
            match status.message() {
                "" | "transport error" if !cause.is_empty() => cause,
                message => message.to_owned(),
            }
        }
        other => innermost(other),
    })
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
