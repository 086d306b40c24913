//! The fields of Kubernetes' Go types, of which interop/kube-apiserver/schemas makes these files.

#[rustfmt::skip]
pub(crate) mod apps;
#[rustfmt::skip]
pub(crate) mod core;
#[rustfmt::skip]
pub(crate) mod flowcontrol;
#[rustfmt::skip]
pub(crate) mod meta;
#[rustfmt::skip]
pub(crate) mod networking;
#[rustfmt::skip]
pub(crate) mod policy;
