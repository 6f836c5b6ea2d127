//! Stacks as text.

use super::{Call, Stack, Stacks};
use std::fmt::Write as _;

fn frame(text: &mut String, index: usize, call: &Call) {
    if let Some(registers) = call.registers {
        let _ = writeln!(text, "    --- interrupted; registers at {:016x} ---", registers.0);
    }
    let Call { address, sp, symbol, module, offset, guessed, .. } = call;
    let mark = if *guessed { "? " } else { "" };
    let _ = write!(text, "{:>4} [{:016x}] {mark}", format!("#{index}"), sp.0);
    if let (Some(symbol), Some(offset)) = (symbol, offset) {
        let _ = write!(text, "{symbol}+{offset:#x}");
        if let Some(module) = module {
            let _ = write!(text, " [{module}]");
        }
        let _ = write!(text, " at ");
    }
    let _ = writeln!(text, "{:016x}", address.0);
}

impl Stacks {
    /// As crash prints them: a line for each frame.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (index, stack) in self.stacks.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            let Stack { pid, task, name, state, cpu, frames, end, user_pc, error } = stack;
            let _ = write!(text, "pid {pid}  {name}  state {state}  task {:016x}", task.0);
            if let Some(cpu) = cpu {
                let _ = write!(text, "  on CPU {cpu}");
            }
            text.push('\n');
            frames.iter().enumerate().for_each(|(index, call)| frame(&mut text, index, call));
            match (user_pc, error) {
                (Some(pc), _) => drop(writeln!(text, "    --- {end}, at {:016x} ---", pc.0)),
                (None, Some(error)) => drop(writeln!(text, "    --- {end}: {error} ---")),
                (None, None) => {}
            }
        }
        text
    }
}
