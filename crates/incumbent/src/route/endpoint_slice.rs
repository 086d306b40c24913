//! An EndpointSlice that holds the leader alone.

use std::net::{IpAddr, SocketAddr};

use http::Method;
use incumbent_core::FencingToken;
use serde_json::{Value, json};

use super::marked::{Marked, Trouble};
use crate::lock_api::LockApi;

/// The slice of one Service, as one candidate writes it: with its own address while it leads, and empty
/// when its term has ended.
///
/// Each write creates the object or replaces the version that was read, and leaves the token in an
/// annotation. So one that is still on its way is refused as soon as another has been applied.
pub(super) struct Slice {
    pub(super) marked: Marked,
    slices: String,
    service: String,
    address: IpAddr,
    port: u16,
}

impl Slice {
    pub(super) fn new(
        api: LockApi,
        annotation: String,
        namespace: &str,
        service: String,
        (address, port): (IpAddr, u16),
    ) -> Self {
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let marked = Marked::new(api, annotation, RULE);
        Self { marked, slices, service, address, port }
    }

    pub(super) async fn show(&mut self, ours: FencingToken) -> Result<(), Trouble> {
        let leader = json!([{
            "addresses": [self.address.to_string()],
            "conditions": { "ready": true },
        }]);
        if let Some(seen) = self.write(ours, leader).await? {
            let slice = format!("endpointslice/{}", self.name());
            self.marked.tell_of_higher(&slice, ours, seen);
        }
        Ok(())
    }

    /// Empties it. Where there is none, it makes one: a create that is still on its way then fails.
    pub(super) async fn clear(&self, ours: FencingToken) -> Result<(), Trouble> {
        // That the next leader has been there already is as it should be.
        self.write(ours, json!([])).await.map(drop)
    }

    /// Leaves it alone where it shows a higher token, and returns that.
    async fn write(
        &self,
        ours: FencingToken,
        endpoints: Value,
    ) -> Result<Option<FencingToken>, Trouble> {
        let path = format!("{}/{}", self.slices, self.name());
        let seen = self.marked.read(&path).await?;
        let Some(mut slice) = seen else {
            let slice = self.create(ours, endpoints);
            return self.send((Method::POST, &self.slices), &slice).await.map(|()| None);
        };
        if slice["metadata"]["labels"][MANAGED_BY] != MANAGER {
            return Err(self.foreign("another program manages it"));
        }
        if slice["addressType"] != self.address_type() {
            return Err(self.foreign("its addresses are of another type"));
        }
        let seen = self.marked.token(&slice);
        let seen = seen.map_err(|error| error.on(&format!("endpointslice/{}", self.name())))?;
        if seen.is_some_and(|seen| seen > ours) {
            return Ok(seen);
        }
        if seen == Some(ours) && addresses(&slice["endpoints"]) == addresses(&endpoints) {
            return Ok(None);
        }
        if !slice["metadata"]["annotations"].is_object() {
            slice["metadata"]["annotations"] = json!({});
        }
        slice["metadata"]["annotations"][self.marked.annotation()] = ours.to_string().into();
        slice["endpoints"] = endpoints;
        slice["ports"] = self.ports();
        self.send((Method::PUT, &path), &slice).await.map(|()| None)
    }

    fn create(&self, ours: FencingToken, endpoints: Value) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.name(),
                "labels": { "kubernetes.io/service-name": self.service, MANAGED_BY: MANAGER },
                "annotations": { self.marked.annotation(): ours.to_string() },
            },
            "addressType": self.address_type(),
            "endpoints": endpoints,
            "ports": self.ports(),
        })
    }

    fn name(&self) -> String {
        format!("{}-leader", self.service)
    }

    fn address_type(&self) -> &'static str {
        if self.address.is_ipv4() { "IPv4" } else { "IPv6" }
    }

    /// Without a name, as the one port of a Service may be.
    fn ports(&self) -> Value {
        json!([{ "name": "", "port": self.port, "protocol": "TCP" }])
    }

    fn foreign(&self, why: &str) -> Trouble {
        let message = format!("endpointslice/{} is left alone: {why}", self.name());
        Trouble { message, hint: "delete it, or choose another Service", is_race: false }
    }

    async fn send(&self, to: (Method, &str), slice: &Value) -> Result<(), Trouble> {
        let places = [0, 1].map(|number| format!("/endpoints/{number}/addresses"));
        self.marked.write(to, slice, &places).await
    }
}

fn addresses(endpoints: &Value) -> Vec<&Value> {
    endpoints.as_array().into_iter().flatten().map(|endpoint| &endpoint["addresses"]).collect()
}

/// The IP address of `10.0.0.7`, `10.0.0.7:8080` or `[fd00::7]:8080`.
pub(super) fn ip(address: &str) -> Option<IpAddr> {
    let with_port = || address.parse::<SocketAddr>().map(|address| address.ip());
    address.parse().or_else(|_| with_port()).ok()
}

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "incumbent.dev";
const RULE: &str = "the account needs the verbs get, create and update on endpointslices";
