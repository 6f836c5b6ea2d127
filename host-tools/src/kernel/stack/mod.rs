//! Stacks of tasks: who called whom.

pub mod chain;
pub mod frame;
pub mod orc;
mod text;

use super::lists::{Task, Tasks, loaded, one_task, tasks_of};
use super::names::{Named, Names};
use super::{Kernel, number, with_types};
use crate::about::notes::cpu_notes;
use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::json::{Document, Hex};
use frame::{End, Frame, Walked};
use serde::Serialize;
use std::collections::HashMap;
use tamis_core::kernel::symbols::{Btf, Member, Words, btf, members};
use tamis_core::memory::PhysMemory as _;
use tamis_core::wire::machine::{EM_AARCH64, EM_X86_64};
use tamis_core::wire::vmcoreinfo::Kind as Key;

/// Bytes of a register note in front of the registers.
const BEFORE_REGISTERS: usize = 112;
/// CPUs at most.
const CPUS: u64 = 1 << 16;
const WHAT: &str = "a stack";

/// Whose stacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// Of the task that panicked.
    Panic,
    /// Of these tasks: their numbers, or the addresses of their `struct task_struct`.
    Tasks(Vec<u64>),
    /// Of the task that ran on this CPU.
    Cpu(u64),
    /// Of what ran on each CPU.
    Cpus,
    /// Of every task.
    All,
}

/// Stacks.
#[derive(Serialize)]
pub struct Stacks {
    /// Each of them.
    pub stacks: Vec<Stack>,
    /// Why tasks may be missing.
    pub error: Option<String>,
}

impl Document for Stacks {
    const SCHEMA: &'static str = "tamis.bt/1";
}

/// The stack of a task.
#[derive(Serialize)]
pub struct Stack {
    /// The number of the task.
    pub pid: u64,
    /// Address of its `struct task_struct`.
    pub task: Hex,
    /// Its name.
    pub name: String,
    /// What it was doing, as ps has it.
    pub state: char,
    /// The CPU that it was running on.
    pub cpu: Option<u64>,
    /// The innermost first.
    pub frames: Vec<Call>,
    /// `whole`, `user mode`, or `lost`.
    pub end: &'static str,
    /// In user mode, where.
    pub user_pc: Option<Hex>,
    /// If it is lost, why.
    pub error: Option<String>,
}

/// A frame, with its name.
#[derive(Serialize)]
pub struct Call {
    /// Where its code goes on.
    pub address: Hex,
    /// Its stack pointer.
    pub sp: Hex,
    /// The symbol.
    pub symbol: Option<String>,
    /// The module that the symbol is of.
    pub module: Option<String>,
    /// How far behind the symbol.
    pub offset: Option<u64>,
    /// Whether nothing proves it.
    pub guessed: bool,
    /// Of code that was interrupted, where its registers are.
    pub registers: Option<Hex>,
}

sought! {
    /// Members of tasks, and of where their registers are.
    Shape {
        stack: "task_struct.stack",
        thread: "task_struct.thread",
        // x86_64.
        sp: "thread_struct.sp",
        frame_bp: "inactive_task_frame.bp",
        frame_ip: "inactive_task_frame.ret_addr",
        arch: "module.arch",
        orcs: "mod_arch_specific.num_orcs",
        orc_addresses: "mod_arch_specific.orc_unwind_ip",
        orc_entries: "mod_arch_specific.orc_unwind",
        // arm64.
        context: "thread_struct.cpu_context",
        context_fp: "cpu_context.fp",
        context_sp: "cpu_context.sp",
        context_pc: "cpu_context.pc",
        frame_in_regs: "pt_regs.stackframe",
        frame_type: "frame_record_meta.type",
        // All.
        current: "rq.curr",
    }
}

/// Bytes of an address.
const WORD: u64 = 8;

/// A table of ORC: where its addresses and its entries are, and how many there are.
#[derive(Clone, Copy)]
struct Orcs {
    addresses: u64,
    entries: u64,
    count: u64,
}

/// How stacks of this kernel are walked.
enum How {
    Orc { layout: orc::Layout, tables: Vec<Orcs>, found: HashMap<u64, Option<orc::Entry>> },
    Chain(chain::Layout),
}

/// The stacks of a kernel.
struct Walker<'k, 'm> {
    kernel: &'k mut Kernel<'m>,
    shape: Shape,
    how: How,
    /// Bytes of a stack.
    stack: u64,
    names: Names,
    /// Registers of CPUs, in their order.
    notes: Vec<Vec<u64>>,
}

impl orc::Code for Walker<'_, '_> {
    fn word(&mut self, at: u64) -> Option<u64> {
        self.kernel.reader.word(WHAT, at).ok()
    }

    fn entry(&mut self, address: u64) -> Option<orc::Entry> {
        let How::Orc { layout, tables, found } = &mut self.how else { return None };
        let kernel = &mut *self.kernel;
        let look = || tables.iter().find_map(|table| entry(kernel, *layout, *table, address));
        *found.entry(address).or_insert_with(look)
    }

    fn is_code(&mut self, address: u64) -> bool {
        chain::Code::function(self, address.wrapping_sub(1)).is_some()
    }

    fn calls(&mut self, ip: u64, address: u64) -> bool {
        if ip >> 63 == 0 {
            return false;
        }
        // Five bytes: the first says what it is, the others how far away the function is.
        let mut raw = [0; 5];
        let read = self.kernel.reader.bytes(WHAT, ip.wrapping_sub(5), &mut raw);
        let [0xe8, distance @ ..] = raw else { return false };
        let to = ip.wrapping_add(i32::from_le_bytes(distance) as u64);
        read.is_ok() && chain::Code::function(self, address) == Some(to)
    }
}

impl chain::Code for Walker<'_, '_> {
    fn word(&mut self, at: u64) -> Option<u64> {
        self.kernel.reader.word(WHAT, at).ok()
    }

    fn function(&mut self, address: u64) -> Option<u64> {
        if address >> 63 == 0 {
            return None;
        }
        let Named { letter, address, .. } = self.names.at(self.kernel, address)?;
        matches!(letter, 't' | 'T' | 'w' | 'W' | '?').then_some(address)
    }
}

/// The entry of a table for an address; `None` where it has none.
fn entry(kernel: &mut Kernel<'_>, layout: orc::Layout, table: Orcs, at: u64) -> Option<orc::Entry> {
    let mut address = |index: u64| {
        let place = table.addresses.wrapping_add(4 * index);
        let value = kernel.reader.u32(WHAT, place).ok()?;
        Some(place.wrapping_add(value as i32 as u64))
    };
    let (mut low, mut high) = (0, table.count);
    while low < high {
        let middle = low + (high - low) / 2;
        if address(middle)? <= at {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // In front of the first there is nothing; the last one marks where the code ends.
    let index = low.checked_sub(1)?;
    if low == table.count && at.wrapping_sub(address(index)?) > 1 << 20 {
        return None;
    }
    let mut raw = [0; 6];
    kernel.reader.bytes(WHAT, table.entries.wrapping_add(6 * index), &mut raw).ok()?;
    Some(layout.entry(raw))
}

/// Bit of a member of a structure, from the start of it, and its width.
fn bits(
    kernel: &mut Kernel<'_>,
    btf: &Btf<'_>,
    of: &str,
    name: &str,
) -> Result<Option<(u64, u32)>> {
    let mut words = Words::<2>::new();
    let _ = words.add(of) && words.add(name);
    let done = btf.find_words(&mut kernel.reader, &mut words);
    kernel.table(done)?;
    let (Some(of), Some(name)) = (words.offset(of), words.offset(name)) else { return Ok(None) };
    let mut id = None;
    let done = btf.each(&mut kernel.reader, &mut |_, record| {
        if record.name == of && record.kind == btf::Kind::Struct {
            id = Some(record.id);
        }
        Ok(id.is_some())
    });
    kernel.table(done)?;
    let Some(id) = id else { return Ok(None) };
    let place = members::member(&mut kernel.reader, btf, id, name);
    Ok(kernel.table(place)?.map(|place| (place.bits, place.width)))
}

impl How {
    fn of(
        kernel: &mut Kernel<'_>,
        btf: &Btf<'_>,
        shape: &Shape,
        machine: u16,
        facts: &Known,
    ) -> Result<How> {
        match machine {
            EM_X86_64 => How::orc(kernel, btf, shape, facts),
            EM_AARCH64 => Ok(How::Chain(chain::Layout {
                signed: facts.signed,
                frame_in_regs: shape.frame_in_regs.found.map(|member| member.offset),
                typed: shape.frame_type.found.is_some(),
            })),
            _ => Err(kernel.fail("stacks are followed on x86_64 and arm64 only")),
        }
    }

    fn orc(kernel: &mut Kernel<'_>, btf: &Btf<'_>, shape: &Shape, facts: &Known) -> Result<How> {
        const ENDS: [&str; 4] = [
            "__start_orc_unwind_ip",
            "__stop_orc_unwind_ip",
            "__start_orc_unwind",
            "__stop_orc_unwind",
        ];
        let mut ends = [0; 4];
        for (name, end) in ENDS.iter().zip(&mut ends) {
            *end = kernel.address(name)?.ok_or_else(|| {
                let text = format!("its kernel has no symbol {name} (CONFIG_UNWINDER_ORC)");
                kernel.fail(text)
            })?;
        }
        let [addresses, addresses_end, entries, entries_end] = ends;
        let count = addresses_end.wrapping_sub(addresses) / 4;
        if count != entries_end.wrapping_sub(entries) / 6 || count > 1 << 26 {
            return Err(kernel.fail(format_args!(
                "its ORC tables do not belong together: {} and {} bytes",
                addresses_end.wrapping_sub(addresses),
                entries_end.wrapping_sub(entries)
            )));
        }
        let mut tables = vec![Orcs { addresses, entries, count }];
        let of_modules = (shape.orcs.found, shape.orc_addresses.found, shape.orc_entries.found);
        if let (Some(arch), (Some(count), Some(addresses), Some(entries))) =
            (shape.arch.found, of_modules)
        {
            for module in loaded(kernel, btf).map(|(all, _)| all).unwrap_or_default() {
                let at = module.module.wrapping_add(arch.offset);
                let mut of =
                    |member: Member| kernel.number(at.wrapping_add(member.offset), member.size);
                if let (Ok(count), Ok(addresses), Ok(entries)) =
                    (of(count), of(addresses), of(entries))
                {
                    tables.push(Orcs { addresses, entries, count: count.min(1 << 22) });
                }
            }
        }
        let mut bit = |name| bits(kernel, btf, "orc_entry", name);
        let (kind, signal, end) = (bit("type")?, bit("signal")?, bit("end")?);
        let Some((_, width)) = kind else {
            return Err(kernel.fail("its kernel's types have no orc_entry.type"));
        };
        let place = |bit: Option<(u64, u32)>| bit.and_then(|(bit, _)| bit.checked_sub(32));
        let layout = orc::Layout {
            wide_kind: width >= 3,
            signal: place(signal).map(|bit| (bit as u32).min(15)),
            end: place(end).map(|bit| (bit as u32).min(15)),
            renumbered: renumbered(kernel, entries, count),
            offset_first: facts.before_5_12,
        };
        Ok(How::Orc { layout, tables, found: HashMap::new() })
    }
}

/// Whether registers have new numbers in a table, by entries here and there.
fn renumbered(kernel: &mut Kernel<'_>, entries: u64, count: u64) -> bool {
    let step = (count / 512).max(1);
    let look = |index: u64| {
        let mut raw = [0; 6];
        let at = entries.wrapping_add(6 * index);
        kernel.reader.bytes(WHAT, at, &mut raw).ok().map(|()| raw)
    };
    let found: Vec<_> = (0..count).step_by(step as usize).filter_map(look).collect();
    orc::Layout::is_renumbered(&found)
}

/// What is known of the kernel from elsewhere.
struct Known {
    signed: u64,
    before_5_12: bool,
}

impl Walker<'_, '_> {
    /// The stack of a task that is on no CPU.
    fn asleep(&mut self, task: u64, top: Option<u64>) -> Result<Walked> {
        let thread = task.wrapping_add(self.kernel.need(self.shape.thread)?.offset);
        match &self.how {
            How::Orc { layout, .. } => {
                let layout = *layout;
                let sp = thread.wrapping_add(self.kernel.need(self.shape.sp)?.offset);
                let sp = self.kernel.number(sp, WORD)?;
                let bp = self.kernel.need(self.shape.frame_bp)?.offset;
                let ip = self.kernel.need(self.shape.frame_ip)?.offset;
                let bp = self.kernel.number(sp.wrapping_add(bp), WORD)?;
                let at = sp.wrapping_add(ip);
                let ip = self.kernel.number(at, WORD)?;
                // A task that never ran goes on in the first instruction.
                let first = self.names.at(self.kernel, ip);
                let exact = first.is_some_and(|named| named.offset == 0);
                let sp = at.wrapping_add(WORD);
                let start = orc::Start { ip, sp, bp, exact, regs: None };
                Ok(orc::walk(self, &start, top, layout))
            }
            How::Chain(layout) => {
                let layout = *layout;
                let context = thread.wrapping_add(self.kernel.need(self.shape.context)?.offset);
                let shape = self.shape;
                let mut of = |member| {
                    let at = context.wrapping_add(self.kernel.need(member)?.offset);
                    self.kernel.number(at, WORD)
                };
                let fp = of(shape.context_fp)?;
                let (sp, pc) = (of(shape.context_sp)?, of(shape.context_pc)?);
                let start = chain::Start { pc, sp, fp, lr: None };
                Ok(chain::walk(self, &start, layout))
            }
        }
    }

    /// The stack of the task that ran on a CPU, by the registers of its note.
    fn running(&mut self, cpu: u64, top: Option<u64>) -> Result<Walked> {
        let notes = std::mem::take(&mut self.notes);
        let done = match notes.get(cpu as usize) {
            Some(regs) if !regs.is_empty() => Ok(self.by_registers(regs, top)),
            _ => Err(self.kernel.fail(format_args!("its notes have no registers of CPU {cpu}"))),
        };
        self.notes = notes;
        done
    }

    fn by_registers(&mut self, regs: &[u64], top: Option<u64>) -> Walked {
        let of = |index: usize| regs.get(index).copied().unwrap_or(0);
        match &self.how {
            How::Orc { layout, .. } => {
                let (layout, note) = (*layout, Some(orc::Regs::Note(regs)));
                let (ip, sp, bp) = (of(16), of(19), of(4));
                orc::walk(self, &orc::Start { ip, sp, bp, exact: true, regs: note }, top, layout)
            }
            How::Chain(layout) => {
                let layout = *layout;
                let (fp, lr, sp, pc, state) = (of(29), of(30), of(31), of(32), of(33));
                if state & 0xf == 0 && pc >> 63 == 0 {
                    return Walked { frames: Vec::new(), end: End::User(pc) };
                }
                chain::walk(self, &chain::Start { pc, sp, fp, lr: Some(lr) }, layout)
            }
        }
    }

    /// The stack of a task, with names.
    fn stack(&mut self, task: Task, cpu: Option<u64>) -> Result<Stack> {
        let stack = task.task.0.wrapping_add(self.kernel.need(self.shape.stack)?.offset);
        let top = self.kernel.number(stack, WORD).ok().map(|at| at.wrapping_add(self.stack));
        let walked = match cpu {
            Some(cpu) => self.running(cpu, top),
            None => self.asleep(task.task.0, top),
        };
        let Walked { frames, end } = walked
            .unwrap_or_else(|error| Walked { frames: Vec::new(), end: End::Broken(error.line()) });
        let frames = frames.into_iter().map(|frame| self.call(frame)).collect();
        let (end, user_pc, error) = match end {
            End::Whole => ("whole", None, None),
            End::User(pc) => ("user mode", Some(Hex(pc)), None),
            End::Lost => ("lost", None, Some("nothing says what is behind it".to_owned())),
            End::Broken(error) => ("lost", None, Some(error)),
        };
        let Task { pid, state, task, name, .. } = task;
        Ok(Stack { pid, task, name, state, cpu, frames, end, user_pc, error })
    }

    fn call(&mut self, frame: Frame) -> Call {
        let Frame { pc, sp, exact, guessed, registers } = frame;
        // A call may be the last instruction of a function.
        let behind = u64::from(!exact);
        let named = self.names.at(self.kernel, pc.wrapping_sub(behind));
        let offset = named.as_ref().map(|named| named.offset + behind);
        let (symbol, module) = named.map_or((None, None), |named| (Some(named.name), named.module));
        let (address, sp, registers) = (Hex(pc), Hex(sp), registers.map(Hex));
        Call { address, sp, symbol, module, offset, guessed, registers }
    }
}

/// What ran on each CPU: addresses of `struct task_struct`.
fn running(kernel: &mut Kernel<'_>, current: Member) -> Result<Vec<(u64, u64)>> {
    let mut need = |name: &str| {
        let found = kernel.address(name)?;
        found.ok_or_else(|| kernel.fail(format_args!("its kernel has no symbol {name}")))
    };
    let queues = need("runqueues")?;
    let (online, offsets) = (need("__cpu_online_mask")?, kernel.address("__per_cpu_offset")?);
    let count = match kernel.address("nr_cpu_ids")? {
        Some(at) => kernel.number(at, 4)?.clamp(1, CPUS),
        None => 1,
    };
    let mut all = Vec::new();
    for cpu in 0..count {
        let word = kernel.number(online.wrapping_add(cpu / 64 * 8), WORD)?;
        if word >> (cpu % 64) & 1 == 0 {
            continue;
        }
        let offset = match offsets {
            Some(at) => kernel.number(at.wrapping_add(WORD * cpu), WORD)?,
            None => 0,
        };
        let at = queues.wrapping_add(offset).wrapping_add(current.offset);
        all.push((cpu, kernel.number(at, WORD)?));
    }
    Ok(all)
}

/// The CPU that panicked.
fn panicked(kernel: &mut Kernel<'_>) -> Result<Option<u64>> {
    let Some(at) = kernel.address("panic_cpu")? else { return Ok(None) };
    let cpu = kernel.number(at, 4)?;
    Ok((cpu < CPUS).then_some(cpu))
}

/// The stacks that are asked for.
pub fn stacks(opened: &mut Opened, which: &Which) -> Result<Stacks> {
    let machine = opened.dump.machine();
    let notes = cpu_notes(opened)?;
    let registers = notes.iter().map(|desc| {
        let words = desc.chunks_exact(8).skip(BEFORE_REGISTERS / 8);
        words.map(|word| number(machine.endian, word)).collect()
    });
    let registers: Vec<Vec<u64>> = registers.collect();
    let info = opened.info();
    let known = Known {
        signed: info.get(Key::Number, "KERNELPACMASK").unwrap_or(0),
        before_5_12: info.version().is_some_and(|v| v < tamis_core::facts::KernelVersion(5, 12, 0)),
    };
    with_types(opened, |kernel, btf| {
        let shape = Shape::find(kernel, btf)?;
        let how = How::of(kernel, btf, &shape, machine.elf_machine, &known)?;
        let stack = kernel.size_of(btf, "thread_union")?.unwrap_or(16 << 10);
        let current = kernel.need(shape.current)?;
        let on_cpus = running(kernel, current)?;
        let Tasks { mut tasks, error } = tasks_of(kernel, btf)?;
        // Idle tasks of other CPUs than the first are in no list.
        for (_, task) in &on_cpus {
            if !tasks.iter().any(|other| other.task.0 == *task) {
                tasks.extend(one_task(kernel, btf, *task));
            }
        }
        let cpu_of =
            |task: &Task| on_cpus.iter().find(|(_, at)| *at == task.task.0).map(|(c, _)| *c);
        let wanted: Vec<u64> = match which {
            Which::All => tasks.iter().map(|task| task.task.0).collect(),
            Which::Cpus => on_cpus.iter().map(|(_, task)| *task).collect(),
            Which::Cpu(_) | Which::Panic => {
                let cpu = match which {
                    Which::Cpu(cpu) => Some(*cpu),
                    _ => panicked(kernel)?,
                };
                let Some(cpu) = cpu else {
                    return Err(kernel
                        .fail("nothing says which CPU panicked")
                        .next("name a task or a CPU, or --cpus for those of all CPUs"));
                };
                let task = on_cpus.iter().find(|(other, _)| *other == cpu).map(|(_, task)| *task);
                let Some(task) = task else {
                    return Err(kernel.fail(format_args!("no CPU {cpu} was running")));
                };
                vec![task]
            }
            Which::Tasks(names) => {
                let mut wanted = Vec::new();
                for name in names {
                    let same = |t: &&Task| t.task.0 == *name || t.pid == *name;
                    let found: Vec<_> = tasks.iter().filter(same).map(|t| t.task.0).collect();
                    if found.is_empty() {
                        let name = if *name >> 32 == 0 {
                            name.to_string()
                        } else {
                            Hex(*name).to_string()
                        };
                        return Err(kernel.fail(format_args!("its kernel has no task {name}")));
                    }
                    wanted.extend(found);
                }
                wanted
            }
        };
        // Registers are those of online CPUs, in their order.
        let mut by_cpu = Vec::new();
        for (index, (cpu, _)) in on_cpus.iter().enumerate() {
            by_cpu.resize((*cpu as usize + 1).max(by_cpu.len()), Vec::new());
            if let (Some(slot), Some(regs)) = (by_cpu.get_mut(*cpu as usize), registers.get(index))
            {
                *slot = regs.clone();
            }
        }
        by_cpu.truncate(CPUS as usize);
        let mut walker =
            Walker { kernel, shape, how, stack, names: Names::default(), notes: by_cpu };
        let mut stacks = Vec::new();
        for at in wanted {
            let Some(index) = tasks.iter().position(|task| task.task.0 == at) else { continue };
            let task = tasks[index].clone();
            let cpu = cpu_of(&task);
            stacks.push(walker.stack(task, cpu)?);
        }
        Ok(Stacks { stacks, error })
    })
}
