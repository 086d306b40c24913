//! How the binary finds the API server, and what stands between the two: kubeconfigs, proxies, credentials.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use serde_json::json;
use support::sidecar::until;
use support::{Candidate, Cluster, Outcome};

/// A proxy that speaks HTTP's CONNECT, leads to one server whatever it is asked for, and keeps what it was asked.
struct Tunnels {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let heard = asked.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let heard = heard.clone();
                thread::spawn(move || tunnel(near, server, &heard));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn tunnel(mut near: TcpStream, server: SocketAddr, heard: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && near.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heard.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
    let mut far = TcpStream::connect(server).unwrap();
    near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut near_again, mut far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut far_again, &mut near_again);
        let _ = near_again.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut near, &mut far);
    let _ = far.shutdown(Shutdown::Both);
}

#[test]
fn a_proxy_is_used_unless_no_proxy_names_the_api_server() {
    let cluster = Cluster::start();
    let server = cluster.listening().address();
    let proxy = Tunnels::to(server);
    // A name that nothing but the proxy can make anything of.
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    let named = format!("https://kubernetes.test:{}", server.port());
    let text = text.replace(&format!("https://{server}"), &named);
    let text = text.replace("\"server\":", "\"tls-server-name\":\"kubernetes\",\"server\":");
    let elsewhere = cluster.folder.path().join("elsewhere");
    fs::write(&elsewhere, text).unwrap();
    let address = proxy.address;
    let connect = format!("CONNECT kubernetes.test:{} HTTP/1.1", server.port());
    let get = |kubeconfig: &std::path::Path, variables: &[(&str, &str)]| {
        let mut command = cluster.command("get");
        let command = command.env("KUBECONFIG", kubeconfig).envs(variables.iter().copied());
        let outcome = Outcome::of(command.output().unwrap());
        (outcome, proxy.asked())
    };
    for named in [format!("http://{address}"), address.to_string()] {
        for no_proxy in ["", "127.0.0.1", " , [::1], 10.0.0.0/99", "kubernetes.test:1"] {
            let variables = [("HTTPS_PROXY", &*named), ("NO_PROXY", no_proxy)];
            let (outcome, asked) = get(&elsewhere, &variables);
            assert_eq!(outcome.code, 0, "{variables:?}: {outcome:?}");
            assert_eq!(asked, [&*connect], "{variables:?}");
        }
    }
    for no_proxy in ["*", "kubernetes.test", ".test", "a,kubernetes.test:*,*.test"] {
        let variables = [("https_proxy", &*format!("http://{address}")), ("no_proxy", no_proxy)];
        let (outcome, asked) = get(&elsewhere, &variables);
        assert_eq!((outcome.code, asked.len()), (3, 0), "{variables:?}: {outcome:?}");
    }
    // A server on this machine is never asked through a proxy of the environment.
    let nowhere = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("ALL_PROXY", "http://127.0.0.1:1")];
    let (outcome, _) = get(&cluster.kubeconfig(), &nowhere);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let (outcome, _) = get(&elsewhere, &nowhere);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(
        outcome.stderr.contains("the proxy http://127.0.0.1:1 does not connect"),
        "{outcome:?}"
    );
}

#[test]
fn kubeconfig_lists_files_of_which_some_may_be_missing() {
    let cluster = Cluster::start();
    let whole = cluster.kubeconfig().display().to_string();
    let empty = cluster.folder.path().join("empty");
    fs::write(&empty, "current-context: \"\"\ncontexts: null\n").unwrap();
    let empty = empty.display();
    for list in [
        format!("/nonexistent:{whole}"),
        format!("{whole}:/nonexistent"),
        format!("{whole}:"),
        format!(":{empty}:{whole}:{whole}"),
    ] {
        let outcome =
            Outcome::of(cluster.command("get").env("KUBECONFIG", &list).output().unwrap());
        assert_eq!(outcome.code, 0, "{list}: {outcome:?}");
    }
    for (list, said) in [
        (
            "/nonexistent:/nor/this",
            "none of the files that KUBECONFIG names exists: /nonexistent:/n",
        ),
        ("/nonexistent", "/nonexistent: No such file or directory"),
        (&*format!("{empty}"), "no current-context is set"),
    ] {
        let mut command = cluster.command("get");
        // Not even in a Pod: its own cluster may be another one than was meant.
        let command = command.env("KUBECONFIG", list).env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        let outcome = Outcome::of(command.output().unwrap());
        assert_eq!(outcome.code, 3, "{list}: {outcome:?}");
        assert!(outcome.stderr.contains(said), "{list}: {outcome:?}");
    }
}

/// A kubeconfig whose user is this.
fn with_user(cluster: &Cluster, user: &serde_json::Value) -> std::path::PathBuf {
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    let known = json!({ "token": cluster.server.admin_token() }).to_string();
    assert!(text.contains(&known));
    let file = cluster.folder.path().join("with-user");
    fs::write(&file, text.replace(&known, &user.to_string())).unwrap();
    file
}

#[test]
fn a_line_end_after_a_token_in_a_file_is_nothing_and_in_a_kubeconfig_an_error() {
    let cluster = Cluster::start();
    let token = format!("{}\n", cluster.server.admin_token());
    fs::write(cluster.folder.path().join("token"), &token).unwrap();
    for (user, code) in [(json!({ "tokenFile": "token" }), 0), (json!({ "token": token }), 3)] {
        let mut command = cluster.command("get --kubeconfig");
        let outcome = Outcome::of(command.arg(with_user(&cluster, &user)).output().unwrap());
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(!outcome.stderr.contains(token.trim()), "{outcome:?}");
        assert_eq!(code == 3, outcome.stderr.contains("holds a line break"), "{outcome:?}");
    }
    let outcome = Outcome::of(cluster.command("get --token").arg(&token).output().unwrap());
    assert!(outcome.code == 3 && outcome.stderr.contains("holds a line break"), "{outcome:?}");
}

#[test]
fn a_credential_plugin_leaves_standard_input_to_the_command() {
    let cluster = Cluster::start();
    let script = format!(
        "cat > $HERE/eaten; echo '{}'",
        json!({ "status": { "token": cluster.server.admin_token() } })
    );
    for (mode, code) in [("IfAvailable", 0), ("Never", 0), ("Always", 69)] {
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": ["-c", script], "interactiveMode": mode,
            "env": [{ "name": "HERE", "value": cluster.folder.path().display().to_string() }],
        });
        let file = with_user(&cluster, &json!({ "exec": exec }));
        let mut command = cluster.command("run --lock lease/job --kubeconfig");
        command.arg(file).args(["--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // It may have ended, and read nothing.
        let _ = child.stdin.take().unwrap().write_all(b"hello");
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, code, "{mode}: {outcome:?}");
        match code {
            0 => assert_eq!(outcome.stdout, "hello", "{mode}"),
            _ => {
                assert!(outcome.stderr.contains("standard input is not a terminal"), "{outcome:?}")
            }
        }
        let eaten = fs::read_to_string(cluster.folder.path().join("eaten")).unwrap_or_default();
        assert_eq!(eaten, "", "{mode}");
    }
}

/// The same command, as `nohup` starts it.
fn nohup(command: &Command) -> Command {
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    nohup.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nohup.env(name, value),
            None => nohup.env_remove(name),
        };
    }
    nohup
}

/// The signals that a process ignores, and those that it handles; signal 1 is the lowest bit.
fn signals(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    Some((mask("SigIgn:")?, mask("SigCgt:")?))
}

#[test]
fn under_nohup_a_hangup_ends_neither_a_candidate_nor_what_it_runs() {
    let cluster = Cluster::start();
    let work = "grep SigIgn /proc/self/status | sed 's/.*\\(.\\)$/{\"event\":\"up\",\"mask\":\"\\1\"}/'; \
                exec sleep 1000";
    let mut run = cluster.command("run --lock lease/run --");
    run.args(["sh", "-c", work]);
    let mut run = Candidate::start(nohup(&run));
    let mask = run.event("up")["mask"].as_str().map(|mask| u8::from_str_radix(mask, 16));
    assert!(mask.is_some_and(|mask| mask.unwrap() & 1 == 1), "the command ignores it, too");
    run.signal(Signal::HUP);
    run.signal(Signal::TERM);
    assert_eq!(run.end(), 143, "it ended by SIGTERM");

    for arguments in ["elect --lock lease/a", "sidecar --lock lease/a --listen 127.0.0.1:0"] {
        for is_under_nohup in [true, false] {
            let command = cluster.command(arguments);
            let mut command = if is_under_nohup { nohup(&command) } else { command };
            let mut child = command.stdout(Stdio::null()).spawn().unwrap();
            let (ignored, handled) = until("it handles its signals", || {
                let is_ready = |(ignored, handled): &(u64, u64)| {
                    handled & 1 << 14 != 0 && (ignored | handled) & 1 == 1
                };
                signals(child.id()).filter(is_ready)
            });
            let wanted = if is_under_nohup { (1, 0) } else { (0, 1) };
            assert_eq!((ignored & 1, handled & 1), wanted, "{arguments}");
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, Signal::HUP).unwrap();
            if is_under_nohup {
                rustix::process::kill_process(pid, Signal::TERM).unwrap();
            }
            assert!(child.wait().unwrap().success(), "{arguments}");
        }
    }
}
