//! Memory without a header: what the command line says of it.

use crate::args::address::address;
use crate::dump::image::{RAW_MEMORY, RawMemory};
use crate::fail::{Fail, Result};
use tamis_core::endian::Endian;
use tamis_core::memory::Machine;
use tamis_core::wire::machine::MACHINES;

/// `--raw-memory`, and what belongs to it: for all commands.
#[derive(clap::Args)]
pub struct Raw {
    /// The dump is memory as it is, without a header
    #[arg(long, global = true, hide = true)]
    raw_memory: bool,
    /// Physical address of its first byte; of several files, one for each
    #[arg(long, global = true, hide = true, value_name = "ADDRESS", value_delimiter = ',', value_parser = address)]
    at: Vec<u64>,
    /// The machine that it is of, as `uname -m` has it
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    machine: Option<String>,
}

impl Raw {
    /// Remembers it for the opening of dumps.
    pub fn apply(&self) -> Result<()> {
        if !self.raw_memory {
            let given = !self.at.is_empty() || self.machine.is_some();
            let text = "--at and --machine say something of memory without a header";
            return if given { Err(Fail::new(text).next("add --raw-memory")) } else { Ok(()) };
        }
        let name = self.machine.as_deref().unwrap_or("x86_64");
        let known = MACHINES.iter().find(|known| known.name == name);
        let Some(known) = known else {
            let names: Vec<_> = MACHINES.iter().map(|known| known.name).collect();
            let fail = Fail::new(format_args!("{name} is no machine that is known"));
            return Err(fail.next(format_args!("one of: {}", names.join(", "))));
        };
        let endian = known.endian.unwrap_or(Endian::Little);
        let machine = Machine { elf_machine: known.elf_machine, endian, word: known.word };
        let _ = RAW_MEMORY.set(RawMemory { machine, at: self.at.clone() });
        Ok(())
    }
}
