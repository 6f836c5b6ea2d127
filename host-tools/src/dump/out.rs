//! Output files. Never an existing one without `--force`, and never one that is an input.

use super::file::{BlockFile, io_error};
use crate::fail::{Fail, Result};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tamis_core::io::{Append, Sink, SinkError};
use tamis_core::io::{IoError, IoKind};

/// A dump that is being written: a [`Sink`].
pub struct OutFile {
    file: File,
    path: PathBuf,
}

/// Creates an output file, readable for its owner only: a dump holds passwords. `inputs` are the
/// files that must not be it, by any name.
pub fn create(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<OutFile> {
    let existing = std::fs::metadata(path).ok();
    if let Some(existing) = &existing {
        for input in inputs {
            if let Ok(i) = std::fs::metadata(input)
                && (i.dev(), i.ino()) == (existing.dev(), existing.ino())
            {
                return Err(Fail::file(path, "is the input itself").next("name another output"));
            }
        }
        if existing.is_dir() || existing.file_type().is_char_device() {
            return Err(Fail::file(path, "not a file").next("name a file for the output"));
        }
    }
    let device =
        existing.is_some_and(|e| e.file_type().is_block_device() || e.file_type().is_fifo());
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if !(force && device) {
        options.create_new(true);
        // Replaced, not written over: it may be a link to another file, or be open for reading.
        if force
            && let Err(e) = std::fs::remove_file(path)
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(Fail::file(path, format_args!("removing the old file: {e}")));
        }
    }
    let file = options.open(path).map_err(|e| {
        let fail = Fail::file(path, format_args!("creating: {e}"));
        match e.kind() {
            io::ErrorKind::AlreadyExists => fail.next("--force overwrites it"),
            _ => fail,
        }
    })?;
    if !device {
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(|e| Fail::file(path, e))?;
    }
    Ok(OutFile { file, path: path.to_owned() })
}

impl OutFile {
    /// The same file once more, to write at two places at a time.
    pub fn twin(&self) -> Result<OutFile> {
        let file = self.file.try_clone().map_err(|e| Fail::file(&self.path, e))?;
        Ok(OutFile { file, path: self.path.clone() })
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
        self.file.write_all_at(bytes, at).map_err(|e| {
            Fail::file(&self.path, format_args!("writing at offset {at}: {e}"))
                .next("the file is not usable")
        })
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

    /// Returns when it would survive a power cut.
    pub fn done(self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|e| Fail::file(&self.path, format_args!("writing to disk: {e}")))
    }

    /// Takes it away again.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
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

    fn rewrites(&self) -> bool {
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
