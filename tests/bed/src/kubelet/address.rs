//! Addresses of pods and nodes. The kernel takes the whole range as its own, so that an address
//! needs no setup.

use std::sync::atomic::{AtomicU32, Ordering};

/// Third numbers below this one belong to pods; the last one belongs to the nodes.
const NODES: u32 = 255;

/// Hosts per third number: 1 to 254.
const HOSTS: u32 = 254;

/// Gives every pod an address that no other pod of this run had.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pods: AtomicU32,
    nodes: AtomicU32,
}

impl Addresses {
    /// The next address for a pod; `None`: all have been given away.
    pub(super) fn pod(&self) -> Option<String> {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let third = number / HOSTS;
        (third < NODES).then(|| format!("10.244.{third}.{}", number % HOSTS + 1))
    }

    /// The next address for a node; `None`: all have been given away.
    pub(super) fn node(&self) -> Option<String> {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        (number < HOSTS).then(|| format!("10.244.{NODES}.{}", number + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_address_is_given_twice_and_then_there_is_none() {
        let addresses = Addresses::default();
        let nodes: BTreeSet<String> = std::iter::from_fn(|| addresses.node()).collect();
        let pods: BTreeSet<String> = std::iter::from_fn(|| addresses.pod()).collect();
        assert_eq!((nodes.len(), pods.len()), (254, 255 * 254));
        assert!(nodes.is_disjoint(&pods));
        assert_eq!(addresses.pod(), None);
    }
}
