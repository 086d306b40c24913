//! Impersonation, as by `kubectl --as`: a user acts as another one, if a rule allows it.

use super::{Call, World, require};
use crate::auth::{AUTHENTICATED, SERVICE_ACCOUNTS, UNAUTHENTICATED, User};
use crate::request::ResourcePath;
use crate::status::Status;

/// Replaces the user of a call by the impersonated one.
pub(super) fn impersonate(world: &World, call: &mut Call) -> Result<(), Status> {
    let wanted = &call.impersonation;
    if wanted.user.is_empty() {
        return match wanted.groups.is_empty() && wanted.uid.is_empty() {
            true => Ok(()),
            false => Err(Status::raw("requested groups or a uid without impersonating a user")),
        };
    }
    let may = |group: &str, plural: &str, namespace: &str, name: &str| {
        let path = ResourcePath {
            group: group.to_owned(),
            namespace: namespace.to_owned(),
            plural: plural.to_owned(),
            name: name.to_owned(),
            ..ResourcePath::default()
        };
        require(world, &call.user, "impersonate", &path, name)
    };
    let account = wanted.user.strip_prefix("system:serviceaccount:");
    let mut groups = wanted.groups.clone();
    match account.and_then(|account| account.split_once(':')) {
        None => may("", "users", "", &wanted.user)?,
        Some((namespace, name)) => {
            may("", "serviceaccounts", namespace, name)?;
            if groups.is_empty() {
                groups.push(SERVICE_ACCOUNTS.to_owned());
                groups.push(format!("{SERVICE_ACCOUNTS}:{namespace}"));
            }
        }
    }
    wanted.groups.iter().try_for_each(|group| may("", "groups", "", group))?;
    if !wanted.uid.is_empty() {
        may("authentication.k8s.io", "uids", "", &wanted.uid)?;
    }
    let is_anonymous = wanted.user == User::anonymous().name;
    let everybody = if is_anonymous { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|group| group == everybody) {
        groups.push(everybody.to_owned());
    }
    let (name, uid) = (wanted.user.clone(), wanted.uid.clone());
    call.user = User { name, uid, groups, credential: None };
    Ok(())
}
