//! The vmcore: a file that can be read anywhere.

use crate::cli::Mapping;
use crate::sys::{File, FileKind, Identity, Window};
use tamis_core::Session;
use tamis_core::input::elf::ElfVmcore;
use tamis_core::io::{IoError, RandomAccess};

/// A vmcore, and all that is known of its kernel.
pub type Vmcore = Session<'static, ElfVmcore<'static, Input>>;

/// An input file: mapped where that is asked for and can be done, read elsewhere.
pub struct Input {
    file: File,
    size: u64,
    /// Whether the file may become shorter while it is mapped.
    may_shrink: bool,
    window: Option<Window>,
}

impl Input {
    /// Opens a vmcore, to be mapped or only read.
    pub fn open(path: &[u8], mapping: Mapping) -> Result<Input, IoError> {
        let file = File::open(path)?;
        // /proc/vmcore is a regular file, and its size is what can be read.
        let size = match file.kind()? {
            FileKind::Regular(size) => size,
            FileKind::Block | FileKind::Other => 0,
        };
        let in_proc = file.is_in_proc();
        let map = match mapping {
            Mapping::Auto => in_proc,
            Mapping::Always => true,
            Mapping::Never => false,
        };
        let window = if map && size > 0 { Window::new() } else { None };
        Ok(Input { file, size, may_shrink: !in_proc, window })
    }

    /// Whether it is mapped, where that works.
    pub fn is_mapped(&self) -> bool {
        self.window.is_some()
    }

    /// Which file it is.
    pub fn identity(&self) -> Option<Identity> {
        self.file.identity()
    }

    /// The same file, with a window of its own.
    pub fn reopen(&self) -> Result<Input, IoError> {
        let window = if self.window.is_some() { Window::new() } else { None };
        let file = self.file.duplicate()?;
        Ok(Input { file, window, ..*self })
    }
}

impl RandomAccess for Input {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.file.read_at(at, buf)
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        self.window.as_mut()?.bytes(&self.file, self.size, at, len)
    }

    fn window_broke(&mut self) -> bool {
        let Some(window) = &mut self.window else { return false };
        window.broke(self.may_shrink.then_some(&self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_proc_is_mapped_unless_asked_for() {
        let file = |path: &str| File::open(path.as_bytes()).unwrap();
        assert!(file("/proc/self/status").is_in_proc());
        let ordinary = std::env::current_exe().unwrap();
        let ordinary = ordinary.to_str().unwrap();
        assert!(!file(ordinary).is_in_proc());
        for (mapping, maps) in
            [(Mapping::Auto, false), (Mapping::Always, true), (Mapping::Never, false)]
        {
            let mut input = Input::open(ordinary.as_bytes(), mapping).unwrap();
            assert_eq!((input.is_mapped(), input.window(0, 4).is_some()), (maps, maps));
        }
    }
}
