//! The fields of Kubernetes' Go types. `interop/kube-apiserver/schemas` writes these files.

#[rustfmt::skip]
pub(crate) mod apps;
#[rustfmt::skip]
pub(crate) mod authentication;
#[rustfmt::skip]
pub(crate) mod authorization;
#[rustfmt::skip]
pub(crate) mod coordination;
#[rustfmt::skip]
pub(crate) mod core;
#[rustfmt::skip]
pub(crate) mod discovery;
#[rustfmt::skip]
pub(crate) mod events;
#[rustfmt::skip]
pub(crate) mod flowcontrol;
#[rustfmt::skip]
pub(crate) mod meta;
#[rustfmt::skip]
pub(crate) mod networking;
#[rustfmt::skip]
pub(crate) mod policy;
#[rustfmt::skip]
pub(crate) mod rbac;
