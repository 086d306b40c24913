//! `incumbent watch`: a line for each change of a leader, as it happens.

use std::process::ExitCode;

use incumbent::Lock;
use incumbent::survey::{Change, Survey};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::chronicle::{Chronicle, Turn};
use crate::cluster::{Many, Operator};
use crate::elect::patiently;
use crate::output;
use crate::row::{millis, span};

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Print JSON objects, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    operator: Operator,
}

pub(crate) async fn run(args: Watch) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.operator.connect().await?;
    let scope = args.many.wanted(&namespace)?.scope;
    let start = async || args.operator.within(Survey::start(client.clone(), &scope)).await;
    let mut survey = patiently("all", start).await?;
    let mut chronicle = Chronicle::default();
    for sighted in survey.locks() {
        chronicle.begin(Timestamp::now(), &sighted.view);
        let holder = sighted.view.holder.as_deref();
        args.tell(
            &sighted.view.lock,
            "now",
            holder,
            json!({
                "token": sighted.view.token.map(|token| token.0),
            }),
        )?;
    }
    loop {
        let change = survey.next().await;
        if change == Change::Sight {
            args.tell_sight(&survey)?;
        }
        let lock = match &change {
            Change::Leader(lock) | Change::Renewed(lock) | Change::Expired(lock) => lock.clone(),
            Change::Gone(lock) => lock.clone(),
            _ => continue,
        };
        let sighted = survey.get(&lock);
        match chronicle.note(Timestamp::now(), &change, sighted.as_ref()) {
            None => {}
            Some(Turn::Leads { term, gap }) => {
                let more = json!({ "token": term.token, "gapMs": gap.map(millis) });
                args.tell(&lock, "leads", Some(&term.holder), more)?;
            }
            Some(Turn::Released { holder }) => {
                args.tell(&lock, "released", Some(&holder), Value::Null)?;
            }
            Some(Turn::Expired { holder }) => {
                args.tell(&lock, "expired", Some(&holder), Value::Null)?;
            }
            Some(Turn::Deleted) => args.tell(&lock, "deleted", None, Value::Null)?,
        }
    }
}

impl Watch {
    fn tell(
        &self,
        lock: &Lock,
        event: &str,
        holder: Option<&str>,
        more: Value,
    ) -> anyhow::Result<()> {
        let now = Timestamp::now();
        if self.json {
            let mut line = json!({
                "time": now.to_string(),
                "event": event,
                "lock": lock.to_string(),
                "namespace": lock.namespace(),
                "holder": holder,
            });
            if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
                line.extend(more);
            }
            return Ok(output::line(&output::printable_json(&line.to_string()))?);
        }
        let name = match self.many.all_namespaces {
            true => format!("{}/{lock}", lock.namespace()),
            false => lock.to_string(),
        };
        let holder = holder.map(output::printable);
        let what = match (event, holder) {
            ("now" | "leads", Some(holder)) => format!("{holder} leads{}", told(&more)),
            ("now", None) => "nobody leads".to_owned(),
            ("released", Some(holder)) => format!("{holder} gave it back"),
            ("expired", Some(holder)) => format!("{holder} fell silent, and its term is over"),
            _ => "the lock was deleted".to_owned(),
        };
        Ok(output::line(&format!("{now:.3}  {name}  {what}"))?)
    }

    fn tell_sight(&self, survey: &Survey) -> anyhow::Result<()> {
        let blind = survey.blind();
        for (_, message) in &blind {
            eprintln!("{:.3}  cannot see: {message}", Timestamp::now());
        }
        if blind.is_empty() {
            eprintln!("{:.3}  can see again", Timestamp::now());
        }
        Ok(())
    }
}

fn told(more: &Value) -> String {
    let token = more["token"].as_u64().map(|token| format!(" under token {token}"));
    let gap = more["gapMs"].as_u64().map(std::time::Duration::from_millis);
    let gap = gap.map(|gap| format!("; nobody led for {} at most", span(gap)));
    token.unwrap_or_default() + &gap.unwrap_or_default()
}
