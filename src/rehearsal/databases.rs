//! Real PostgreSQL behind simulated databases: a cluster of its own for each project, from this machine's packages.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OnceCell;

use crate::rehearsal::engine::{program, quit};

/// The account that may do everything in a cluster; only the simulator uses it, over a socket nobody else can reach.
const KEEPER: &str = "keeper";

/// Makes clusters.
pub struct Databases {
    programs: PathBuf,
    folder: PathBuf,
    addresses: Vec<String>,
    account: Option<&'static str>,
    template: OnceCell<()>,
    next: AtomicUsize,
}

/// A cluster that runs. Ends, and is gone, when dropped.
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    account: Option<&'static str>,
    /// The address it is reached at from outside this machine, or the loopback address.
    pub address: String,
    /// The port it listens on.
    pub port: u16,
}

impl Databases {
    /// Finds PostgreSQL's programs. Clusters listen on the loopback address and on `addresses`, the last of which
    /// others are told. The error says what is missing.
    pub async fn find(addresses: Vec<String>) -> Result<Databases, String> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> =
            versions.map(|entry| entry.path().join("bin")).filter(|path| path.join("initdb").exists()).collect();
        found.sort();
        let programs = found.pop().ok_or("PostgreSQL is not installed (Debian's package `postgresql`)")?;
        sweep();
        static SESSIONS: AtomicUsize = AtomicUsize::new(0);
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("landfall-databases-{}-{session}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        // PostgreSQL refuses to run as root; its package brings an account.
        let account = is_root().then_some("postgres");
        let databases =
            Databases { programs, folder, addresses, account, template: OnceCell::new(), next: AtomicUsize::new(0) };
        let owner = account.unwrap_or_default();
        if !owner.is_empty() {
            shell(None, "chown", &[owner, &databases.folder.display().to_string()]).await?;
        }
        Ok(databases)
    }

    /// Starts a new, empty cluster.
    pub async fn create(&self) -> Result<Cluster, String> {
        let template = self.folder.join("template");
        self.template.get_or_try_init(|| self.make_template(&template)).await?;
        let folder = self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let (from, to) = (template.display().to_string(), folder.display().to_string());
        shell(self.account, "cp", &["-a", &from, &to]).await?;
        let port = free_port().map_err(|e| e.to_string())?;
        let address = self.addresses.last().cloned().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string());
        let listen =
            std::iter::once("127.0.0.1".to_owned()).chain(self.addresses.clone()).collect::<Vec<_>>().join(",");
        let cluster = Cluster { programs: self.programs.clone(), folder, account: self.account, address, port };
        let settings = format!(
            "port = {port}\nlisten_addresses = '{listen}'\nunix_socket_directories = '{to}'\nssl = on\n\
             ssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\nfsync = off\nmax_connections = 40\n\
             shared_buffers = '16MB'\npassword_encryption = 'scram-sha-256'\nlogging_collector = off\n",
        );
        cluster.write("postgresql.auto.conf", &settings).await?;
        cluster.let_in(&["0.0.0.0/0".to_owned(), "::/0".to_owned()], false).await?;
        cluster.control(&["start", "-w", "-t", "60", "-l", &format!("{to}/log")]).await?;
        Ok(cluster)
    }

    async fn make_template(&self, template: &Path) -> Result<(), String> {
        let path = template.display().to_string();
        let initdb = self.programs.join("initdb").display().to_string();
        let arguments = [
            "-D",
            &path,
            "-U",
            KEEPER,
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ];
        shell(self.account, &initdb, &arguments).await?;
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).map_err(|e| e.to_string())?;
        for (name, text) in [("server.crt", key.cert.pem()), ("server.key", key.signing_key.serialize_pem())] {
            write(self.account, &template.join(name), &text).await?;
        }
        Ok(())
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Cluster {
    /// Runs SQL as the keeper, as far as it goes without an error. Gives what it prints, unaligned.
    pub async fn run(&self, database: &str, sql: &str) -> Result<String, String> {
        self.run_as(KEEPER, database, sql).await
    }

    /// The same as another account.
    pub async fn run_as(&self, user: &str, database: &str, sql: &str) -> Result<String, String> {
        let (psql, folder) = (self.programs.join("psql").display().to_string(), self.folder.display().to_string());
        let port = self.port.to_string();
        // Without what the library would otherwise take from the environment.
        let words = [
            "env",
            "-u",
            "PGPASSWORD",
            "PGPASSFILE=/nonexistent",
            "PGCONNECT_TIMEOUT=10",
            &psql,
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            user,
            "-d",
            database,
            "-p",
            &port,
            "-h",
            &folder,
            "-f",
            "-",
        ];
        program(&words, sql.as_bytes().to_vec()).await
    }

    /// Lets connections in from these networks only; with `encrypted`, only those with TLS.
    pub async fn let_in(&self, networks: &[String], encrypted: bool) -> Result<(), String> {
        let kind = if encrypted { "hostssl" } else { "host" };
        let mut rules = "local all all trust\n".to_owned();
        for network in networks {
            let _ = writeln!(rules, "{kind} all all {network} scram-sha-256");
        }
        self.write("pg_hba.conf", &rules).await?;
        if self.folder.join("postmaster.pid").exists() {
            self.control(&["reload"]).await?;
        }
        Ok(())
    }

    async fn write(&self, name: &str, text: &str) -> Result<(), String> {
        write(self.account, &self.folder.join(name), text).await
    }

    async fn control(&self, arguments: &[&str]) -> Result<(), String> {
        let folder = self.folder.display().to_string();
        let control = self.programs.join("pg_ctl").display().to_string();
        let mut all = vec!["-s", "-D", folder.as_str()];
        all.extend(arguments);
        shell(self.account, &control, &all).await.map_err(|why| {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            format!("{why}\n{}", log.lines().rev().take(5).collect::<Vec<_>>().join("\n"))
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        stop(&self.folder);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Stops the cluster in `folder` at once; nothing in it is worth keeping.
fn stop(folder: &Path) {
    let process = std::fs::read_to_string(folder.join("postmaster.pid")).unwrap_or_default();
    if let Some(process) = process.lines().next().filter(|line| line.parse::<u32>().is_ok()) {
        // SIGQUIT is PostgreSQL's immediate shutdown.
        quit(process);
    }
}

/// Stops clusters whose rehearsal was killed, and removes what it left.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(session) = name.strip_prefix("landfall-databases-") else { continue };
        let process = session.split('-').next().unwrap_or_default();
        if Path::new("/proc").join(process).exists() {
            continue;
        }
        for cluster in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            stop(&cluster.path());
        }
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn free_port() -> std::io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}

/// Runs a program as `account`, or as ourselves.
async fn shell(account: Option<&str>, name: &str, arguments: &[&str]) -> Result<(), String> {
    program(&as_account(account, name, arguments), vec![]).await.map(|_| ())
}

/// Writes a file that only its owner may read, as `account`.
async fn write(account: Option<&str>, path: &Path, text: &str) -> Result<(), String> {
    let path = path.display().to_string();
    let words = as_account(account, "sh", &["-c", "umask 077; cat >\"$0\"", &path]);
    program(&words, text.as_bytes().to_vec()).await.map(|_| ())
}

fn as_account<'a>(account: Option<&'a str>, name: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let mut words = account.map_or(vec![], |account| vec!["runuser", "-u", account, "--"]);
    words.push(name);
    words.extend(arguments);
    words
}

/// `text` as a literal of SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `name` as an identifier of SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The rows of `query` as a JSON array where it gives rows, and an empty one where it does not. The error is
/// PostgreSQL's own.
pub(super) async fn rows(
    cluster: &Cluster,
    user: &str,
    database: &str,
    query: &str,
) -> Result<serde_json::Value, String> {
    let text = query.trim().trim_end_matches(';');
    let first = text.split_whitespace().next().unwrap_or_default().to_lowercase();
    if matches!(first.as_str(), "select" | "with" | "values" | "table") && !text.contains(';') {
        let wrapped = format!("select coalesce(json_agg(row_to_json(row)), '[]') from ({text}) as row");
        let printed = cluster.run_as(user, database, &wrapped).await?;
        return serde_json::from_str(printed.trim()).map_err(|e| e.to_string());
    }
    cluster.run_as(user, database, query).await.map(|_| serde_json::Value::Array(vec![]))
}
