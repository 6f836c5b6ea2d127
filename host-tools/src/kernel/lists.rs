//! Lists of the kernel's: its tasks, and its modules.

use super::{Kernel, Sought, with_types};
use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::json::{Document, Hex};
use crate::render::text::plain;
use serde::Serialize;
use std::collections::HashSet;
use tamis_core::kernel::symbols::{Btf, MODULE_MEMBERS, Member, ModuleSymbols};

/// Elements of a list at most.
const MOST: usize = 1 << 20;

/// A list, as far as it goes.
pub(super) struct List {
    /// Addresses of the elements.
    pub(super) elements: Vec<u64>,
    /// Why it ended early.
    pub(super) error: Option<String>,
}

/// Follows a `list_head`; `offset` is where that is in the elements.
pub(super) fn list(kernel: &mut Kernel<'_>, head: u64, offset: u64) -> List {
    let word = kernel.word();
    let (mut elements, mut seen, mut at) = (Vec::new(), HashSet::new(), head);
    let error = loop {
        match kernel.number(at, word) {
            Err(error) => break Some(error.line()),
            Ok(next) if next == head => break None,
            Ok(next) if elements.len() >= MOST || !seen.insert(next) => {
                break Some(format!("the list at {head:#x} goes round at {next:#x}"));
            }
            Ok(next) => {
                elements.push(next.wrapping_sub(offset));
                at = next;
            }
        }
    };
    List { elements, error }
}

/// The element that a pointer into it points to; `None` for none.
pub(super) fn chain(at: u64, offset: u64) -> Option<u64> {
    (at != 0).then(|| at.wrapping_sub(offset))
}

/// The text at an address up to its NUL, as far as 256 bytes go.
pub fn string(kernel: &mut Kernel<'_>, at: u64) -> Result<String> {
    bytes(kernel, at, 256).map(|raw| plain(&raw))
}

/// The bytes at an address up to a NUL, `most` of them.
pub fn bytes(kernel: &mut Kernel<'_>, at: u64, most: usize) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    while raw.len() < most {
        let byte = kernel.reader.u8("a text", at.wrapping_add(raw.len() as u64));
        match kernel.table(byte)? {
            0 => break,
            byte => raw.push(byte),
        }
    }
    Ok(raw)
}

/// A text that ends with a NUL, in an array of so many bytes.
pub(super) fn text(kernel: &mut Kernel<'_>, at: u64, size: u64) -> Result<String> {
    let mut raw = vec![0; size.min(256) as usize];
    kernel.read(at, &mut raw)?;
    Ok(plain(raw.split(|byte| *byte == 0).next().unwrap_or_default()))
}

/// The tasks of a kernel.
#[derive(Serialize)]
pub struct Tasks {
    /// All that were found.
    pub tasks: Vec<Task>,
    /// Why there may be more.
    pub error: Option<String>,
}

impl Document for Tasks {
    const SCHEMA: &'static str = "tamis.tasks/1";
}

/// A task.
#[derive(Clone, Serialize)]
pub struct Task {
    /// Its number.
    pub pid: u64,
    /// The number of the process that it is a thread of.
    pub tgid: u64,
    /// What it was doing, as ps shows it.
    pub state: char,
    /// Whether it has no user memory.
    pub kernel: bool,
    /// Address of its `struct task_struct`.
    pub task: Hex,
    /// Its name.
    pub name: String,
}

/// What ps shows for a state and an exit state (`task_index_to_char` and `TASK_REPORT` of
/// `include/linux/sched.h`).
fn state(state: u64, exit: u64) -> char {
    const IDLE: u64 = 0x402;
    if state & IDLE == IDLE {
        return 'I';
    }
    let bits = (state | exit) & 0x7f;
    let index = (64 - bits.leading_zeros()) as usize;
    b"RSDTtXZP".get(index).map_or('?', |letter| char::from(*letter))
}

sought! {
    /// Members of tasks.
    InTask {
        tasks: "task_struct.tasks",
        comm: "task_struct.comm",
        pid: "task_struct.pid",
        tgid: "task_struct.tgid",
        mm: "task_struct.mm",
        state: "task_struct.__state",
        // Before 5.14.
        old_state: "task_struct.state",
        exit: "task_struct.exit_state",
        signal: "task_struct.signal",
        node: "task_struct.thread_node",
        head: "signal_struct.thread_head",
    }
}

/// Reads tasks.
struct TaskAt {
    comm: Member,
    pid: Member,
    tgid: Member,
    mm: Member,
    state: Member,
    exit: Option<Member>,
}

impl TaskAt {
    fn new(kernel: &Kernel<'_>, found: &InTask) -> Result<TaskAt> {
        let need = |member| kernel.need(member);
        Ok(TaskAt {
            comm: need(found.comm)?,
            pid: need(found.pid)?,
            tgid: need(found.tgid)?,
            mm: need(found.mm)?,
            state: need(found.state).or(need(found.old_state))?,
            exit: found.exit.found,
        })
    }

    fn read(&self, kernel: &mut Kernel<'_>, task: u64) -> Result<Task> {
        let mut one = |member: Member| kernel.number(task.wrapping_add(member.offset), member.size);
        let exit = self.exit.map_or(Ok(0), &mut one)?;
        let state = state(one(self.state)?, exit);
        let (pid, tgid, is_kernel) = (one(self.pid)?, one(self.tgid)?, one(self.mm)? == 0);
        let name = text(kernel, task.wrapping_add(self.comm.offset), self.comm.size)?;
        Ok(Task { pid, tgid, state, kernel: is_kernel, task: Hex(task), name })
    }
}

/// The task whose `struct task_struct` is there.
pub fn one_task(kernel: &mut Kernel<'_>, btf: &Btf<'_>, task: u64) -> Result<Task> {
    let found = InTask::find(kernel, btf)?;
    TaskAt::new(kernel, &found)?.read(kernel, task)
}

/// All tasks: the idle one of the first CPU, every process, and its threads behind it.
pub fn tasks(opened: &mut Opened) -> Result<Tasks> {
    with_types(opened, tasks_of)
}

/// The same, of an open kernel.
pub fn tasks_of(kernel: &mut Kernel<'_>, btf: &Btf<'_>) -> Result<Tasks> {
    let found = InTask::find(kernel, btf)?;
    let tasks = kernel.need(found.tasks)?;
    let reader = TaskAt::new(kernel, &found)?;
    let Some(init) = kernel.address("init_task")? else {
        return Err(kernel.fail("its kernel has no symbol init_task"));
    };
    let processes = list(kernel, init.wrapping_add(tasks.offset), tasks.offset);
    let mut error = processes.error;
    let word = kernel.word();
    let mut all = vec![init];
    for process in processes.elements {
        all.push(process);
        let threads = (found.signal.found, found.node.found, found.head.found);
        let (Some(signal), Some(node), Some(head)) = threads else { continue };
        let signal = kernel.number(process.wrapping_add(signal.offset), word);
        let Ok(signal) = signal else { continue };
        if signal == 0 {
            continue;
        }
        let threads = list(kernel, signal.wrapping_add(head.offset), node.offset);
        all.extend(threads.elements.into_iter().filter(|thread| *thread != process));
        error = error.or(threads.error);
    }
    let mut tasks = Vec::new();
    for task in all {
        match reader.read(kernel, task) {
            Ok(task) => tasks.push(task),
            Err(failed) => error = error.or(Some(failed.line())),
        }
    }
    Ok(Tasks { tasks, error })
}

/// The modules of a kernel.
#[derive(Serialize)]
pub struct Modules {
    /// All that were found, the one that was loaded last first.
    pub modules: Vec<Module>,
    /// Why there may be more.
    pub error: Option<String>,
}

impl Document for Modules {
    const SCHEMA: &'static str = "tamis.modules/1";
}

/// A module.
#[derive(Serialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Whether it is loaded (`live`), being loaded (`coming`, `unformed`) or going.
    pub state: &'static str,
    /// The lowest address of its memory.
    pub address: Hex,
    /// Bytes of its memory.
    pub size: u64,
    /// Address of its `struct module`.
    pub module: Hex,
}

sought! {
    /// Members of modules, and of what they are made of.
    InModule {
        list: "module.list",
        name: "module.name",
        state: "module.state",
        // From 6.4 on.
        memories: "module.mem",
        memory_base: "module_memory.base",
        memory_size: "module_memory.size",
        // From 4.5 on.
        core: "module.core_layout",
        base: "module_layout.base",
        size: "module_layout.size",
        init: "module.init_layout",
    }
}

/// Where the memory of a module is described: the members of a base and a size in each of so many descriptions.
struct Memories {
    /// Offsets in `struct module`.
    at: Vec<u64>,
    base: Member,
    size: Member,
}

fn memories(kernel: &mut Kernel<'_>, btf: &Btf<'_>, found: &InModule) -> Result<Memories> {
    let several = (found.memories.found, found.memory_base.found, found.memory_size.found);
    if let (Some(mem), Some(base), Some(size)) = several {
        let array = btf.strip(&mut kernel.reader, mem.of);
        let array = kernel.table(array)?;
        let array = btf.array(&mut kernel.reader, &array);
        let count = kernel.table(array)?.map_or(0, |array| array.count.min(64));
        let each = mem.size.checked_div(count.into()).unwrap_or(0);
        let at = (0..u64::from(count)).map(|n| mem.offset + n * each).collect();
        return Ok(Memories { at, base, size });
    }
    // What a kernel of today would have.
    let core = Sought { name: found.memories.name, ..found.core };
    let core = kernel.need(core)?;
    let (base, size) = (kernel.need(found.base)?, kernel.need(found.size)?);
    let at = [Some(core), found.init.found].into_iter().flatten().map(|member| member.offset);
    Ok(Memories { at: at.collect(), base, size })
}

/// A module as it is in memory.
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Whether it is loaded (`live`), being loaded (`coming`, `unformed`) or going.
    pub state: &'static str,
    /// Address of its `struct module`.
    pub module: u64,
    /// Addresses and bytes of the pieces of its memory.
    pub areas: Vec<(u64, u64)>,
    /// Where its symbols are, if that can be read.
    pub symbols: Option<ModuleSymbols>,
}

/// All modules that were found, the one that was loaded last first, and why there may be more.
pub fn loaded(kernel: &mut Kernel<'_>, btf: &Btf<'_>) -> Result<(Vec<Loaded>, Option<String>)> {
    let found = InModule::find(kernel, btf)?;
    let symbols_at = kernel.members(btf, MODULE_MEMBERS)?;
    let need = |member| kernel.need(member);
    let (list_at, name_at, state_at) = (need(found.list)?, need(found.name)?, need(found.state)?);
    let memories = memories(kernel, btf, &found)?;
    let Some(head) = kernel.address("modules")? else {
        return Err(kernel.fail("its kernel has no symbol modules: it has no modules"));
    };
    let List { elements, mut error } = list(kernel, head, list_at.offset);
    let mut modules = Vec::new();
    for module in elements {
        let mut one = |offset: u64, member: Member| {
            kernel.number(module.wrapping_add(offset).wrapping_add(member.offset), member.size)
        };
        let read = (|| {
            let mut areas = Vec::new();
            for at in &memories.at {
                let (base, size) = (one(*at, memories.base)?, one(*at, memories.size)?);
                if size > 0 && base != 0 {
                    areas.push((base, size));
                }
            }
            Ok((areas, one(0, state_at)?))
        })();
        match read {
            Ok((areas, state)) => {
                let at = module.wrapping_add(name_at.offset);
                let state = match state {
                    0 => "live",
                    1 => "coming",
                    2 => "going",
                    _ => "unformed",
                };
                let name = text(kernel, at, name_at.size)?;
                let symbols = ModuleSymbols::of(&mut kernel.reader, &symbols_at, module);
                let symbols = symbols.unwrap_or(None);
                modules.push(Loaded { name, state, module, areas, symbols });
            }
            Err(failed) => {
                let failed: crate::fail::Fail = failed;
                error = error.or(Some(failed.line()));
            }
        }
    }
    Ok((modules, error))
}

/// All modules.
pub fn modules(opened: &mut Opened) -> Result<Modules> {
    with_types(opened, |kernel, btf| {
        let (all, error) = loaded(kernel, btf)?;
        let shown = |Loaded { name, state, module, areas, .. }| {
            let address = areas.iter().map(|(base, _)| *base).min().unwrap_or(u64::MAX);
            let size = areas.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
            Module { name, state, address: Hex(address), size, module: Hex(module) }
        };
        Ok(Modules { modules: all.into_iter().map(shown).collect(), error })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_of_ps() {
        assert_eq!(state(0, 0), 'R');
        assert_eq!(state(1, 0), 'S');
        assert_eq!(state(2, 0), 'D');
        assert_eq!(state(0x402, 0), 'I');
        assert_eq!(state(4, 0), 'T');
        assert_eq!(state(8, 0), 't');
        assert_eq!(state(0x80, 0x10), 'X');
        assert_eq!(state(0x80, 0x20), 'Z');
        assert_eq!(state(0x2001, 0), 'S');
        assert_eq!(state(0x40, 0), 'P');
    }
}
