//! The syntax of a fault: the same in Rust, in flags, and over HTTP.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;
use serde_json::Value;

use super::{Effect, Scope, Silence, Span, Thaw};
use crate::request::Verb;

/// An injected fault, parsed from the syntax of [`Fault::SYNTAX`].
///
/// ```
/// use incumbent_apiserver::Fault;
///
/// let fault: Fault = "verb=update,resource=leases,drop=answer,rate=10%,for=30s".parse()?;
/// assert_eq!(fault.to_string(), "verb=update,resource=leases,drop=answer,rate=10%,for=30s");
/// # Ok::<(), incumbent_apiserver::FaultError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    filter: Box<RequestFilter>,
    pub(super) effect: Effect,
    pub(super) rate: Rate,
    pub(super) lasts: Option<Duration>,
}

/// Why a fault is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

impl Fault {
    /// The syntax of a fault, as help text.
    pub const SYNTAX: &'static str = "\
A fault is KEY=VALUE,KEY=VALUE,... with one of these:
  latency=50ms..200ms  delays requests by a random time in this range
  error=CODE           refuses with 401 403 409 410 429 500 503 or 504
  drop=request         does not apply the request, and does not answer
  drop=answer          applies the request, and does not answer
  drop=everything      a partition: no requests, answers or events pass
  late=2s              applies the request later, even if the caller gave up
  freeze=continue      watches send nothing, and continue afterwards
  freeze=expire        watches send nothing, and end with 410 afterwards
and with any of these:
  verb=VERB            get list watch create update patch delete
                       deletecollection read write; repeat it for several
  user=NAME            admin, system:serviceaccount:NAMESPACE:NAME, ...
  client=TEXT          the beginning of the User-Agent header
  resource=PLURAL      leases, configmaps, ...
  namespace=NAME       the namespace in the path
  name=NAME            in the path, or as fieldSelector=metadata.name=NAME
  rate=10%             the share of these requests that it hits; else all
  for=30s              ends by itself after this time
  by=close             with drop: closes the connection instead of hanging
  late=0s              with error, drop=answer: applies the request later
  retry-after=2        with error: seconds, for 429 (default 1) and 503";

    /// Reads the JSON form: an object with the same keys; several verbs are an array.
    ///
    /// # Errors
    ///
    /// The fault is invalid.
    pub(crate) fn from_json(json: &Value) -> Result<Self, FaultError> {
        let Value::Object(members) = json else {
            return Err(FaultError(format!("a fault is an object or a string, not {json}")));
        };
        let mut pairs = Vec::new();
        for (key, value) in members {
            match value {
                Value::Array(values) => {
                    pairs.extend(values.iter().map(|value| (key, plain(value))))
                }
                value => pairs.push((key, plain(value))),
            }
        }
        Self::from_pairs(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    pub(super) fn matches(&self, scope: &Scope) -> bool {
        self.filter.matches(scope)
    }

    /// Whether it applies to an open watch; a freeze does so whichever verb it names.
    pub(super) fn matches_watch(&self, scope: &Scope) -> bool {
        match self.effect {
            Effect::Freeze(_) => self.filter.matches_except_verb(scope),
            _ => self.filter.matches(scope),
        }
    }

    /// Whether it closes the connection of this watch.
    pub(crate) fn cuts(&self, scope: &Scope) -> bool {
        self.effect == Effect::LoseEverything(Silence::Close) && self.filter.matches(scope)
    }

    fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, FaultError> {
        let mut draft = Draft::default();
        for (key, value) in pairs {
            draft.take(key.trim(), value.trim())?;
        }
        draft.finish()
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        Self::from_pairs(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestFilter { verbs, user, client, resource, namespace, name } = &*self.filter;
        for verb in verbs {
            write!(f, "verb={},", verb.as_str())?;
        }
        let texts = [
            ("user", user),
            ("client", client),
            ("resource", resource),
            ("namespace", namespace),
            ("name", name),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                write!(f, "{key}={text},")?;
            }
        }
        write!(f, "{}", self.effect)?;
        if self.rate != Rate::ALWAYS {
            write!(f, ",rate={}", self.rate)?;
        }
        self.lasts.map_or(Ok(()), |lasts| write!(f, ",for={lasts:?}"))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let close = |silence| if silence == Silence::Close { ",by=close" } else { "" };
        match *self {
            Self::Latency(span) => write!(f, "latency={span}"),
            Self::Error { code, retry_after, applied } => {
                write!(f, "error={code}")?;
                if retry_after > 0 {
                    write!(f, ",retry-after={retry_after}")?;
                }
                applied.map_or(Ok(()), |span| write!(f, ",late={span}"))
            }
            Self::LoseRequest(silence) => write!(f, "drop=request{}", close(silence)),
            Self::LoseAnswer(silence, Span::NONE) => write!(f, "drop=answer{}", close(silence)),
            Self::LoseAnswer(silence, span) => {
                write!(f, "drop=answer{},late={span}", close(silence))
            }
            Self::LoseEverything(silence) => write!(f, "drop=everything{}", close(silence)),
            Self::Late(span) => write!(f, "late={span}"),
            Self::Freeze(Thaw::Continue) => f.write_str("freeze=continue"),
            Self::Freeze(Thaw::Expire) => f.write_str("freeze=expire"),
        }
    }
}

/// Which requests it applies to; a property that is not set matches every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RequestFilter {
    verbs: Vec<Verb>,
    user: Option<String>,
    client: Option<String>,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

impl RequestFilter {
    fn matches(&self, scope: &Scope) -> bool {
        (self.verbs.is_empty() || self.verbs.contains(&scope.verb))
            && self.matches_except_verb(scope)
    }

    fn matches_except_verb(&self, scope: &Scope) -> bool {
        let same = |wanted: &Option<String>, own: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == own)
        };
        let is_client =
            self.client.as_deref().is_none_or(|client| scope.client.starts_with(client));
        is_client
            && same(&self.user, &scope.user)
            && same(&self.resource, &scope.resource)
            && same(&self.namespace, &scope.namespace)
            && same(&self.name, &scope.name)
    }
}

/// How many requests in a million it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(u32);

impl Rate {
    const MILLION: u32 = 1_000_000;
    const ALWAYS: Self = Self(Self::MILLION);

    pub(super) fn draws(self, rng: &mut Rng) -> bool {
        // No draw, so that a fault that always hits does not change the draws of other faults.
        self == Self::ALWAYS || rng.u32(..Self::MILLION) < self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
        let millionths = (percent * 10_000.0).round();
        // The cast is exact: a whole number between one and a million.
        (1.0..=f64::from(Self::MILLION)).contains(&millionths).then_some(Self(millionths as u32))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

impl Span {
    const NONE: Self = Self { shortest: Duration::ZERO, longest: Duration::ZERO };

    fn parse(text: &str) -> Option<Self> {
        let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
        let (shortest, longest) = (duration(shortest)?, duration(longest)?);
        (shortest <= longest).then(|| Self::new(shortest..=longest))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shortest, longest } = self;
        if shortest == longest {
            write!(f, "{shortest:?}")
        } else {
            write!(f, "{shortest:?}..{longest:?}")
        }
    }
}

/// A fault that is being parsed.
#[derive(Default)]
struct Draft {
    filter: RequestFilter,
    effect: Option<(&'static str, Effect)>,
    late: Option<Span>,
    silence: Option<Silence>,
    retry_after: Option<u32>,
    rate: Option<Rate>,
    lasts: Option<Duration>,
}

impl Draft {
    fn take(&mut self, key: &str, value: &str) -> Result<(), FaultError> {
        let wrong = |hint: &str| FaultError(format!("{key}={value} is not understood: {hint}"));
        let no_text = |text: &str| text.is_empty() || text.contains(',');
        match key {
            "verb" => self.filter.verbs.extend(
                verbs(value).ok_or_else(|| wrong("a verb as get, update, watch, read or write"))?,
            ),
            "user" | "client" | "resource" | "namespace" | "name" if no_text(value) => {
                return Err(wrong("a string without commas"));
            }
            "user" => once(&mut self.filter.user, key, value.to_owned())?,
            "client" => once(&mut self.filter.client, key, value.to_owned())?,
            "resource" => once(&mut self.filter.resource, key, value.to_owned())?,
            "namespace" => once(&mut self.filter.namespace, key, value.to_owned())?,
            "name" => once(&mut self.filter.name, key, value.to_owned())?,
            "latency" | "error" | "drop" | "freeze" => {
                let (key, effect, hint) = effect(key, value);
                let effect = effect.ok_or_else(|| wrong(hint))?;
                if let Some((other, _)) = self.effect.replace((key, effect)) {
                    return Err(FaultError(format!("{other} and {key} are two faults")));
                }
            }
            "late" => once(&mut self.late, key, span(value).map_err(wrong)?)?,
            "by" => {
                let silence = match value {
                    "hang" => Silence::Hang,
                    "close" => Silence::Close,
                    _ => return Err(wrong("hang or close")),
                };
                once(&mut self.silence, key, silence)?;
            }
            "retry-after" => {
                let seconds = value.parse().map_err(|_| wrong("a whole number of seconds"))?;
                once(&mut self.retry_after, key, seconds)?;
            }
            "rate" => {
                let rate = Rate::parse(value);
                once(&mut self.rate, key, rate.ok_or_else(|| wrong("10%, or 0.1%"))?)?;
            }
            "for" => {
                let lasts = duration(value).filter(|lasts| !lasts.is_zero());
                once(&mut self.lasts, key, lasts.ok_or_else(|| wrong("30s, 500ms or 2m"))?)?;
            }
            _ => return Err(FaultError(format!("{key:?} is not a key of a fault"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Fault, FaultError> {
        let Self { filter, effect, late, silence, retry_after, rate, lasts } = self;
        let only =
            |key: &str, with: &str| FaultError(format!("{key} can only be used with {with}"));
        let (key, effect) = match (effect, late) {
            (Some(effect), _) => effect,
            (None, Some(span)) => ("late", Effect::Late(span)),
            (None, None) => {
                let why = "a fault needs one of latency, error, drop, late and freeze";
                return Err(FaultError(why.to_owned()));
            }
        };
        if silence.is_some() && key != "drop" {
            return Err(only("by", "drop"));
        }
        if retry_after.is_some() && key != "error" {
            return Err(only("retry-after", "error"));
        }
        if rate.is_some() && key == "freeze" {
            return Err(FaultError("freeze cannot have a rate".to_owned()));
        }
        let silence = silence.unwrap_or_default();
        let effect = match effect {
            Effect::Error { code, .. } => {
                let usual = u32::from(code == 429);
                let retry_after = retry_after.unwrap_or(usual);
                Effect::Error { code, retry_after, applied: late }
            }
            Effect::LoseAnswer(..) => Effect::LoseAnswer(silence, late.unwrap_or_default()),
            Effect::Late(span) => Effect::Late(span),
            _ if late.is_some() => return Err(only("late", "error and drop=answer")),
            Effect::LoseRequest(_) => Effect::LoseRequest(silence),
            Effect::LoseEverything(_) => Effect::LoseEverything(silence),
            effect => effect,
        };
        if rate.is_some() && matches!(effect, Effect::LoseEverything(_)) {
            return Err(FaultError("drop=everything cannot have a rate".to_owned()));
        }
        Ok(Fault { filter: Box::new(filter), effect, rate: rate.unwrap_or(Rate::ALWAYS), lasts })
    }
}

/// The effect of a key, before the modifiers are applied; and the values that are valid.
fn effect(key: &str, value: &str) -> (&'static str, Option<Effect>, &'static str) {
    let silence = Silence::default();
    match key {
        "latency" => ("latency", Span::parse(value).map(Effect::Latency), SPANS),
        "error" => {
            let code = value.parse().ok().filter(|code| CODES.contains(code));
            let effect = code.map(|code| Effect::Error { code, retry_after: 0, applied: None });
            ("error", effect, "401, 403, 409, 410, 429, 500, 503 or 504")
        }
        "drop" => {
            let effect = match value {
                "request" => Some(Effect::LoseRequest(silence)),
                "answer" => Some(Effect::LoseAnswer(silence, Span::NONE)),
                "everything" => Some(Effect::LoseEverything(silence)),
                _ => None,
            };
            ("drop", effect, "request, answer or everything")
        }
        _ => {
            let effect = match value {
                "continue" => Some(Effect::Freeze(Thaw::Continue)),
                "expire" => Some(Effect::Freeze(Thaw::Expire)),
                _ => None,
            };
            ("freeze", effect, "continue or expire")
        }
    }
}

/// The codes with which a server in trouble answers.
const CODES: [u16; 8] = [401, 403, 409, 410, 429, 500, 503, 504];

const SPANS: &str = "50ms, or 50ms..200ms with the shorter one first";

fn span(text: &str) -> Result<Span, &'static str> {
    Span::parse(text).ok_or(SPANS)
}

fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), FaultError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(FaultError(format!("{key} is given twice"))),
    }
}

fn verbs(text: &str) -> Option<Vec<Verb>> {
    const ALL: [Verb; 8] = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Update,
        Verb::Patch,
        Verb::Delete,
        Verb::DeleteCollection,
    ];
    match text {
        "read" => Some(vec![Verb::Get, Verb::List]),
        "write" => Some(ALL[3..].to_vec()),
        text => ALL.into_iter().find(|verb| verb.as_str() == text).map(|verb| vec![verb]),
    }
}

/// Reads `15s`, `500ms`, `2m`; at most a year.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(365 * 86_400);
    let parsed: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(parsed).ok().filter(|duration| *duration <= LONGEST)
}

/// A JSON value as the text form writes it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
