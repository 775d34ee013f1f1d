//! Probes: what they ask, and what their answers come to. Pure; the asking is in
//! [`super::probing`].

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// One kind of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    /// As events name it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The container's probe of this kind, when it has one.
    pub(super) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// When a probe asks, and how many answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
}

impl Timing {
    /// The API server writes the defaults; they are repeated for pods that never met one.
    pub(super) fn of(probe: &Probe) -> Self {
        let number = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        let seconds = |value, default| Duration::from_secs(number(value, default).into());
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: number(probe.success_threshold, 1),
            failure_threshold: number(probe.failure_threshold, 3),
        }
    }
}

/// Counts answers in a row until they count.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    last: Option<bool>,
    run: u32,
}

impl Counter {
    /// Takes one answer; says the result once enough answers in a row agree.
    pub(super) fn take(&mut self, timing: &Timing, success: bool) -> Option<bool> {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let needed = if success { timing.success_threshold } else { timing.failure_threshold };
        (self.run >= needed).then_some(success)
    }
}

/// A port by its number or by its name in the container.
pub(super) fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("invalid port: {port:?}"))
}

/// The target of a request: a path with a slash in front.
pub(super) fn path(get: &HTTPGetAction) -> String {
    let path = get.path.as_deref().unwrap_or_default();
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn timing(probe: Value) -> Timing {
        Timing::of(&serde_json::from_value(probe).unwrap())
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let timing = timing(json!({}));
        assert_eq!(timing.initial_delay, Duration::ZERO);
        assert_eq!((timing.period.as_secs(), timing.timeout.as_secs()), (10, 1));
        assert_eq!((timing.success_threshold, timing.failure_threshold), (1, 3));
    }

    #[test]
    fn only_enough_answers_in_a_row_count() {
        let timing = timing(json!({"failureThreshold": 3, "successThreshold": 2}));
        let mut counter = Counter::default();
        let answers = [true, true, false, false, true, false, false, false, false];
        let results = answers.map(|answer| counter.take(&timing, answer));
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(results, [None, yes, None, None, None, None, None, no, no]);
    }

    #[test]
    fn a_port_is_a_number_or_a_name() {
        let container: Container = serde_json::from_value(json!({
            "name": "web", "ports": [{"name": "http", "containerPort": 8080}],
        }))
        .unwrap();
        assert_eq!(port(&container, &IntOrString::Int(9000)), Ok(9000));
        assert_eq!(port(&container, &IntOrString::String("http".to_owned())), Ok(8080));
        assert!(port(&container, &IntOrString::String("grpc".to_owned())).is_err());
        assert!(port(&container, &IntOrString::Int(0)).is_err());
    }
}
