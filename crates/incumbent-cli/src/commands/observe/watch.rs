//! `incumbent watch`: a line for each change of a leader, as it happens.

use std::process::ExitCode;

use incumbent::survey::{Change, LockView, ObservedLock, State, Survey};
use incumbent::{Error, InvalidSetting, Lock};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::commands::observe::groups;
use crate::flags::cluster::{LockSelection, Operator};
use crate::flags::output_format::OutputFormat;
use crate::model::format;
use crate::model::format::name;
use crate::model::lock_row;
use crate::model::lock_status::LockStatus;
use crate::model::term_history::{TermHistory, Turn};
use crate::model::time_bounds::DurationBounds;
use crate::runtime::output;
use crate::runtime::preflight::patiently;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Watch {
    /// How to print them; JSON has one object per line
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
    #[command(flatten)]
    selection: LockSelection,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Follow the elections of a namespace:
    $ incumbent watch -n prod
  Follow all elections of the cluster in a program:
    $ incumbent watch --all-namespaces -o json
  Follow the members and the tasks of a group:
    $ incumbent watch group/indexers

The first line of each lock is the result of a single look. ~ marks what rests on the wall clocks of the holder \
and of this machine: until a renewal arrives, a dead leader looks like a living one.";

pub(crate) async fn run(args: Watch) -> anyhow::Result<ExitCode> {
    match args.selection.groups()?.as_deref() {
        Some([group]) => return groups::watch::run(&args.operator, group, args.output).await,
        Some(_) => {
            return Err(Error::Invalid(InvalidSetting::Program {
                what: "this command watches one group at a time".to_owned(),
                hint: "to watch several: incumbent get --groups --watch".to_owned(),
            })
            .into());
        }
        None => {}
    }
    let (client, namespace) = args.operator.connect().await?;
    let scope = args.selection.wanted(&namespace)?.scope;
    let start = async || args.operator.within(Survey::start(client.clone(), &scope)).await;
    let mut survey = patiently("all", start).await?;
    let mut term_history = TermHistory::default();
    for sighted in survey.locks() {
        term_history.begin(Timestamp::now(), &sighted);
        if args.selection.shows(&sighted.view, Timestamp::now()) {
            args.tell_now("now", &sighted)?;
        }
    }
    loop {
        let change = survey.next().await;
        if change == Change::Visibility {
            args.tell_sight(&survey, &mut term_history)?;
        }
        let (Change::Leader(lock)
        | Change::Renewed(lock)
        | Change::Expired(lock)
        | Change::Gone(lock)) = &change
        else {
            continue;
        };
        let sighted = survey.get(lock);
        match (term_history.note(Timestamp::now(), &change, sighted.as_ref()), &sighted) {
            (None, _) => {}
            (Some(Turn::Leads { gap, .. }), Some(sighted)) => args.tell_turn(sighted, gap)?,
            (Some(Turn::Released { holder }), Some(sighted)) => {
                let text = format!("no leader: {} no longer holds it", name(&holder));
                let mut more = now_json(sighted);
                more["heldBy"] = holder.into();
                args.tell(lock, "released", &text, more)?;
            }
            (Some(Turn::Expired { .. }), Some(sighted)) => args.tell_now("expired", sighted)?,
            (Some(_), _) => args.tell(lock, "deleted", "the lock was deleted", Value::Null)?,
        }
    }
}

impl Watch {
    /// What is known of a lock at this moment.
    fn tell_now(&self, event: &str, sighted: &ObservedLock) -> anyhow::Result<()> {
        let lock_status = LockStatus::of(sighted, Timestamp::now());
        let token = token(&sighted.view).filter(|_| lock_status.is_led()).unwrap_or_default();
        let text = lock_status.sentence() + &token;
        self.tell(&sighted.view.lock, event, &text, now_json(sighted))
    }

    fn tell_turn(&self, sighted: &ObservedLock, gap: Option<DurationBounds>) -> anyhow::Result<()> {
        let lock_status = LockStatus::of(sighted, Timestamp::now());
        let event = match lock_status.state {
            State::Claimed => "claimed",
            State::Held => "leads",
            _ => "now",
        };
        let led = gap.map(|gap| format!("; {} without a leader", gap.text())).unwrap_or_default();
        let text = lock_status.sentence() + &token(&sighted.view).unwrap_or_default() + &led;
        let mut more = now_json(sighted);
        more["gapMs"] = gap.map(DurationBounds::json).into();
        self.tell(&sighted.view.lock, event, &text, more)
    }

    fn tell(&self, lock: &Lock, event: &str, text: &str, more: Value) -> anyhow::Result<()> {
        let now = Timestamp::now();
        if self.output == OutputFormat::Json {
            let mut line = json!({
                "time": now.to_string(),
                "event": event,
                "lock": lock.to_string(),
                "namespace": lock.namespace(),
            });
            lock_row::add(&mut line, more);
            return Ok(output::line(&format::printable_json(&line.to_string()))?);
        }
        let name = match self.selection.all_namespaces {
            true => format!("{}/{lock}", lock.namespace()),
            false => lock.to_string(),
        };
        Ok(output::line(&format!("{now:.3}  {name}  {text}"))?)
    }

    /// That something cannot be seen is news of each lock that this is about.
    fn tell_sight(&self, survey: &Survey, term_history: &mut TermHistory) -> anyhow::Result<()> {
        let now = Timestamp::now();
        for (_, message) in survey.blind() {
            eprintln!("{now:.3}  cannot see: {}", format::printable(&message));
        }
        for sighted in survey.locks() {
            let is_seen = sighted.unseen_for.is_none();
            if term_history.sight(now, &sighted.view.lock, is_seen) {
                self.tell_now(if is_seen { "seen" } else { "unknown" }, &sighted)?;
            }
        }
        Ok(())
    }
}

fn now_json(sighted: &ObservedLock) -> Value {
    let view: &LockView = &sighted.view;
    let mut more = LockStatus::of(sighted, Timestamp::now()).json(view);
    more["token"] = view.token.map(|token| token.0).into();
    more
}

fn token(view: &LockView) -> Option<String> {
    view.token.map(|token| format!(" under token {token}"))
}
