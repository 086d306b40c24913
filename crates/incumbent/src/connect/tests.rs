use std::fmt::Write as _;
use std::fs;

use super::*;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn a_client_for_elections_retries_nothing_and_bounds_the_connecting_alone() {
    let config = for_elections(kube::Config::new("https://127.0.0.1:6443".parse().unwrap()));
    assert!(!config.default_retry, "a renewal that is sent again later may land after its term");
    assert_eq!(config.connect_timeout, Some(CONNECT_TIMEOUT));
    assert_eq!(config.read_timeout, None, "a watch may be silent for long");
}

/// A kubeconfig of one context, `x`, with this after the cluster's server and in the user.
fn kubeconfig(cluster: &str, user: &str, context: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters: [{{name: c, cluster: {{server: 'https://10.0.0.1:6443', {cluster}}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u, {context}}}}}]\n"
    )
}

fn found(text: &str) -> Result<Found, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    fs::write(&file, text).unwrap();
    fs::write(folder.path().join("ca.crt"), PEM).unwrap();
    Connect::default().kubeconfig(file).find()
}

fn files(texts: &[Option<&str>]) -> Result<Kubeconfig, Error> {
    let folder = tempfile::tempdir().unwrap();
    let files = texts.iter().enumerate().map(|(number, text)| {
        let file = folder.path().join(number.to_string());
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        file
    });
    Files::Named(files.collect()).read()
}

#[test]
fn of_a_list_of_kubeconfigs_the_first_to_say_something_counts_and_one_has_to_exist() {
    let whole = kubeconfig("", "token: t", "namespace: prod");
    let empty = "apiVersion: v1\nkind: Config\nclusters: null\ncontexts: null\nusers: null\n\
                 current-context: \"\"\npreferences: {}\n";
    let other =
        whole.replace("10.0.0.1", "10.0.0.2").replace("current-context: x", "current-context: y");
    for list in [
        vec![Some(&*whole)],
        vec![None, Some(&*whole)],
        vec![Some(&*whole), None],
        vec![Some(""), Some(&*whole)],
        vec![Some(empty), Some(&*whole)],
        vec![Some(&*whole), Some(&*other)],
    ] {
        let kubeconfig = files(&list).unwrap();
        assert_eq!(kubeconfig.current_context.as_deref(), Some("x"), "{list:?}");
        let found = Connect::default().chosen(&kubeconfig, "these").unwrap();
        assert_eq!(found.config.cluster_url.host(), Some("10.0.0.1"), "{list:?}");
        assert_eq!(found.config.default_namespace, "prod");
    }
    for missing in [vec![None], vec![None, None]] {
        assert!(matches!(files(&missing), Err(Error::NotConfigured { .. })), "{missing:?}");
    }
    let broken =
        files(&[Some(&*whole), Some("users: [{name: u, user: {token: s3cret")]).unwrap_err();
    assert!(broken.to_string().contains("/1 is not a kubeconfig in YAML: line 1, "), "{broken}");
    assert!(!format!("{broken:?}").contains("s3cret"), "{broken:?}");
}

#[test]
fn a_kubeconfig_that_kubectl_takes_is_taken() {
    let mut with_crlf = kubeconfig("", "token: t", "").replace('\n', "\r\n");
    with_crlf.insert(0, '\u{feff}');
    assert!(found(&with_crlf).is_ok());
    let ca = |found: Result<Found, Error>| found.unwrap().config.root_cert.unwrap().len();
    assert_eq!(ca(found(&kubeconfig("certificate-authority: ca.crt", "", ""))), 1);
    assert_eq!(
        found(&kubeconfig("", "", "namespace: ''")).unwrap().config.default_namespace,
        "default"
    );
    let emptied = "certificate-authority: '', tls-server-name: '', proxy-url: ''";
    let config = found(&kubeconfig(emptied, "token: '', tokenFile: '', username: ''", "")).unwrap();
    assert_eq!((config.proxy_url, config.config.tls_server_name), (None, None));
    assert!(config.config.auth_info.token.is_none());
    let path = kubeconfig("", "", "").replace(":6443", ":6443/k8s/clusters/c-abc");
    assert_eq!(found(&path).unwrap().config.cluster_url.path(), "/k8s/clusters/c-abc");
    let insecure = kubeconfig("certificate-authority: ca.crt", "", "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    fs::write(
        &file,
        insecure.replace("ca.crt", &folder.path().join("ca.crt").display().to_string()),
    )
    .unwrap();
    fs::write(folder.path().join("ca.crt"), PEM).unwrap();
    let insecure = Connect::default().kubeconfig(file).insecure_skip_tls_verify(true).find();
    assert!(
        insecure.unwrap().config.root_cert.is_none(),
        "the flag takes the place of the certificates"
    );
}

#[test]
fn what_a_kubeconfig_gets_wrong_is_named_with_its_file_and_without_its_secrets() {
    let cases = [
        ("certificate-authority: gone.crt", "", "certificate-authority of the cluster \"c\", "),
        ("certificate-authority: gone.crt", "", "gone.crt: No such file"),
        (
            "certificate-authority-data: '!!!'",
            "",
            "certificate-authority-data of the cluster \"c\" is not base64",
        ),
        ("certificate-authority-data: aGVsbG8=", "", "there is no certificate in PEM"),
        (
            "insecure-skip-tls-verify: true, certificate-authority: ca.crt",
            "",
            "has both a certificate-auth",
        ),
        (
            "",
            "client-certificate: gone.crt, client-key: gone.key",
            "client-certificate of the user \"u\", ",
        ),
        ("", "client-certificate: ca.crt, client-key: gone.key", "gone.key: No such file"),
        ("", "client-key-data: 's3cret!'", "client-key-data of the user \"u\" is not base64"),
        ("", "token: \"s3cret\\n\"", "token of the user \"u\" holds a line break"),
        (
            "",
            "auth-provider: {name: gcp, config: {access-token: s3cret}}",
            "no longer have \"gcp\"",
        ),
    ];
    for (cluster, user, said) in cases {
        let error = found(&kubeconfig(cluster, user, "")).err().expect(said);
        let shown = format!("{error:?}");
        assert!(shown.contains(said) && shown.contains("\n  hint: "), "{said}: {shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let mut said = String::new();
    for (from, to) in [
        ("current-context: x", ""),
        ("name: x", "name: z"),
        ("name: c,", "name: d,"),
        ("name: u", "name: v"),
    ] {
        let error = found(&kubeconfig("", "", "").replacen(from, to, 1)).err().unwrap().to_string();
        writeln!(said, "{}", error.rsplit_once("kubeconfig: ").unwrap().1).unwrap();
    }
    assert_eq!(
        said,
        "no current-context is set\nthe context \"x\" does not exist\nthe cluster \"c\" does not \
         exist\nthe user \"u\" does not exist\n"
    );
}

#[tokio::test]
async fn a_token_file_that_cannot_be_shown_is_named_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("kubeconfig"), folder.path().join("token"));
    fs::write(&file, kubeconfig("insecure-skip-tls-verify: true", "tokenFile: token", "")).unwrap();
    let client = || Connect::default().kubeconfig(&file).client();
    let said = async || client().await.err().expect("it is refused").to_string();
    assert!(said().await.contains("tokenFile, ") && said().await.contains("token: No such file"));
    fs::write(&token, "\n").unwrap();
    assert!(said().await.contains("token is empty"), "{}", said().await);
    fs::write(&token, "two words\n").unwrap();
    assert!(said().await.contains("token holds a line break or a space"), "{}", said().await);
    fs::write(&token, "one\n").unwrap();
    assert!(client().await.is_ok());
}
