//! What Rollouts refer to: read as lists, kept for some seconds, shared by all turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_api::{
    AnalysisTemplate, ClusterAnalysisTemplate, ConfigRepository, MetricSource, RolloutClass,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::kubernetes::{Cluster, ClusterError, Kind, json as read};
use crate::resolve;

/// How long a list may be used: an edit is seen by the look after the next one at the latest.
const FRESH: Duration = Duration::from_secs(5);

/// What Rollouts of one namespace may refer to.
#[derive(Clone, Debug, Default)]
pub(super) struct Referred {
    pub(super) common: Arc<Common>,
    pub(super) templates: Arc<Vec<AnalysisTemplate>>,
}

/// Objects of the cluster.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) classes: Vec<RolloutClass>,
    pub(super) cluster_templates: Vec<ClusterAnalysisTemplate>,
    pub(super) repositories: Vec<ConfigRepository>,
    pub(super) sources: Vec<MetricSource>,
}

impl Referred {
    /// As `resolve` wants them.
    pub(super) fn references(&self, routes_found: bool) -> resolve::References<'_> {
        resolve::References {
            classes: &self.common.classes,
            templates: &self.templates,
            cluster_templates: &self.common.cluster_templates,
            repositories: &self.common.repositories,
            sources: Some(&self.common.sources),
            routes_found,
        }
    }

    /// A repository by its name.
    pub(super) fn repository(&self, name: &str) -> Option<&ConfigRepository> {
        self.common.repositories.iter().find(|found| found.name_any() == name)
    }

    /// A metric source by its name.
    pub(super) fn source(&self, name: &str) -> Option<&MetricSource> {
        self.common.sources.iter().find(|found| found.name_any() == name)
    }
}

/// What was read, and when.
type Read<T> = (Instant, Arc<T>);

/// Reads what Rollouts refer to.
#[derive(Debug)]
pub(super) struct References {
    cluster: Cluster,
    common: Mutex<Option<Read<Common>>>,
    templates: Mutex<BTreeMap<String, Read<Vec<AnalysisTemplate>>>>,
}

impl References {
    pub(super) fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), common: Mutex::default(), templates: Mutex::default() }
    }

    /// What Rollouts of this namespace may refer to.
    pub(super) async fn of(&self, namespace: &str) -> Result<Referred, ClusterError> {
        Ok(Referred { common: self.common().await?, templates: self.templates(namespace).await? })
    }

    async fn common(&self) -> Result<Arc<Common>, ClusterError> {
        // Held while the lists are read: those who wait want the same.
        let mut kept = self.common.lock().await;
        if let Some((at, common)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(common.clone());
        }
        let (classes, templates, repositories, sources) = futures::try_join!(
            self.list(Kind::RolloutClass, None),
            self.list(Kind::ClusterAnalysisTemplate, None),
            self.list(Kind::ConfigRepository, None),
            self.list(Kind::MetricSource, None),
        )?;
        let common = Arc::new(Common {
            classes,
            cluster_templates: with_shipped(templates),
            repositories,
            sources,
        });
        *kept = Some((Instant::now(), common.clone()));
        Ok(common)
    }

    async fn templates(&self, namespace: &str) -> Result<Arc<Vec<AnalysisTemplate>>, ClusterError> {
        let mut kept = self.templates.lock().await;
        if let Some((at, templates)) = kept.get(namespace)
            && at.elapsed() < FRESH
        {
            return Ok(templates.clone());
        }
        let templates = Arc::new(self.list(Kind::AnalysisTemplate, Some(namespace)).await?);
        kept.retain(|_, (at, _)| at.elapsed() < FRESH);
        kept.insert(namespace.to_owned(), (Instant::now(), templates.clone()));
        Ok(templates)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        kind: Kind,
        namespace: Option<&str>,
    ) -> Result<Vec<T>, ClusterError> {
        let objects = self.cluster.list(kind, namespace, "").await?;
        Ok(objects.into_iter().filter_map(|object| parsed(kind, object)).collect())
    }
}

/// One object that cannot be read must not stop the others: whoever names it is told that it is
/// not there.
fn parsed<T: DeserializeOwned>(kind: Kind, object: Value) -> Option<T> {
    let name = read::name(&object).unwrap_or_default().to_owned();
    match serde_json::from_value(object) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            tracing::warn!(kind = kind.as_str(), name, %error, "an object cannot be read");
            None
        }
    }
}

/// The templates that come with the controller, where the cluster has none of the same name.
fn with_shipped(mut templates: Vec<ClusterAnalysisTemplate>) -> Vec<ClusterAnalysisTemplate> {
    for shipped in resolve::shipped().unwrap_or_default() {
        if templates.iter().all(|template| template.name_any() != shipped.name_any()) {
            templates.push(shipped);
        }
    }
    templates
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_object_that_cannot_be_read_does_not_stop_the_others() {
        let good = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutClass",
            "metadata": {"name": "standard"}, "spec": {}});
        let bad = json!({"metadata": {"name": "odd"}, "spec": {"mode": 7}});
        assert!(parsed::<RolloutClass>(Kind::RolloutClass, good).is_some());
        assert!(parsed::<RolloutClass>(Kind::RolloutClass, bad).is_none());
    }

    #[test]
    fn the_clusters_own_templates_win_over_the_shipped_ones() {
        let all = with_shipped(Vec::new());
        assert!(!all.is_empty());
        let again = with_shipped(all.clone());
        assert_eq!(again.len(), all.len());
    }
}
