//! The folder of a crash: its name and its files; older ones are deleted when there is no space.

use super::say::say;
use super::text::Path;
use crate::console::Why;
use crate::sys;
use core::fmt::Write;
use tamis_core::io::{IoError, IoKind};

/// The name of a dump that is complete, and of one that is not (yet).
pub(super) const COMPLETE: &[u8] = b"vmcore";
pub(super) const INCOMPLETE: &[u8] = b"vmcore.incomplete";
/// The kernel log as text.
pub(super) const LOG: &[u8] = b"vmcore-dmesg.txt";

/// Whether a folder has the name of a dump's: it begins with a date.
fn is_dump(name: &[u8]) -> bool {
    name.len() > 20
        && name.iter().take(19).enumerate().all(|(i, b)| match i {
            4 | 7 | 10 | 13 | 16 => *b == b'-',
            _ => b.is_ascii_digit(),
        })
}

/// The name of a file in a folder; none if it is too long.
fn within(folder: &[u8], name: &[u8]) -> Option<Path> {
    let mut path = Path::from_slice(folder).ok()?;
    path.push(b'/').ok()?;
    path.extend_from_slice(name).ok()?;
    Some(path)
}

/// Deletes the oldest dump that can go whole, if more than `keep` others are there. Dumps are folders
/// whose name begins with a date; nothing else is touched. Returns whether there is more space now.
pub(super) fn make_room(parent: &[u8], own: &[u8], keep: Option<u32>) -> bool {
    let Some(keep) = keep else { return false };
    // Up to this name, all were passed over.
    let mut passed = heapless::Vec::<u8, 256>::new();
    loop {
        let (mut count, mut oldest) = (0u32, heapless::Vec::<u8, 256>::new());
        let _ = sys::names_in(parent, false, &mut |name| {
            if is_dump(name) && name != own {
                count += 1;
                if name > &passed[..] && (oldest.is_empty() || name < &oldest[..]) {
                    oldest.clear();
                    let _ = oldest.extend_from_slice(name);
                }
            }
        });
        if count <= keep || oldest.is_empty() {
            return false;
        }
        if within(parent, &oldest).is_some_and(|folder| delete(&folder)) {
            return true;
        }
        passed = oldest;
    }
}

/// Deletes a dump, if nothing else is in its folder. Returns whether anything was deleted.
fn delete(folder: &[u8]) -> bool {
    let mut whole = true;
    let listed = sys::names_in(folder, true, &mut |name| {
        let ours = [LOG, COMPLETE, INCOMPLETE].contains(&name);
        whole &= ours && within(folder, name).is_some_and(|path| sys::is_regular(&path));
    });
    let name = folder.rsplit(|&b| b == b'/').next().unwrap_or(folder).escape_ascii();
    if listed.is_err() || !whole {
        say(format_args!("no space, but {name} holds other files: it stays"));
        return false;
    }
    say(format_args!("no space: deleting the oldest dump, {name}"));
    let mut deleted = false;
    let mut failed = Ok(());
    for file in [COMPLETE, INCOMPLETE, LOG] {
        let Some(path) = within(folder, file).filter(|path| sys::is_regular(path)) else {
            continue;
        };
        let gone = sys::unlink_regular(&path);
        deleted |= gone.is_ok();
        failed = failed.and(gone);
    }
    if let Err(io) = failed.and(sys::remove_folder(folder)) {
        say(format_args!("deleting {}: {}", folder.escape_ascii(), Why(io)));
        return deleted;
    }
    true
}

/// Makes the folder of a crash, below `parent`, under a name that is not there yet: without a time, all
/// crashes have the same. One that was made before, by an attempt that failed, is taken again.
pub(super) fn make_own(parent: &[u8], name: &str, own: &mut Path) -> Result<(), IoError> {
    let there = |io: &IoError| io.code == libc::EEXIST;
    if !own.is_empty() {
        match sys::make_new_folder(own) {
            Err(io) if there(&io) && !sys::is_folder(own) => {}
            Err(io) if !there(&io) => return Err(io),
            _ => return Ok(()),
        }
    }
    for count in 0..1000 {
        let mut text = heapless::String::<112>::new();
        let _ = match count {
            0 => text.push_str(name).is_ok(),
            _ => write!(text, "{name}-{count}").is_ok(),
        };
        let too_long = IoError { kind: IoKind::Other, code: libc::ENAMETOOLONG };
        let folder = within(parent, text.as_bytes()).ok_or(too_long)?;
        match sys::make_new_folder(&folder) {
            Err(io) if there(&io) => {}
            Ok(()) => {
                *own = folder;
                return Ok(());
            }
            failed => return failed,
        }
    }
    Err(IoError { kind: IoKind::Other, code: libc::EEXIST })
}

/// Name of a crash's folder: when it was, in UTC, and where. No colons: vfat has none.
pub(super) fn crash_name(time: u64, host: &[u8]) -> heapless::String<96> {
    let (days, second) = (time / 86_400, time % 86_400);
    // Days since 1970 to a date (era of 400 years, year begins in March).
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = (year_of_era + era * 400 + u64::from(month <= 2)).min(9999);
    let mut name = heapless::String::new();
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(name, "{year:04}-{month:02}-{day:02}-{h:02}-{m:02}-{s:02}-");
    let mut any = false;
    for &byte in host {
        let safe = byte.is_ascii_alphanumeric() || (b"-._".contains(&byte) && any);
        let _ = name.push(if safe { char::from(byte) } else { '_' });
        any = true;
    }
    if !any {
        let _ = name.push_str("unknown");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_named_by_date_and_host() {
        assert_eq!(crash_name(0, b"box"), "1970-01-01-00-00-00-box");
        assert_eq!(crash_name(1_795_394_600, b"a.b"), "2026-11-23-00-43-20-a.b");
        assert_eq!(crash_name(951_782_399, b""), "2000-02-28-23-59-59-unknown");
        assert_eq!(crash_name(951_782_400, b"/../x:y"), "2000-02-29-00-00-00-_.._x_y");
        assert!(crash_name(u64::MAX / 2, &[b'x'; 64]).starts_with("9999-"));
    }
    fn folder(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(std::format!("tamis-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn what_cannot_go_whole_is_passed_over() {
        use std::os::unix::ffi::OsStrExt;
        let parent = folder("keep");
        let put = |folder: &str, file: &str| {
            std::fs::create_dir_all(parent.join(folder)).unwrap();
            std::fs::write(parent.join(folder).join(file), b"x").unwrap();
        };
        let old = ["2020-01-01-00-00-00-a", "2021-01-01-00-00-00-a", "2022-01-01-00-00-00-a"];
        let new = "2023-01-01-00-00-00-a";
        for name in old {
            put(name, "vmcore");
            put(name, "vmcore-dmesg.txt");
        }
        put(old[0], "analysis.txt");
        put(new, "vmcore");
        std::fs::create_dir(parent.join(old[1]).join("vmcore.incomplete")).unwrap();
        // Elsewhere, under the name of a dump, and older than all: not a dump.
        put("elsewhere", "vmcore");
        std::os::unix::fs::symlink("elsewhere", parent.join("2019-01-01-00-00-00-a")).unwrap();
        let own = "2026-01-01-00-00-00-a";
        put(own, "vmcore.incomplete");
        let name = parent.as_os_str().as_bytes();
        assert!(!make_room(name, own.as_bytes(), None));
        assert!(!make_room(name, own.as_bytes(), Some(5)));
        assert!(make_room(name, own.as_bytes(), Some(3)));
        assert!(!parent.join(old[2]).exists(), "not the oldest that can go whole");
        assert!(make_room(name, own.as_bytes(), Some(3)));
        assert!(!parent.join(new).exists());
        assert!(!make_room(name, own.as_bytes(), Some(0)), "nothing can go");
        for file in ["vmcore", "vmcore-dmesg.txt"] {
            assert!(
                parent.join(old[0]).join(file).exists() && parent.join(old[1]).join(file).exists()
            );
        }
        assert!(parent.join("elsewhere/vmcore").exists() && parent.join(own).exists());
        std::fs::remove_dir_all(&parent).unwrap();
    }

    #[test]
    fn each_crash_has_a_folder_of_its_own() {
        use std::os::unix::ffi::OsStrExt;
        let parent = folder("own");
        let name = parent.as_os_str().as_bytes();
        let crash = crash_name(0, b"box");
        let mut first = Path::new();
        make_own(name, &crash, &mut first).unwrap();
        assert!(first.ends_with(b"/1970-01-01-00-00-00-box"));
        // Another attempt to save the same crash, and another crash.
        let again = first.clone();
        make_own(name, &crash, &mut first).unwrap();
        assert_eq!(first, again);
        let mut second = Path::new();
        make_own(name, &crash, &mut second).unwrap();
        assert!(second.ends_with(b"/1970-01-01-00-00-00-box-1"));
        assert!(is_dump(b"1970-01-01-00-00-00-box-1"));
        // A link under that name leads nowhere.
        let elsewhere = folder("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, parent.join("1970-01-01-00-00-00-box-2")).unwrap();
        let mut third = Path::new();
        make_own(name, &crash, &mut third).unwrap();
        assert!(third.ends_with(b"/1970-01-01-00-00-00-box-3"));
        let mut link = Path::from_slice(name).unwrap();
        link.extend_from_slice(b"/1970-01-01-00-00-00-box-2").unwrap();
        make_own(name, &crash, &mut link).unwrap();
        assert!(link.ends_with(b"/1970-01-01-00-00-00-box-4"));
        assert!(make_own(b"/nowhere", &crash, &mut Path::new()).is_err());
        std::fs::remove_dir_all(&parent).unwrap();
        std::fs::remove_dir_all(&elsewhere).unwrap();
    }

    // The calendar, counted day by day.
    #[test]
    fn every_day_has_its_date() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=2_932_896 {
            let want = std::format!("{year:04}-{month:02}-{day:02}-23-59-59-x");
            assert_eq!(crash_name(days * 86_400 + 86_399, b"x"), want.as_str());
            let leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
            let length = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }
}
