//! Servers that admit only some users, allow them only some things, or use TLS.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

use crate::stack::{Running, Stack, root, wait_until};

/// A NATS server with accounts. It stops with the test.
struct Nats {
    _server: Running,
    port: u64,
}

impl Nats {
    /// Starts a server with the users `reader`, who may do everything, and `weak`, who may not ask
    /// for streams.
    fn start(stack: &Stack, more: &str) -> Self {
        let place = stack.path("nats-with-users");
        fs::create_dir_all(&place).unwrap();
        let config = format!(
            "host: 127.0.0.1, port: -1, ports_file_dir: \"{0}\"\n\
             jetstream {{ store_dir: \"{0}\", domain: hub }}\n\
             authorization {{ users: [\n\
             {{user: reader, password: \"p@ss\"}},\n\
             {{user: weak, password: w, permissions: {{publish: {{deny: \"$JS.API.>\"}}}}}}\n\
             ] }}\n{more}\n",
            place.display()
        );
        fs::write(place.join("nats.conf"), config).unwrap();
        let programs = fs::read_dir(root().join(".sandbox")).unwrap().map(Result::unwrap);
        let program = programs.map(|it| it.path().join("nats-server")).find(|it| it.exists());
        let mut command = Command::new(program.expect("no NATS server: run `make setup`"));
        command.args(["-c", "nats.conf"]).current_dir(&place);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Running(command.spawn().unwrap());
        let ports = place.join(format!("nats-server_{}.ports", server.0.id()));
        let mut port = None;
        wait_until("NATS listens", || {
            let text = fs::read_to_string(&ports).unwrap_or_default();
            let told: Value = serde_json::from_str(&text).unwrap_or_default();
            let address = told["nats"][0].as_str().and_then(|it| it.rsplit(':').next());
            port = address.and_then(|it| it.parse().ok());
            port.is_some()
        });
        Self { _server: server, port: port.unwrap() }
    }

    fn url(&self, user: &str) -> String {
        format!("nats://{user}127.0.0.1:{}", self.port)
    }
}

/// Runs a preflight that must fail with this message.
#[track_caller]
fn check(stack: &Stack, flags: &[&str], expected: &str) {
    let args = [&["preflight", "profile.yaml"], flags].concat();
    let output = stack.run("auditstorm-verifier", &args);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(expected), "{message}");
    assert!(!message.contains("p@ss") && !message.contains("p%40ss"), "{message}");
    assert_eq!(output.status.code(), Some(2), "{message}");
}

const ADMITTED: &str = "NATS has no stream AUDIT_EVENTS";
const DENIED: &str = "does not let this user in; name one with --nats-user";

#[test]
fn a_user_is_named_in_the_address_or_by_flags_and_told_what_is_not_allowed() {
    let stack = Stack::up(&[]);
    stack.profile(1, 1, 1);
    let nats = Nats::start(&stack, "");
    let plain = nats.url("");
    check(&stack, &["--nats", &nats.url("reader:p%40ss@")], ADMITTED);
    check(
        &stack,
        &["--nats", &plain, "--nats-user", "reader", "--nats-password", "p@ss"],
        ADMITTED,
    );
    let both = format!("nats://127.0.0.1:9,{}", nats.url("reader:p%40ss@"));
    check(&stack, &["--nats", &both], ADMITTED);
    check(&stack, &["--nats", &plain], DENIED);
    check(&stack, &["--nats", &nats.url("reader:wrong@")], DENIED);
    check(
        &stack,
        &["--nats", &nats.url("weak:w@")],
        "this user read the stream AUDIT_EVENTS; the user needs the rights to publish to $JS.API.>",
    );
    // The server answers in its own domain. No server answers in another.
    let own = ["--nats", &nats.url("reader:p%40ss@"), "--nats-domain", "hub"];
    check(&stack, &own, ADMITTED);
    check(&stack, &["--nats", &plain, "--nats-domain", "a.b"], "a domain is one word");
    let elsewhere = ["preflight", "profile.yaml", "--nats-domain", "leaf", "--nats"];
    let url = nats.url("reader:p%40ss@");
    let output = stack.run("auditstorm-verifier", &[&elsewhere[..], &[&url]].concat());
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    check(&stack, &["--nats", &plain, "--nats-creds", "none.creds"], "cannot use none.creds");
    check(&stack, &["--nats", "http://127.0.0.1:1"], "is no NATS address");
    check(&stack, &["--nats", "nats://127.0.0.1:99999"], "its port is no number from 1 to 65535");
}

#[test]
fn a_server_that_asks_for_tls_is_trusted_by_the_certificates_given() {
    let stack = Stack::up(&[]);
    stack.profile(1, 1, 1);
    let made = made_as_openssl_does();
    let (ca, key) = (stack.path("ca.pem"), stack.path("key.pem"));
    fs::write(&ca, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let nats = Nats::start(&stack, "tls { cert_file: \"../ca.pem\", key_file: \"../key.pem\" }");
    let url = nats.url("reader:p%40ss@");
    check(&stack, &["--nats", &url, "--nats-ca-file", ca.to_str().unwrap()], ADMITTED);
    let output = stack.run("auditstorm-verifier", &["preflight", "profile.yaml", "--nats", &url]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("its certificate is not trusted; check --nats-ca-file"), "{message}");
    assert_eq!(output.status.code(), Some(3), "{message}");
}

/// Makes a self-signed certificate that is marked as an authority's, as `openssl req -x509` does.
fn made_as_openssl_does() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

/// Serves TLS on a free port in front of a server, until the runtime is dropped.
fn behind_tls(server: SocketAddr, made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> (Runtime, u16) {
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await.ok()?;
                let mut server = TcpStream::connect(server).await.ok()?;
                copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    (runtime, port)
}

#[test]
fn a_history_is_loaded_and_checked_through_tls() {
    let stack = Stack::up(&[]);
    stack.profile(1, 1, 1);
    let made = made_as_openssl_does();
    fs::write(stack.path("ca.pem"), made.cert.pem()).unwrap();
    let server = stack.address("CLICKHOUSE_URL").strip_prefix("http://").unwrap();
    let (_runtime, port) = behind_tls(server.parse().unwrap(), &made);
    let url = format!("https://127.0.0.1:{port}");
    let run = |name: &str, args: &[&str], trusted: &str| {
        let mut command = stack.command(name, args);
        command.env("CLICKHOUSE_URL", &url).env("SSL_CERT_FILE", stack.path(trusted));
        // The programs must ignore these variables. Nothing listens at these addresses.
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, "http://127.0.0.1:9");
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let load =
        ["run", "profile.yaml", "--events", "20000", "--days", "3", "--out", "run", "--quiet"];
    let (code, told) = run("auditstorm-backfill", &load, "none.pem");
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("invalid peer certificate"), "{told}");
    let (code, told) = run("auditstorm-backfill", &load, "ca.pem");
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run("auditstorm-verifier", &["reconcile", "run"], "ca.pem");
    assert_eq!(code, Some(0), "{told}");
    // Metrics too.
    let page = stack.address("VECTOR_METRICS_URL").strip_prefix("http://").unwrap();
    let (server, path) = page.split_once('/').unwrap();
    let (_metrics, port) = behind_tls(server.parse().unwrap(), &made);
    let page = format!("https://127.0.0.1:{port}/{path}");
    let preflight = ["preflight", "profile.yaml", "--vector-metrics", &page];
    let (code, told) = run("auditstorm-verifier", &preflight, "ca.pem");
    assert!(matches!(code, Some(0 | 5)), "{code:?}: {told}");
}

/// A user who may do everything; users with the rights that the guides name for checks, loads and
/// plans; one who may not see the table; and one who may only see that it exists.
pub(crate) const USERS: &str = "<clickhouse>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    <users>
        <default><password/><profile>default</profile><quota>default</quota></default>
        <reader>
            <password>r</password><profile>default</profile><quota>default</quota>
            <grants>
                <query>GRANT SELECT ON audit.audit_logs</query>
                <query>GRANT SELECT ON system.columns</query>
                <query>GRANT SELECT ON system.tables</query>
                <query>GRANT SELECT ON system.parts</query>
                <query>GRANT SELECT ON system.detached_parts</query>
            </grants>
        </reader>
        <loader>
            <password>l</password><profile>default</profile><quota>default</quota>
            <grants>
                <query>GRANT SELECT, INSERT ON audit.audit_logs</query>
                <query>GRANT SELECT ON system.*</query>
            </grants>
        </loader>
        <planner>
            <password>p</password><profile>default</profile><quota>default</quota>
            <grants>
                <query>GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE ON audit.*</query>
                <query>GRANT SELECT ON system.*</query>
            </grants>
        </planner>
        <weak>
            <password>w</password><profile>default</profile><quota>default</quota>
            <grants><query>GRANT SELECT ON system.*</query></grants>
        </weak>
        <blind>
            <password>b</password><profile>default</profile><quota>default</quota>
            <grants>
                <query>GRANT SHOW ON audit.audit_logs</query>
                <query>GRANT SELECT ON system.*</query>
            </grants>
        </blind>
    </users>
</clickhouse>
";

#[test]
fn an_account_of_clickhouse_needs_the_rights_that_the_guide_names_and_no_more() {
    let stack = Stack::up(&[]);
    stack.profile(1, 1, 1);
    let load = ["run", "profile.yaml", "--events", "20000", "--days", "3", "--quiet", "--out"];
    assert!(stack.run("auditstorm-backfill", &[&load[..], &["run"]].concat()).status.success());
    fs::write(stack.path("sandbox/clickhouse/users.xml"), USERS).unwrap();
    stack.restart("clickhouse", "100ms");
    let run = |name: &str, args: &[&str], (user, password): (&str, &str)| {
        let account = ["--clickhouse-user", user, "--clickhouse-password", password];
        let output = stack.run(name, &[args, &account].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let check = |name: &str, args: &[&str], account: (&str, &str), expected: &str| {
        let (code, told) = run(name, args, account);
        assert!(told.contains(expected), "{told}");
        assert_eq!(code, Some(2), "{told}");
    };
    let (reconcile, again) = (["reconcile", "run"], [&load[..], &["again"]].concat());
    let plan = ["plan", "profile.yaml", "--events", "20000", "--days", "3"];
    for (name, args, account) in [
        ("auditstorm-verifier", &reconcile[..], ("reader", "r")),
        ("auditstorm-backfill", &again, ("loader", "l")),
        ("auditstorm-backfill", &plan, ("planner", "p")),
    ] {
        let (code, told) = run(name, args, account);
        assert_eq!(code, Some(0), "{account:?}: {told}");
    }
    let other = [&load[..], &["other"]].concat();
    let unseen = "has no table audit.audit_logs, or none that user \"weak\" may see";
    check("auditstorm-verifier", &reconcile, ("weak", "w"), unseen);
    check("auditstorm-backfill", &other, ("weak", "w"), unseen);
    check("auditstorm-backfill", &other, ("reader", "r"), "let user \"reader\" do that");
    check("auditstorm-verifier", &reconcile, ("blind", "b"), "let user \"blind\" do that");
    check("auditstorm-backfill", &other, ("blind", "b"), "may not do that, see --clickhouse-user");
}
