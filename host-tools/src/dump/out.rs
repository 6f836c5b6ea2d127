//! Output files, of all commands: what is being written has a name of its own in the same folder, and
//! takes that of the output when it is whole and on the disk. What does not come to that is removed
//! again, on signals too: see `pending.rs`.

use super::file::{BlockFile, io_error};
use super::input::Raw;
use super::pending::{self, Pending};
use crate::fail::{Fail, Result};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tamis_core::io::{Append, Sink, SinkError};
use tamis_core::io::{IoError, IoKind};

/// A file that is being written: a [`Sink`].
///
/// Dropped before it is [`done`](OutFile::done), it leaves nothing behind.
pub struct OutFile {
    file: File,
    path: PathBuf,
    /// The name that it has for now; none for devices and pipes, which are written as they are.
    pending: Option<Pending>,
}

/// Creates an output file, readable for its owner only: a dump holds passwords. Without `force`, never
/// one that is there already. `inputs` are the files that must not be it, by any name.
pub fn create(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<OutFile> {
    let existing = std::fs::metadata(path).ok();
    if let Some(existing) = &existing {
        if inputs.iter().filter_map(|input| status(input)).any(|input| is_same(existing, &input)) {
            return Err(Fail::file(path, "is the input itself").next("name another output"));
        }
        if existing.is_dir() || existing.file_type().is_char_device() {
            return Err(Fail::file(path, "not a file").next("name a file for the output"));
        }
        let kind = existing.file_type();
        if force && (kind.is_block_device() || kind.is_fifo()) {
            let file = OpenOptions::new().read(kind.is_block_device()).write(true).open(path);
            let file = file.map_err(|e| Fail::file(path, format_args!("opening: {e}")))?;
            return Ok(OutFile { file, path: path.to_owned(), pending: None });
        }
    }
    // A link that leads nowhere is in the way, too.
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !force {
            return Err(Fail::file(path, "it is there already").next("--force overwrites it"));
        }
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        let of_system = |folder: PathBuf| folder.starts_with("/dev") || folder.starts_with("/proc");
        if there.is_symlink() && folder.is_some_and(of_system) {
            return Err(Fail::file(path, "a link of the system").next("name the file itself"));
        }
    }
    let (pending, file) = Pending::create(path, force, 0o600)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|e| Fail::file(path, e))?;
    Ok(OutFile { file, path: path.to_owned(), pending: Some(pending) })
}

/// Writes files for everybody to read, in the place of those that are there: all of them, or none.
pub fn replace(files: Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
    let mut whole = Vec::new();
    let mut write = |(path, bytes): (PathBuf, Vec<u8>)| {
        let (pending, file) = Pending::create(&path, true, 0o666)?;
        let mut out = OutFile { file, path, pending: Some(pending) };
        let put = out.put(0, &bytes);
        whole.push(out);
        put
    };
    if let Err(fail) = files.into_iter().try_for_each(&mut write) {
        whole.into_iter().filter_map(|out| out.pending).for_each(Pending::discard);
        return Err(fail.next("none of the files was written"));
    }
    done(whole)
}

/// What a path of an input leads to; `-` is standard input.
fn status(input: &Path) -> Option<Metadata> {
    if input == Path::new("-") {
        let stdin = io::stdin().as_fd().try_clone_to_owned().ok()?;
        return File::from(stdin).metadata().ok();
    }
    std::fs::metadata(input).ok()
}

/// Whether an output is an input, the device that an input is on, or the same device.
fn is_same(output: &Metadata, input: &Metadata) -> bool {
    if output.file_type().is_block_device() {
        let of_device = input.file_type().is_block_device() && input.rdev() == output.rdev();
        return of_device || input.dev() == output.rdev();
    }
    (output.dev(), output.ino()) == (input.dev(), input.ino())
}

/// Moves all files of a set to their names when each of them is whole, and none before.
pub fn done(files: Vec<OutFile>) -> Result<()> {
    let mut named = Vec::new();
    for file in files {
        named.extend(file.sync()?);
    }
    pending::name_all(named)
}

impl OutFile {
    /// The same file once more, to write at two places at a time.
    pub fn reopen(&self) -> Result<OutFile> {
        Ok(OutFile { file: self.appender()?, path: self.path.clone(), pending: None })
    }

    /// What was written up to now, as an input.
    pub fn raw(&self) -> Result<Raw> {
        Raw::of_open(&self.path, self.appender()?)
    }

    /// Whether it can be read again: a pipe cannot.
    pub fn can_look(&self) -> bool {
        self.file.metadata().is_ok_and(|found| !found.file_type().is_fifo())
    }

    /// Something that writes from the start of the file on.
    pub fn appender(&self) -> Result<File> {
        self.file.try_clone().map_err(|e| Fail::file(&self.path, e))
    }

    /// A reader of what was written up to now, and its length.
    pub fn reader(&self) -> Result<(BlockFile, u64)> {
        let failed = |e| Fail::file(&self.path, e);
        let len = self.file.metadata().map_err(failed)?.len();
        let file = self.file.try_clone().map_err(failed)?;
        Ok((BlockFile::new(Arc::new(file), len), len))
    }

    /// Writes at an offset.
    pub fn put(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, at)
            .map_err(|e| Fail::file(&self.path, format_args!("writing at offset {at}: {e}")))
    }

    /// Makes it `len` bytes long.
    pub fn set_len(&mut self, len: u64) -> Result<()> {
        self.file
            .set_len(len)
            .map_err(|e| Fail::file(&self.path, format_args!("extending to {len} bytes: {e}")))
    }

    /// Makes it at least `len` bytes long.
    pub fn extend_to(&mut self, len: u64) -> Result<()> {
        let now = self.file.metadata().map_err(|e| Fail::file(&self.path, e))?.len();
        if now < len { self.set_len(len) } else { Ok(()) }
    }

    /// Moves it to its name, which is on the disk when this returns.
    pub fn done(self) -> Result<()> {
        done(vec![self])
    }

    /// Returns when it would survive a power cut, but for its name.
    fn sync(self) -> Result<Option<Pending>> {
        match self.file.sync_all() {
            Ok(()) => Ok(self.pending),
            // A pipe has nothing to be written.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput && self.pending.is_none() => Ok(None),
            Err(e) => Err(Fail::file(&self.path, format_args!("writing to disk: {e}"))),
        }
    }
}

fn failed(at: u64) -> impl Fn(io::Error) -> SinkError {
    move |e| SinkError { io: io_error(&e), at, written: 0 }
}

impl Sink for OutFile {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> std::result::Result<(), SinkError> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write_at(&bytes[written..], at + written as u64) {
                Ok(0) => return Err(failed(at)(io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(SinkError { written: written as u64, ..failed(at)(e) }),
            }
        }
        Ok(())
    }

    fn can_read_back(&self) -> bool {
        true
    }

    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> std::result::Result<(), SinkError> {
        self.file.read_exact_at(buf, at).map_err(failed(at))
    }

    fn extend(&mut self, len: u64) -> std::result::Result<(), SinkError> {
        let now = self.file.metadata().map_err(failed(len))?.len();
        if now < len { self.file.set_len(len).map_err(failed(len)) } else { Ok(()) }
    }

    fn sync(&mut self) -> std::result::Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> std::result::Result<(), SinkError> {
        self.file.sync_data().map_err(failed(0))
    }

    fn can_rewrite(&self) -> bool {
        true
    }
}

/// Anything that takes bytes one after the other, as a stream's end.
pub struct Stream<W>(pub W);

impl<W: Write> Append for Stream<W> {
    fn append(&mut self, bytes: &[u8]) -> std::result::Result<(), IoError> {
        self.0.write_all(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::WriteZero => IoError { kind: IoKind::NoSpace, code: 0 },
            _ => io_error(&e),
        })
    }
}
