//! One container: its image, its configuration, its process, its restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret};
use kube::ResourceExt as _;
use kube::api::Api;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::backoff::{BackOff, go_duration};
use super::env::{self, Addresses, Invocation, Sources, Wanted};
use super::handle::Handle;
use super::image::{self, Pull};
use super::record::{ContainerRecord, Role, Terminated};
use super::status::{restart_policy, restarts};

/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const REFUSED: Duration = Duration::from_secs(1);

/// Runs one container of a pod.
pub(super) struct Runner {
    pub(super) pod: Arc<Handle>,
    /// Its place in the pod's record.
    pub(super) index: usize,
    pub(super) spec: Container,
    pub(super) role: Role,
    pub(super) address: String,
    /// When its process must have ended, once it is to stop.
    pub(super) stop: watch::Receiver<Option<Instant>>,
}

/// Why a container cannot be started now.
enum Obstacle {
    Image(String),
    Config(String),
}

impl Runner {
    /// Ends when the container has ended for good or was told to stop.
    pub(super) async fn run(self) {
        let mut backoff = BackOff::new(self.pod.host.back_off);
        let mut pulled = false;
        let mut attempt = 0;
        loop {
            let invocation = tokio::select! {
                biased;
                () = self.stopped() => break,
                invocation = self.prepare(&mut pulled) => invocation,
            };
            let end = self.live(&invocation, attempt).await;
            let failed = Instant::now();
            let code = end.exit_code;
            self.update(|container| {
                container.restarts = attempt;
                container.end(end);
            });
            let policy = self.pod.look();
            if self.stop.borrow().is_some() || !restarts(restart_policy(&policy), self.role, code) {
                break;
            }
            if let Some(wait) = backoff.wait(failed) {
                self.show_crash_loop(wait);
                tokio::select! {
                    biased;
                    () = self.stopped() => break,
                    () = sleep(wait) => {}
                }
            }
            backoff.next(failed);
            attempt += 1;
        }
        self.update(ContainerRecord::give_up);
    }

    /// Resolves when the container is to stop.
    pub(super) async fn stopped(&self) {
        let _ = self.stop.clone().wait_for(Option::is_some).await;
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut ContainerRecord)) {
        self.pod.update(|record| change(&mut record.containers[self.index]));
    }

    pub(super) fn normal(&self, reason: &str, note: &str) {
        self.pod.host.events.normal(&self.pod.look(), reason, note);
    }

    pub(super) fn warning(&self, reason: &str, note: &str) {
        self.pod.host.events.warning(&self.pod.look(), reason, note);
    }

    fn show_crash_loop(&self, wait: Duration) {
        let pod = self.pod.look();
        let (name, container) = (pod.name_any(), &self.spec.name);
        let namespace = pod.namespace().unwrap_or_default();
        let full = format!("{name}_{namespace}({})", pod.uid().unwrap_or_default());
        let wait = go_duration(wait);
        let message = format!("back-off {wait} restarting failed container={container} pod={full}");
        self.update(|container| container.wait("CrashLoopBackOff", Some(message)));
        self.warning(
            "BackOff",
            &format!("Back-off restarting failed container {container} in pod {full}"),
        );
    }

    /// Resolves when the container can be started; shows what is in the way until then.
    async fn prepare(&self, pulled: &mut bool) -> Invocation {
        let mut backoff = BackOff::new(self.pod.host.back_off);
        loop {
            let obstacle = match self.try_prepare(pulled).await {
                Ok(invocation) => return invocation,
                Err(obstacle) => obstacle,
            };
            let now = Instant::now();
            backoff.next(now);
            let wait = backoff.wait(now).unwrap_or_default();
            match obstacle {
                Obstacle::Config(message) => {
                    self.warning("Failed", &format!("Error: {message}"));
                    self.update(|it| it.wait("CreateContainerConfigError", Some(message)));
                    sleep(self.pod.host.back_off).await;
                }
                Obstacle::Image(message) => {
                    let image = self.spec.image.as_deref().unwrap_or_default();
                    self.warning("Failed", &format!("Failed to pull image \"{image}\": {message}"));
                    self.update(|it| it.wait("ErrImagePull", Some(message.clone())));
                    sleep(REFUSED.min(wait)).await;
                    let note = format!("Back-off pulling image \"{image}\"");
                    self.normal("BackOff", &note);
                    let message = format!("{note}: ErrImagePull: {message}");
                    self.update(|it| it.wait("ImagePullBackOff", Some(message)));
                    sleep(wait.saturating_sub(REFUSED)).await;
                }
            }
        }
    }

    async fn try_prepare(&self, pulled: &mut bool) -> Result<Invocation, Obstacle> {
        let host = &self.pod.host;
        let name = self.spec.image.as_deref().unwrap_or_default();
        let (image, slow) = match image::pull(&host.images, name) {
            Pull::Found(image) => (image, Duration::ZERO),
            Pull::Slow(image) => (image, host.slow_pull),
            Pull::Refused(message) => {
                self.normal("Pulling", &format!("Pulling image \"{name}\""));
                return Err(Obstacle::Image(message));
            }
        };
        if !*pulled {
            self.normal("Pulling", &format!("Pulling image \"{name}\""));
            sleep(slow).await;
            let took = go_duration(slow);
            self.normal("Pulled", &format!("Successfully pulled image \"{name}\" in {took}"));
            *pulled = true;
        }
        let sources = self.sources().await.map_err(Obstacle::Config)?;
        let addresses = Addresses { pod: &self.address, host: &host.address };
        env::invocation(&self.pod.look(), &self.spec, image, addresses, &sources)
            .map_err(Obstacle::Config)
    }

    /// Reads the objects that the environment refers to.
    async fn sources(&self) -> Result<Sources, String> {
        let namespace = self.pod.look().namespace().unwrap_or_default();
        let kube = &self.pod.host.kube;
        let mut sources = Sources::new();
        for wanted in env::wanted(&self.spec) {
            let values = match &wanted {
                Wanted::ConfigMap(name) => {
                    let api: Api<ConfigMap> = Api::namespaced(kube.clone(), &namespace);
                    let found = api.get_opt(name).await;
                    found.map(|it| it.map(|it| it.data.unwrap_or_default()))
                }
                Wanted::Secret(name) => {
                    let api: Api<Secret> = Api::namespaced(kube.clone(), &namespace);
                    api.get_opt(name).await.map(|it| it.map(texts))
                }
            };
            sources.insert(wanted, values.map_err(|error| error.to_string())?);
        }
        Ok(sources)
    }

    /// The end of a process that ran.
    pub(super) fn ended(
        &self,
        code: i32,
        started: DateTime<Utc>,
        container_id: String,
    ) -> Terminated {
        let out_of_memory = self.pod.buried(&self.spec.name);
        let reason = match (out_of_memory, code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        Terminated {
            exit_code: code,
            reason: reason.to_owned(),
            message: None,
            started_at: Some(started),
            finished_at: Utc::now(),
            container_id,
        }
    }
}

/// The values of a secret that are text; others cannot be variables.
fn texts(secret: Secret) -> BTreeMap<String, String> {
    let data = secret.data.unwrap_or_default();
    data.into_iter()
        .filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?)))
        .collect()
}
