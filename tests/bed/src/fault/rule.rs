//! What is to happen to which requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::watch;

use super::exchange::Exchange;

/// What a callback wants to become of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on: the request to the upstream, the answer to the client.
    GoOn,
    /// The connection to the client is reset.
    Drop,
}

/// A function that is called with an exchange.
pub type Callback = Arc<dyn Fn(&Exchange) -> Then + Send + Sync>;

/// A function that makes another body of an answer's body.
pub type Edit = Arc<dyn Fn(&Exchange, Bytes) -> Bytes + Send + Sync>;

/// What happens to a request that a [`Rule`] applies to.
///
/// All rules that apply act, in the order they were added: first the callbacks, delays and gates
/// before the upstream is asked, then the first of [`Action::Refuse`], [`Action::Hang`] and
/// [`Action::Reply`], after which the upstream is not asked, then what happens to its answer.
#[derive(Clone)]
pub enum Action {
    /// The connection is reset; the upstream never hears of the request.
    Refuse,
    /// So much later.
    Delay(Duration),
    /// When the gate is opened. A write goes on even if its client is gone by then.
    Hold(Gate),
    /// No answer, ever; the upstream never hears of the request.
    Hang,
    /// This answer; the upstream never hears of the request.
    Reply(Reply),
    /// The connection is closed after so many bytes of the answer's body.
    CutAfter(u64),
    /// The answer's body comes at so many bytes per second.
    Trickle(u64),
    /// The upstream does it, its answer is lost: the client sees this instead.
    LoseAnswer(Lost),
    /// The answer's body is changed. The upstream is asked not to compress it.
    Rewrite(Edit),
    /// Called before the request goes to the upstream. It blocks the whole proxy: nothing else
    /// comes through meanwhile.
    Before(Callback),
    /// Called when the upstream's whole answer is there, before the client sees any of it.
    After(Callback),
}

/// What the client sees of an answer that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The connection is reset.
    Reset,
    /// A gateway's word for it, such as 504.
    Status(u16),
}

impl Action {
    /// An answer with this status and no body.
    pub fn status(status: u16) -> Self {
        Self::Reply(Reply::new(status))
    }

    /// [`Action::Before`] with a plain function.
    pub fn before(callback: impl Fn(&Exchange) -> Then + Send + Sync + 'static) -> Self {
        Self::Before(Arc::new(callback))
    }

    /// [`Action::After`] with a plain function.
    pub fn after(callback: impl Fn(&Exchange) -> Then + Send + Sync + 'static) -> Self {
        Self::After(Arc::new(callback))
    }

    /// [`Action::Rewrite`] with a plain function.
    pub fn rewrite(edit: impl Fn(&Exchange, Bytes) -> Bytes + Send + Sync + 'static) -> Self {
        Self::Rewrite(Arc::new(edit))
    }

    /// The second half of the answer's body is nonsense.
    pub fn garble() -> Self {
        Self::rewrite(|_, body| {
            let mut bytes = body.to_vec();
            let half = bytes.len() / 2;
            bytes[half..].fill(b'?');
            bytes.into()
        })
    }

    /// Its name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Delay(_) => "delay",
            Self::Hold(_) => "hold",
            Self::Hang => "hang",
            Self::Reply(_) => "reply",
            Self::CutAfter(_) => "cut",
            Self::Trickle(_) => "trickle",
            Self::LoseAnswer(_) => "lose answer",
            Self::Rewrite(_) => "rewrite",
            Self::Before(_) => "before",
            Self::After(_) => "after",
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An answer made here.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    /// A status, no body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// An error as the Kubernetes API words it, such as 409 `Conflict`.
    pub fn kubernetes(status: u16, reason: &str, message: &str) -> Self {
        let body = serde_json::json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": status,
        });
        Self::new(status).header("content-type", "application/json").body(body.to_string())
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Where exchanges wait until a test lets them go on.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<Turnstile>>);

#[derive(Clone, Copy, Debug, Default)]
struct Turnstile {
    arrived: u64,
    open: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Turnstile::default())))
    }

    /// Resolves when so many exchanges have arrived at it.
    pub async fn arrived(&self, count: u64) {
        // An error would mean that the gate, which is here, is gone.
        let _ = self.0.subscribe().wait_for(|turnstile| turnstile.arrived >= count).await;
    }

    /// Lets all go on, those that come later too.
    pub fn open(&self) {
        self.0.send_modify(|turnstile| turnstile.open = true);
    }

    pub(super) async fn pass(&self) {
        self.0.send_modify(|turnstile| turnstile.arrived += 1);
        // As in `arrived`.
        let _ = self.0.subscribe().wait_for(|turnstile| turnstile.open).await;
    }
}

type Condition = Arc<dyn Fn(&Exchange) -> bool + Send + Sync>;

/// An action, and which requests it is for: those that meet all conditions. Without any it is for
/// all requests.
#[derive(Clone)]
pub struct Rule {
    conditions: Vec<Condition>,
    first: u64,
    times: u64,
    pub(super) action: Action,
    pub(super) matched: u64,
}

impl Rule {
    /// The action, for all requests so far.
    pub fn new(action: Action) -> Self {
        Self { conditions: Vec::new(), first: 1, times: u64::MAX, action, matched: 0 }
    }

    /// Only where this holds.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Exchange) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// Only this verb of the Kubernetes API, or this HTTP method where it is another server.
    #[must_use]
    pub fn verb(self, verb: &'static str) -> Self {
        self.when(move |exchange| exchange.verb() == verb)
    }

    /// Only this resource: `deployments` (without subresources) or `deployments/status`.
    #[must_use]
    pub fn resource(self, resource: &'static str) -> Self {
        self.when(move |exchange| exchange.is_about(resource))
    }

    /// Only in this namespace.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        let namespace = Some(namespace.into());
        self.when(move |exchange| {
            exchange.target.as_ref().is_some_and(|target| target.namespace == namespace)
        })
    }

    /// Only the object of this name.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = Some(name.into());
        self.when(move |exchange| {
            exchange.target.as_ref().is_some_and(|target| target.name == name)
        })
    }

    /// Only paths that begin so.
    #[must_use]
    pub fn path(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.when(move |exchange| exchange.path.starts_with(&prefix))
    }

    /// Only writes; see [`Exchange::write`].
    #[must_use]
    pub fn writes(self) -> Self {
        self.when(|exchange| exchange.write.is_some())
    }

    /// Only the write of this number.
    #[must_use]
    pub fn write(self, number: u64) -> Self {
        self.when(move |exchange| exchange.write == Some(number))
    }

    /// From the `nth` of those that meet the conditions on, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.first = nth;
        self
    }

    /// At most so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Once.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Whether the action is for this exchange; counts it if it meets the conditions.
    pub(super) fn applies(&mut self, exchange: &Exchange) -> bool {
        if !self.conditions.iter().all(|condition| condition(exchange)) {
            return false;
        }
        self.matched += 1;
        self.applied_at(self.matched)
    }

    fn applied_at(&self, matched: u64) -> bool {
        matched >= self.first && matched - self.first < self.times
    }

    /// How many times it was applied.
    pub(super) fn applied(&self) -> u64 {
        self.matched.saturating_sub(self.first.max(1) - 1).min(self.times)
    }
}
