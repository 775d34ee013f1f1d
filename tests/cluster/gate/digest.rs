//! A webhook behind the gate that puts digests in the place of tags, as many clusters have one.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use axum::body::Bytes;
use axum::http::{Request, Response};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tidegate::kubernetes::{Kind, json as read};
use tidegate_testbed::world::{World, apply, eventually};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::SOON;
use super::stand::{Stand, Who, remove};

/// It must come after `gate.tidegate.dev`: the API server asks in the order of names.
const NAME: &str = "later.tidegate.test";

/// Image tags resolve to this digest now.
type Digest = Arc<AtomicU32>;

fn resolved(review: &Value, digest: u32) -> Value {
    let pointer = "/spec/template/spec/containers/0/image";
    let image = review["request"]["object"].pointer(pointer).and_then(Value::as_str);
    let tag = image.and_then(|image| image.split('@').next()).unwrap_or_default();
    let patch =
        json!([{"op": "replace", "path": pointer, "value": format!("{tag}@sha256:{digest}")}]);
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
        "uid": review["request"]["uid"], "allowed": true,
        "patchType": "JSONPatch", "patch": ByteString(patch.to_string().into_bytes()),
    }})
}

async fn serve(listener: TcpListener, server: Arc<ServerConfig>, digest: Digest) {
    while let Ok((stream, _)) = listener.accept().await {
        let (server, digest) = (server.clone(), digest.clone());
        tokio::spawn(async move {
            let Ok(stream) = TlsAcceptor::from(server).accept(stream).await else { return };
            let service = service_fn(|request: Request<Incoming>| async {
                let body = request.into_body().collect().await.map(Collected::to_bytes);
                let review = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
                let answer = resolved(&review.unwrap_or_default(), digest.load(Ordering::SeqCst));
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer.to_string())))
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Git has tags, the stored object digests.
pub(super) async fn images_by_digest(world: &World) -> Result<()> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let digest = Digest::new(AtomicU32::new(1));
    let task = tokio::spawn(serve(listener, Arc::new(server), digest.clone()));
    let bundle = serde_json::to_value(ByteString(cert.pem().into_bytes()))?;
    let stand = Stand::new(world, "gate-digest").await?;
    let yaml = format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {{name: {NAME}}}
webhooks:
- name: {NAME}
  admissionReviewVersions: [v1]
  sideEffects: None
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}
  clientConfig: {{url: 'https://127.0.0.1:{port}/', caBundle: {}}}
  rules:
  - {{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}}
",
        stand.namespace,
        bundle.as_str().context("base64")?,
    );
    apply(&world.kube(), &yaml, None).await?;
    let told = told(&stand, &digest).await;
    task.abort();
    remove(world, Kind::MutatingWebhookConfiguration, NAME).await?;
    told
}

async fn told(stand: &Stand, digest: &Digest) -> Result<()> {
    stand.deployment("v1").await?;
    let git = stand.of_git(Kind::Deployment, "v1");
    let image = |object: &Value| {
        let image = object.pointer("/spec/template/spec/containers/0/image").cloned();
        image.unwrap_or_default()
    };
    // It settles: the webhook is in force, and its template is released.
    let settled = eventually("digests are in force", SOON, async || {
        stand.apply(Who::Engine, Kind::Deployment, &git).await?;
        let live = stand.pause(Who::Controller, false).await?;
        Ok((image(&live) == "web:v1@sha256:1").then_some(live))
    })
    .await?;
    let again = stand.apply(Who::Engine, Kind::Deployment, &git).await?;
    ensure!(!read::is_paused(&again), "the same from Git closes no gate");
    let generation = "/metadata/generation";
    ensure!(read::number(&again, generation) == read::number(&settled, generation));
    digest.store(2, Ordering::SeqCst);
    let note = json!({"metadata": {"annotations": {"note": "1"}}});
    let moved = stand.patch(Who::Person, Kind::Deployment, "web", &note).await?;
    ensure!(image(&moved) == "web:v1@sha256:2", "{}", image(&moved));
    ensure!(read::is_paused(&moved), "a template that only a webhook changed is gated");
    Ok(())
}
