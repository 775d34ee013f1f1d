//! Pods of the demo: each is a process of the sample service.
//!
//! This is the one place where the product starts a process, and the process is this very binary
//! with its hidden subcommand `sample-service`. No other program is ever run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tidegate_engine::state::Revision;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::http::Getter;
use super::pod::Supervisor;
pub use super::pod::{Pod, PodSettings};
use super::random::{GAMMA, mix};
use super::template::{Template, TemplateError};

/// Time a pod may take to answer a probe.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// Letters of generated names: those of Kubernetes, without vowels and look-alikes.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What the pods of a revision are like at one look. Pods that are stopping are not counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodsStatus {
    /// How many there should be.
    pub desired: u32,
    /// How many have a live process.
    pub running: u32,
    /// How many are ready.
    pub ready: u32,
    /// How often their processes were started again.
    pub restarts: u32,
    /// Whether one of them crashes again and again.
    pub crash_looping: bool,
    /// Where the ready ones listen.
    pub addresses: Vec<SocketAddr>,
    /// Each of them, oldest first.
    pub pods: Vec<Pod>,
}

/// Starts, watches and stops pods. Dropping it kills them all.
#[derive(Debug)]
pub struct Pods {
    program: PathBuf,
    settings: PodSettings,
    getter: Getter,
    changes: watch::Sender<u64>,
    fleet: Mutex<Fleet>,
}

#[derive(Debug)]
struct Fleet {
    sets: BTreeMap<Revision, Set>,
    /// Grows with each pod; names and seeds come from it.
    serial: u64,
}

#[derive(Debug)]
struct Set {
    template: Template,
    /// Oldest first.
    handles: Vec<Handle>,
    /// Pods that are stopping.
    stopping: Vec<Handle>,
}

#[derive(Debug)]
struct Handle {
    pod: Arc<Mutex<Pod>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Handle {
    fn look(&self) -> Pod {
        self.pod.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The task owns the process, which is killed with it.
        self.task.abort();
    }
}

impl Pods {
    /// Pods that are processes of `program`, which must know the subcommand `sample-service`. The
    /// seed decides their names, errors and latencies.
    pub fn new(program: PathBuf, settings: PodSettings, seed: u64) -> Self {
        Self {
            program,
            settings,
            getter: Getter::new(PROBE_PATIENCE),
            changes: watch::Sender::new(0),
            fleet: Mutex::new(Fleet { sets: BTreeMap::new(), serial: seed }),
        }
    }

    /// Pods that are processes of this binary.
    ///
    /// # Errors
    /// The path of the running binary cannot be told.
    pub fn of_this_binary(seed: u64) -> std::io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?, PodSettings::default(), seed))
    }

    /// Makes `replicas` pods of the revision be there. The template is read when the revision is
    /// new; a revision is its template, so later ones are the same.
    ///
    /// # Errors
    /// The template cannot be run. Pods that were there before are left alone.
    pub fn ensure(
        &self,
        revision: &Revision,
        template: &Value,
        replicas: u32,
    ) -> Result<(), TemplateError> {
        let mut fleet = self.fleet();
        if !fleet.sets.contains_key(revision) {
            let template = Template::parse(template)?;
            let set = Set { template, handles: Vec::new(), stopping: Vec::new() };
            fleet.sets.insert(revision.clone(), set);
        }
        self.resize(&mut fleet, revision, replicas);
        Ok(())
    }

    /// Changes the number of pods of a revision that is there; answers whether it is. Pods that
    /// are too many leave `addresses` now, and serve on for a moment before they stop.
    pub fn scale(&self, revision: &Revision, replicas: u32) -> bool {
        let mut fleet = self.fleet();
        let known = fleet.sets.contains_key(revision);
        if known {
            self.resize(&mut fleet, revision, replicas);
        }
        known
    }

    /// Stops all pods of a revision in order and waits for their ends; then it is not there any
    /// more. Nothing happens when it is not.
    pub async fn remove(&self, revision: &Revision) {
        let stopping = {
            let mut fleet = self.fleet();
            self.resize(&mut fleet, revision, 0);
            fleet.sets.remove(revision).map(|set| set.stopping).unwrap_or_default()
        };
        for mut handle in stopping {
            // An error means that the task was aborted: its process is gone, too.
            let _ = (&mut handle.task).await;
        }
    }

    /// One look at the pods of a revision; `None`: it is not there.
    pub fn status(&self, revision: &Revision) -> Option<PodsStatus> {
        let fleet = self.fleet();
        let pods: Vec<Pod> = fleet.sets.get(revision)?.handles.iter().map(Handle::look).collect();
        let count = |wanted: fn(&Pod) -> bool| {
            u32::try_from(pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(u32::MAX)
        };
        Some(PodsStatus {
            desired: count(|_| true),
            running: count(|pod| pod.running),
            ready: count(|pod| pod.ready),
            restarts: pods.iter().map(|pod| pod.restarts).sum(),
            crash_looping: pods.iter().any(|pod| pod.crash_looping),
            addresses: pods.iter().filter(|pod| pod.ready).filter_map(|pod| pod.address).collect(),
            pods,
        })
    }

    /// The revisions that are there.
    pub fn revisions(&self) -> Vec<Revision> {
        self.fleet().sets.keys().cloned().collect()
    }

    /// Changes whenever a pod does; take a new look then.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resize(&self, fleet: &mut Fleet, revision: &Revision, replicas: u32) {
        let Fleet { sets, serial } = fleet;
        let Some(set) = sets.get_mut(revision) else { return };
        let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
        set.stopping.retain(|handle| !handle.task.is_finished());
        while set.handles.len() < replicas {
            *serial = serial.wrapping_add(GAMMA);
            set.handles.push(self.start(&set.template, revision, mix(*serial)));
        }
        let excess = set.handles.len() - replicas;
        for _ in 0..excess {
            // As a ReplicaSet does: first one that does not serve, else the youngest.
            let index = set.handles.iter().rposition(|handle| !handle.look().ready);
            let index = index.unwrap_or(set.handles.len() - 1);
            let handle = set.handles.remove(index);
            handle.stop.send_replace(true);
            set.stopping.push(handle);
        }
        if excess > 0 {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn start(&self, template: &Template, revision: &Revision, random: u64) -> Handle {
        let name = format!("{}-{revision}-{}", template.container, suffix(random));
        let arguments = [
            "sample-service".to_owned(),
            format!("--version={}", template.version),
            format!("--pod={name}"),
        ];
        // A seed of the template comes later and wins only where it is set.
        let own_seed = !template.flags.iter().any(|flag| flag.starts_with("--seed="));
        let seed = own_seed.then(|| format!("--seed={random}"));
        let arguments = arguments.into_iter().chain(seed).chain(template.flags.iter().cloned());
        let pod = Arc::new(Mutex::new(Pod::new(name, Utc::now())));
        let stop = watch::Sender::new(false);
        let supervisor = Supervisor {
            program: self.program.clone(),
            arguments: arguments.map(Into::into).collect(),
            settings: self.settings.clone(),
            getter: self.getter.clone(),
            pod: pod.clone(),
            changes: self.changes.clone(),
            stop: stop.subscribe(),
        };
        Handle { pod, stop, task: tokio::spawn(supervisor.run()) }
    }
}

/// Five letters, as Kubernetes appends to the names of pods.
fn suffix(mut random: u64) -> String {
    let base = ALPHABET.len() as u64;
    (0..5)
        .map(|_| {
            let index = usize::try_from(random % base).unwrap_or_default();
            random /= base;
            char::from(ALPHABET[index])
        })
        .collect()
}
