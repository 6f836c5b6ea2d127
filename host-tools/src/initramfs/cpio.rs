//! cpio archives of the `newc` kind, which the kernel unpacks (Linux
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeMap;

const MAGIC: &[u8] = b"070701";
const TRAILER: &str = "TRAILER!!!";
const HEADER: usize = 110;

/// An archive to be written: sorted by name, without times or owners.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Archive {
    /// Adds a folder. Its own folder has to be there.
    pub fn folder(&mut self, name: &str) {
        self.entries.insert(name.to_owned(), (0o040_755, Vec::new()));
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, permissions: u32, data: Vec<u8>) {
        self.entries.insert(name.to_owned(), (0o100_000 | permissions, data));
    }

    /// Files in it.
    pub fn files(&self) -> usize {
        self.entries.values().filter(|(mode, _)| mode & 0o100_000 != 0).count()
    }

    /// Bytes of a file.
    pub fn size_of(&self, name: &str) -> u64 {
        self.entries.get(name).map_or(0, |(_, data)| data.len() as u64)
    }

    /// The archive as it is stored.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (inode, (name, (mode, data))) in (1..).zip(&self.entries) {
            put(&mut out, inode, name, *mode, data);
        }
        put(&mut out, 0, TRAILER, 0, &[]);
        out
    }
}

fn put(out: &mut Vec<u8>, inode: u32, name: &str, mode: u32, data: &[u8]) {
    out.extend(MAGIC);
    let (data_len, name_len) = (data.len() as u32, name.len() as u32 + 1);
    // inode, mode, uid, gid, links, mtime, size, device (2), own device (2), name's size, check
    for field in [inode, mode, 0, 0, 1, 0, data_len, 0, 0, 0, 0, name_len, 0] {
        out.extend(format!("{field:08X}").bytes());
    }
    out.extend(name.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A file or folder of an archive that is read.
pub struct Entry<'a> {
    /// Its name, without a slash in front.
    pub name: String,
    /// Type and permissions.
    pub mode: u32,
    /// Its contents.
    pub data: &'a [u8],
}

/// What is in an archive.
pub fn read(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let cut = || format!("cut off at offset {at}: the archive has no end");
        let header = bytes.get(at..at + HEADER).ok_or_else(cut)?;
        if header.get(..6) != Some(MAGIC) {
            return Err(format!("no cpio archive at offset {at}: not a newc header"));
        }
        let field = |index: usize| {
            let digits = header.get(6 + 8 * index..14 + 8 * index)?;
            usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let (Some(mode), Some(size), Some(name_len)) = (field(1), field(6), field(11)) else {
            return Err(format!("a damaged header at offset {at}"));
        };
        let name_at = at + HEADER;
        let data_at = (name_at + name_len).next_multiple_of(4);
        let name = bytes.get(name_at..name_at + name_len).ok_or_else(cut)?;
        let data = bytes.get(data_at..data_at + size).ok_or_else(cut)?;
        let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
        if name == TRAILER {
            return Ok(entries);
        }
        entries.push(Entry { name, mode: mode as u32, data });
        at = (data_at + size).next_multiple_of(4);
    }
}
