//! The SSH door: the only file that names ssh2. One session per host, one identity, a known host key.
#![expect(clippy::disallowed_types, reason = "this is the door")]

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::{BASE64, BASE64_NOPAD};
use ssh2::{ErrorCode, ExtendedData, HashType, HostKeyType, MethodType, Session};

use crate::doors::identity::{self, Identity};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::secret::Keys;

/// `LIBSSH2_ERROR_TIMEOUT`.
const TIMED_OUT: i32 = -9;
/// `LIBSSH2_ERROR_AUTHENTICATION_FAILED`.
const NOT_LET_IN: i32 = -18;
/// How often a running script is looked away from, to see whether the user wants to stop.
const GLANCE: u32 = 250;
/// A script says something at least every ten seconds; after this long the connection is taken for lost.
const SILENCE: Duration = Duration::from_secs(60);

/// The longest that one script on a host may take: a backup or a restore of much data.
const LONGEST_SCRIPT: Duration = Duration::from_secs(13 * 3600);
/// How many bytes a script may say in all, and in one line. The longest real line is a file's content.
const LONGEST_TALK: usize = 64 << 20;
const LONGEST_LINE: usize = 16 << 20;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// The same while proving that one can get in, when the host waits for us.
const PROOF_CONNECT: Duration = Duration::from_secs(5);
/// How long is waited before each try to prove that one can get in, in milliseconds. Together less than a
/// host waits for the proof; few, because newer sshds punish failed logins.
const PROOF_GAPS: [u64; 3] = [50, 1_000, 4_000];

/// A host whose place and identity are known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostId {
    /// Its address.
    pub address: IpAddr,
    /// sshd's port.
    pub port: u16,
    /// The account.
    pub user: String,
    /// The fingerprint its key must have, `SHA256:…`; several with spaces between while one key gives way to
    /// another.
    pub host_key: String,
    /// Public keys, one of which is offered.
    pub keys: Vec<String>,
}

/// How long to wait for a host.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until it can be reached: a new server boots meanwhile.
    pub reach: Duration,
    /// Until it lets us in: a new server makes the account meanwhile.
    pub login: Duration,
}

/// What a script left behind.
#[derive(Debug)]
pub struct Output {
    /// Its exit status.
    pub status: i32,
    /// The last lines it printed that were not meant for us, oldest first.
    pub chatter: Vec<String>,
}

/// The door.
pub struct Ssh {
    keys: Arc<dyn Keys>,
    key_file: Option<PathBuf>,
    key_folder: Option<PathBuf>,
    patience: Patience,
    sessions: Mutex<HashMap<(IpAddr, u16, String), Host>>,
    connections: AtomicUsize,
    scripts: Arc<AtomicUsize>,
}

impl Ssh {
    /// A door that looks for private keys in `key_file`, or else in `key_folder` and the agent, and waits
    /// for hosts as long as `patience` says.
    pub fn new(keys: Arc<dyn Keys>, key_file: Option<PathBuf>, key_folder: Option<PathBuf>, patience: Patience) -> Ssh {
        Ssh {
            keys,
            key_file,
            key_folder,
            patience,
            sessions: Mutex::default(),
            connections: AtomicUsize::new(0),
            scripts: Arc::default(),
        }
    }

    /// How many connections were opened and how many scripts were run so far.
    pub fn used(&self) -> (usize, usize) {
        (self.connections.load(Ordering::Relaxed), self.scripts.load(Ordering::Relaxed))
    }

    /// Checks, without connecting, that one of `keys` can be used. Fails as `Human`.
    pub fn has_key(&self, keys: &[String]) -> Result<(), Failure> {
        self.identity(keys).map(|_| ())
    }

    fn identity(&self, keys: &[String]) -> Result<Identity, Failure> {
        let in_agent = agent_keys();
        identity::find(keys, self.key_file.as_deref(), self.key_folder.as_deref(), &in_agent, &*self.keys)
    }

    /// The session with `id`: the one that is open, or a new one. Each try is a full handshake; the gaps
    /// grow, because sshd shuts out those who knock too often. A host with another key than the known one
    /// ends the matter at once, before anything is sent to it.
    pub async fn open(&self, id: &HostId, report: &Report) -> Result<Host, Failure> {
        let at = (id.address, id.port, id.user.clone());
        if let Some(host) = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&at)
            && is_known(id, &host.key)
        {
            return Ok(host.clone());
        }
        let begun = Instant::now();
        let mut answered: Option<Instant> = None;
        let mut gap = Duration::from_secs(1);
        loop {
            let identity = self.identity(&id.keys)?;
            let target = id.clone();
            self.connections.fetch_add(1, Ordering::Relaxed);
            let tried = tokio::task::spawn_blocking(move || connect(&target, &identity, CONNECT)).await;
            let missed = match tried {
                Ok(Ok((session, key))) => {
                    let host = Host {
                        key,
                        session: Arc::new(Mutex::new(session)),
                        root: id.user == "root",
                        name: format!("{}@{}", id.user, id.address),
                        scripts: self.scripts.clone(),
                    };
                    self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(at, host.clone());
                    return Ok(host);
                }
                Ok(Err(missed)) => missed,
                Err(e) => return Err(Failure::new(Kind::Failed, "the SSH connection broke down").because(e)),
            };
            let (failure, waited, limit) = match missed {
                Missed::Final(failure) => return Err(failure),
                Missed::NotReached(failure) => (failure, begun.elapsed(), self.patience.reach),
                Missed::NotLetIn(failure) => {
                    // A refused login costs a penalty on OpenSSH 9.8 and later.
                    gap = gap.max(Duration::from_secs(5));
                    (failure, answered.get_or_insert_with(Instant::now).elapsed(), self.patience.login)
                }
            };
            let wait = gap.mul_f64(0.75 + 0.5 * jitter());
            if waited + wait > limit || report.stopping() {
                return Err(failure);
            }
            report.tell(Progress::Waiting(format!("{} to let us in ({failure})", id.address)));
            tokio::time::sleep(wait).await;
            gap = (gap * 2).min(Duration::from_secs(8));
        }
    }

    /// Makes sure that the host is the one it should be and lets us in; gives what an SSH client needs to get in
    /// by itself.
    pub async fn guest(&self, id: &HostId, report: &Report) -> Result<Guest, Failure> {
        let host = self.open(id, report).await?;
        let session = host.session.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((key, HostKeyType::Ed25519)) = session.host_key() else {
            return Err(Failure::new(Kind::Human, format!("the host {} shows no ed25519 key", id.address))
                .hint("pin the ed25519 key in the playbook: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"));
        };
        let place = if id.port == 22 { id.address.to_string() } else { format!("[{}]:{}", id.address, id.port) };
        let known_hosts = format!("{place} ssh-ed25519 {}\n", BASE64.encode(key));
        Ok(Guest { known_hosts, identity: self.identity(&id.keys)? })
    }

    /// Proves that one can still get in: a new connection, our key, and `path` made with sudo. Tries a few
    /// times within some seconds, as sshd may be taking up its settings. Fails with what shut us out.
    pub async fn prove(&self, id: &HostId, path: &str, report: &Report) -> Result<(), Failure> {
        let (mut last, mut refusals) = (None, 0);
        for gap in PROOF_GAPS {
            tokio::time::sleep(Duration::from_millis(gap)).await;
            let identity = self.identity(&id.keys)?;
            let (target, path) = (id.clone(), path.to_owned());
            self.connections.fetch_add(1, Ordering::Relaxed);
            let tried = tokio::task::spawn_blocking(move || {
                let (session, _) = connect(&target, &identity, PROOF_CONNECT)?;
                touch(&session, &target, &path).map_err(Missed::Final)
            });
            match tried.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Missed::Final(failure))) => return Err(failure),
                Ok(Err(missed @ (Missed::NotReached(_) | Missed::NotLetIn(_)))) => {
                    // A third refused login would make a newer sshd refuse every connection for a while.
                    refusals += usize::from(matches!(missed, Missed::NotLetIn(_)));
                    let (Missed::NotReached(failure) | Missed::NotLetIn(failure) | Missed::Final(failure)) = missed;
                    if refusals == 2 {
                        return Err(failure);
                    }
                    report.tell(Progress::Waiting(format!("{} to let us in again ({failure})", id.address)));
                    last = Some(failure);
                }
                Err(e) => return Err(Failure::new(Kind::Failed, "the SSH connection broke down").because(e)),
            }
        }
        Err(last.unwrap_or_else(|| Failure::new(Kind::Failed, "no new connection got in")))
    }

    /// Does this build speak at least one of `offered`, names of algorithms for sshd's `keyword`?
    pub fn speaks(&self, keyword: &str, offered: &[&str]) -> bool {
        let kind = match keyword {
            "KexAlgorithms" => MethodType::Kex,
            "Ciphers" => MethodType::CryptCs,
            "MACs" => MethodType::MacCs,
            _ => MethodType::HostKey,
        };
        let known = Session::new().and_then(|session| session.supported_algs(kind)).unwrap_or_default();
        offered.iter().any(|name| known.contains(name))
    }

    /// Forgets the session with `id`, because the host is gone or another one.
    pub fn close(&self, id: &HostId) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&(id.address, id.port, id.user.clone()));
    }
}

/// What an SSH client needs to get into a host by itself.
#[derive(Debug)]
pub struct Guest {
    /// A line of a known_hosts file.
    pub known_hosts: String,
    /// The key to log in with.
    pub identity: Identity,
}

/// Files to make on a host while a script runs there; each is made once.
pub type Signs = Arc<Mutex<Vec<String>>>;

/// An open session.
#[derive(Clone)]
pub struct Host {
    /// The fingerprint of the key it showed.
    key: String,
    session: Arc<Mutex<Session>>,
    root: bool,
    name: String,
    scripts: Arc<AtomicUsize>,
}

impl Host {
    /// Runs `script` as root with `/bin/sh`. It travels on standard input, so nothing of it stands in
    /// any list of processes. Each line it prints that begins with `mark` is handed, without the mark, to
    /// `on_line`. Files put into `signs` are made on the host, and so is `stop_file` when the user wants to stop.
    pub async fn run(
        &self,
        script: String,
        mark: String,
        stop_file: String,
        signs: Signs,
        report: Report,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Output, Failure> {
        self.scripts.fetch_add(1, Ordering::Relaxed);
        let host = self.clone();
        let ran = tokio::task::spawn_blocking(move || {
            host.run_blocking(&script, &mark, &stop_file, &signs, &report, on_line)
        })
        .await;
        match ran {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(why)) => Err(Failure::new(Kind::Lost, format!("the connection to {} was lost", self.name))
                .because(why)
                .hint("run the same command again: it looks at the host first and goes on from there")),
            Err(e) => Err(Failure::new(Kind::Failed, "the SSH session broke down").because(e)),
        }
    }

    fn run_blocking(
        &self,
        script: &str,
        mark: &str,
        stop_file: &str,
        signs: &Signs,
        report: &Report,
        mut on_line: impl FnMut(&str),
    ) -> Result<Output, String> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let words = |e: ssh2::Error| e.message().to_owned();
        let sudo = if self.root { "" } else { "sudo -n " };
        session.set_timeout(30_000);
        let mut channel = session.channel_session().map_err(words)?;
        channel.handle_extended_data(ExtendedData::Merge).map_err(words)?;
        channel.exec(&format!("exec {sudo}/bin/sh -s")).map_err(words)?;
        channel.write_all(script.as_bytes()).map_err(|e| e.to_string())?;
        channel.send_eof().map_err(words)?;

        session.set_timeout(GLANCE);
        let mut lines = Lines::default();
        let mut chatter = VecDeque::new();
        let begun = Instant::now();
        let mut heard = begun;
        let mut stop_sent = false;
        let mut buffer = [0; 32 << 10];
        loop {
            match channel.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    heard = Instant::now();
                    lines.push(&buffer[..n], |line| match line.strip_prefix(mark) {
                        Some(meant) => on_line(meant),
                        None => {
                            chatter.push_back(line.chars().take(1000).collect());
                            if chatter.len() > 20 {
                                chatter.pop_front();
                            }
                        }
                    })?;
                }
                Err(e) if e.kind() == ErrorKind::TimedOut || e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.to_string()),
            }
            if begun.elapsed() > LONGEST_SCRIPT {
                return Err(format!("it was not done within {} hours", LONGEST_SCRIPT.as_secs() / 3600));
            }
            if heard.elapsed() > SILENCE {
                return Err(format!("nothing was heard for {} seconds", SILENCE.as_secs()));
            }
            let mut files = std::mem::take(&mut *signs.lock().unwrap_or_else(PoisonError::into_inner));
            if report.stopping() && !stop_sent {
                stop_sent = true;
                files.push(stop_file.to_owned());
            }
            for file in files {
                session.set_timeout(10_000);
                let mut second = session.channel_session().map_err(words)?;
                second.exec(&format!("{sudo}touch {file}")).map_err(words)?;
                second.wait_eof().map_err(words)?;
                session.set_timeout(GLANCE);
            }
        }
        session.set_timeout(10_000);
        channel.wait_close().map_err(words)?;
        let status = channel.exit_status().map_err(words)?;
        Ok(Output { status, chatter: chatter.into() })
    }
}

/// Bytes in, whole lines out.
#[derive(Default)]
struct Lines {
    /// The line that has no end yet.
    open: Vec<u8>,
    /// How many bytes came in all.
    heard: usize,
}

impl Lines {
    /// Fails when a line, or all of them together, are longer than anything a host has to say.
    fn push(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) -> Result<(), String> {
        self.heard += bytes.len();
        if self.heard > LONGEST_TALK {
            return Err(format!("the host sent more than {} MiB", LONGEST_TALK >> 20));
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            self.open.extend_from_slice(&rest[..end]);
            on_line(&String::from_utf8_lossy(&self.open));
            self.open.clear();
            rest = &rest[end + 1..];
        }
        self.open.extend_from_slice(rest);
        match self.open.len() > LONGEST_LINE {
            true => Err(format!("the host sent a line of more than {} MiB", LONGEST_LINE >> 20)),
            false => Ok(()),
        }
    }
}

/// Why a try to connect led nowhere.
enum Missed {
    /// Nobody answered, or sshd was not ready.
    NotReached(Failure),
    /// sshd answered and refused the login.
    NotLetIn(Failure),
    /// No use trying again.
    Final(Failure),
}

/// Is this the fingerprint of a key the host may show?
fn is_known(id: &HostId, fingerprint: &str) -> bool {
    id.host_key.split(' ').any(|known| known == fingerprint)
}

/// A new session, and the fingerprint of the key the host showed.
fn connect(id: &HostId, identity: &Identity, patience: Duration) -> Result<(Session, String), Missed> {
    let unreachable = |text: String| {
        Missed::NotReached(
            Failure::new(Kind::Unreachable, format!("cannot reach the host {} on port {}", id.address, id.port))
                .because(text)
                .hint("is the server running, and does a firewall on the way let SSH through?"),
        )
    };
    let stream = TcpStream::connect_timeout(&SocketAddr::new(id.address, id.port), patience)
        .map_err(|e| unreachable(e.to_string()))?;
    let _ = stream.set_nodelay(true);
    let mut session = Session::new().map_err(|e| unreachable(e.message().to_owned()))?;
    session.set_timeout(u32::try_from(patience.as_millis() * 2).unwrap_or(u32::MAX));
    session.set_tcp_stream(stream);
    let _ = session.method_pref(MethodType::HostKey, "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256");
    session.handshake().map_err(|e| unreachable(e.message().to_owned()))?;

    let seen = session.host_key_hash(HashType::Sha256).map(|hash| format!("SHA256:{}", BASE64_NOPAD.encode(hash)));
    let seen = seen.unwrap_or_else(|| "no key".to_owned());
    if !is_known(id, &seen) {
        return Err(Missed::Final(
            Failure::new(Kind::Human, format!("the host at {} is not the one it should be", id.address))
                .because(format!("its key is {seen}, but {} is known", id.host_key))
                .hint(
                    "nothing was sent to it. If you reinstalled it yourself, give it its old host key back or make the \
                     server anew; if not, someone may be listening",
                ),
        ));
    }
    match authenticate(&session, id, identity) {
        Ok(()) => Ok((session, seen)),
        Err(e) if e.code() == ErrorCode::Session(NOT_LET_IN) => Err(Missed::NotLetIn(
            Failure::new(Kind::Human, format!("the host at {} refused {} the login with our key", id.address, id.user))
                .because(e.message().to_owned())
                .hint("is the key among the playbook's `keys`, and was it there when the server was made?"),
        )),
        Err(e) if e.code() == ErrorCode::Session(TIMED_OUT) => Err(unreachable("no answer in time".to_owned())),
        Err(e) => Err(unreachable(e.message().to_owned())),
    }
}

/// Makes the empty file `path`, of letters, digits, dots, slashes and hyphens, as root.
fn touch(session: &Session, id: &HostId, path: &str) -> Result<(), Failure> {
    let sudo = if id.user == "root" { "" } else { "sudo -n " };
    let run = || -> Result<(i32, String), ssh2::Error> {
        session.set_timeout(10_000);
        let mut channel = session.channel_session()?;
        channel.handle_extended_data(ExtendedData::Merge)?;
        channel.exec(&format!("exec {sudo}/bin/touch {path}"))?;
        let mut said = Vec::new();
        let _ = Read::by_ref(&mut channel).take(4096).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).into_owned();
        channel.wait_close()?;
        Ok((channel.exit_status()?, said.trim().to_owned()))
    };
    match run() {
        Ok((0, _)) => Ok(()),
        Ok((status, said)) => {
            let failure =
                Failure::new(Kind::Human, format!("{} gets in but cannot use sudo (exit status {status})", id.user));
            Err(if said.is_empty() { failure } else { failure.because(said) })
        }
        Err(e) => Err(Failure::new(Kind::Lost, "the new connection broke off").because(e.message().to_owned())),
    }
}

fn authenticate(session: &Session, id: &HostId, identity: &Identity) -> Result<(), ssh2::Error> {
    match identity {
        Identity::File(path, passphrase) => {
            let passphrase = passphrase.as_ref().map(|secret| secret.expose());
            session.userauth_pubkey_file(&id.user, None, path, passphrase)
        }
        Identity::Agent(blob) => {
            let mut agent = session.agent()?;
            agent.connect()?;
            agent.list_identities()?;
            let known = agent.identities()?;
            match known.iter().find(|key| key.blob() == blob) {
                Some(key) => agent.userauth(&id.user, key),
                None => Err(ssh2::Error::new(ErrorCode::Session(NOT_LET_IN), "the agent no longer holds the key")),
            }
        }
    }
}

fn agent_keys() -> Vec<Vec<u8>> {
    keys_in_agent().into_iter().map(|(blob, _)| blob).collect()
}

/// Public keys the agent holds, each with its comment; none where there is no agent.
pub fn keys_in_agent() -> Vec<(Vec<u8>, String)> {
    if std::env::var_os("SSH_AUTH_SOCK").is_none() {
        return vec![];
    }
    let list = || -> Result<Vec<(Vec<u8>, String)>, ssh2::Error> {
        let session = Session::new()?;
        let mut agent = session.agent()?;
        agent.connect()?;
        agent.list_identities()?;
        Ok(agent.identities()?.iter().map(|key| (key.blob().to_vec(), key.comment().to_owned())).collect())
    };
    list().unwrap_or_default()
}

/// A number from 0 to 1, so that several waiting programs do not knock in step.
fn jitter() -> f64 {
    use rand_core::RngCore as _;
    f64::from(rand_core::OsRng.next_u32()) / f64::from(u32::MAX)
}
