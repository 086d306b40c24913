//! What the signals of this process reach of a command, and what is done about the rest.

use rustix::thread::{CapabilitySet, capabilities};

use super::cgroup::Cgroup;
use super::kernel_timer::KernelTimer;

/// What this process may do.
#[derive(Clone, Copy, Debug)]
struct Powers {
    /// Signals to processes of all users: CAP_KILL.
    kills_all_users: bool,
    /// What it starts can become any user: CAP_SETUID.
    becomes_any_user: bool,
    /// The kernel's alarms.
    has_alarms: bool,
    /// A control group for the command.
    has_group: bool,
}

/// How a command is kept within reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Containment {
    /// Programs that it runs gain no rights by being setuid (`no_new_privs`), so that all stay this user's.
    pub(crate) is_confined: bool,
    /// It gets a control group.
    pub(crate) is_grouped: bool,
}

/// What stays out of reach, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) what: &'static str,
    pub(crate) hint: &'static str,
}

/// Looks at what this process may do.
pub(crate) fn look(allows_escalation: bool) -> (Containment, Vec<Gap>) {
    // A process that may not even read this counts as one without power.
    let own = capabilities(None).map(|sets| (sets.effective, sets.permitted));
    let (effective, permitted) = own.unwrap_or((CapabilitySet::empty(), CapabilitySet::SETUID));
    let powers = Powers {
        kills_all_users: effective.contains(CapabilitySet::KILL),
        becomes_any_user: permitted.contains(CapabilitySet::SETUID),
        has_alarms: KernelTimer::that_wakes().is_some(),
        has_group: false,
    };
    let needs_group = plan(powers, allows_escalation).0.is_grouped;
    plan(Powers { has_group: needs_group && can_have_a_group(), ..powers }, allows_escalation)
}

fn can_have_a_group() -> bool {
    let name = format!("incumbent-probe-{}", std::process::id());
    Cgroup::create(&name).is_ok_and(|group| {
        group.remove();
        true
    })
}

fn plan(powers: Powers, allows_escalation: bool) -> (Containment, Vec<Gap>) {
    let mut gaps = Vec::new();
    let mut containment = Containment::default();
    if !powers.kills_all_users {
        containment.is_confined = !allows_escalation;
        containment.is_grouped = allows_escalation || powers.becomes_any_user;
        if containment.is_grouped && !powers.has_group {
            gaps.push(if powers.becomes_any_user { CHANGES_USER } else { GAINS_RIGHTS });
        }
    }
    if !powers.has_alarms {
        gaps.push(NO_ALARMS);
    }
    (containment, gaps)
}

const CHANGES_USER: Gap = Gap {
    what: "a process of the command that changes its user cannot be killed: this process has the \
           capability SETUID, and not KILL",
    hint: "add the capability KILL, or remove SETUID; or give this process its own control group",
};

const GAINS_RIGHTS: Gap = Gap {
    what: "a setuid program that the command runs cannot be killed by this user",
    hint: "leave out --allow-privilege-escalation, or give this process its own control group \
           (systemd: Delegate=yes)",
};

const NO_ALARMS: Gap = Gap {
    what: "this kernel has no timers that wake a stopped process: a command cannot be killed while \
           this process and its guardian are both stopped",
    hint: "let the command compare its fencing token wherever it writes",
};

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Powers = Powers {
        kills_all_users: false,
        becomes_any_user: false,
        has_alarms: true,
        has_group: false,
    };
    const CONFINED: Containment = Containment { is_confined: true, is_grouped: false };

    #[test]
    fn what_a_user_starts_stays_that_users() {
        assert_eq!(plan(USER, false), (CONFINED, Vec::new()));
    }

    #[test]
    fn who_may_kill_everybody_needs_nothing() {
        let root = Powers { kills_all_users: true, becomes_any_user: true, ..USER };
        assert_eq!(plan(root, false), (Containment::default(), Vec::new()));
    }

    #[test]
    fn what_may_become_another_user_needs_a_control_group() {
        let (containment, gaps) = plan(USER, true);
        assert_eq!(
            (containment.is_confined, containment.is_grouped, gaps),
            (false, true, vec![GAINS_RIGHTS])
        );
        assert!(plan(Powers { has_group: true, ..USER }, true).1.is_empty());
        let container = Powers { becomes_any_user: true, ..USER };
        let (containment, gaps) = plan(container, false);
        assert_eq!(
            (containment.is_confined, containment.is_grouped, gaps),
            (true, true, vec![CHANGES_USER])
        );
        assert!(plan(Powers { has_group: true, ..container }, false).1.is_empty());
    }

    #[test]
    fn a_kernel_without_alarms_is_told_of() {
        assert_eq!(plan(Powers { has_alarms: false, ..USER }, false).1, [NO_ALARMS]);
    }
}
