//! `incumbent watch`: a line for each change of a leader, as it happens.

use std::process::ExitCode;

use incumbent::Lock;
use incumbent::survey::{Change, LockView, ObservedLock, State, Survey};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::chronicle::{Chronicle, Turn};
use crate::cluster::{Many, Operator};
use crate::elect::patiently;
use crate::output::{self, Form};
use crate::row::name;
use crate::standing::Standing;
use crate::when::Lasted;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Watch {
    /// How to print them; JSON is one object a line
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
The first line of each lock says what a first look can tell. ~ marks what rests on the wall clocks of the \
holder and of this machine: until a renewal comes in, a leader that has died looks like one that lives.";

pub(crate) async fn run(args: Watch) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.operator.connect().await?;
    let scope = args.many.wanted(&namespace)?.scope;
    let start = async || args.operator.within(Survey::start(client.clone(), &scope)).await;
    let mut survey = patiently("all", start).await?;
    let mut chronicle = Chronicle::default();
    for sighted in survey.locks() {
        chronicle.begin(Timestamp::now(), &sighted);
        if args.many.shows(&sighted.view, Timestamp::now()) {
            args.tell_now("now", &sighted)?;
        }
    }
    loop {
        let change = survey.next().await;
        if change == Change::Visibility {
            args.tell_sight(&survey, &mut chronicle)?;
        }
        let (Change::Leader(lock)
        | Change::Renewed(lock)
        | Change::Expired(lock)
        | Change::Gone(lock)) = &change
        else {
            continue;
        };
        let sighted = survey.get(lock);
        match (chronicle.note(Timestamp::now(), &change, sighted.as_ref()), &sighted) {
            (None, _) => {}
            (Some(Turn::Leads { gap, .. }), Some(sighted)) => args.tell_turn(sighted, gap)?,
            (Some(Turn::Released { holder }), Some(sighted)) => {
                let text = format!("nobody leads: {} no longer holds it", name(&holder));
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
        let standing = Standing::of(sighted, Timestamp::now());
        let token = token(&sighted.view).filter(|_| standing.is_led()).unwrap_or_default();
        let text = standing.sentence() + &token;
        self.tell(&sighted.view.lock, event, &text, now_json(sighted))
    }

    fn tell_turn(&self, sighted: &ObservedLock, gap: Option<Lasted>) -> anyhow::Result<()> {
        let standing = Standing::of(sighted, Timestamp::now());
        let event = match standing.state {
            State::Claimed => "claimed",
            State::Held => "leads",
            _ => "now",
        };
        let led = gap.map(|gap| format!("; nobody led for {}", gap.text())).unwrap_or_default();
        let text = standing.sentence() + &token(&sighted.view).unwrap_or_default() + &led;
        let mut more = now_json(sighted);
        more["gapMs"] = gap.map(Lasted::json).into();
        self.tell(&sighted.view.lock, event, &text, more)
    }

    fn tell(&self, lock: &Lock, event: &str, text: &str, more: Value) -> anyhow::Result<()> {
        let now = Timestamp::now();
        if self.output == Form::Json {
            let mut line = json!({
                "time": now.to_string(),
                "event": event,
                "lock": lock.to_string(),
                "namespace": lock.namespace(),
            });
            output::add(&mut line, more);
            return Ok(output::line(&output::printable_json(&line.to_string()))?);
        }
        let name = match self.many.all_namespaces {
            true => format!("{}/{lock}", lock.namespace()),
            false => lock.to_string(),
        };
        Ok(output::line(&format!("{now:.3}  {name}  {text}"))?)
    }

    /// That something cannot be seen is news of each lock that this is about.
    fn tell_sight(&self, survey: &Survey, chronicle: &mut Chronicle) -> anyhow::Result<()> {
        let now = Timestamp::now();
        for (_, message) in survey.blind() {
            eprintln!("{now:.3}  cannot see: {}", output::printable(&message));
        }
        for sighted in survey.locks() {
            let is_seen = sighted.unseen_for.is_none();
            if chronicle.sight(now, &sighted.view.lock, is_seen) {
                self.tell_now(if is_seen { "seen" } else { "unknown" }, &sighted)?;
            }
        }
        Ok(())
    }
}

fn now_json(sighted: &ObservedLock) -> Value {
    let view: &LockView = &sighted.view;
    let mut more = Standing::of(sighted, Timestamp::now()).json(view);
    more["token"] = view.token.map(|token| token.0).into();
    more
}

fn token(view: &LockView) -> Option<String> {
    view.token.map(|token| format!(" under token {token}"))
}
