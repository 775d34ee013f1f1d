//! The life of one process of a container: started, probed, ended in order.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::container::Runner;
use super::env::Invocation;
use super::handle::grace;
use super::probe::{Counter, Kind, Timing};
use super::probing::{Target, directory};
use super::process::{self, Process};
use super::record::{Probed, Terminated};

/// A process gets so long after `SIGTERM`, even when its preStop hook has used up the grace
/// period. As in the kubelet.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// The exit code of a container that could not be started, as containerd tells it.
const START_ERROR: i32 = 128;

impl Runner {
    /// Where the container's output goes.
    fn log(&self) -> PathBuf {
        let pod = self.pod.look();
        let namespace = pod.namespace().unwrap_or_default();
        let file = format!("{namespace}_{}_{}.log", pod.name_any(), self.spec.name);
        self.pod.host.logs.join(file)
    }

    /// One process from start to end.
    pub(super) async fn live(&self, invocation: &Invocation, attempt: u32) -> Terminated {
        let name = &self.spec.name;
        let uid = self.pod.look().uid().unwrap_or_default();
        let container_id = format!("process://{uid}/{name}/{attempt}");
        let started = Utc::now();
        let mut process = match Process::start(invocation, directory(&self.spec), &self.log()) {
            Ok(process) => process,
            Err(error) => {
                let program = invocation.argv.first().map(String::as_str).unwrap_or_default();
                let message = process::start_message(program, &error);
                self.warning("Failed", &format!("Error: {message}"));
                return Terminated {
                    exit_code: START_ERROR,
                    reason: "StartError".to_owned(),
                    message: Some(message),
                    started_at: None,
                    finished_at: started,
                    container_id,
                };
            }
        };
        if let Some(group) = process.id() {
            self.pod.born(name, group);
        }
        let probed = Probed {
            startup: self.spec.startup_probe.is_some(),
            readiness: self.spec.readiness_probe.is_some(),
        };
        self.update(|container| {
            container.restarts = attempt;
            container.run(started, container_id.clone(), probed);
        });
        self.normal("Started", &format!("Started container {name}"));
        let code = self.watch(&mut process, invocation).await;
        self.ended(code, started, container_id)
    }

    /// Probes the process until it has ended; ends it when it has to. Answers its exit code.
    async fn watch(&self, process: &mut Process, invocation: &Invocation) -> i32 {
        let target = Target {
            container: &self.spec,
            address: &self.address,
            invocation,
            since: Instant::now(),
        };
        let started = watch::Sender::new(self.spec.startup_probe.is_none());
        let readiness = self.readiness(target, started.subscribe());
        let health = self.health(target, &started);
        tokio::pin!(readiness, health);
        let unhealthy = tokio::select! {
            biased;
            code = code(process) => return code,
            () = self.stopped() => None,
            kind = &mut health => Some(kind),
            never = &mut readiness => match never {},
        };
        let deadline = unhealthy.map(|kind| {
            let note = format!(
                "Container {} failed {} probe, will be restarted",
                self.spec.name,
                kind.title().to_lowercase()
            );
            self.normal("Killing", &note);
            let own = kind.of(&self.spec).and_then(|it| it.termination_grace_period_seconds);
            let own = own.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
            Instant::now() + own.unwrap_or_else(|| grace(&self.pod.look()))
        });
        if unhealthy.is_none() {
            self.normal("Killing", &format!("Stopping container {}", self.spec.name));
        }
        // A pod that is stopping is probed for readiness to its end: that is what an
        // EndpointSlice calls serving.
        tokio::select! {
            code = self.terminate(process, target, deadline) => code,
            never = &mut readiness => match never {},
        }
    }

    /// Startup probe, then liveness probe. Resolves with the one that failed.
    async fn health(&self, target: Target<'_>, started: &watch::Sender<bool>) -> Kind {
        if !*started.borrow() {
            let mut probe = Prober::new(self, target, Kind::Startup);
            loop {
                match probe.next().await {
                    Some(true) => break,
                    Some(false) => return Kind::Startup,
                    None => {}
                }
            }
            self.update(|container| {
                container.started = true;
                container.ready = self.spec.readiness_probe.is_none();
            });
            started.send_replace(true);
        }
        let mut probe = Prober::new(self, target, Kind::Liveness);
        while probe.next().await != Some(false) {}
        Kind::Liveness
    }

    /// Readiness probe, for ever, once the container has started.
    async fn readiness(
        &self,
        target: Target<'_>,
        mut started: watch::Receiver<bool>,
    ) -> Infallible {
        let _ = started.wait_for(|started| *started).await;
        let mut probe = Prober::new(self, target, Kind::Readiness);
        loop {
            if let Some(ready) = probe.next().await {
                self.update(|container| container.ready = ready);
            }
        }
    }

    /// Hook, `SIGTERM`, `SIGKILL`. Without a deadline of its own it is that of the pod.
    async fn terminate(
        &self,
        process: &mut Process,
        target: Target<'_>,
        own: Option<Instant>,
    ) -> i32 {
        tokio::select! {
            code = code(process) => return code,
            () = self.pre_stop(target) => {}
            () = self.expired(own) => {}
        }
        process.terminate();
        let least = Instant::now() + LEAST_GRACE;
        tokio::select! {
            code = code(process) => return code,
            () = async {
                self.expired(own).await;
                // A pod deleted with a grace period of a second gets just that.
                if self.spec.lifecycle.as_ref().is_some_and(|it| it.pre_stop.is_some()) {
                    sleep_until(least).await;
                }
            } => {}
        }
        process.kill();
        code(process).await
    }

    /// Resolves at the earlier deadline: the container's own or the pod's, which may come nearer.
    async fn expired(&self, own: Option<Instant>) {
        let mut stop = self.stop.clone();
        loop {
            let pods = *stop.borrow_and_update();
            let deadline = own.into_iter().chain(pods).min();
            tokio::select! {
                () = async {
                    match deadline {
                        Some(deadline) => sleep_until(deadline).await,
                        None => std::future::pending().await,
                    }
                } => return,
                Ok(()) = stop.changed() => {}
                else => return,
            }
        }
    }

    async fn pre_stop(&self, target: Target<'_>) {
        let hook = self.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let Some(hook) = hook else { return };
        // The deadline of the pod ends a hook that takes too long.
        let done = if let Some(exec) = &hook.exec {
            target.run(exec.command.as_deref().unwrap_or_default(), Duration::MAX).await
        } else if let Some(get) = &hook.http_get {
            target.get(get, Duration::MAX).await.map(drop)
        } else if let Some(pause) = &hook.sleep {
            sleep(Duration::from_secs(u64::try_from(pause.seconds).unwrap_or(0))).await;
            Ok(())
        } else {
            Ok(())
        };
        if let Err(message) = done {
            self.warning("FailedPreStopHook", &format!("PreStopHook failed: {message}"));
        }
    }
}

/// Waits for the end of a process and tells its exit code.
async fn code(process: &mut Process) -> i32 {
    match process.wait().await {
        Ok(status) => process::exit_code(status),
        // Somebody else has waited for it: nothing is known but that it is gone.
        Err(_) => 255,
    }
}

/// Asks again and again.
struct Prober<'a> {
    runner: &'a Runner,
    target: Target<'a>,
    kind: Kind,
    counter: Counter,
    ticks: Option<tokio::time::Interval>,
}

impl<'a> Prober<'a> {
    fn new(runner: &'a Runner, target: Target<'a>, kind: Kind) -> Self {
        Self { runner, target, kind, counter: Counter::default(), ticks: None }
    }

    /// The result after one more answer; `None`: not enough answers agree. Never resolves when
    /// the container has no such probe.
    async fn next(&mut self) -> Option<bool> {
        let Some(probe) = self.kind.of(self.target.container) else {
            return std::future::pending().await;
        };
        let timing = Timing::of(probe);
        if self.ticks.is_none() {
            sleep_until(self.target.since + timing.initial_delay).await;
        }
        let ticks = self.ticks.get_or_insert_with(|| {
            let mut ticks = interval(timing.period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        ticks.tick().await;
        let answer = self.target.ask(probe, timing.timeout).await;
        if let Err(message) = &answer {
            let note = format!("{} probe failed: {message}", self.kind.title());
            self.runner.warning("Unhealthy", &note);
        }
        self.counter.take(&timing, answer.is_ok())
    }
}
