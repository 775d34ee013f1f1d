//! Effects, carried out on the local cluster. No policy in here: an effect names an end, and this
//! is how the end is reached.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use tidegate_engine::effect::{Effect, RevertOrder, RevertOutcome};
use tidegate_engine::plan::Weight;
use tidegate_engine::state::Revision;

use super::objects::{
    self, CANARY, NAME, NAMESPACE, REVISION_LABEL, deployment_ref, route_ref, service_ref,
};
use super::{Local, LocalError, Set};
use crate::git::{self, Author};
use crate::kubernetes::revision_of;
use crate::sync::{CONTROLLER, HELD_LABEL, ObjectRef, ROLLOUT_LABEL};

impl Local {
    /// Makes one end true, or begins to.
    pub fn act(&mut self, effect: &Effect) -> Result<(), LocalError> {
        match effect {
            Effect::Settle { keep } => {
                let others: Vec<_> =
                    self.sets.keys().filter(|revision| *revision != keep).cloned().collect();
                for revision in others {
                    self.leave(&revision);
                }
                Ok(())
            }
            Effect::Hold => self.hold(true),
            Effect::Pin { revision } => self.pin(Some(revision)),
            Effect::Unpin => self.pin(None),
            Effect::Raise { revision, replicas } => self.raise(revision, *replicas),
            Effect::Route { weight } => self.split(*weight),
            Effect::RouteHome => self.route_home(),
            Effect::HandOver { revision, .. } => {
                self.hand_over(revision);
                Ok(())
            }
            Effect::Retire { revision } => {
                self.leave(revision);
                self.api.delete(&service_ref(CANARY), None)?;
                Ok(())
            }
            Effect::Restore { revision, over } => self.restore(revision, over),
            Effect::Unpause { revision } => self.unpause(revision),
            Effect::Revert(order) => {
                self.revert_in_background(order);
                Ok(())
            }
            Effect::Release => self.release(),
            Effect::RunGate(_) => Ok(()), // the demo's plan has no gates
            Effect::Announce(notice) => {
                // People read the view and the log; there is nobody else to tell here.
                self.delivered.push(notice.id);
                Ok(())
            }
        }
    }

    fn patch(&self, object: &ObjectRef, patch: &Value) -> Result<(), LocalError> {
        let live = self.api.get(object);
        let version = live
            .as_ref()
            .and_then(|live| live.pointer("/metadata/resourceVersion"))
            .and_then(Value::as_str);
        let _stored = self.api.patch(object, CONTROLLER, patch, version)?;
        Ok(())
    }

    /// Puts our label on the Deployment: from here on the gate closes with each new template.
    pub fn watch_over(&self) -> Result<(), LocalError> {
        let Some(deployment) = objects::deployment(&self.api) else { return Ok(()) };
        if objects::label(&deployment, ROLLOUT_LABEL).is_none() {
            self.patch(&deployment_ref(), &json!({"metadata": {"labels": {ROLLOUT_LABEL: NAME}}}))?;
        }
        Ok(())
    }

    fn hold(&self, held: bool) -> Result<(), LocalError> {
        let value = if held { json!(NAME) } else { Value::Null };
        let patch = json!({"metadata": {"labels": {HELD_LABEL: value}}});
        self.patch(&service_ref(NAME), &patch)?;
        self.patch(&route_ref(), &patch)
    }

    fn pin(&self, revision: Option<&Revision>) -> Result<(), LocalError> {
        let value = revision.map_or(Value::Null, |revision| json!(revision.as_str()));
        let patch = json!({"spec": {"selector": {REVISION_LABEL: value}}});
        self.patch(&service_ref(NAME), &patch)
    }

    /// The canary's Service first: a route must never name one that is not there.
    fn raise(&mut self, revision: &Revision, replicas: u32) -> Result<(), LocalError> {
        if objects::canary_service(&self.api).is_none() {
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": CANARY, "namespace": NAMESPACE},
                "spec": {"selector": {"app": NAME, REVISION_LABEL: revision.as_str()}},
            });
            let _stored = self.api.apply(&service, CONTROLLER, true)?;
        }
        if let Some(set) = self.sets.get_mut(revision) {
            set.replicas = replicas;
            return Ok(());
        }
        let Some(deployment) = objects::deployment(&self.api) else { return Ok(()) };
        let template = objects::template(&deployment)?;
        if revision_of(&template) == *revision {
            self.sets.insert(revision.clone(), Set { template, replicas, owned: false });
        }
        Ok(())
    }

    fn split(&self, weight: Weight) -> Result<(), LocalError> {
        let canary = weight.percent();
        let backends = json!([
            {"name": NAME, "port": 80, "weight": 100 - canary},
            {"name": CANARY, "port": 80, "weight": canary},
        ]);
        self.patch(&route_ref(), &json!({"spec": {"rules": [{"backendRefs": backends}]}}))
    }

    fn route_home(&self) -> Result<(), LocalError> {
        let backends = json!([{"name": NAME, "port": 80}]);
        self.patch(&route_ref(), &json!({"spec": {"rules": [{"backendRefs": backends}]}}))
    }

    /// The Deployment takes the tested pods if they are all there and its template is theirs.
    fn hand_over(&mut self, revision: &Revision) {
        let Some(deployment) = objects::deployment(&self.api) else { return };
        let wanted = objects::replicas(&deployment);
        let ready = self.status(revision).ready;
        let is_theirs = objects::template(&deployment)
            .is_ok_and(|template| revision_of(&template) == *revision);
        if ready >= wanted
            && is_theirs
            && let Some(set) = self.sets.get_mut(revision)
        {
            set.owned = true;
            self.adopted = Some(revision.clone());
        }
    }

    /// Only over the template it was decided on: somebody may have been faster.
    fn restore(&self, revision: &Revision, over: &Revision) -> Result<(), LocalError> {
        let Some(set) = self.sets.get(revision) else {
            return Err(LocalError::Object(format!("{revision} has no set to restore from")));
        };
        let Some(live) = self.deployment_with(over)? else { return Ok(()) };
        // A merge patch leaves what it does not name: the template is replaced as a whole.
        let patch = replacement(&objects::template(&live)?, &set.template);
        self.patch(&deployment_ref(), &json!({"spec": {"template": patch}}))
    }

    fn unpause(&self, revision: &Revision) -> Result<(), LocalError> {
        if self.deployment_with(revision)?.is_none() {
            return Ok(());
        }
        self.patch(&deployment_ref(), &json!({"spec": {"paused": null}}))
    }

    /// The Deployment, if its template is this revision's.
    fn deployment_with(&self, revision: &Revision) -> Result<Option<Value>, LocalError> {
        let Some(live) = objects::deployment(&self.api) else { return Ok(None) };
        let is_it = revision_of(&objects::template(&live)?) == *revision;
        Ok(is_it.then_some(live))
    }

    /// Services first, so that nothing points at pods that may go.
    fn release(&self) -> Result<(), LocalError> {
        self.pin(None)?;
        self.route_home()?;
        self.hold(false)
    }

    /// Git is slow and may be down: the turn does not wait for it. The answer is seen by a later
    /// look; an order that is asked for again while it runs is not started twice.
    fn revert_in_background(&self, order: &RevertOrder) {
        let mut revert = self.revert();
        if revert.running.is_some() {
            return;
        }
        revert.running = Some(order.trial.clone());
        drop(revert);
        let (remote, order) = (self.repository.clone(), order.clone());
        let shared = self.revert.clone();
        tokio::task::spawn_blocking(move || {
            let stop = Arc::new(AtomicBool::new(false));
            let outcome = git::revert(&remote, &order, &Author::default(), &stop)
                .unwrap_or_else(|error| RevertOutcome::Refused { message: error.to_string() });
            let mut revert = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            revert.running = None;
            revert.answer = Some((order.trial, outcome));
        });
    }
}

/// The merge patch that turns `old` into `new`: absent keys are named with null.
fn replacement(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = serde_json::Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let before = old.get(key).unwrap_or(&Value::Null);
        patch.insert(key.clone(), replacement(before, value));
    }
    Value::Object(patch)
}
