//! Who uses the memory: counters of the kernel, processes, files in the page cache.

use super::lists::{chain, list, string, tasks_of, text};
use super::slabs::{Cache, slabs_of};
use super::{Kernel, with_types};
use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::json::{Document, Hex};
use serde::Serialize;
use std::collections::HashMap;
use tamis_core::kernel::symbols::btf::Kind;
use tamis_core::kernel::symbols::{Btf, Member};

/// Folders in one another.
const DEEPEST: usize = 64;
/// Sizes of huge pages.
const HUGE_SIZES: u64 = 16;

/// Who uses the memory of a machine.
#[derive(Serialize)]
pub struct Usage {
    /// What the kernel itself counts.
    pub memory: Vec<Use>,
    /// Processes, the one with most memory first.
    pub processes: Vec<Process>,
    /// Processes that are not listed.
    pub processes_not_listed: u64,
    /// Caches of the slab allocator, the largest first.
    pub caches: Vec<Cache>,
    /// Caches that are not listed.
    pub caches_not_listed: u64,
    /// Files in the page cache, the one with most pages first.
    pub files: Vec<File>,
    /// Files that are not listed.
    pub files_not_listed: u64,
    /// Why there may be more.
    pub error: Option<String>,
}

impl Document for Usage {
    const SCHEMA: &'static str = "tamis.top/1";
}

/// What memory is used for.
#[derive(Serialize)]
pub struct Use {
    /// What for.
    pub what: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// A process: all tasks with the same memory.
#[derive(Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u64,
    /// Its name.
    pub name: String,
    /// Bytes of memory that it has.
    pub resident: u64,
    /// Of these, bytes of anonymous memory.
    pub anonymous: u64,
    /// Of these, bytes of files.
    pub file: u64,
    /// Of these, bytes of shared memory.
    pub shared: u64,
    /// Bytes that are swapped out.
    pub swapped: u64,
    /// Bytes of its page tables.
    pub page_tables: u64,
    /// What is added to the points by which one is killed when memory is short.
    pub oom_score_adj: i64,
}

/// A file in the page cache.
#[derive(Serialize)]
pub struct File {
    /// Bytes of it in memory.
    pub bytes: u64,
    /// The kind of file system.
    pub file_system: String,
    /// Where that is.
    pub device: String,
    /// Its path there; `null` where no name of it is in memory.
    pub path: Option<String>,
    /// The number of its inode.
    pub inode: u64,
}

/// What the kernel counts, and how: names in the enumerations of a node's and a zone's counters; several are one.
const COUNTERS: [(&str, &[&str]); 11] = [
    ("free", &["NR_FREE_PAGES"]),
    ("anonymous memory", &["NR_ANON_MAPPED"]),
    ("page cache", &["NR_FILE_PAGES"]),
    ("of it, shared memory and tmpfs", &["NR_SHMEM"]),
    ("slab caches, reclaimable", &["NR_SLAB_RECLAIMABLE_B", "NR_SLAB_RECLAIMABLE"]),
    ("slab caches, not reclaimable", &["NR_SLAB_UNRECLAIMABLE_B", "NR_SLAB_UNRECLAIMABLE"]),
    ("page tables", &["NR_PAGETABLE"]),
    ("page tables of hypervisors", &["NR_SECONDARY_PAGETABLE"]),
    ("page tables of IOMMUs", &["NR_IOMMU_PAGES"]),
    ("stacks of tasks", &["NR_KERNEL_STACK_KB"]),
    ("vmalloc", &["NR_VMALLOC"]),
];

sought! {
    /// Members of processes, and of what counts their memory and that of huge pages.
    Shape {
        mm: "task_struct.mm",
        signal: "task_struct.signal",
        rss: "mm_struct.rss_stat",
        page_tables: "mm_struct.pgtables_bytes",
        score: "signal_struct.oom_score_adj",
        // From 6.2 on.
        count: "percpu_counter.count",
        counters: "percpu_counter.counters",
        // Before.
        words: "mm_rss_stat.count",
        of_task: "task_struct.rss_stat",
        words_of_task: "task_rss_stat.count",
        order: "hstate.order",
        huge_pages: "hstate.nr_huge_pages",
    }
}

sought! {
    /// Members for the page cache.
    InFiles {
        list: "super_block.s_list",
        inodes: "super_block.s_inodes",
        id: "super_block.s_id",
        kind: "super_block.s_type",
        kind_name: "file_system_type.name",
        inode_list: "inode.i_sb_list",
        mapping: "inode.i_mapping",
        aliases: "inode.i_dentry",
        number: "inode.i_ino",
        pages: "address_space.nrpages",
        parent: "dentry.d_parent",
        name: "dentry.d_name",
        text: "qstr.name",
        // Before 7.3.
        in_union: "dentry.d_u",
        alias: "dentry.d_alias",
    }
}

/// Who uses the memory; `most` of each kind are listed.
pub fn usage(opened: &mut Opened, most: usize) -> Result<Usage> {
    let page = opened.shift.bytes() as u64;
    with_types(opened, |kernel, btf| {
        let mut errors = Vec::new();
        let found = Shape::find(kernel, btf)?;
        let memory = memory(kernel, btf, &found, page)?;
        let mut processes = or(processes(kernel, btf, &found, page), &mut errors);
        processes.sort_by(|a, b| b.resident.cmp(&a.resident).then_with(|| a.pid.cmp(&b.pid)));
        let slabs = slabs_of(kernel, btf, page).map(|slabs| (slabs.caches, slabs.error));
        let mut caches = or(slabs, &mut errors);
        let mut files = or(files(kernel, btf, page), &mut errors);
        files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.inode.cmp(&b.inode)));
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        Ok(Usage {
            processes_not_listed: cut(&mut processes, most),
            caches_not_listed: cut(&mut caches, most),
            files_not_listed: cut(&mut files, most),
            memory,
            processes,
            caches,
            files,
            error,
        })
    })
}

/// What was found, or nothing; notes what went wrong.
fn or<T>(found: Result<(Vec<T>, Option<String>)>, errors: &mut Vec<String>) -> Vec<T> {
    let (found, error) = found.unwrap_or_else(|failed| (Vec::new(), Some(failed.line())));
    errors.extend(error);
    found
}

/// Leaves the first `most`; returns how many went.
fn cut<T>(all: &mut Vec<T>, most: usize) -> u64 {
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    more as u64
}

/// A counter that goes below zero for a time counts as zero.
fn count(value: u64, word: u64) -> u64 {
    if value >> (8 * word - 1) & 1 == 0 { value } else { 0 }
}

/// What the kernel itself counts.
fn memory(kernel: &mut Kernel<'_>, btf: &Btf<'_>, found: &Shape, page: u64) -> Result<Vec<Use>> {
    let word = kernel.word();
    let mut wanted = Vec::new();
    for (_, names) in COUNTERS {
        wanted.extend(
            names.iter().flat_map(|name| [("node_stat_item", *name), ("zone_stat_item", *name)]),
        );
    }
    let values = kernel.enumerators(btf, &wanted)?;
    let (node, zone) = (kernel.address("vm_node_stat")?, kernel.address("vm_zone_stat")?);
    let mut all = Vec::new();
    let total =
        kernel.variable("_totalram_pages", word)?.or(kernel.variable("totalram_pages", word)?);
    let mut counted = 0u64;
    let mut add = |what, bytes: u64, is_part: bool| {
        counted = counted.saturating_add(if is_part { 0 } else { bytes });
        all.push(Use { what, bytes });
    };
    for (what, names) in COUNTERS {
        for ((of, name), value) in wanted.iter().zip(&values) {
            let array = if *of == "node_stat_item" { node } else { zone };
            let (Some(index), Some(array)) = (value, array) else { continue };
            if names.contains(name) {
                let at = array.wrapping_add(index.wrapping_mul(word));
                let unit = if *name == "NR_KERNEL_STACK_KB" { 1024 } else { page };
                let bytes = count(kernel.number(at, word)?, word).saturating_mul(unit);
                add(what, bytes, *name == "NR_SHMEM");
                break;
            }
        }
    }
    if let Some(pages) = kernel.variable("nr_vmalloc_pages", word)? {
        add("vmalloc", count(pages, word).saturating_mul(page), false);
    }
    let (pages, units) =
        (kernel.variable("pcpu_nr_populated", word)?, kernel.variable("pcpu_nr_units", 4)?);
    if let (Some(pages), Some(units)) = (pages, units) {
        add("per-CPU variables", pages.saturating_mul(units).saturating_mul(page), false);
    }
    let sizes = kernel.variable("hugetlb_max_hstate", 4)?.unwrap_or(0).min(HUGE_SIZES);
    let (states, each) = (kernel.address("hstates")?, kernel.size_of(btf, "hstate")?);
    if let (Some(states), Some(each), Some(order), Some(pages)) =
        (states, each, found.order.found, found.huge_pages.found)
    {
        let mut bytes = 0u64;
        for index in 0..sizes {
            let state = states.wrapping_add(index.wrapping_mul(each));
            let order = kernel.number(state.wrapping_add(order.offset), order.size)?;
            let pages = kernel.number(state.wrapping_add(pages.offset), pages.size)?;
            let size = page.checked_shl(order as u32).unwrap_or(0);
            bytes = bytes.saturating_add(pages.saturating_mul(size));
        }
        add("huge pages of hugetlbfs", bytes, false);
    }
    if let Some(total) = total {
        let total = total.saturating_mul(page);
        all.push(Use { what: "not counted by the kernel", bytes: total.saturating_sub(counted) });
        all.insert(0, Use { what: "total", bytes: total });
    }
    Ok(all)
}

/// Pages of a process by what they are: of files, anonymous, swapped out, shared (`include/linux/mm_types_task.h`).
type Rss = [u64; 4];

/// Where the pages of a process are counted.
enum RssAt {
    /// Counters of which each CPU has a part: the first, and bytes from one to the next.
    PerCpu { at: u64, each: u64, count: Member, counters: Member, offsets: Vec<u64> },
    /// Words; tasks have parts of them.
    Words { at: u64, of_task: Option<u64> },
}

impl RssAt {
    fn find(kernel: &mut Kernel<'_>, btf: &Btf<'_>, found: &Shape) -> Result<RssAt> {
        let rss = kernel.need(found.rss)?;
        let of = btf.strip(&mut kernel.reader, rss.of);
        let of = kernel.table(of)?;
        if of.kind != Kind::Array {
            let of_task = found.of_task.found.zip(found.words_of_task.found);
            let of_task = of_task.map(|(rss, count)| rss.offset + count.offset);
            let count = kernel.need(found.words)?;
            return Ok(RssAt::Words { at: rss.offset + count.offset, of_task });
        }
        let array = btf.array(&mut kernel.reader, &of);
        let elements = kernel.table(array)?.map_or(0, |array| u64::from(array.count));
        let each = rss.size.checked_div(elements).unwrap_or(0);
        let (count, counters) = (kernel.need(found.count)?, kernel.need(found.counters)?);
        let offsets = kernel.cpus()?;
        Ok(RssAt::PerCpu { at: rss.offset, each, count, counters, offsets })
    }

    /// What is counted for a process.
    fn of_mm(&self, kernel: &mut Kernel<'_>, mm: u64) -> Result<[i64; 4]> {
        let word = kernel.word();
        let mut rss = [0i64; 4];
        for (index, sum) in (0..).zip(&mut rss) {
            match self {
                RssAt::Words { at, .. } => {
                    let at = mm.wrapping_add(*at).wrapping_add(index * word);
                    *sum = sign(kernel.number(at, word)?, word);
                }
                RssAt::PerCpu { at, each, count, counters, offsets } => {
                    let counter = mm.wrapping_add(*at).wrapping_add(index * each);
                    *sum = kernel.number(counter.wrapping_add(count.offset), 8)? as i64;
                    let parts = kernel.number(counter.wrapping_add(counters.offset), word)?;
                    for offset in offsets {
                        let part = kernel.number(parts.wrapping_add(*offset), 4)?;
                        *sum = sum.wrapping_add(i64::from(part as i32));
                    }
                }
            }
        }
        Ok(rss)
    }

    /// What a task holds of its process's count.
    fn of_task(&self, kernel: &mut Kernel<'_>, task: u64) -> Result<[i64; 4]> {
        let mut rss = [0; 4];
        if let RssAt::Words { of_task: Some(at), .. } = self {
            for (index, sum) in (0..).zip(&mut rss) {
                *sum = sign(kernel.number(task.wrapping_add(at + 4 * index), 4)?, 4);
            }
        }
        Ok(rss)
    }
}

fn sign(value: u64, size: u64) -> i64 {
    let unused = 64 - 8 * size.clamp(1, 8) as u32;
    ((value << unused) as i64) >> unused
}

/// All processes with memory of their own, and why there may be more.
fn processes(
    kernel: &mut Kernel<'_>,
    btf: &Btf<'_>,
    found: &Shape,
    page: u64,
) -> Result<(Vec<Process>, Option<String>)> {
    let (mm_at, signal_at) = (kernel.need(found.mm)?, kernel.need(found.signal)?);
    let rss_at = RssAt::find(kernel, btf, found)?;
    let word = kernel.word();
    let tasks = tasks_of(kernel, btf)?;
    let mut error = tasks.error;
    let mut all: Vec<(Process, [i64; 4])> = Vec::new();
    let mut of_mm = HashMap::new();
    for task in tasks.tasks {
        let Hex(at) = task.task;
        let mut read = || {
            let mm = kernel.number(at.wrapping_add(mm_at.offset), word)?;
            if mm == 0 {
                return Ok(());
            }
            let held = rss_at.of_task(kernel, at)?;
            let index = match of_mm.get(&mm) {
                Some(index) => *index,
                None => {
                    let rss = rss_at.of_mm(kernel, mm)?;
                    let mut one = |base: u64, member: Option<Member>| match member {
                        Some(member) => {
                            kernel.number(base.wrapping_add(member.offset), member.size)
                        }
                        None => Ok(0),
                    };
                    let page_tables = count(one(mm, found.page_tables.found)?, word);
                    let signal = one(at, Some(signal_at))?;
                    let score = found.score.found.filter(|_| signal != 0);
                    let oom_score_adj =
                        sign(one(signal, score)?, score.map_or(8, |score| score.size));
                    let process = Process {
                        pid: task.tgid,
                        name: task.name.clone(),
                        resident: 0,
                        anonymous: 0,
                        file: 0,
                        shared: 0,
                        swapped: 0,
                        page_tables,
                        oom_score_adj,
                    };
                    all.push((process, rss));
                    of_mm.insert(mm, all.len() - 1);
                    all.len() - 1
                }
            };
            if let Some((_, rss)) = all.get_mut(index) {
                rss.iter_mut().zip(held).for_each(|(sum, part)| *sum = sum.wrapping_add(part));
            }
            Ok(())
        };
        let done: Result<()> = read();
        if let Err(failed) = done {
            error = error.or(Some(failed.line()));
        }
    }
    let whole = |(mut process, rss): (Process, [i64; 4])| {
        let [file, anonymous, swapped, shared]: Rss =
            rss.map(|pages| u64::try_from(pages).unwrap_or(0).saturating_mul(page));
        (process.file, process.anonymous, process.swapped, process.shared) =
            (file, anonymous, swapped, shared);
        process.resident = file.saturating_add(anonymous).saturating_add(shared);
        process
    };
    Ok((all.into_iter().map(whole).collect(), error))
}

/// All files with pages in the page cache, and why there may be more.
fn files(kernel: &mut Kernel<'_>, btf: &Btf<'_>, page: u64) -> Result<(Vec<File>, Option<String>)> {
    let found = InFiles::find(kernel, btf)?;
    let need = |member| kernel.need(member);
    let (sb_list, inodes) = (need(found.list)?, need(found.inodes)?);
    let (id, kind, kind_name) = (need(found.id)?, need(found.kind)?, need(found.kind_name)?);
    let (inode_list, mapping) = (need(found.inode_list)?, need(found.mapping)?);
    let (number, pages_at) = (need(found.number)?, need(found.pages)?);
    let names = NamesAt {
        aliases: need(found.aliases)?,
        alias: need(found.alias).or(need(found.in_union))?.offset,
        parent: need(found.parent)?,
        name: need(found.name)?.offset + need(found.text)?.offset,
    };
    let word = kernel.word();
    let Some(head) = kernel.address("super_blocks")? else {
        return Err(kernel.fail("its kernel has no symbol super_blocks"));
    };
    let blocks = list(kernel, head, sb_list.offset);
    let (mut all, mut error) = (Vec::new(), blocks.error);
    for block in blocks.elements {
        let mut of_block = || {
            let device = text(kernel, block.wrapping_add(id.offset), id.size)?;
            let kind = kernel.number(block.wrapping_add(kind.offset), word)?;
            let name = kernel.number(kind.wrapping_add(kind_name.offset), word)?;
            let file_system = string(kernel, name)?;
            let inodes = list(kernel, block.wrapping_add(inodes.offset), inode_list.offset);
            for inode in inodes.elements {
                let mapping = kernel.number(inode.wrapping_add(mapping.offset), word)?;
                if mapping == 0 {
                    continue;
                }
                let pages = kernel.number(mapping.wrapping_add(pages_at.offset), word)?;
                if pages > 0 {
                    let bytes = pages.saturating_mul(page);
                    let (file_system, device) = (file_system.clone(), device.clone());
                    let path = names.path(kernel, inode);
                    let inode = kernel.number(inode.wrapping_add(number.offset), number.size)?;
                    all.push(File { bytes, file_system, device, path, inode });
                }
            }
            Ok(inodes.error)
        };
        let done: Result<Option<String>> = of_block();
        match done {
            Ok(less) => error = error.or(less),
            Err(failed) => error = error.or(Some(failed.line())),
        }
    }
    Ok((all, error))
}

/// Where the names of files are.
struct NamesAt {
    aliases: Member,
    /// From the start of a dentry to its place in the list of its inode's.
    alias: u64,
    parent: Member,
    /// From the start of a dentry to the pointer to its name.
    name: u64,
}

impl NamesAt {
    /// The path of an inode in its file system, by the first of its names; `None` where none is in memory.
    fn path(&self, kernel: &mut Kernel<'_>, inode: u64) -> Option<String> {
        let word = kernel.word();
        let first = kernel.number(inode.wrapping_add(self.aliases.offset), word).ok()?;
        let mut dentry = chain(first, self.alias)?;
        let mut names = Vec::new();
        loop {
            let parent = kernel.number(dentry.wrapping_add(self.parent.offset), word).ok()?;
            if parent == dentry {
                break;
            }
            let name = kernel.number(dentry.wrapping_add(self.name), word).ok()?;
            names.push(string(kernel, name).ok()?);
            if names.len() > DEEPEST {
                names.push("...".into());
                break;
            }
            dentry = parent;
        }
        if names.is_empty() {
            // The root of a file system, or what has no folder: such a name stands alone.
            let name = kernel.number(dentry.wrapping_add(self.name), word).ok()?;
            return string(kernel, name).ok().filter(|name| !name.is_empty());
        }
        names.reverse();
        Some(format!("/{}", names.join("/")))
    }
}
