//! An input file before anything is known about it.

use crate::dump::file::{BlockFile, next_data};
use crate::dump::pending::name_for;
use crate::fail::{Fail, Result};
use rustix::fs::{Mode, OFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::io::{IsTerminal, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tamis_boot::raw_target::RawTarget;

/// Bytes at the beginning of a file: a file system says what it is at 64 KiB.
const HEAD: u64 = 72 << 10;

/// An input file before anything is known about it.
#[derive(Clone)]
pub struct Raw {
    /// As it was given.
    pub path: PathBuf,
    file: Arc<File>,
    /// Where the dump begins: not 0 on a device that tamis-capture wrote as PID 1.
    base: u64,
    /// Bytes.
    pub len: u64,
}

impl Raw {
    /// Opens a file; `-` is standard input, copied to a temporary file unless it is one already.
    pub fn open(path: &Path) -> Result<Raw> {
        let named = |e: io::Error| Fail::file(path, e);
        if path == Path::new("-") {
            if io::stdin().is_terminal() {
                return Err(Fail::new("standard input is a terminal")
                    .next("give it a dump, or name a file instead of -"));
            }
            let file = spool().map_err(|e| {
                Fail::new(format_args!("standard input: copying to a temporary file: {e}"))
                    .next("TMPDIR names the directory for it")
            })?;
            let len = file.metadata().map_err(named)?.len();
            return Ok(Raw::of(path, file, len));
        }
        // Not opened first: a FIFO would wait for a writer.
        let kind = std::fs::metadata(path).map_err(named)?.file_type();
        if kind.is_dir() {
            return Err(Fail::file(path, "is a directory").next("name the dump in it"));
        }
        if kind.is_fifo() || kind.is_char_device() || kind.is_socket() {
            return Err(Fail::file(path, "cannot be read at any place, as a dump must")
                .next("give it as standard input, named -"));
        }
        Raw::of_open(path, File::open(path).map_err(named)?)
    }

    /// A file that is open already.
    pub fn of_open(path: &Path, mut file: File) -> Result<Raw> {
        let end = file.seek(SeekFrom::End(0));
        let len = end.map_err(|e| Fail::file(path, format_args!("finding its end: {e}")))?;
        Ok(Raw::of(path, file, len))
    }

    fn of(path: &Path, file: File, len: u64) -> Raw {
        let base = base_of(&file, len);
        Raw { path: path.to_owned(), file: Arc::new(file), base, len: len - base }
    }

    /// How it is called in messages.
    pub fn name(&self) -> String {
        if self.path == Path::new("-") {
            "standard input".into()
        } else {
            self.path.display().to_string()
        }
    }

    /// A new reader of it.
    pub fn reader(&self) -> BlockFile {
        BlockFile::part(self.file.clone(), self.base, self.len)
    }

    /// Bytes of it that are stored: of a file with gaps, fewer than it is long.
    pub fn stored(&self) -> u64 {
        self.file.metadata().map_or(u64::MAX, |found| match found.file_type().is_file() {
            true => found.blocks().saturating_mul(512),
            false => u64::MAX,
        })
    }

    /// The first place from `at` on that may hold anything but zeros; its end if there is none.
    pub fn next_data(&self, at: u64) -> u64 {
        let found = next_data(&self.file, self.base.saturating_add(at));
        found.saturating_sub(self.base).clamp(at, self.len.max(at))
    }

    /// The first place from `at` on that is a gap; its end if there is none.
    pub fn next_gap(&self, at: u64) -> u64 {
        let from = self.base.saturating_add(at);
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(from)) {
            // Never less than a byte on: the file may be changing.
            Ok(found) => found.saturating_sub(self.base).clamp(at + 1, self.len.max(at + 1)),
            Err(_) => self.len.max(at + 1),
        }
    }

    /// An error about it.
    pub fn fail(&self, text: impl std::fmt::Display) -> Fail {
        Fail::new(format_args!("{}: {text}", self.name()))
    }

    /// As much of its beginning as shows what it is, or all of it if it is smaller.
    pub fn head(&self) -> Result<Vec<u8>> {
        let mut head = vec![0; self.len.min(HEAD) as usize];
        self.file
            .read_exact_at(&mut head, self.base)
            .map_err(|e| self.fail(format_args!("reading offset 0: {e}")))?;
        Ok(head)
    }
}

/// Where the dump begins: behind the first block of a device that was written with `fstype=raw`
/// (capture-bin/docs/init.md), at 0 of anything else.
fn base_of(file: &File, len: u64) -> u64 {
    let mut head = [0; RawTarget::LEN];
    let read = file.read_exact_at(&mut head, 0);
    match read.ok().and_then(|()| RawTarget::parse(&head)) {
        Some(target) if target.base < len => target.base,
        _ => 0,
    }
}

/// Standard input as a file without a name.
fn spool() -> io::Result<File> {
    let mut file = unnamed()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    Ok(file)
}

/// A file without a name, in the folder for such.
pub fn unnamed() -> io::Result<File> {
    let folder = std::env::temp_dir();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(&folder, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(file.into());
    }
    // A file system that has no such files: a name that cannot be guessed, for a moment.
    let path = folder.join(name_for(b"tamis")?);
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// What is known about one file of a dump.
pub struct FileInfo {
    /// As it was given.
    pub raw: Raw,
    /// Bytes of the dump; of a flattened stream, of the file that it stands for.
    pub len: u64,
    /// For a flattened stream: the number of its records, and whether it has its end.
    pub stream: Option<(usize, bool)>,
}
