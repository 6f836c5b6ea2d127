//! Where a dump goes.

use crate::arena::Arena;
use crate::cli::{Args, MAX_OUTPUTS};
use crate::console::Console;
use crate::input::Vmcore;
use crate::out::{DumpFile, Pipe};
use crate::sys::{self, File, Identity};
use page_codec::Encode;
use tamis_core::Output;
use tamis_core::capture::{self, CaptureError, Report};
use tamis_core::io::{Discard, Flattened, IoError, Sink};
use tamis_core::units::PfnSpan;

/// Blocks in which a split dump is divided where none are asked for: 1 GiB.
const SPLIT_BLOCK: u64 = 1 << 30;

/// Where a dump goes.
pub(crate) struct Outputs<'o> {
    /// Names of files or devices; none for a stream or a dry run.
    pub(crate) names: &'o [&'o [u8]],
    /// Bytes to leave free at the start of a device.
    pub(crate) base: u64,
    /// Whether existing files are overwritten.
    pub(crate) force: bool,
}

/// What the parts of a dump need while they are written.
pub(super) struct Parts {
    /// The file of a dump that is not split.
    single: [Option<DumpFile>; 1],
    files: &'static mut [Option<DumpFile>],
    ranges: &'static mut [PfnSpan],
}

impl Parts {
    /// Bytes for as many parts as the command line names; none for a dump that is not split.
    pub(super) fn bytes(args: &Args<'_>) -> u64 {
        match args.outputs().len() {
            0 | 1 => 0,
            count => {
                let each = size_of::<Option<DumpFile>>() + size_of::<PfnSpan>();
                (count * each + align_of::<DumpFile>()) as u64
            }
        }
    }

    /// Takes them.
    pub(super) fn new(args: &Args<'_>, arena: &mut Arena) -> Parts {
        let count = if Parts::bytes(args) > 0 { args.outputs().len() } else { 0 };
        Parts {
            single: [None],
            files: arena.take_each(count, |_| None),
            ranges: arena.take_slice(count, PfnSpan::default()),
        }
    }

    fn files(&mut self) -> &mut [Option<DumpFile>] {
        if self.files.is_empty() { &mut self.single } else { self.files }
    }

    /// Closes them. Those that are not `kept` lose their names, unless these are other files' by now.
    pub(super) fn close(&mut self, names: &[&[u8]], kept: bool) {
        for (file, name) in self.files().iter_mut().zip(names) {
            let file = file.take();
            let id = file.as_ref().and_then(DumpFile::identity);
            if !kept && id.is_some() && sys::identity(name) == id {
                let _ = sys::unlink_regular(name);
            }
        }
    }
}

/// Why nothing, or not all, was written.
pub(super) enum Failure<'n> {
    /// Two names are one file.
    Same { name: &'n [u8], other: &'n [u8] },
    /// An output could not be created.
    Create { part: usize, io: IoError },
    /// An output was deleted, or another file has its name by now.
    Gone { part: usize },
    /// An output is of a kind that does not take this format.
    Kind(&'static str),
    /// The capture ended early.
    Capture(CaptureError),
}

/// Two names of one file, of which one is read, or has messages, and the other would be written. To be
/// asked before anything is deleted.
pub(crate) fn clash<'n>(
    vmcore: &Vmcore,
    args: &Args<'n>,
    names: &[&'n [u8]],
) -> Option<(&'n [u8], &'n [u8])> {
    let standard = |name: &'static [u8], fd| (name, File::standard(fd).identity());
    let info = args.vmcoreinfo.unwrap_or(b"");
    let files: [(&[u8], _); 5] = [
        (args.vmcore.unwrap_or(b""), vmcore.dump().file().identity()),
        (info, File::open(info).ok().and_then(|file| file.identity())),
        standard(b"STDIN", sys::STDIN),
        standard(b"STDOUT", sys::STDOUT),
        standard(b"STDERR", sys::STDERR),
    ];
    let find = |name, id: Option<Identity>, count| {
        let mut others = files.iter().take(count);
        others.find(|(_, other)| id.is_some() && *other == id).map(|(other, _)| (name, *other))
    };
    let [.., stdout, stderr] = files;
    let named = names.iter().find_map(|&name| find(name, sys::identity(name), files.len()));
    named.or_else(|| [stdout, stderr].into_iter().find_map(|(name, id)| find(name, id, 2)))
}

/// Creates the outputs and writes them.
pub(super) fn write<'n>(
    vmcore: &mut Vmcore,
    mut encoder: Option<&mut (dyn Encode + '_)>,
    console: &mut Console,
    args: &Args<'n>,
    outputs: &Outputs<'n>,
    parts: &mut Parts,
    crew: Option<&dyn capture::crew::Crew<'_>>,
) -> Result<Report, Failure<'n>> {
    if !args.dry_run
        && let Some((name, other)) = clash(vmcore, args, outputs.names)
    {
        return Err(Failure::Same { name, other });
    }
    let page = vmcore.page_shift();
    let mut save = |output: Output<'_, '_>| {
        let encoder = encoder.as_deref_mut().map(|encoder| -> &mut dyn Encode { encoder });
        vmcore.write_with(output, encoder, console, crew).map_err(Failure::Capture)
    };
    let mut one =
        |sink: &mut dyn Sink| save(if args.elf { Output::Elf(sink) } else { Output::Kdump(sink) });
    if args.dry_run {
        return one(&mut Discard);
    }
    if args.flattened {
        return one(&mut Flattened::new(Pipe::new(File::stdout(), args.size_limit)));
    }
    for (part, &name) in outputs.names.iter().enumerate() {
        let files = parts.files();
        let id = sys::identity(name);
        let mut made = files.iter().flatten().zip(outputs.names);
        if let Some((_, other)) = made.find(|(file, _)| id.is_some() && file.identity() == id) {
            // Nothing is left behind of the others.
            parts.close(outputs.names, false);
            return Err(Failure::Same { name, other });
        }
        match DumpFile::create(name, outputs.force, args.size_limit, outputs.base) {
            Ok(file) if args.elf && file.is_block_device() => {
                return Err(Failure::Kind("an ELF dump needs a file, not a block device"));
            }
            Ok(file) => {
                if let Some(slot) = files.get_mut(part) {
                    *slot = Some(file);
                }
            }
            Err(io) => {
                parts.close(outputs.names, false);
                return Err(Failure::Create { part, io });
            }
        }
    }
    let saved = match &mut parts.single {
        [Some(file)] => one(file),
        _ => {
            let block = args.splitblock_kib.map_or(SPLIT_BLOCK, |kib| kib.saturating_mul(1024));
            split(parts.files, parts.ranges, block >> page.bits(), &mut save)
        }
    };
    match parts.files().iter().flatten().position(DumpFile::is_deleted) {
        Some(part) => Err(Failure::Gone { part }),
        None => saved,
    }
}

/// Saves parts. On its own, for the room that it takes on the stack.
#[inline(never)]
fn split<'n>(
    files: &mut [Option<DumpFile>],
    ranges: &mut [PfnSpan],
    block: u64,
    save: &mut dyn FnMut(Output<'_, '_>) -> Result<Report, Failure<'n>>,
) -> Result<Report, Failure<'n>> {
    let mut sinks = heapless::Vec::<&mut dyn Sink, MAX_OUTPUTS>::new();
    for file in files.iter_mut().flatten() {
        let _ = sinks.push(file);
    }
    save(Output::Split { sinks: &mut sinks, ranges, block })
}

/// What to do about an output that could not be created.
pub(crate) fn hint(io: IoError) -> &'static str {
    if io.code == libc::EEXIST { "; -f overwrites an existing file" } else { "" }
}
