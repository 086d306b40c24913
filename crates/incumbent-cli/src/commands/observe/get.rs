//! `incumbent get`: locks, who holds each, and whether it is fresh; or groups, or schedules.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use incumbent::survey::{Change, ObservedLock, State, Survey};
use incumbent::{Error, InvalidSetting, Lock};
use jiff::Timestamp;
use serde_json::Value;

use crate::commands::observe::{groups, schedules};
use crate::flags::cluster::{LockSelection, Operator, Wanted};
use crate::flags::output_format::Format;
use crate::flags::schedule::ScheduleName;
use crate::model::format;
use crate::model::lock_row;
use crate::model::lock_row::Columns;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Get {
    /// How to print them
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// List groups instead of locks
    #[arg(long, conflicts_with_all = ["selector", "locks"])]
    groups: bool,
    /// List schedules instead of locks
    #[arg(long, conflicts_with_all = ["selector", "locks", "groups", "watch", "sure"])]
    schedules: bool,
    /// Continue to show what changes
    #[arg(short, long)]
    watch: bool,
    /// Watch until each state is certain: for a renewal, or until the term is over
    #[arg(long, conflicts_with = "watch")]
    sure: bool,
    /// Print no headings
    #[arg(long)]
    no_headers: bool,
    #[command(flatten)]
    selection: LockSelection,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  List the locks of a namespace:
    $ incumbent get -n prod
  Watch the elections of the whole cluster:
    $ incumbent get --all-namespaces --watch
  List the groups of a namespace, or show one:
    $ incumbent get --groups -n prod
    $ incumbent get group/indexers -o wide
  List the schedules of a namespace, with the next tick and the last run of each:
    $ incumbent get --schedules -n prod

States of locks:
  Held      its holder renews
  Late      its holder has not renewed for two thirds of its term
  Expired   its holder did not renew for a whole term, and no candidate has taken over
  Vacant    it has no holder
  Claimed   a name that does not expire, as on a blackboard
  Unknown   it cannot be seen

States of groups:
  Settled   each task that is known has an owner
  Moving    a task has no owner, or its owner was asked to stop, and none for too long
  Stuck     the same, for longer than the longest lease and two retry periods
  Empty     no task is known
  Unknown   it cannot be seen

States of schedules, as their records say:
  Waiting     no run is in progress
  Running     a run has begun, and no end is recorded
  Suspended   no tick is due
  Renamed     it runs under another name
  Unreadable  the record has a mistake, and nothing runs

~ marks a state that rests on the wall clocks of the holder and of this machine. With --watch or --sure, the \
command waits for renewals instead.";

pub(crate) async fn run(args: Get) -> anyhow::Result<ExitCode> {
    if let Some(names) = args.group_names()? {
        let asked = groups::get::Asked {
            names,
            all_namespaces: args.selection.all_namespaces,
            format: args.output,
            has_heads: !args.no_headers,
            is_sure: args.sure,
            watches: args.watch,
        };
        return groups::get::run(&args.operator, asked).await;
    }
    if let Some(names) = args.schedule_names()? {
        let asked = schedules::Asked {
            names,
            all_namespaces: args.selection.all_namespaces,
            format: args.output,
            has_heads: !args.no_headers,
        };
        return schedules::get(&args.operator, asked).await;
    }
    let (client, namespace) = args.operator.connect().await?;
    let Wanted { scope, locks, place } = args.selection.wanted(&namespace)?;
    let mut survey = args.operator.within(Survey::start(client, &scope)).await?;
    if args.watch {
        return watch(&args, &mut survey).await;
    }
    if args.sure {
        make_sure(&mut survey).await;
    }
    tell_blind(&survey);
    let missing: Vec<_> = locks.iter().filter(|lock| survey.get(lock).is_none()).collect();
    let (found, left_over) = args.shown(&survey);
    if !found.is_empty() || (args.output == Format::Json && missing.is_empty()) {
        output::line(&args.printed(&found, !args.no_headers)?)?;
    } else if missing.is_empty() && left_over == 0 {
        eprintln!("no locks in {place}");
    }
    tell_left_over(left_over);
    Ok(missing
        .into_iter()
        .fold(ExitCode::SUCCESS, |_, lock| exit::report(&args.operator.missing(lock).into())))
}

/// What is not shown is said.
fn tell_left_over(count: usize) {
    let (locks, were) = if count == 1 { ("lock", "was") } else { ("locks", "were") };
    if count > 0 {
        eprintln!("{count} vacant {locks} that {were} not used in the last hour: see --all");
    }
}

impl Get {
    /// The groups to show, none for all of them; `None` where it is about locks.
    fn group_names(&self) -> Result<Option<Vec<String>>, Error> {
        Ok(self.selection.groups()?.or_else(|| self.groups.then(Vec::new)))
    }

    /// The schedules to show, none for all of them; `None` where it is about something else.
    fn schedule_names(&self) -> Result<Option<Vec<ScheduleName>>, Error> {
        let named = self.selection.schedules()?;
        if named.is_some() && (self.watch || self.sure) {
            return Err(Error::Invalid(InvalidSetting::Program {
                what: "schedules are looked at once".to_owned(),
                hint: "leave --watch and --sure out".to_owned(),
            }));
        }
        Ok(named.or_else(|| self.schedules.then(Vec::new)))
    }

    /// The locks to show, and how many are not.
    fn shown(&self, survey: &Survey) -> (Vec<ObservedLock>, usize) {
        let now = Timestamp::now();
        let (shown, left_over): (Vec<_>, Vec<_>) =
            survey.locks().partition(|sighted| self.selection.shows(&sighted.view, now));
        (shown, left_over.len())
    }

    fn columns(&self) -> Columns {
        let is_wide = self.output == Format::Wide;
        Columns { has_namespace: self.selection.all_namespaces, is_wide }
    }

    fn printed(&self, found: &[ObservedLock], has_heads: bool) -> anyhow::Result<String> {
        let now = Timestamp::now();
        Ok(match self.output {
            Format::Json => {
                let items: Value =
                    found.iter().map(|sighted| lock_row::json(sighted, now)).collect();
                format::printable_json(&serde_json::to_string_pretty(&items)?)
            }
            Format::Yaml => {
                let objects: Vec<_> = found.iter().map(|sighted| &sighted.view.object).collect();
                let texts = objects.into_iter().map(serde_saphyr::to_string);
                texts.collect::<Result<Vec<_>, _>>()?.join("---\n").trim_end().to_owned()
            }
            Format::Name => {
                let names = found.iter().map(|sighted| sighted.view.lock.to_string());
                names.collect::<Vec<_>>().join("\n")
            }
            Format::Table | Format::Wide => {
                let columns = self.columns();
                let rows: Vec<_> =
                    found.iter().map(|sighted| columns.cells(sighted, now)).collect();
                let table = format::table(&columns.heads(), &rows);
                match has_heads {
                    true => table,
                    false => table.split_once('\n').map_or("", |(_, rows)| rows).to_owned(),
                }
            }
        })
    }
}

/// What could not be looked at is said, and the rest is shown.
pub(crate) fn tell_blind(survey: &Survey) {
    for (_, message) in survey.blind() {
        eprintln!("warning: {}", format::printable_text(&message));
    }
}

/// Looks until each state was seen to be true, or cannot be.
pub(crate) async fn make_sure(survey: &mut Survey) {
    let is_open = |sighted: &ObservedLock| !sighted.is_certain;
    let longest = survey.locks().filter(is_open).filter_map(|sighted| sighted.expires_in).max();
    let patience = longest.unwrap_or_default() + Duration::from_secs(3);
    let settled = async {
        while survey.locks().any(|sighted| is_open(&sighted)) {
            survey.next().await;
        }
    };
    let _ = tokio::time::timeout(patience, settled).await;
}

/// On a terminal the table stands still and changes; elsewhere each change is a line more.
async fn watch(args: &Get, survey: &mut Survey) -> anyhow::Result<ExitCode> {
    let is_table = matches!(args.output, Format::Table | Format::Wide);
    if is_table && io::stdout().is_terminal() {
        return repaint(args, survey).await;
    }
    tell_blind(survey);
    let (first, left_over) = args.shown(survey);
    tell_left_over(left_over);
    match args.output {
        Format::Json => first.iter().try_for_each(line_of_json)?,
        _ if first.is_empty() && is_table => output::line(&args.columns().heads().join("   "))?,
        _ => output::line(&args.printed(&first, !args.no_headers)?)?,
    }
    loop {
        let change = survey.next().await;
        let changed: Vec<_> = match &change {
            Change::Leader(lock) | Change::Edited(lock) | Change::Expired(lock) => {
                survey.get(lock).into_iter().collect()
            }
            Change::Gone(lock) => {
                gone(args, lock)?;
                continue;
            }
            Change::Visibility => {
                tell_blind(survey);
                survey.locks().filter(|sighted| sighted.state == State::Unknown).collect()
            }
            _ => continue,
        };
        match args.output {
            Format::Json => changed.iter().try_for_each(line_of_json)?,
            _ if changed.is_empty() => {}
            _ => output::line(&args.printed(&changed, false)?)?,
        }
    }
}

fn gone(args: &Get, lock: &Lock) -> anyhow::Result<()> {
    match args.output {
        Format::Json => {
            let gone = serde_json::json!({
                "lock": lock.to_string(), "namespace": lock.namespace(), "state": "gone",
            });
            Ok(output::line(&gone.to_string())?)
        }
        Format::Yaml => Ok(()),
        Format::Name => Ok(output::line(&lock.to_string())?),
        Format::Table | Format::Wide => Ok(output::line(&format!("{lock}   <gone>"))?),
    }
}

fn line_of_json(sighted: &ObservedLock) -> io::Result<()> {
    output::line(&format::printable_json(&lock_row::json(sighted, Timestamp::now()).to_string()))
}

async fn repaint(args: &Get, survey: &mut Survey) -> anyhow::Result<ExitCode> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut height = 0;
    loop {
        let (found, _) = args.shown(survey);
        let mut table = args.printed(&found, !args.no_headers)?;
        for (since, message) in survey.blind() {
            let message = format::printable(&message);
            table.push_str(&format!("\ncannot see for {}: {message}", format::age(since)));
        }
        // To where the last one began, and away with the rest of it.
        let back = if height == 0 { String::new() } else { format!("\x1b[{height}F\x1b[J") };
        height = table.lines().count();
        output::line(&format!("{back}{table}"))?;
        tokio::select! {
            _ = tick.tick() => {}
            _ = survey.next() => {}
        }
    }
}
