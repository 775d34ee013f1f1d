//! Events about pods, for people. None of them is worth waiting for.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _};
use tokio::sync::mpsc;

/// Events that may wait to be written; more are dropped.
const QUEUE: usize = 1000;

/// The API server takes notes of up to 1 kB.
const NOTE: usize = 1000;

/// The API server takes actions of up to 128 bytes.
const ACTION: usize = 120;

/// Where events go.
#[derive(Clone, Debug)]
pub(super) struct Events(mpsc::Sender<(ObjectReference, Event)>);

impl Events {
    /// The way in, and the task that writes what comes through it.
    pub(super) fn new(kube: Client, node: &str) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, mut receiver) = mpsc::channel::<(ObjectReference, Event)>(QUEUE);
        let reporter = Reporter { controller: "kubelet".into(), instance: Some(node.into()) };
        let recorder = Recorder::new(kube, reporter);
        let writing = async move {
            while let Some((about, event)) = receiver.recv().await {
                // The namespace may be gone; an event is not worth a second try.
                let _ = recorder.publish(&event, &about).await;
            }
        };
        (Self(sender), writing)
    }

    /// Something went as it should.
    pub(super) fn normal(&self, pod: &Pod, reason: &str, note: &str) {
        self.send(pod, EventType::Normal, reason, note);
    }

    /// Something that people should know.
    pub(super) fn warning(&self, pod: &Pod, reason: &str, note: &str) {
        self.send(pod, EventType::Warning, reason, note);
    }

    fn send(&self, pod: &Pod, type_: EventType, reason: &str, note: &str) {
        // Events with the same reason and action become one series: what is done to whom belongs
        // to the action, or the second container's start would hide behind the first's.
        let action = format!("{reason}: {note}").chars().take(ACTION).collect();
        let note = Some(note.chars().take(NOTE).collect());
        let event = Event { type_, reason: reason.to_owned(), note, action, secondary: None };
        let _ = self.0.try_send((pod.object_ref(&()), event));
    }
}
