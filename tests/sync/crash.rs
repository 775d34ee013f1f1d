//! A sync that ends between any two writes: the inventory loses nothing, and the next one ends
//! where an undisturbed one ends.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::Value;
use tidegate::sync::object::ObjectRef;
use tidegate::sync::{Checkout, LocalCluster, Target, sync_once};

use super::fake_api::FakeApi;
use super::support::{checkout, config_map, deployment, inventory_of, reference, settings, sync};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";

/// First revision: a, b and a Deployment. Second: b changed, c and d new, a gone.
fn revisions() -> (Checkout, Checkout) {
    let (a, b) = (config_map("a", "1"), config_map("b", "1"));
    let (b2, c, d) = (config_map("b", "2"), config_map("c", "1"), config_map("d", "1"));
    let (web, web2) = (deployment("app:1"), deployment("app:2"));
    let first = [("n.yaml", NAMESPACE), ("a.yaml", &a), ("b.yaml", &b), ("web.yaml", web.as_str())];
    let second = [
        ("n.yaml", NAMESPACE),
        ("b.yaml", &b2),
        ("c.yaml", &c),
        ("d.yaml", &d),
        ("web.yaml", web2.as_str()),
    ];
    (checkout("r1", &first), checkout("r2", &second))
}

/// Everything in the cluster but the namespace and the inventory itself must be listed in it.
fn check_nothing_is_lost(cluster: &LocalCluster, when: &str) {
    let inventory = cluster.get(&reference("ConfigMap", "tidegate-sync-shop"));
    let listed = inventory_of(inventory.as_ref());
    for object in cluster.all() {
        let name = ObjectRef::of(&object).unwrap();
        if name.kind != "Namespace" && name.name != "tidegate-sync-shop" {
            assert!(listed.contains(&name.id()), "{when}: {name} is not in the inventory");
        }
    }
}

/// The objects without versions, which count the writes on the way.
fn content(cluster: &LocalCluster) -> Vec<Value> {
    let mut objects = cluster.all();
    for object in &mut objects {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for name in ["resourceVersion", "uid", "generation"] {
            metadata.remove(name);
        }
    }
    objects
}

async fn undisturbed() -> (Vec<Value>, u64, u64) {
    let cluster = LocalCluster::new();
    let target = Target::Local(cluster.clone());
    let (first, second) = revisions();
    let _ = sync(&target, &first).await;
    let writes_of_first = cluster.version();
    let _ = sync(&target, &second).await;
    (content(&cluster), writes_of_first, cluster.version() - writes_of_first)
}

#[tokio::test]
async fn an_api_server_that_goes_away_after_any_write_leaves_nothing_unknown() {
    let (expected, writes_of_first, writes_of_second) = undisturbed().await;
    let (first, second) = revisions();
    // `die_after` counts requests that write, of which an apply without a change is one too.
    for k in 0..=usize::try_from(writes_of_first + writes_of_second).unwrap() + 4 {
        let api = FakeApi::default();
        let target = api.target();
        for (revision, checkout) in [("r1", &first), ("r2", &second)] {
            let when = format!("{revision}, cut after {k}");
            api.die_after(Some(k));
            let _ = sync_once(checkout, &target, &settings()).await;
            check_nothing_is_lost(&api.cluster, &when);
            api.die_after(None);
            assert!(sync(&target, checkout).await.is_complete(), "{when}");
            check_nothing_is_lost(&api.cluster, &when);
        }
        assert_eq!(content(&api.cluster), expected, "cut after {k}");
        let version = api.cluster.version();
        let _ = sync(&target, &second).await;
        assert_eq!(api.cluster.version(), version, "and then nothing is written");
    }
}

#[test]
fn a_process_that_ends_after_any_write_leaves_nothing_unknown() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (expected, writes_of_first, writes_of_second) = runtime.block_on(undisturbed());
    let (first, second) = revisions();
    let total = writes_of_first + writes_of_second;
    let mut cuts = 0;
    for k in 1..=total {
        let cluster = LocalCluster::new();
        let target = Target::Local(cluster.clone());
        let next = if k <= writes_of_first { &first } else { &second };
        if k > writes_of_first {
            let _ = runtime.block_on(sync(&target, &first));
        }
        // The local target gives way after each write: dropping there is the end of the process.
        runtime.block_on(async {
            let settings = settings();
            let mut run = pin!(sync_once(next, &target, &settings));
            let mut context = Context::from_waker(Waker::noop());
            while cluster.version() < k {
                assert!(matches!(run.as_mut().poll(&mut context), Poll::Pending), "ended early");
            }
            cuts += 1;
        });
        assert_eq!(cluster.version(), k, "exactly so many writes");
        check_nothing_is_lost(&cluster, &format!("after write {k}"));
        let _ = runtime.block_on(sync(&target, next));
        let _ = runtime.block_on(sync(&target, &second));
        assert_eq!(content(&cluster), expected, "after write {k}");
    }
    assert_eq!(cuts, total);
}
