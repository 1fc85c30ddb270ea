//! The daemon: assembly, signals, readiness.
//!
//! Promises: signals are handled from the start; the books are open and the plan is rebuilt before a listener
//! opens; all listeners are open before systemd is notified that gipam is ready; at SIGTERM and SIGINT,
//! requests in flight are finished and the books are closed; a failed write ends the process with an error,
//! so that the supervisor restarts it. SIGHUP reloads the configuration. One thread runs Docker's listeners
//! and the ledger, the main thread the other listeners.

mod boot;
mod docker_thread;
mod doors;
mod error;
mod follow;
mod later;
mod reload;
mod survey_thread;
mod sweep;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::docker_thread::DockerThread;
pub use self::error::DaemonError;
use self::follow::{PrefixFollower, SourcesRead};
use self::reload::Reloader;
use crate::admin::{Admin, Reload, RunningDaemon};
use crate::claims::books::{CLAIMS, HOSTS, read_rows};
use crate::claims::handle::ClaimsHandle;
use crate::claims::task::{ClaimsAtStart, ClaimsTask};
use crate::claims::{self, SharedPlan};
use crate::clock;
use crate::config::{self, Config, OuterPrefix, PlanRoutes};
use crate::docker::discovery::Announcement;
use crate::docker::{Callers, Counters, Driver, Halves, Streak, Survey, containers};
use crate::edge::{self, Edge, EdgeAtStart, EdgeCourse, EdgeSettings, OuterNow, TranslatedPool};
use crate::hooks::{self, Hooks};
use crate::ledger::{Fatal, Ledger, Writer};
use crate::plan::Caller;
use crate::plan::prefix::Prefix;
use crate::probe::{self, ProbeSettings, Prober};
use crate::processes;
use crate::reconcile::{self, Reconciler, RepairMeters};
use crate::server::{Drained, Limits, LocalAddress, Server};
use crate::store::Books;
use crate::watch::Watch;
use crate::web::{self, Web};

/// How long requests in flight may take at shutdown.
const DRAIN: Duration = Duration::from_secs(10);
/// The largest lease file that can be imported over the admin socket.
const ADMIN_BODY: usize = 64 << 20;
/// Threads that read books and files: one for each view that is prepared at a time. Other work of this kind waits for one of them.
const READING: usize = 4;

/// Serves until a signal stops it.
pub fn run(config: Config) -> Result<(), DaemonError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(READING).build().map_err(DaemonError::start)?;
    // A signal that arrives during startup waits: an early SIGTERM leaves no sockets or plugin files behind,
    // and an early SIGHUP does not abort the startup.
    let inside = runtime.enter();
    let caught = |kind| signal(kind).map_err(DaemonError::start);
    let signals = Signals {
        terminate: caught(SignalKind::terminate())?,
        interrupt: caught(SignalKind::interrupt())?,
        hang_up: caught(SignalKind::hangup())?,
    };
    drop(inside);
    let booted = boot::boot(&config)?;
    let books = booted.books.path().to_owned();
    let doors = doors::open(&config)?;
    let callers = booted.plan.callers().map(|(name, caller)| (name.into(), caller.clone())).collect();
    let bases = booted.plan.bases();
    let kept = kept(&booted.books)?;
    let boot = processes::boot().unwrap_or_default();
    let at_edge = EdgeAtStart {
        boot,
        sysctls: booted.books.meta(edge::SYSCTLS)?,
        places: booted.books.meta(edge::PLACES)?,
    };
    let clock = clock::Clock::of_this_machine().in_boot(processes::boot());
    let (ledger, writer) = Writer::new(booted.plan, booted.books, clock);
    let (ended, end) = oneshot::channel();
    let (docker, thread) = DockerThread::start(writer, ended).map_err(DaemonError::start)?;
    let (hooks, hooks_open, hooks_thread) =
        hooks::start(ledger.clone(), books.clone()).map_err(DaemonError::start)?;
    let ledger_of = ledger.clone();
    let core = Core { ledger: ledger_of, docker, books, callers, bases, kept, at_edge, hooks, signals, end };
    let outcome = runtime.block_on(serve(&config, doors, core));
    drop(hooks_open);
    if hooks_thread.join().is_err() {
        tracing::error!("the thread of the hooks panicked");
    }
    ledger.stop();
    if thread.join().is_err() {
        tracing::error!("the thread of Docker's listeners panicked");
    }
    outcome
}

/// The signals that gipam handles.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// The parts that all others need.
struct Core {
    ledger: Ledger,
    docker: DockerThread,
    books: PathBuf,
    /// The callers that the books contained at startup.
    callers: Vec<(Box<str>, Caller)>,
    /// The base prefixes of the pools at startup.
    bases: Box<[Prefix]>,
    /// What the books contained at startup about this host's claims.
    kept: ClaimsAtStart,
    /// What they contained about the kernel's objects.
    at_edge: EdgeAtStart,
    hooks: Hooks,
    signals: Signals,
    /// Receives the reason when the ledger ends.
    end: oneshot::Receiver<Result<(), Fatal>>,
}

async fn serve(config: &Config, doors: doors::Doors, core: Core) -> Result<(), DaemonError> {
    let Core { ledger, docker, books, callers, bases, kept, at_edge, hooks, signals, end } = core;
    let (ask_reload, reloads) = mpsc::channel(1);
    let started = Arc::new(config.clone());
    let (publish, in_force) = watch::channel(started.clone());
    let watch = Watch::new(config.warn_at.clone());
    let Claims { plan, handle, answering, compares } = slices(&ledger, config, kept).await?;
    let (edge, edge_thread) = edge::start(ledger.clone(), &plan, hooks.clone(), first(config), at_edge)
        .map_err(DaemonError::start)?;
    let prober = probe::start(ledger.clone(), probe_settings(config)).await.map_err(DaemonError::start)?;
    let reloader = Reloader {
        started,
        in_force: publish,
        ledger: ledger.clone(),
        hooks: hooks.clone(),
        watch: watch.clone(),
        plan: plan.clone(),
        edge: edge.clone(),
        prober: prober.clone(),
    };
    let stop = stop(signals, end, reloader, reloads, PrefixFollower::of(&config.sources));
    configure_hooks(&hooks, &edge, config).await;
    let (counters, halves): (Arc<Counters>, Arc<Halves>) = Default::default();
    let (survey, questions) = Survey::new();
    survey_thread::start(questions, bases).map_err(DaemonError::start)?;
    let limits = Limits { max_connections: config.keys.max_connections.get().into(), ..Limits::default() };
    let callers = Arc::new(Callers::new(ledger.clone(), callers, processes::boot(), containers()));
    let names: Vec<String> = config.drivers.iter().map(|driver| driver.name.clone()).collect();
    let (repair, reconciler) = repairing(config, &names, &ledger, &books, &callers);
    let _ = compares.set(repair.meters().clone());
    let shared = (&callers, &halves, &counters, &survey, &prober);
    let listeners = listeners(doors.drivers, &limits, &ledger, &repair, shared);
    let mut server = Server::new();
    let running = RunningDaemon {
        names,
        doors: config.drivers.iter().map(|driver| driver.door.to_string()).collect(),
        started: clock::now(),
        ledger: ledger.meters().clone(),
        counters,
        repair: repair.meters().clone(),
        hooks: hooks.clone(),
        watch: watch.clone(),
        plan: plan.clone(),
        claims: handle,
        edge: edge.clone(),
        probes: prober.state.clone(),
    };
    let (ledger_of, books_of) = (ledger.clone(), books.clone());
    let admin = Arc::new(Admin::new(ledger_of, books_of, in_force, running, repair, survey, ask_reload));
    server.add(doors.admin, admin.clone(), Limits { max_body: ADMIN_BODY, ..limits });
    if let Some((http, listener)) = config.http.as_ref().zip(doors.http) {
        let local = announce_page(&listener.local_address());
        server.add(
            listener,
            Arc::new(Web::new(&ledger, books.clone(), admin.clone(), http, local)),
            web::limits(),
        );
    }
    let DockerThread { serve, open, drained } = docker;
    let _ = serve.send(listeners);
    let (sender, receiver) = oneshot::channel();
    let shutdown = async move {
        let why = ready_until(stop).await;
        drop(open);
        admin.moments.stop();
        let _ = sender.send(why);
    };
    let watching = tokio::spawn(watch.run(ledger.clone(), books, hooks.clone()));
    let reconciling = reconciler.map(|reconciler| tokio::spawn(reconciler.run()));
    let sweeping = tokio::spawn(sweep::sweep(ledger, plan));
    let drained = async { drained.await.unwrap_or_else(|_| Ok(Drained::default())) };
    let drained = tokio::try_join!(server.serve(shutdown, DRAIN), drained).map_err(DaemonError::start)?;
    for task in [Some(watching), Some(answering), Some(sweeping), reconciling].into_iter().flatten() {
        task.abort();
    }
    withdraw(doors.announcements);
    let why = receiver.await.unwrap_or(Ok(None));
    end_edge(&edge, edge_thread, why.is_ok());
    stopped(why, drained.0.cut_off + drained.1.cut_off)
}

/// Tells hooks from now on. This comes before the first request is served, so that a new hook gets all events from here on.
async fn configure_hooks(hooks: &Hooks, edge: &Edge, config: &Config) {
    if let Err(error) = hooks.configure(config.hooks.clone()).await {
        tracing::error!("hooks are disabled: {error}");
    }
    edge.tell_hooks();
}

/// Tells systemd that gipam serves, and then that it stops; returns why.
async fn ready_until<T>(stop: impl Future<Output = T>) -> T {
    notify(&[sd_notify::NotifyState::Ready]);
    let why = stop.await;
    notify(&[sd_notify::NotifyState::Stopping]);
    why
}

/// Ends the thread of the kernel's objects.
fn end_edge(edge: &Edge, thread: std::thread::JoinHandle<()>, is_orderly: bool) {
    edge.end(is_orderly);
    if thread.join().is_err() {
        tracing::error!("the thread that keeps objects in the kernel panicked");
    }
}

/// What the thread of the kernel's objects is to do from the start on.
fn first(config: &Config) -> EdgeCourse {
    course(config, &follow::read(&config.sources))
}

/// What the thread of the kernel's objects is to do with this configuration.
fn course(config: &Config, sourced: &SourcesRead) -> EdgeCourse {
    let routes = config.plan.as_ref().is_some_and(|plan| plan.routes == PlanRoutes::Kernel);
    let bases = |but: &str| {
        let others = config.settings.pools.iter().filter(|pool| pool.name != but);
        others.filter_map(|pool| Some(pool.v6.as_ref()?.base)).collect()
    };
    let translations = config.translations.iter().map(|it| TranslatedPool {
        others: bases(&it.pool),
        pool: it.pool.clone(),
        inner: it.inner,
        source: it.outer.to_string(),
        outer: match &it.outer {
            OuterPrefix::Fixed(prefix) => OuterNow::OneOf(vec![*prefix]),
            OuterPrefix::From(source) => sourced.outer(source),
        },
    });
    let (pools, translations, at_end) = (config.edge(), translations.collect(), *config.keys.kernel_at_end);
    EdgeCourse::Keep(EdgeSettings { routes, pools, translations, at_end })
}

/// Which pools are probed with this configuration.
fn probe_settings(config: &Config) -> ProbeSettings {
    ProbeSettings { pools: config.probed.clone(), again: **config.keys.quarantine }
}

/// What the daemon has to do with pools that several hosts share.
struct Claims {
    /// What is known about all hosts.
    plan: SharedPlan,
    /// Takes the commands of a person.
    handle: ClaimsHandle,
    /// Answers requests that need a slice.
    answering: JoinHandle<()>,
    /// Is to get the meters of repair, which say whether the books were compared with the Engine.
    compares: Arc<OnceLock<Arc<RepairMeters>>>,
}

/// Brings the slices of this host into the books, before the first request is served.
async fn slices(ledger: &Ledger, config: &Config, kept: ClaimsAtStart) -> Result<Claims, DaemonError> {
    let compares = Arc::new(OnceLock::<Arc<RepairMeters>>::new());
    let meters = compares.clone();
    let (plan, wants) = (SharedPlan::default(), ledger.wants());
    let started = claims::start(ledger, config.plan.clone(), &plan).await;
    started
        .map_err(|refusal| DaemonError::new("the slices of this host cannot be recorded").because(refusal))?;
    let (handle, commands) = ClaimsHandle::new();
    let machine = processes::boot().unwrap_or_default();
    let compared = Box::new(move || meters.get().is_some_and(|meters| meters.has_compared()));
    let task = config
        .plan
        .clone()
        .and_then(|source| ClaimsTask::new(ledger.clone(), plan.clone(), source, machine, compared));
    let (ready, is_ready) = oneshot::channel();
    let answering = match task {
        Some(task) => tokio::spawn(task.run(kept, wants, commands, ready)),
        None => {
            drop(ready);
            tokio::spawn(claims::answers::answer(ledger.clone(), wants, plan.clone()))
        }
    };
    let _ = is_ready.await;
    Ok(Claims { plan, handle, answering, compares })
}

/// What the books contain about this host's claims.
fn kept(books: &Books) -> Result<ClaimsAtStart, DaemonError> {
    let row = |key| books.meta(key).map_err(DaemonError::from);
    Ok(read_rows(row(CLAIMS)?.as_deref(), row(HOSTS)?.as_deref()))
}

/// Logs how many requests were cut off and which signal stopped the daemon; if the ledger failed, returns the
/// failure instead.
fn stopped(why: Result<Option<&'static str>, Fatal>, cut_off: usize) -> Result<(), DaemonError> {
    if cut_off > 0 {
        tracing::warn!("requests cut off by the shutdown: {cut_off}");
    }
    match why {
        Ok(Some(signal)) => tracing::info!("stopped by {signal}"),
        Ok(None) => {}
        Err(fatal) => return Err(DaemonError::new("gipam stopped").because(fatal)),
    }
    Ok(())
}

/// The handle of repair, and its task unless repair is off.
fn repairing(
    config: &Config,
    names: &[String],
    ledger: &Ledger,
    books: &Path,
    callers: &Arc<Callers>,
) -> (reconcile::Handle, Option<Reconciler>) {
    let (settings, clock) = (repair_settings(config), clock::Clock::of_this_machine());
    Reconciler::new(settings, names.to_vec(), ledger.clone(), books.to_owned(), callers.clone(), clock)
}

fn repair_settings(config: &Config) -> reconcile::RepairSettings {
    reconcile::RepairSettings {
        engine: config.gc.engine.clone(),
        grace: config.gc.grace,
        only_engine: config.gc.free_unknown_subnets,
    }
}

/// What the handlers of all drivers use.
type DriverParts<'a> = (&'a Arc<Callers>, &'a Arc<Halves>, &'a Arc<Counters>, &'a Survey, &'a Prober);

/// Docker's listeners, each with the handler of its driver.
fn listeners(
    opened: Vec<doors::Opened>,
    limits: &Limits,
    ledger: &Ledger,
    repair: &reconcile::Handle,
    common: DriverParts<'_>,
) -> Server {
    let mut listeners = Server::new();
    for doors::Opened { driver: configured, listener } in opened {
        let driver = driver(configured, ledger, repair, common);
        listeners.add(listener, Arc::new(driver), limits.clone());
    }
    listeners
}

/// The handler of one listener.
fn driver(
    configured: config::DriverSettings,
    ledger: &Ledger,
    repair: &reconcile::Handle,
    (callers, halves, counters, survey, prober): DriverParts<'_>,
) -> Driver {
    tracing::info!("driver {} listens on {}", configured.name, configured.door);
    let names = match &configured.door {
        config::DoorSettings::Tcp { advertise, tls: None, .. } => {
            Some(advertise.iter().map(|advertise| advertise.host.clone()).collect())
        }
        _ => None,
    };
    Driver {
        names,
        name: configured.name.into(),
        ledger: ledger.clone(),
        pools: configured.pools.map(Into::into),
        requires_mac_address: configured.requires_mac_address,
        survey: survey.clone(),
        prober: prober.clone(),
        streak: Streak::default(),
        proofs: repair.proofs(),
        asked: repair.asked(),
        callers: callers.clone(),
        halves: halves.clone(),
        counters: counters.clone(),
    }
}

/// Removes the plugin files.
fn withdraw(announcements: Vec<Announcement>) {
    for announcement in announcements {
        if let Err(error) = announcement.withdraw() {
            tracing::warn!("{error}");
        }
    }
}

/// Logs the address of the page; returns whether only this machine can reach it.
fn announce_page(address: &LocalAddress) -> bool {
    let LocalAddress::Tcp(address) = address else { return true };
    tracing::info!("the page and the metrics are at http://{address}/");
    address.ip().is_loopback()
}

/// Resolves when a signal arrives, with its name, or when the ledger ends; until then, SIGHUP reloads.
async fn stop(
    mut signals: Signals,
    mut end: oneshot::Receiver<Result<(), Fatal>>,
    reloader: Reloader,
    mut reloads: mpsc::Receiver<Reload>,
    mut follower: PrefixFollower,
) -> Result<Option<&'static str>, Fatal> {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(Some("SIGTERM")),
            _ = signals.interrupt.recv() => return Ok(Some("SIGINT")),
            outcome = &mut end => return outcome.unwrap_or(Ok(())).map(|()| None),
            _ = signals.hang_up.recv() => {
                drop(reloader.reload(false).await);
                follower.follow(&reloader.sources());
            }
            Some(asked) = reloads.recv() => {
                let _ = asked.answer.send(reloader.reload(asked.rehearsal).await);
                follower.follow(&reloader.sources());
            }
            () = follower.changed() => reloader.follow().await,
        }
    }
}

/// Notifies systemd, if it supervises this process.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("cannot notify systemd: {error}");
    }
}
