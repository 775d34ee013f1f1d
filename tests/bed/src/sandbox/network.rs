//! The network of the namespace: loopback, and all pod addresses.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use rtnetlink::{
    LinkUnspec, RouteMessageBuilder, new_connection,
    packet_route::route::{RouteScope, RouteType},
};

/// Loopback has this index in every network namespace.
const LOOPBACK: u32 = 1;
/// The kernel's routing table of addresses that are its own (`RT_TABLE_LOCAL`).
const TABLE_LOCAL: u32 = 255;
/// The network of pods. All of it is local, so a pod's process just binds its address.
const PODS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 244, 0, 0), 16);

/// Brings loopback up and tells the kernel that the pod network is on this machine.
pub(super) fn set_up() -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime for netlink")?
        .block_on(async {
            let (connection, handle, _) = new_connection().context("open netlink")?;
            let connection = tokio::spawn(connection);
            let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
            handle.link().set(up).execute().await.context("bring loopback up")?;
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(PODS.0, PODS.1)
                .output_interface(LOOPBACK)
                .kind(RouteType::Local)
                .scope(RouteScope::Host)
                .table_id(TABLE_LOCAL)
                .build();
            handle.route().add(route).execute().await.context("add the route to pods")?;
            connection.abort();
            Ok(())
        })
}
