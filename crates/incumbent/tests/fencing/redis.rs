//! Redis, by way of redis-cli.

use rustix::process::Signal;

use crate::page::{snippet, snippet_without};
use crate::program::{Server, Session, find, run};
use crate::rule::{Race, history, is_obeyed};

const HINT: &str = "apt-get install redis-server";

struct Redis {
    server: Server,
    client: String,
}

impl Redis {
    fn start() -> Option<Self> {
        let program = find("redis-server", HINT, &[])?;
        let client = find("redis-cli", HINT, &[])?.to_str().unwrap().to_owned();
        let folder = Server::folder();
        let path = &folder.path().to_str().unwrap().to_owned();
        let program = program.to_str().unwrap();
        let socket = format!("{path}/socket");
        let command =
            [program, "--port", "0", "--unixsocket", &socket, "--save", "", "--dir", path];
        let server = Server::start(folder, &command, "ready to accept connections", Signal::KILL);
        Some(Self { server, client })
    }

    fn socket(&self) -> String {
        self.server.path().join("socket").to_str().unwrap().to_owned()
    }

    fn connect(&self) -> Session {
        Session::start(&[&self.client, "-s", &self.socket()], "ECHO")
    }

    /// Loads the script as the page says, and returns its hash.
    fn load(&self, script: &str) -> String {
        let file = self.server.path().join("write.lua");
        std::fs::write(&file, script).unwrap();
        let load =
            format!("{} -s {} -x SCRIPT LOAD < {}", self.client, self.socket(), file.display());
        run(&["sh", "-c", &load]).trim().to_owned()
    }
}

fn write(session: &mut Session, script: &str, token: u64, value: &str) -> bool {
    let keys = "2 '{scanner}:fence' '{scanner}:plan'";
    match &*session.ask(&format!("EVALSHA {script} {keys} {token} '{value}'")) {
        "1" => true,
        "0" => false,
        other => panic!("{other}"),
    }
}

/// The tokens that writers wrote, in the server's order, and what the writers were told.
fn race(redis: &Redis, script: &str) -> (Race, Vec<u64>) {
    let script = redis.load(script);
    // The server shows each command as it does it, also those of scripts.
    let mut monitor = redis.connect();
    let mut control = redis.connect();
    monitor.send("MONITOR");
    while !control.ask("CLIENT LIST").contains("cmd=monitor") {}
    let sessions = (0..6).map(|_| (redis.connect(), script.clone()));
    let writers =
        sessions.map(|(mut session, script)| move |token| write(&mut session, &script, token, "x"));
    let race = Race::run(40, writers.collect());
    control.ask("ECHO \"that was all\"");
    let shown = monitor.lines_until("that was all");
    let tokens = shown.iter().filter_map(|line| {
        let (_, command) = line.split_once(" lua] \"SET\" \"{scanner}:fence\" ")?;
        Some(command.trim_matches('"'))
    });
    let history = history(&tokens.collect::<Vec<_>>().join("\n"));
    (race, history)
}

#[test]
fn the_script_obeys_the_rule() {
    let Some(redis) = Redis::start() else { return };
    let (mut writer, mut reader) = (redis.connect(), redis.connect());
    let script = redis.load(&snippet("redis-write"));
    is_obeyed(
        |token, value| write(&mut writer, &script, token, value),
        || Some(reader.ask("GET '{scanner}:plan'")).filter(|value| !value.is_empty()),
    );
}

#[test]
fn the_history_of_many_who_write_at_once_never_falls() {
    let Some(redis) = Redis::start() else { return };
    let (race, history) = race(&redis, &snippet("redis-write"));
    race.went_well(&history);
}

#[test]
fn without_its_condition_the_history_falls() {
    let Some(redis) = Redis::start() else { return };
    let (race, history) = race(&redis, &snippet_without("redis-write", "#token <", "end"));
    race.went_wrong(&history);
}

#[test]
fn what_is_no_token_is_refused_and_a_fence_that_is_none_lets_nobody_in() {
    let Some(redis) = Redis::start() else { return };
    let script = redis.load(&snippet("redis-write"));
    let mut session = redis.connect();
    let mut write =
        |token: &str| session.ask(&format!("EVALSHA {script} 2 fence plan '{token}' 'x'"));
    for token in ["", "0", "-1", "+5", "007", "5 ", "1e9", "abc"] {
        let answer = write(token);
        assert!(answer.contains("not a fencing token"), "{token:?}: {answer}");
    }
    assert_eq!(write("5"), "1");
    for fence in ["", "0", "abc", "-7", "5.0"] {
        redis.connect().ask(&format!("SET fence '{fence}'"));
        let answer = write("9");
        assert!(answer.contains("not a fencing token"), "{fence:?}: {answer}");
    }
}
