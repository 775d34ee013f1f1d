//! A numbering proxy that can fail in every way a network can.
//!
//! It stands in front of the API server, Git, Prometheus or Alertmanager; the controller is given
//! its URL (plain HTTP, whatever the upstream speaks). It numbers all requests and, apart from
//! that, the writes, keeps a log of what was asked and answered, and does what [`Rule`]s say:
//!
//! ```no_run
//! # use tidegate_testbed::fault::{Action, FaultProxy, Lost, Reply, Rule, Upstream};
//! # async fn example(ca: Vec<u8>, pid: nix::unistd::Pid) -> anyhow::Result<()> {
//! let proxy = FaultProxy::start(Upstream::kubernetes("https://127.0.0.1:6443", ca)).await?;
//! let conflict = Reply::kubernetes(409, "Conflict", "try again");
//! proxy.add(Rule::new(Action::Reply(conflict)).verb("patch").resource("deployments").once());
//! proxy.add(Rule::new(Action::LoseAnswer(Lost::Reset)).verb("create").resource("replicasets"));
//! proxy.add(Rule::new(Action::before(move |_| {
//!     let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
//!     tidegate_testbed::fault::Then::Drop
//! })).write(7));
//! let held = proxy.hold(|exchange| exchange.is_watch() && exchange.is_about("replicasets"));
//! held.release();
//! # Ok(())
//! # }
//! ```
//!
//! The request's head and body pass as they are, with the header Authorization; bodies are passed
//! on chunk by chunk, so that watches flow. A failure of the upstream is a reset here, as it would
//! be without the proxy. Requests are read whole before they are matched and passed on, but those
//! to Git, whose packs are large. A write that has arrived goes on even if its client is gone by
//! then, as on a network. There are no upgrades (`exec`, `port-forward`): they are answered 501.

mod body;
mod exchange;
mod forward;
mod rule;
mod serve;
mod target;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::load::thread::OwnThread;
pub use exchange::{End, Exchange};
use forward::Forwarder;
pub use forward::Upstream;
pub use rule::{Action, Callback, Edit, Gate, Lost, Reply, Rule, Then};
pub use target::Target;

/// How open exchanges are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The connection is reset.
    Reset,
    /// The connection is closed in the middle of the answer.
    Close,
    /// The answer ends as if it were complete: how an API server ends a watch. Before the head of
    /// the answer was sent it is the same as [`Cut::Close`].
    End,
}

/// Names a rule that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

/// A running proxy. Dropping it closes the port and all connections.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: OwnThread,
}

/// What all connections share.
struct Shared {
    forwarder: Forwarder,
    log: Arc<exchange::Log>,
    rules: Mutex<Rules>,
    holds: Arc<Holds>,
    /// Whether it is to listen, and whether it does.
    up: watch::Sender<bool>,
    is_up: watch::Sender<bool>,
}

#[derive(Default)]
struct Rules {
    added: u64,
    rules: Vec<(RuleId, Rule)>,
}

type Condition = Arc<dyn Fn(&Exchange) -> bool + Send + Sync>;

/// Which answers are held back.
#[derive(Default)]
struct Holds {
    conditions: Mutex<Vec<(u64, Condition)>>,
    /// How often they changed.
    changed: watch::Sender<u64>,
}

impl Holds {
    fn holds(&self, exchange: &Exchange) -> bool {
        lock(&self.conditions).iter().any(|(_, condition)| condition(exchange))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// Answers that are held back until this is released or dropped.
#[must_use = "the answers flow again when this is dropped"]
pub struct Held {
    id: u64,
    holds: Arc<Holds>,
}

impl Held {
    /// Lets everything flow that came meanwhile, in its order.
    pub fn release(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.holds.conditions).retain(|(id, _)| *id != self.id);
        self.holds.changed.send_modify(|changes| *changes += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The upstream's URL or certificate cannot be read, or no port is free.
    #[expect(clippy::unused_async, reason = "as all servers of the bed are started")]
    pub async fn start(upstream: Upstream) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .with_context(|| format!("no port for the proxy in front of {}", upstream.url()))?;
        let address = listener.local_addr().context("the proxy's address")?;
        let shared = Arc::new(Shared {
            forwarder: Forwarder::new(&upstream)?,
            log: Arc::default(),
            rules: Mutex::default(),
            holds: Arc::default(),
            up: watch::Sender::new(true),
            is_up: watch::Sender::new(true),
        });
        let thread = OwnThread::start("fault", {
            let shared = shared.clone();
            move |stopped| async move {
                tokio::select! {
                    () = serve::run(shared, listener, address) => {}
                    _ = stopped => {}
                }
            }
        })?;
        Ok(Self { address, shared, _thread: thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL to give to a client, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule; it acts on requests from now on, after the rules that were added before.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut rules = lock(&self.shared.rules);
        rules.added += 1;
        let id = RuleId(rules.added);
        rules.rules.push((id, rule));
        id
    }

    /// Takes a rule away. What it began (a hang, a delay) goes on: see [`FaultProxy::cut`].
    pub fn remove(&self, id: RuleId) {
        lock(&self.shared.rules).rules.retain(|(of, _)| *of != id);
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        lock(&self.shared.rules).rules.clear();
    }

    /// How many times a rule was applied; `None`: it is not there any more.
    pub fn applied(&self, id: RuleId) -> Option<u64> {
        let rules = lock(&self.shared.rules);
        rules.rules.iter().find(|(of, _)| *of == id).map(|(_, rule)| rule.applied())
    }

    /// Holds back the bodies of answers, those that flow already and those to come, until what it
    /// returns is released. What the upstream sends meanwhile is kept. Meant for watches: the
    /// client's view is old, and nothing tells it so.
    pub fn hold(&self, which: impl Fn(&Exchange) -> bool + Send + Sync + 'static) -> Held {
        let holds = self.shared.holds.clone();
        let mut id = 0;
        holds.changed.send_modify(|changes| {
            *changes += 1;
            id = *changes;
            lock(&holds.conditions).push((id, Arc::new(which)));
        });
        Held { id, holds }
    }

    /// Holds back the events of all watches of a resource.
    pub fn hold_watches(&self, resource: &'static str) -> Held {
        self.hold(move |exchange| exchange.is_watch() && exchange.is_about(resource))
    }

    /// Cuts exchanges that are open now and says how many.
    pub fn cut(&self, how: Cut, which: impl Fn(&Exchange) -> bool) -> usize {
        self.shared.log.cut(how, &which)
    }

    /// Cuts all watches of a resource and says how many.
    pub fn cut_watches(&self, how: Cut, resource: &str) -> usize {
        self.cut(how, |exchange| exchange.is_watch() && exchange.is_about(resource))
    }

    /// Refuses connections from now on, and resets those that are open.
    pub async fn down(&self) {
        self.shared.up.send_replace(false);
        // The sender is here: there is no error.
        let _ = self.shared.is_up.subscribe().wait_for(|up| !up).await;
    }

    /// Listens on the same port again.
    pub async fn up(&self) {
        self.shared.up.send_replace(true);
        // As in `down`.
        let _ = self.shared.is_up.subscribe().wait_for(|up| *up).await;
    }

    /// All exchanges, in the order of their numbers.
    pub fn log(&self) -> Vec<Exchange> {
        self.shared.log.all()
    }

    /// The writes among them.
    pub fn writes(&self) -> Vec<Exchange> {
        self.log().into_iter().filter(|exchange| exchange.write.is_some()).collect()
    }

    /// How many exchanges there are for which this holds.
    pub fn count(&self, which: impl Fn(&Exchange) -> bool) -> usize {
        self.shared.log.count(&which)
    }

    /// The log as text, a line for each exchange.
    pub fn trace(&self) -> String {
        let lines = self.log().into_iter().map(|exchange| exchange.to_string());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Forgets the log and counts writes from 1 again; rules with `nth` count on.
    pub fn start_over(&self) {
        self.shared.log.start_over();
    }

    /// The first exchange for which this holds, as soon as there is one: with a status, an end …
    ///
    /// # Errors
    /// There is none within the time; says what there was.
    pub async fn wait_for(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&Exchange) -> bool,
    ) -> anyhow::Result<Exchange> {
        let mut changes = self.shared.log.changes();
        let found = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = self.shared.log.find(&holds) {
                    return found;
                }
                if changes.changed().await.is_err() {
                    // The sender lives as long as the proxy.
                    std::future::pending::<()>().await;
                }
            }
        };
        match timeout(within, found).await {
            Ok(found) => Ok(found),
            Err(_) => bail!(
                "not seen within {} s: {what}; there were\n{}",
                within.as_secs_f64(),
                self.trace()
            ),
        }
    }
}
