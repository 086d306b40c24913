use std::path::Path;

use super::*;

fn plugin(script: &str, patience: Duration) -> Plugin {
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "interactiveMode": "Never",
    });
    Plugin { exec: serde_json::from_value(exec).unwrap(), patience: Some(patience) }
}

/// A plugin that writes down that it runs, and prints this token.
fn printing(runs: &Path, token: &str) -> Plugin {
    let printed = json!({ "status": { "token": token } });
    plugin(&format!("echo x >> {}; echo '{printed}'", runs.display()), LONG)
}

fn tokens(plugin: Plugin, expires_in: i64) -> Arc<Tokens> {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(expires_in);
    let mut token = Token::new(&plugin, "old", Some(expires)).unwrap();
    token.made = Instant::now().checked_sub(NEW).unwrap();
    Arc::new(Tokens { plugin, state: Mutex::new(State::new(token)) })
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_that_hangs_is_killed_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", pids.display());
    let error = plugin(&script, Duration::from_secs(1)).run(true).await.unwrap_err();
    assert!(error.to_string().contains("`sh`") && error.to_string().contains("1s"), "{error}");
    let pids = std::fs::read_to_string(pids).unwrap();
    let gone = async {
        while pids.split_whitespace().any(is_alive) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("all of it is killed");
}

#[tokio::test]
async fn one_that_fails_or_talks_nonsense_is_named() {
    let said = async |script: &str| plugin(script, LONG).run(true).await.unwrap_err().to_string();
    assert!(said("exit 3").await.contains("failed with exit status: 3"));
    assert!(said("echo hello").await.contains("no ExecCredential"));
    assert!(said("echo '{}'").await.contains("printed no status"));
    let mut missing = plugin("", LONG);
    missing.exec.command = Some("/nonexistent/login".to_owned());
    let error = missing.run(true).await.unwrap_err();
    assert!(error.to_string().contains("`/nonexistent/login`, cannot be started"), "{error}");
}

#[test]
fn one_that_another_part_of_the_program_has_waited_for_is_judged_by_its_output() {
    let gone = io::Error::from_raw_os_error(NO_SUCH_CHILD);
    assert_eq!(known(Err(gone)).unwrap(), None);
    assert!(known(Err(io::Error::other("no"))).is_err());
    assert_eq!(known(Ok(ExitStatus::default())).unwrap(), Some(ExitStatus::default()));
}

#[tokio::test]
async fn yaml_and_certificates_are_understood() {
    let script = "printf 'status:\\n  clientCertificateData: one\\n  clientKeyData: two\\n'";
    let credential = plugin(script, LONG).run(true).await.unwrap();
    let auth = credential.certificate().unwrap().unwrap();
    assert_eq!(auth.client_certificate_data.as_deref(), Some("b25l"));
}

#[tokio::test]
async fn while_a_token_lasts_no_request_waits_for_the_next_one() {
    let tokens = tokens(plugin("sleep 1000", Duration::from_secs(2)), 30);
    for _ in 0..3 {
        assert_eq!(tokens.header().await.unwrap(), "Bearer old");
    }
}

#[tokio::test]
async fn all_that_wait_for_a_token_wait_for_one_run_of_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let tokens = tokens(printing(&runs, "new"), -1);
    // One that gives up does not end it.
    let _ = tokio::time::timeout(Duration::ZERO, tokens.header()).await;
    let all = (0..10).map(|_| {
        let tokens = tokens.clone();
        async move { tokens.header().await.unwrap() }
    });
    for header in futures_util::future::join_all(all).await {
        assert_eq!(header, "Bearer new");
    }
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "x\n");
}

#[tokio::test]
async fn without_a_token_a_request_fails_when_the_plugin_is_killed() {
    let tokens = tokens(plugin("sleep 1000", Duration::from_millis(200)), -1);
    let error = tokens.header().await.unwrap_err().to_string();
    assert!(error.contains("`sh`, did not answer within 200ms"), "{error}");
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_made_again_though_it_never_expires() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let tokens = tokens(printing(&runs, "new"), 3600);
    let old = tokens.header().await.unwrap();
    tokens.distrust(&old);
    assert_eq!(tokens.header().await.unwrap(), "Bearer new");
    tokens.distrust(&old);
    assert_eq!(tokens.header().await.unwrap(), "Bearer new");
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "x\n");
}

#[test]
fn its_standard_input_is_a_terminal_or_nothing() {
    let may_ask = |mode: &str, is_first: bool, is_terminal: bool| {
        let mut plugin = plugin("", LONG);
        plugin.exec.interactive_mode = serde_json::from_value(json!(mode)).unwrap();
        plugin.may_ask(is_first, is_terminal)
    };
    for mode in ["Always", "IfAvailable"] {
        assert!(may_ask(mode, true, true).unwrap());
        assert!(!may_ask(mode, false, true).unwrap(), "the terminal is the work's by now");
    }
    for is_terminal in [true, false] {
        assert!(!may_ask("Never", true, is_terminal).unwrap());
    }
    assert!(!may_ask("IfAvailable", true, false).unwrap());
    let error = may_ask("Always", true, false).unwrap_err().to_string();
    assert!(error.contains("standard input is not a terminal"), "{error}");
}

#[tokio::test]
async fn no_secret_of_its_arguments_its_environment_or_its_output_is_shown() {
    let mut cases = Vec::new();
    for script in [
        "exit 3",
        "echo \"status: {token: [$SECRET]}\"",
        "echo \"status: $SECRET\"",
        "echo \"{ $SECRET\"",
        "echo \"{status: {token: '$SECRET x'}}\"",
        "sleep 1000",
    ] {
        cases.push(plugin(&format!("{script} # s3cret"), Duration::from_secs(1)));
    }
    cases.push(plugin("s3cret", LONG));
    cases[6].exec.command = Some("/nonexistent/login".to_owned());
    for mut plugin in cases {
        plugin.exec.env =
            serde_json::from_value(json!([{ "name": "SECRET", "value": "s3cret" }])).unwrap();
        let error = match plugin.run(true).await {
            Ok(credential) => {
                Token::new(&plugin, &credential.token.unwrap(), None).err().expect("it is no token")
            }
            Err(error) => error,
        };
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
