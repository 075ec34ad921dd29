//! Places, files and the lock.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use jiff::Timestamp;
use rand_core::{OsRng, RngCore as _};

use crate::model::failure::{Failure, Kind};
use crate::model::lease::Operator;
use crate::model::name::Name;

/// Where Landfall keeps its own files: journals and locks. `$XDG_STATE_HOME/landfall`, or the place the
/// operating system has for that.
pub fn state_folder() -> Result<PathBuf, Failure> {
    let places = etcetera::choose_base_strategy()
        .map_err(|e| Failure::new(Kind::Failed, "cannot tell where your home folder is").because(e).hint("set HOME"))?;
    Ok(places.state_dir().unwrap_or_else(|| places.data_dir()).join("landfall"))
}

/// The form of what is kept in the state folder. It grows when an older version could not read it, or would spoil it.
const FORMAT: u32 = 1;

/// Checks that the state folder is one this version understands. Fails as `Human` where a newer one was there.
pub fn check_format(state: &Path) -> Result<(), Failure> {
    let found = fs::read_to_string(state.join("format")).unwrap_or_default();
    match found.trim().parse::<u32>() {
        Ok(format) if format > FORMAT => Err(Failure::new(
            Kind::Human,
            format!(
                "a newer Landfall keeps its journals in {} (format {format}, and this one knows {FORMAT})",
                state.display()
            ),
        )
        .hint("use that version, or set XDG_STATE_HOME to another folder; nothing was done")),
        _ => Ok(()),
    }
}

/// Notes in the state folder which form it has.
pub(super) fn note_format(state: &Path) -> Result<(), std::io::Error> {
    let path = state.join("format");
    if path.exists() {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(format!("{FORMAT}\n").as_bytes())
}

/// Who runs Landfall here, known by the number that is kept in the state folder, or by a new one where none is yet.
pub fn operator(state: &Path) -> Operator {
    let kept = fs::read_to_string(operator_file(state)).unwrap_or_default();
    let id = match kept.trim() {
        "" => {
            let mut bytes = [0; 8];
            OsRng.fill_bytes(&mut bytes);
            data_encoding::HEXLOWER.encode(&bytes)
        }
        kept => kept.to_owned(),
    };
    let user =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()).filter(|user| !user.is_empty());
    let user = user.or_else(account).unwrap_or_default();
    Operator::new(&id, &user, &gethostname::gethostname().to_string_lossy())
}

/// The account this process belongs to, where the environment does not say: on Linux the owner of its entry in /proc, by
/// the name that passwd(5) has for it.
fn account() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let number = fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = read_limited(Path::new("/etc/passwd"), LONGEST_PLAYBOOK).ok()?;
    String::from_utf8_lossy(&accounts).lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        match fields[..] {
            [name, _, uid, ..] if uid == number => Some(name.to_owned()),
            _ => None,
        }
    })
}

/// Who runs Landfall here, now and in later runs. Fails as `Failed` where the number cannot be kept.
pub fn lasting_operator(state: &Path) -> Result<Operator, Failure> {
    let operator = operator(state);
    let path = operator_file(state);
    if fs::read_to_string(&path).unwrap_or_default().trim() != operator.id {
        write_whole(&path, format!("{}\n", operator.id).as_bytes())?;
    }
    Ok(operator)
}

fn operator_file(state: &Path) -> PathBuf {
    state.join("operator")
}

/// The folder a user's own SSH keys are in.
pub fn ssh_folder() -> Option<PathBuf> {
    etcetera::home_dir().ok().map(|home| home.join(".ssh"))
}

/// The longest playbook that is read, in bytes.
const LONGEST_PLAYBOOK: u64 = 1 << 20;
/// The same for any other single file that a playbook names.
const LONGEST_FILE: u64 = 16 << 20;
/// How much all files of one folder may hold together, and how many they may be.
const LARGEST_FOLDER: u64 = 16 << 20;
const MOST_FILES: usize = 10_000;

/// Reads the file at `path`, which holds at most `limit` bytes; whatever it is, no more than that is taken in. Fails as
/// `FileTooLarge` beyond.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, std::io::Error> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it holds more than {} MiB", limit >> 20),
        )),
        false => Ok(bytes),
    }
}

/// Reads the playbook at `path`. Fails as `Playbook`, saying why.
pub fn read_playbook(path: &Path) -> Result<String, Failure> {
    let text = read_limited(path, LONGEST_PLAYBOOK).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, no_text(&e)))
    });
    let text = text.map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::NotFound => "give the path of a playbook; examples are in the folder `playbooks`",
            std::io::ErrorKind::InvalidData => "a playbook is a TOML file in UTF-8: save it so",
            std::io::ErrorKind::FileTooLarge => "a playbook has at most 1 MiB: is it the right file?",
            _ => "check the path and its permissions",
        };
        Failure::new(Kind::Playbook, format!("cannot read the playbook {}", path.display())).because(e).hint(hint)
    })?;
    // Some editors put a byte order mark before a text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Why bytes are no text in UTF-8, and where.
fn no_text(error: &std::string::FromUtf8Error) -> String {
    let bytes = error.as_bytes();
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return "it is in UTF-16".to_owned();
    }
    let good = error.utf8_error().valid_up_to();
    let line = bytes[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("line {line} is not in UTF-8")
}

/// Where the file at `path` really is, for what stands beside it: a link to a playbook is that playbook.
pub fn real_place(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_not_there_yet| path.to_owned())
}

/// Writes a file of our own in one go: it holds the old content or the new, never a part. Its folder is made.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, None)
}

/// The same for a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, Some(fs::Permissions::from_mode(0o600)))
}

/// The same for a file of the user's, which keeps its permissions and may be a link to where it really is.
pub fn write_in_place(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let trouble = |e| Failure::new(Kind::Failed, format!("cannot write {}", path.display())).because(e);
    let real = fs::canonicalize(path).map_err(trouble)?;
    let permissions = fs::metadata(&real).map_err(trouble)?.permissions();
    write(&real, bytes, Some(permissions))
}

/// A folder for a while that only its owner enters, whatever the umask says.
pub fn temporary_folder() -> Result<tempfile::TempDir, std::io::Error> {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir()
}

/// Makes `folder` and what is missing above it, for its owner alone, whatever the umask says.
pub fn make_private_folder(folder: &Path) -> Result<(), std::io::Error> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn write(path: &Path, bytes: &[u8], permissions: Option<fs::Permissions>) -> Result<(), Failure> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let write = || {
        if let Some(folder) = path.parent() {
            make_private_folder(folder)?;
        }
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        // What an earlier, cut-off attempt left behind may be readable by others.
        let _ = fs::remove_file(&new);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|e| {
        Failure::new(Kind::Failed, format!("cannot write {}", path.display()))
            .because(e)
            .hint("is the disk full, or the folder not yours?")
    })
}

/// What stands beside a playbook under a path it names.
pub enum Beside {
    /// A file's content.
    File(Vec<u8>),
    /// Every file of a folder, by path below it with forward slashes.
    Folder(BTreeMap<String, Vec<u8>>),
}

/// Reads the file or folder `name` in `folder`. What leads out of that folder, by `..`, as an absolute path or through a
/// link, is an error, and so are devices and pipes, and what is too large. In a folder, links, hidden files other than
/// `.well-known`, and names that could not be carried to a host are errors.
pub fn read_beside(folder: &Path, name: &str) -> Result<Beside, std::io::Error> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let path = fs::canonicalize(folder.join(name))?;
    if !path.starts_with(fs::canonicalize(folder)?) {
        return Err(bad("it leads out of the playbook's folder".to_owned()));
    }
    let found = fs::metadata(&path)?;
    if found.is_file() {
        return read_limited(&path, LONGEST_FILE).map(Beside::File);
    }
    if !found.is_dir() {
        return Err(bad("it is neither a file nor a folder".to_owned()));
    }
    let mut files = BTreeMap::new();
    read_folder(&path, "", &mut 0, &mut files)?;
    Ok(Beside::Folder(files))
}

fn bad(what: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, what)
}

fn read_folder(
    folder: &Path,
    below: &str,
    size: &mut u64,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), std::io::Error> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .filter(|name| !name.contains(['\n', '\r', '\\', '\t']))
            .ok_or_else(|| bad(format!("the file name {name:?} holds characters that cannot be carried over")))?;
        // `.git` and `.env` are not for visitors; what is must not look like them.
        if name.starts_with('.') && name != ".well-known" {
            return Err(bad(format!(
                "the folder holds the hidden `{below}{name}`: take it out, or name a folder without it"
            )));
        }
        let path = format!("{below}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_folder(&entry.path(), &format!("{path}/"), size, files)?;
        } else if kind.is_file() {
            // Asked before anything is read.
            *size += entry.metadata()?.len();
            if *size > LARGEST_FOLDER || files.len() == MOST_FILES {
                return Err(bad(format!(
                    "it holds more than {} MB or {MOST_FILES} files: build an image that serves them, and use `image`",
                    LARGEST_FOLDER >> 20
                )));
            }
            files.insert(path, read_limited(&entry.path(), LARGEST_FOLDER)?);
        } else {
            return Err(bad(format!("{path} is neither a file nor a folder")));
        }
    }
    Ok(())
}

/// A held lock. The operating system lets it go when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a program being started at this moment holds the same open file for an instant.
        let _ = self.file.unlock();
    }
}

/// Takes the lock of the playbook `name` for `command`. Fails as `Busy`, saying who holds it.
///
/// It guards one account on one machine; on the host, a second lock guards against other machines.
pub fn lock(state: &Path, name: &Name, command: &str) -> Result<Lock, Failure> {
    let folder = state.join(name.as_str());
    let path = folder.join("lock");
    let trouble = |e: std::io::Error| {
        Failure::new(Kind::Failed, format!("cannot write to {}", folder.display()))
            .because(e)
            .hint("Landfall keeps its journal there; set XDG_STATE_HOME to a folder you may write to. Nothing was done")
    };
    make_private_folder(&folder).map_err(trouble)?;
    let mut options = OpenOptions::new();
    let mut file =
        options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&path).map_err(trouble)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(Failure::new(Kind::Busy, format!("the playbook `{name}` is locked by {holder}"))
                .hint("wait until it has ended, or stop it; nothing was done"));
        }
        Err(TryLockError::Error(e)) => return Err(trouble(e)),
    }
    let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
    let holder = format!("`landfall {command}`, process {}, since {now}\n", std::process::id());
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes())).map_err(trouble)?;
    Ok(Lock { file })
}
