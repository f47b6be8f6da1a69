//! Files that are read with a clear error and written whole or not at all.

use quorate_core::{Code, Error, Result};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody on the machine.
    Public,
    /// The owner alone: private keys and stores.
    Private,
    /// The owner alone, who is that of the directory: a service's store, even when root writes it.
    OfDirectory,
}

/// The whole of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| reading(path, &error))
}

/// The whole of a text file.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| {
        Error::new(
            Code::DocumentInvalid,
            format!("{} is not a text file", path.display()),
            "give the file that was meant",
        )
    })
}

/// The whole of a text file that only those may read who need it; `why` is what another reader could do.
pub fn read_secret(path: &Path, why: &str) -> Result<Zeroizing<String>> {
    let about = std::fs::metadata(path).map_err(|error| reading(path, &error))?;
    let mode = about.mode();
    if is_exposed(mode, about.uid()) {
        return Err(Error::new(
            Code::KeyExposed,
            format!("{} can be read by others than its owner (mode {:03o})", path.display(), mode & 0o777),
            format!("chmod 600 {}; {why}", path.display()),
        ));
    }
    read_text(path).map(Zeroizing::new)
}

/// Whether a secret can be read by others than its owner. What root owns, its group may read as well: root has chosen that
/// group for this, as Debian has `ssl-cert`, and a credential that systemd passes on looks like it.
fn is_exposed(mode: u32, owner: u32) -> bool {
    let others = if owner == ROOT { 0o037 } else { 0o077 };
    mode & others != 0
}

/// Writes a file so that a reader, or this machine after a power cut, finds the old content or the new and
/// never a part: a temporary file beside it, flushed to the disk, takes its place.
pub fn write(path: &Path, content: &[u8], access: Access) -> Result<()> {
    put(path, content, access, |file| match file.persist(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.error),
    })
}

/// As [`write()`]; but when a file is there already, or another program is quicker, that file stays.
pub fn write_if_missing(path: &Path, content: &[u8], access: Access) -> Result<()> {
    put(path, content, access, |file| match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    })
}

fn put(
    path: &Path,
    content: &[u8],
    access: Access,
    place: impl FnOnce(NamedTempFile) -> io::Result<()>,
) -> Result<()> {
    let file = NewFile::create(path, access)?;
    let directory = directory_of(path);
    let finish = |mut file: NamedTempFile| {
        file.write_all(content)?;
        file.as_file().sync_all()?;
        place(file)?;
        std::fs::File::open(directory)?.sync_all()
    };
    finish(file.0).map_err(|error| writing(path, &error))
}

/// A file that is written piece by piece and takes its place when it is whole; until then, or when that never happens,
/// what was there stays.
pub struct NewFile(NamedTempFile, PathBuf);

impl NewFile {
    /// Begins a file.
    pub fn create(path: &Path, access: Access) -> Result<Self> {
        let directory = directory_of(path);
        let mode = match access {
            Access::Public => 0o644,
            Access::Private | Access::OfDirectory => 0o600,
        };
        let create = || {
            let file = tempfile::Builder::new()
                .prefix(".quorate-")
                .permissions(std::fs::Permissions::from_mode(mode))
                .tempfile_in(directory)?;
            if access == Access::OfDirectory {
                give_to_owner_of(directory, file.as_file())?;
            }
            Ok(file)
        };
        create().map(|file| Self(file, path.to_owned())).map_err(|error| writing(path, &error))
    }

    /// Writes the next piece.
    pub fn write(&mut self, content: &[u8]) -> Result<()> {
        self.0.write_all(content).map_err(|error| writing(&self.1, &error))
    }

    /// The end of it, for whoever writes many small pieces; he flushes it himself.
    pub fn writer(&mut self) -> impl Write + '_ {
        io::BufWriter::new(&mut self.0)
    }

    /// Makes sure that what was written is on the disk.
    pub fn flush(&mut self) -> Result<()> {
        self.0.as_file().sync_all().map_err(|error| writing(&self.1, &error))
    }

    /// Puts the file in its place, where it is found whole; but nothing that is there already gives way. Then, or when
    /// it cannot be put there, it stays beside under another name, which the error tells.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        let Self(file, path) = self;
        if let Err(error) = file.persist_noclobber(&path) {
            let why = plain(&error.error);
            let kept =
                error.file.keep().map(|(_, kept)| kept).map_err(|error| writing(&path, &error.error))?;
            return Err(Error::new(
                Code::Unwritable,
                format!("{} cannot be put in its place: {why}", path.display()),
                format!("it is whole in {}; move it to where it belongs", kept.display()),
            ));
        }
        std::fs::File::open(directory_of(&path))
            .and_then(|directory| directory.sync_all())
            .map_err(|error| writing(&path, &error))
    }
}

/// Gives a file that is whole and on the disk its name, under which there is none.
pub fn put_in_place(file: &Path, path: &Path) -> Result<()> {
    let put = || {
        // Unlike a renaming, a link takes nobody's place.
        std::fs::hard_link(file, path)?;
        std::fs::remove_file(file)?;
        std::fs::File::open(directory_of(path))?.sync_all()
    };
    put().map_err(|error| writing(path, &error))
}

/// Gives a file that root has made in a service's directory to the service, which could not open it otherwise. Only
/// root can give anything away.
fn give_to_owner_of(directory: &Path, file: &std::fs::File) -> io::Result<()> {
    let (owner, own) = (directory.metadata()?, file.metadata()?);
    if own.uid() != ROOT || owner.uid() == ROOT {
        return Ok(());
    }
    match std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid())) {
        // A root that may not, as in some containers, has written the file all the same.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => Ok(()),
        given => given,
    }
}

/// Waits until no other process holds this lock, and holds it until the result is dropped.
pub fn lock(path: &Path) -> Result<std::fs::File> {
    let file = lock_file(path)?;
    file.lock().map_err(|error| writing(path, &error))?;
    Ok(file)
}

/// The file of a lock, made where there is none. What lies there was perhaps put there by the owner of the directory,
/// whom root does not trust: a link is not followed, and what is there already is not given to anybody.
pub fn lock_file(path: &Path) -> Result<std::fs::File> {
    let open = || std::fs::File::options().write(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_if_missing(path, &[], Access::OfDirectory)?;
            open()
        }
        opened => opened,
    };
    file.map_err(|error| writing(path, &error))
}

/// The directory of a file, whose path may have none.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory, and those above it, that only the owner can enter.
pub fn make_private_directory(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| writing(path, &error))
}

/// Says why reading failed.
pub fn reading(path: &Path, error: &io::Error) -> Error {
    let next = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "run the command as the user who owns it, or with sudo",
        io::ErrorKind::IsADirectory => "give a file, not a directory",
        _ => "check the disk and the path",
    };
    Error::new(Code::Unreadable, format!("{} cannot be read: {}", path.display(), plain(error)), next)
}

/// Says why writing failed.
pub fn writing(path: &Path, error: &io::Error) -> Error {
    let (code, next) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Code::DiskFull, "free some space; nothing that was stored before is lost")
        }
        io::ErrorKind::ReadOnlyFilesystem => (Code::Unwritable, "mount the file system for writing"),
        io::ErrorKind::PermissionDenied => {
            (Code::Unwritable, "run the command as the user who owns it, or with sudo")
        }
        _ => (Code::Unwritable, "check the disk and the path"),
    };
    Error::new(code, format!("{} cannot be written: {}", path.display(), plain(error)), next)
}

/// The system's words without the number that Rust adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_private_and_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        write(&path, b"one", Access::Private).unwrap();
        write(&path, b"two", Access::Private).unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_already_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        write_if_missing(&path, b"one", Access::Private).unwrap();
        write_if_missing(&path, b"two", Access::Private).unwrap();
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (directory.path().join("lock"), directory.path().join("elsewhere"));
        drop(lock(&path).unwrap());
        drop(lock(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        for _ in 0..2 {
            let error = lock(&path).unwrap_err();
            assert!(
                error.what.ends_with("lock cannot be written: too many levels of symbolic links"),
                "{error}"
            );
            assert!(path.is_symlink());
        }
        assert!(!elsewhere.exists());
        std::fs::write(&elsewhere, "root's").unwrap();
        assert!(lock(&path).is_err());
    }

    #[test]
    fn a_secret_is_its_owners_or_roots_and_its_groups() {
        for (mode, owner, exposed) in [
            (0o100_600, 1000, false),
            (0o100_400, 1000, false),
            (0o100_640, 1000, true),
            (0o100_604, 1000, true),
            (0o100_644, ROOT, true),
            (0o100_660, ROOT, true),
            (0o100_650, ROOT, true),
            (0o100_640, ROOT, false),
            (0o100_440, ROOT, false),
        ] {
            assert_eq!(is_exposed(mode, owner), exposed, "{mode:o} of {owner}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, b"secret", Access::Private).unwrap();
        assert_eq!(read_secret(&path, "").unwrap().as_str(), "secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_secret(&path, "make another key").unwrap_err();
        let (path, code) = (path.display(), Code::KeyExposed);
        assert_eq!(
            error,
            Error::new(
                code,
                format!("{path} can be read by others than its owner (mode 644)"),
                format!("chmod 600 {path}; make another key")
            )
        );
    }

    #[test]
    fn failures_say_what_happened_and_what_to_do() {
        let error = read(Path::new("/nowhere/catalog.jws")).unwrap_err();
        assert_eq!(
            error.report(),
            "error Q601: /nowhere/catalog.jws cannot be read: no such file or directory\nnext: check the path"
        );
        let full = writing(Path::new("store"), &io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.code, Code::DiskFull);
    }
}
