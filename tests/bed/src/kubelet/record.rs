//! What is known of a pod's containers: plain data, turned into a status by [`super::status`].

use chrono::{DateTime, Utc};

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terminated {
    /// 128 plus the signal's number when a signal ended it.
    pub(super) exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled` or `StartError`.
    pub(super) reason: String,
    /// Only a container that could not be started has one.
    pub(super) message: Option<String>,
    /// `None`: it never started.
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: DateTime<Utc>,
    pub(super) container_id: String,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ContainerState {
    /// It is to run, and something is missing or to be awaited.
    Waiting { reason: String, message: Option<String> },
    /// Its process is alive.
    Running { since: DateTime<Utc> },
    /// Its process has ended.
    Terminated(Terminated),
}

/// What a container is for its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside the others.
    Sidecar,
    /// An ordinary container.
    Main,
}

/// One container of a pod, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ContainerRecord {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) role: Role,
    pub(super) state: ContainerState,
    /// How the process before this one ended.
    pub(super) last: Option<Terminated>,
    pub(super) restarts: u32,
    /// The startup probe has passed, or there is none and the process runs.
    pub(super) started: bool,
    /// The readiness probe says so, or there is none and the container has started.
    pub(super) ready: bool,
    /// Empty until the first start.
    pub(super) container_id: String,
}

impl ContainerRecord {
    pub(super) fn new(name: &str, image: &str, role: Role, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            role,
            state: ContainerState::Waiting { reason: reason.to_owned(), message: None },
            last: None,
            restarts: 0,
            started: false,
            ready: false,
            container_id: String::new(),
        }
    }

    /// The end that counts: of this process, or of the one before when this one waits.
    pub(super) fn ended(&self) -> Option<&Terminated> {
        match &self.state {
            ContainerState::Running { .. } => None,
            ContainerState::Terminated(end) => Some(end),
            ContainerState::Waiting { .. } => self.last.as_ref(),
        }
    }

    /// The container waits. An end that was its state becomes its last state.
    pub(super) fn wait(&mut self, reason: &str, message: Option<String>) {
        let waiting = ContainerState::Waiting { reason: reason.to_owned(), message };
        if let ContainerState::Terminated(end) = std::mem::replace(&mut self.state, waiting) {
            self.last = Some(end);
        }
        self.ready = false;
        self.started = false;
    }

    /// Its process runs. `probed` says which results have to be awaited.
    pub(super) fn run(&mut self, since: DateTime<Utc>, container_id: String, probed: Probed) {
        let running = ContainerState::Running { since };
        if let ContainerState::Terminated(end) = std::mem::replace(&mut self.state, running) {
            self.last = Some(end);
        }
        self.container_id = container_id;
        self.started = !probed.startup;
        // An init container is ready when it is done.
        self.ready = self.role != Role::Init && self.started && !probed.readiness;
    }

    /// Its process has ended.
    pub(super) fn end(&mut self, end: Terminated) {
        self.container_id.clone_from(&end.container_id);
        self.ready = self.role == Role::Init && end.exit_code == 0;
        self.started = false;
        self.state = ContainerState::Terminated(end);
    }

    /// It will not be started again: what it waited for does not matter any more.
    pub(super) fn give_up(&mut self) {
        if let (ContainerState::Waiting { .. }, Some(end)) = (&self.state, self.last.take()) {
            self.state = ContainerState::Terminated(end);
        }
    }
}

/// Which probes a container has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probed {
    pub(super) startup: bool,
    pub(super) readiness: bool,
}

/// A pod as its kubelet knows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodRecord {
    /// In the order of the specification: init containers, then the others.
    pub(super) containers: Vec<ContainerRecord>,
    pub(super) start_time: DateTime<Utc>,
    /// `None`: the pod has no address yet.
    pub(super) pod_ip: Option<String>,
    pub(super) host_ip: String,
    /// Its containers have ended and none of them will be started again.
    pub(super) terminal: bool,
}
