//! What a Xen hypervisor's notes say, in words.

use crate::dump::opened::Opened;
use crate::render::text::plain;
use crate::session::frames;
use tamis_core::kernel::xen::XenError;
use tamis_core::memory::{Dump as _, PhysMemory as _};
use tamis_core::units::PhysAddr;
use tamis_core::wire::note;

/// Bytes of a text that are looked at.
const TEXT: usize = 32;

/// The words of a descriptor, as many as it has, at most those of the longest that Xen leaves.
fn words(opened: &Opened, desc: &[u8]) -> Vec<u64> {
    let endian = opened.dump.machine().endian;
    (0..desc.len().min(80) / 8).map(|n| endian.u64(desc, 8 * n).unwrap_or(0)).collect()
}

/// The version as Xen prints it: major, minor, and what is behind those.
fn version(opened: &mut Opened, words: &[u64]) -> String {
    let mut text = [0; TEXT];
    let at = words.get(2).copied().unwrap_or(0);
    let read = opened.dump.read(PhysAddr(at), &mut text).is_ok();
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(0);
    let extra = if read { plain(&text[..end]) } else { String::new() };
    match words {
        [major, minor, ..] => format!("Xen {major}.{minor}{extra}"),
        _ => "Xen".into(),
    }
}

/// What a note of Xen's says, if it is one.
pub fn detail(opened: &mut Opened, name: &str, kind: u32, desc: &[u8]) -> Option<String> {
    let words = words(opened, desc);
    match (name, kind, &words[..]) {
        ("Xen", note::XEN_CRASH_INFO, [.., list]) if words.len() > 8 => {
            let mut text = version(opened, &words);
            if let [.., start, _] = words[..]
                && words.len() > 9
            {
                text += &format!(", its image at {start:#x}");
            }
            Some(format!("{text}, list of domain 0's frames in frame {list:#x}"))
        }
        ("Xen", note::XEN_CRASH_REGISTERS, [_, cr2, cr3, ..]) => {
            Some(format!("cr2 {cr2:#x}, cr3 {cr3:#x}"))
        }
        _ => None,
    }
}

/// The hypervisor and its guests, in a line; `None` if there is none.
pub fn hypervisor(opened: &mut Opened) -> Option<String> {
    let (at, len) = opened.dump.origin().xen.crash?;
    let mut desc = vec![0; len.min(80) as usize];
    opened.dump.read_notes(at, &mut desc).ok()?;
    let words = words(opened, &desc);
    let version = version(opened, &words);
    let mut frames = match frames(opened) {
        Ok(frames) => frames,
        Err(XenError::NotXen) => return None,
        Err(why) => return Some(format!("{version}; whose each page is cannot be told: {why}")),
    };
    let mut guests = 0;
    let whole = frames.domains(&mut opened.dump, &mut |domain| {
        guests += u32::from(domain.id != 0);
    });
    let damaged = if whole.is_none() { ", on a list that is damaged" } else { "" };
    Some(match guests {
        0 => format!("{version}, without guests{damaged}"),
        1 => format!("{version}, 1 guest{damaged}"),
        guests => format!("{version}, {guests} guests{damaged}"),
    })
}
