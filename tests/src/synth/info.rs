//! The VMCOREINFO text of a machine.

use std::fmt::Write;

use super::KernelStyle;
use super::cpu::{Cpu, Placed};
use super::machine::{Machine, MemModel};
use super::memmap;
use super::style::{BuddyMark, HugetlbMark, LogStyle};

/// What is known only once the machine is built.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// Names and run-time addresses.
    pub symbols: Vec<(String, u64)>,
    /// Physical base of the text mapping.
    pub phys_base: i64,
    /// Where things are.
    pub placed: Placed,
}

/// The text, with lines removed and added as the description says.
pub(super) fn text(machine: &Machine, built: &Addresses) -> String {
    let all = full(machine, built);
    let mut out = String::new();
    for line in all.lines() {
        if !machine.removed_keys.iter().any(|key| line.starts_with(key.as_str())) {
            out.push_str(line);
            out.push('\n');
        }
    }
    for line in &machine.added_lines {
        out.push_str(line);
        out.push('\n');
    }
    if !machine.removed_keys.iter().any(|key| key == "CRASHTIME=") {
        out.push_str("CRASHTIME=1700000000\n");
    }
    if !machine.trailing_newline.unwrap_or(machine.facts.crashtime_newline) {
        out.pop();
    }
    out
}

/// The text with all lines.
pub(super) fn full(machine: &Machine, built: &Addresses) -> String {
    let facts = &machine.facts;
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    line(format!("OSRELEASE={}", facts.release));
    if facts.style as u32 >= KernelStyle::V5_10 as u32 {
        line("BUILD-ID=00112233445566778899aabbccddeeff00112233".into());
    }
    line(format!("PAGESIZE={}", machine.page()));
    for (name, address) in &built.symbols {
        if name == "free_huge_page" && facts.hugetlb != (HugetlbMark::Lru { exported: true }) {
            continue;
        }
        line(format!("SYMBOL({name})={address:x}"));
    }
    if machine.model == MemModel::Nodes {
        line(format!("LENGTH(node_data)={}", memmap::NODES));
        line(format!("OFFSET(pglist_data.node_mem_map)={}", memmap::NODE_MEM_MAP));
    } else if machine.model != MemModel::Flat {
        let length = match machine.model {
            MemModel::SparsePlain => memmap::sections(machine),
            _ => memmap::roots(machine),
        };
        line(format!("LENGTH(mem_section)={length}"));
        line(format!("SIZE(mem_section)={}", facts.mem_section_size));
        line("OFFSET(mem_section.section_mem_map)=0".into());
    }
    let (page, long) = (&facts.page, facts.words.bytes());
    line(format!("SIZE(page)={}", machine.page_struct));
    for (name, size) in
        [("pglist_data", 5888), ("zone", 1664), ("free_area", 11 * long), ("list_head", 2 * long)]
    {
        line(format!("SIZE({name})={size}"));
    }
    line("SIZE(nodemask_t)=8".into());
    let count = match facts.style as u32 > KernelStyle::V4_6 as u32 {
        true => "_refcount",
        false => "_count",
    };
    line(format!("OFFSET(page.flags)={}", page.flags));
    line(format!("OFFSET(page.{count})={}", page.count));
    line(format!("OFFSET(page.mapping)={}", page.mapping));
    line(format!("OFFSET(page.lru)={}", page.lru));
    if facts.exports_mapcount {
        line(format!("OFFSET(page._mapcount)={}", page.mapcount));
        line(format!("OFFSET(page.private)={}", page.private));
    }
    match facts.hugetlb {
        HugetlbMark::U16 { exported: true } | HugetlbMark::U8 => {
            line(format!("OFFSET(page.compound_dtor)={}", page.compound_dtor));
            line(format!("OFFSET(page.compound_order)={}", page.compound_order));
        }
        HugetlbMark::Folio => {
            line(format!("OFFSET(folio._folio_dtor)={}", machine.page_struct + page.compound_dtor));
            line(format!(
                "OFFSET(folio._folio_order)={}",
                machine.page_struct + page.compound_order
            ));
        }
        _ => {}
    }
    if let (Some(key), Some(at)) = (facts.tail_key, page.compound_head) {
        line(format!("OFFSET(page.{key})={at}"));
    }
    for (name, offset) in [
        ("pglist_data.node_zones", 0),
        ("pglist_data.nr_zones", 5000),
        ("pglist_data.node_start_pfn", 5008),
        ("pglist_data.node_spanned_pages", 5024),
        ("pglist_data.node_id", 5032),
        ("zone.free_area", 192),
        ("zone.vm_stat", 1280),
        ("zone.spanned_pages", 112),
        ("free_area.free_list", 0),
        ("list_head.next", 0),
        ("list_head.prev", long),
    ] {
        line(format!("OFFSET({name})={offset}"));
    }
    line(format!("LENGTH(zone.free_area)={}", facts.free_orders));
    line("LENGTH(free_area.free_list)=5".into());
    if facts.uts_name.1 {
        line(format!("OFFSET(uts_namespace.name)={}", facts.uts_name.0));
    }
    numbers(machine, built, &mut line);
    if let Some(log) = &machine.log
        && !log.0.is_empty()
    {
        log_lines(facts.log, facts.words.bytes(), &mut line);
    }
    let has_own_line = machine.cpu == (Cpu::S390x { moved: true });
    if facts.style as u32 >= KernelStyle::V3_16 as u32 && !has_own_line {
        line(format!("KERNELOFFSET={:x}", machine.kernel_offset));
    }
    out
}

fn numbers(machine: &Machine, built: &Addresses, line: &mut impl FnMut(String)) {
    let facts = &machine.facts;
    let flags = &facts.flags;
    let mut number = |name: &str, value: i64| line(format!("NUMBER({name})={value}"));
    number("NR_FREE_PAGES", 0);
    number("PG_lru", flags.lru.into());
    if facts.exports_private {
        number("PG_private", flags.private.into());
        number("PG_swapcache", flags.swapcache.into());
    }
    // Exported from 4.10 on, when PG_swapcache lost a bit of its own.
    if facts.exports_phys_base
        && let Some(bit) = flags.swapbacked
    {
        number("PG_swapbacked", bit.into());
    }
    if facts.exports_mapcount {
        if let Some(bit) = flags.slab {
            number("PG_slab", bit.into());
        }
        if let BuddyMark::Value(value) = facts.buddy {
            number("PAGE_BUDDY_MAPCOUNT_VALUE", value.into());
        }
    }
    if facts.exports_hwpoison {
        number("PG_hwpoison", flags.hwpoison.into());
    }
    if facts.exports_head_mask {
        number("PG_head_mask", 1 << flags.head);
    }
    match facts.hugetlb {
        HugetlbMark::U16 { .. } | HugetlbMark::U8 | HugetlbMark::Folio => {
            number("HUGETLB_PAGE_DTOR", facts.hugetlb_dtor as i64);
        }
        HugetlbMark::TailFlag(bit) => number("PG_hugetlb", bit.into()),
        HugetlbMark::Type(value) => number("PAGE_HUGETLB_MAPCOUNT_VALUE", value.into()),
        HugetlbMark::Lru { .. } => {}
    }
    for (name, value) in [
        ("PAGE_OFFLINE_MAPCOUNT_VALUE", facts.offline),
        ("PAGE_SLAB_MAPCOUNT_VALUE", facts.slab_type),
        ("PAGE_UNACCEPTED_MAPCOUNT_VALUE", facts.unaccepted),
    ] {
        if let Some(value) = value {
            number(name, value.into());
        }
    }
    if machine.cpu != Cpu::X86_64 {
        machine.cpu.lines(facts, &built.placed).into_iter().for_each(line);
        return;
    }
    if facts.exports_phys_base {
        number("phys_base", built.phys_base);
        number("KERNEL_IMAGE_SIZE", 1 << 30);
    }
    if facts.exports_l5 {
        number("pgtable_l5_enabled", i64::from(machine.levels == 5));
    }
    if facts.exports_sme {
        number("sme_mask", machine.sme_mask as i64);
    }
    if facts.exports_physmem {
        number("MAX_PHYSMEM_BITS", machine.physmem_bits.into());
    }
    if facts.exports_section_bits {
        number("SECTION_SIZE_BITS", 27);
    }
}

fn log_lines(log: LogStyle, long: u64, line: &mut impl FnMut(String)) {
    match log {
        LogStyle::Chars => {}
        LogStyle::Records { struct_name, caller } => {
            line(format!("SIZE({struct_name})={}", super::log::record_header(caller)));
            line(format!("OFFSET({struct_name}.ts_nsec)=0"));
            line(format!("OFFSET({struct_name}.len)=8"));
            line(format!("OFFSET({struct_name}.text_len)=10"));
            line(format!("OFFSET({struct_name}.dict_len)=12"));
            if caller {
                line(format!("OFFSET({struct_name}.caller_id)=16"));
            }
        }
        LogStyle::Ring { latched, info_size } => {
            let longs = |count: u64| count * long;
            for (name, value) in [
                ("SIZE(printk_ringbuffer)", longs(11)),
                ("OFFSET(printk_ringbuffer.desc_ring)", 0),
                ("OFFSET(printk_ringbuffer.text_data_ring)", longs(6)),
                ("OFFSET(printk_ringbuffer.fail)", longs(10)),
                ("SIZE(prb_desc_ring)", longs(6)),
                ("OFFSET(prb_desc_ring.count_bits)", 0),
                ("OFFSET(prb_desc_ring.descs)", longs(1)),
                ("OFFSET(prb_desc_ring.infos)", longs(2)),
                ("OFFSET(prb_desc_ring.head_id)", longs(3)),
                ("OFFSET(prb_desc_ring.tail_id)", longs(4)),
                ("SIZE(prb_desc)", longs(3)),
                ("OFFSET(prb_desc.state_var)", 0),
                ("OFFSET(prb_desc.text_blk_lpos)", longs(1)),
                ("SIZE(prb_data_blk_lpos)", longs(2)),
                ("OFFSET(prb_data_blk_lpos.begin)", 0),
                ("OFFSET(prb_data_blk_lpos.next)", longs(1)),
                ("SIZE(printk_info)", info_size),
                ("OFFSET(printk_info.seq)", 0),
                ("OFFSET(printk_info.ts_nsec)", 8),
                ("OFFSET(printk_info.text_len)", 16),
                ("OFFSET(printk_info.caller_id)", 20),
                ("SIZE(prb_data_ring)", longs(4)),
                ("OFFSET(prb_data_ring.size_bits)", 0),
                ("OFFSET(prb_data_ring.data)", longs(1)),
                ("SIZE(atomic_long_t)", long),
                ("OFFSET(atomic_long_t.counter)", 0),
            ] {
                line(format!("{name}={value}"));
            }
            if latched {
                line("SIZE(latched_seq)=24".into());
                line("OFFSET(latched_seq.val)=8".into());
            }
        }
    }
}
