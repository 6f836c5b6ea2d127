//! The folder of a crash: its name and its files; older ones are deleted when there is no space.

use super::say::say;
use super::text::Path;
use crate::console::Why;
use crate::sys;
use core::fmt::Write;

/// The name of a dump that is complete, and of one that is not (yet).
pub(super) const COMPLETE: &[u8] = b"vmcore";
pub(super) const INCOMPLETE: &[u8] = b"vmcore.incomplete";
/// The kernel log as text.
pub(super) const LOG: &[u8] = b"vmcore-dmesg.txt";

/// Deletes the oldest dump, if more than `keep` others are there. Dumps are folders whose name
/// begins with a date; nothing else is touched.
pub(super) fn make_room(parent: &Path, own: &[u8], keep: Option<u32>) -> bool {
    let Some(keep) = keep else { return false };
    let (mut count, mut oldest) = (0u32, heapless::Vec::<u8, 256>::new());
    let _ = sys::names_in(parent, &mut |name| {
        let is_dump = name.len() > 20
            && name.iter().take(19).enumerate().all(|(i, b)| match i {
                4 | 7 | 10 | 13 | 16 => *b == b'-',
                _ => b.is_ascii_digit(),
            });
        if is_dump && name != own {
            count += 1;
            if oldest.is_empty() || name < &oldest[..] {
                oldest.clear();
                let _ = oldest.extend_from_slice(name);
            }
        }
    });
    if count <= keep || oldest.is_empty() {
        return false;
    }
    let mut folder = parent.clone();
    let fits = folder.push(b'/').is_ok() && folder.extend_from_slice(&oldest).is_ok();
    if !fits {
        return false;
    }
    say(format_args!("no space: deleting the oldest dump, {}", oldest.escape_ascii()));
    for file in [LOG, COMPLETE, INCOMPLETE] {
        let mut path = folder.clone();
        if path.push(b'/').is_ok() && path.extend_from_slice(file).is_ok() {
            let _ = sys::unlink_regular(&path);
        }
    }
    match sys::remove_folder(&folder) {
        Ok(()) => true,
        Err(io) => {
            say(format_args!("deleting {}: {}", folder.escape_ascii(), Why(io)));
            false
        }
    }
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
