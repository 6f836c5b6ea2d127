//! The types of modules: split BTF, whose numbers and strings go on where those of the kernel end. Put behind the
//! kernel's, they are BTF like any other.

use super::lists::{list, text};
use super::{Kernel, OVERLAY};
use crate::fail::Result;
use tamis_core::endian::Endian;
use tamis_core::kernel::symbols::Btf;

/// Bytes of the types of a kernel, or of a module.
const MOST: u64 = 64 << 20;
/// Bytes of the header that is written.
const HEADER: usize = 24;

sought! {
    /// Members of what a module's types hang on.
    Shape {
        list: "btf_module.list",
        module: "btf_module.module",
        types: "btf_module.btf",
        data: "btf.data",
        data_size: "btf.data_size",
        name: "module.name",
    }
}

/// The sections of BTF: its types, and its strings.
fn sections(endian: Endian, raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let field = |at| endian.u32(raw, at).map(|field| field as usize);
    if endian.u16(raw, 0)? != 0xeb9f || *raw.get(2)? != 1 {
        return None;
    }
    let body = raw.get(field(4)?..)?;
    let part = |at: usize| {
        let (offset, len) = (field(at)?, field(at + 4)?);
        body.get(offset..offset.checked_add(len)?)
    };
    Some((part(8)?, part(16)?))
}

/// One BTF out of the kernel's and a module's; `None` if one of them is damaged.
fn join(endian: Endian, of_kernel: &[u8], of_module: &[u8]) -> Option<Vec<u8>> {
    let (base, own) = (sections(endian, of_kernel)?, sections(endian, of_module)?);
    let (types, strings) = (base.0.len() + own.0.len(), base.1.len() + own.1.len());
    let mut out = Vec::with_capacity(HEADER + types + strings);
    let (types, strings) = (u32::try_from(types).ok()?, u32::try_from(strings).ok()?);
    match endian {
        Endian::Little => out.extend(0xeb9fu16.to_le_bytes()),
        Endian::Big => out.extend(0xeb9fu16.to_be_bytes()),
    }
    out.extend([1, 0]);
    for word in [HEADER as u32, 0, types, types, strings] {
        out.extend(match endian {
            Endian::Little => word.to_le_bytes(),
            Endian::Big => word.to_be_bytes(),
        });
    }
    [base.0, own.0, base.1, own.1].iter().for_each(|part| out.extend(*part));
    Some(out)
}

/// The types of the kernel and of a module behind them; `btf` are the kernel's, `index` becomes as large as they
/// need it.
///
/// # Errors
///
/// No such module, or one without types; damage.
pub fn types_of<'i>(
    kernel: &mut Kernel<'_>,
    btf: &Btf<'_>,
    module: &str,
    index: &'i mut Vec<u32>,
) -> Result<Btf<'i>> {
    let shape = Shape::find(kernel, btf)?;
    let (in_list, of, types) = (shape.list.found, shape.module.found, shape.types.found);
    let (data, size, name) = (shape.data.found, shape.data_size.found, shape.name.found);
    let head = kernel.address("btf_modules")?;
    let (Some(in_list), Some(of), Some(types), Some(data), Some(size), Some(name), Some(head)) =
        (in_list, of, types, data, size, name, head)
    else {
        return Err(
            kernel.fail("its kernel has no types of modules (CONFIG_DEBUG_INFO_BTF_MODULES)")
        );
    };
    let word = kernel.word();
    let all = list(kernel, head, in_list.offset);
    let mut others = Vec::new();
    for element in all.elements {
        let of = kernel.number(element.wrapping_add(of.offset), word)?;
        let called = text(kernel, of.wrapping_add(name.offset), name.size)?;
        if called != module {
            others.push(called);
            continue;
        }
        let types = kernel.number(element.wrapping_add(types.offset), word)?;
        let at = kernel.number(types.wrapping_add(data.offset), word)?;
        let len = kernel.number(types.wrapping_add(size.offset), size.size)?;
        let own = bytes(kernel, at, len)?;
        let [start, end] = kernel.bounds()?;
        let base = bytes(kernel, start, end.wrapping_sub(start))?;
        let Some(both) = join(kernel.reader.endian(), &base, &own) else {
            return Err(
                kernel.fail(format_args!("the types of module {module} at {at:#x} are damaged"))
            );
        };
        let end = OVERLAY + both.len() as u64;
        kernel.lay_over(both);
        return kernel.load_between(OVERLAY, end, index);
    }
    let error = kernel.fail(format_args!("there is no module {module} with types"));
    Err(match (all.error, others.is_empty()) {
        (Some(why), _) => error.next(why),
        (None, true) => error.next("no module has types"),
        (None, false) => error.next(format_args!("those with types are {}", others.join(", "))),
    })
}

/// So many bytes of memory.
fn bytes(kernel: &mut Kernel<'_>, at: u64, len: u64) -> Result<Vec<u8>> {
    if len > MOST {
        return Err(kernel.fail(format_args!("types at {at:#x} claim to have {len} bytes")));
    }
    let mut raw = vec![0; len as usize];
    kernel.read(at, &mut raw)?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf(types: &[u8], strings: &[u8]) -> Vec<u8> {
        let mut raw = vec![0x9f, 0xeb, 1, 0];
        let (len, end) = (types.len() as u32, strings.len() as u32);
        // The strings are in front of the types, and the header is longer than usual.
        for word in [32, end, len, 0, end, 0, 0] {
            raw.extend(u32::to_le_bytes(word));
        }
        raw.extend(strings);
        raw.extend(types);
        raw
    }

    #[test]
    fn types_and_strings_go_on() {
        let both = join(Endian::Little, &btf(b"AAAA", b"\0a\0"), &btf(b"BB", b"\0b\0")).unwrap();
        assert_eq!(&both[..4], [0x9f, 0xeb, 1, 0]);
        assert_eq!(sections(Endian::Little, &both), Some((&b"AAAABB"[..], &b"\0a\0\0b\0"[..])));
    }

    #[test]
    fn damage_is_seen() {
        let whole = btf(b"AAAA", b"\0a\0");
        for cut in 0..whole.len() {
            assert_eq!(join(Endian::Little, &whole[..cut], &whole), None, "{cut}");
        }
        for at in [0, 1, 2, 7, 11, 15, 19, 23] {
            let mut ruined = whole.clone();
            ruined[at] ^= 0xff;
            assert_eq!(join(Endian::Little, &whole, &ruined), None, "{at}");
        }
    }
}
