//! How a member takes part in a group, in whatever command it does.

#[cfg(unix)]
use incumbent::{GroupBuilder, Tasks};

/// How a member takes part in a group. The command's own argument `group` names the group.
#[cfg(unix)]
#[derive(Debug, clap::Args)]
pub(crate) struct Membership {
    #[command(flatten)]
    pub(crate) shared: Shared,
    /// The name of this member, unique in the group [default: the Pod's name, else the host's name and a number]
    #[arg(long, value_name = "NAME", requires = "group")]
    member: Option<String>,
    /// How much this member can do, compared with others: 2 gets twice the tasks of 1
    #[arg(long, value_name = "N", default_value = "1", requires = "group")]
    capacity: u32,
    /// The version of the program: in a rolling update, tasks move only to members of the newer one
    #[arg(long, value_name = "VERSION", requires = "group")]
    command_version: Option<String>,
}

/// What the members share: one flag for each kind of tasks, of which one is given.
#[derive(Debug, clap::Args)]
#[group(id = "kind_of_tasks", multiple = false)]
pub(crate) struct Shared {
    /// Share these tasks: all members have to name the same
    #[arg(long, value_name = "TASK,...", value_delimiter = ',', requires = "group")]
    tasks: Option<Vec<String>>,
    /// Share the tasks that the ConfigMap GROUP.config lists, which may be edited while they run
    #[arg(long, requires = "group")]
    from_config: bool,
    /// Share this many slots, tasks 0 to N-1: parts of a set of keys, by CRC16 as in Redis Cluster
    #[arg(long, value_name = "N", requires = "group")]
    slots: Option<u16>,
    /// Let this many members work at a time, first come, first served
    #[arg(long, value_name = "N", requires = "group")]
    permits: Option<u16>,
}

#[cfg(unix)]
impl Membership {
    /// Describes this member to the group.
    pub(crate) fn apply(&self, builder: GroupBuilder) -> GroupBuilder {
        let mut builder = builder.tasks(self.shared.tasks()).capacity(self.capacity);
        if let Some(member) = &self.member {
            builder = builder.member(member);
        }
        if let Some(version) = &self.command_version {
            builder = builder.version(version);
        }
        builder
    }
}

impl Shared {
    #[cfg(unix)]
    fn tasks(&self) -> Tasks {
        match (&self.tasks, self.slots, self.permits) {
            (Some(names), ..) => Tasks::named(names),
            (None, Some(slots), _) => Tasks::slots(slots),
            (None, None, Some(permits)) => Tasks::permits(permits),
            (None, None, None) => Tasks::config_map(),
        }
    }

    /// The flag as it was given, for a command line. `None` if no flag was.
    pub(crate) fn flag(&self) -> Option<String> {
        match (&self.tasks, self.slots, self.permits) {
            (Some(names), ..) => Some(format!("--tasks={}", names.join(","))),
            (None, Some(slots), _) => Some(format!("--slots={slots}")),
            (None, None, Some(permits)) => Some(format!("--permits={permits}")),
            (None, None, None) => self.from_config.then(|| "--from-config".to_owned()),
        }
    }

    /// Whether the tasks are permits, which a member gives back when its work has ended.
    #[cfg(unix)]
    pub(crate) fn are_permits(&self) -> bool {
        self.permits.is_some()
    }

    /// Whether the tasks are slots, so that each key belongs to one of them.
    #[cfg(unix)]
    pub(crate) fn are_slots(&self) -> bool {
        self.slots.is_some()
    }
}
