//! Who asks a Rollout for something is who writes, whatever they say; and it takes the right to what
//! is asked for.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidegate::kubernetes::{Kind, json as read};
use tidegate_testbed::world::{World, eventually};

use super::SOON;
use super::stand::{Stand, Who, refused};

const REQUEST: &str = "tidegate.dev/request";
const REQUESTED_BY: &str = "tidegate.dev/requested-by";

fn asking(request: Option<&str>, who: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {REQUEST: request, REQUESTED_BY: who}}})
}

pub(super) async fn told(world: &World) -> Result<()> {
    let stand = Stand::new(world, "gate-request").await?;
    stand.rollout().await?;
    let ask = async |who, patch: &Value| stand.patch(who, Kind::Rollout, "web", patch).await;
    let engine = format!("system:serviceaccount:{}:engine", stand.namespace);
    let abort = r#"{"what": "abort", "revision": "a1", "token": "7"}"#;
    // Each policy comes into force by itself.
    let stored = eventually("who asks is stamped", SOON, async || {
        ask(Who::Engine, &asking(None, None)).await?;
        let stored = ask(Who::Engine, &asking(Some(abort), Some("eve"))).await?;
        let who = read::annotation(&stored, REQUESTED_BY).map(str::to_owned);
        ensure!(who.as_deref() == Some(&*engine), "{who:?}");
        Ok(Some(stored))
    })
    .await?;
    ensure!(read::annotation(&stored, REQUEST) == Some(abort));
    for who in [Some("eve"), None] {
        let forged = json!({"metadata": {"annotations": {REQUESTED_BY: who}}});
        let stored = ask(Who::Person, &forged).await?;
        ensure!(read::annotation(&stored, REQUESTED_BY) == Some(&*engine), "{who:?}");
    }
    // It may change Rollouts, and ask them for nothing.
    eventually("it takes a right of its own", SOON, async || {
        let answer = ask(Who::Controller, &asking(Some("promote a1"), None)).await;
        refused(answer, "may not ask Tidegate for promote").map(Some)
    })
    .await?;
    let pause = asking(Some(r#"{"what": "pause"}"#), None);
    refused(ask(Who::Controller, &pause).await, "may not ask Tidegate for pause")?;
    let sly = r#"{"x": {"what": "pause"}, "wh\u0061t": "promote", "revision": "a1"}"#;
    for unreadable in [sly, "destroy", "promote a1 b2"] {
        let answer = ask(Who::Person, &asking(Some(unreadable), None)).await;
        refused(answer, "cannot read tidegate.dev/request")?;
    }
    let stored = ask(Who::Person, &asking(None, Some("eve"))).await?;
    ensure!(read::annotation(&stored, REQUESTED_BY).is_none(), "{}", stored["metadata"]);
    Ok(())
}
