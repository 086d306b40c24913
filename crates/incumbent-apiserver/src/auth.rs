//! Users, and the bearer tokens that identify them.

use std::collections::HashMap;

use http::HeaderMap;
use jiff::Timestamp;

use crate::random;
use crate::resources::service_account::SERVICE_ACCOUNT;
use crate::store::Store;

/// The user that sent a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    /// The id of the token; upstream states it for service accounts only.
    pub(crate) credential: Option<String>,
}

impl User {
    /// The administrator, who may do everything.
    pub(crate) fn admin() -> Self {
        Self::new("admin", &[MASTERS, AUTHENTICATED])
    }

    /// The user of a request without a token.
    pub(crate) fn anonymous() -> Self {
        Self::new("system:anonymous", &[UNAUTHENTICATED])
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Self { name: name.to_owned(), groups, ..Self::default() }
    }
}

/// The user that a client wants to impersonate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Impersonation {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    pub(crate) uid: String,
}

impl Impersonation {
    /// Reads the headers that `kubectl --as` sends.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let texts = |name: &str| {
            let values = headers.get_all(name).into_iter();
            values.filter_map(|value| value.to_str().ok()).map(str::to_owned)
        };
        let text = |name: &str| texts(name).next().unwrap_or_default();
        Self {
            user: text("impersonate-user"),
            groups: texts("impersonate-group").collect(),
            uid: text("impersonate-uid"),
        }
    }
}

/// The group that may do everything without a rule.
pub(crate) const MASTERS: &str = "system:masters";
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
pub(crate) const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// The service account that a token identifies, and the token's expiry.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// A token is valid only for the account with this uid, not for a later one of the same name.
    pub(crate) uid: String,
    pub(crate) expires: Timestamp,
}

/// The most tokens kept; a further one replaces the token that expires first.
const MOST_TOKENS: usize = 10_000;

/// All issued tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    admin: String,
    service_accounts: HashMap<String, (Grant, String)>,
}

impl Tokens {
    pub(crate) fn new(admin: String) -> Self {
        Self { admin, service_accounts: HashMap::new() }
    }

    /// Issues a token.
    pub(crate) fn issue(&mut self, grant: Grant, now: Timestamp) -> String {
        // A server that runs for weeks would otherwise keep every expired token.
        self.service_accounts.retain(|_, (grant, _)| grant.expires > now);
        if self.service_accounts.len() >= MOST_TOKENS {
            let first = self.service_accounts.iter().min_by_key(|(_, (grant, _))| grant.expires);
            let first = first.map(|(token, _)| token.clone());
            first.map(|token| self.service_accounts.remove(&token));
        }
        let token = random::token();
        self.service_accounts.insert(token.clone(), (grant, random::uid()));
        token
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.service_accounts.len()
    }

    /// The user that a token identifies. `None` if the token is unknown or expired, or its account is gone.
    pub(crate) fn user(&self, token: &str, store: &Store, now: Timestamp) -> Option<User> {
        if token == self.admin {
            return Some(User::admin());
        }
        let (grant, credential) = self.service_accounts.get(token)?;
        let account = store.object(SERVICE_ACCOUNT.table, &grant.namespace, &grant.name)?;
        if now >= grant.expires || account.uid() != grant.uid {
            return None;
        }
        Some(service_account(grant, credential))
    }
}

fn service_account(grant: &Grant, credential: &str) -> User {
    let Grant { namespace, name, uid, .. } = grant;
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.clone(),
        groups: vec![
            SERVICE_ACCOUNTS.to_owned(),
            format!("{SERVICE_ACCOUNTS}:{namespace}"),
            AUTHENTICATED.to_owned(),
        ],
        credential: Some(format!("JTI={credential}")),
    }
}
