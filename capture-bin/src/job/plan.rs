//! Limits: threads, codecs, and the memory plan.

use super::error::JobError;
use crate::arena::Arena;
use crate::cli::{Args, Compression};
use crate::console::Console;
use crate::exit::Exit;
use crate::input::Vmcore;
use crate::sys;
use core::fmt::Write;
use tamis_core::{Codec, Effort, Headers, Options, Plan};

/// What aligning the pieces of an arena may cost, in bytes.
pub(super) const SLACK: u64 = 64;

/// Address space that the kernel maps into every process for its own ends (vdso, guard pages, the
/// rounding of each piece to pages).
const KERNELS_OWN: u64 = 64 << 10;

/// Threads that are of use: no more than CPUs, and one where nothing is compressed.
pub(super) fn threads(args: &Args<'_>) -> u64 {
    if args.compress == Compression::None {
        return 1;
    }
    let most = sys::cpus().min(sys::MAX_THREADS) as u64;
    args.num_threads.min(most).max(1)
}

/// The codec and effort of a way to compress.
pub(super) fn codec(compress: Compression) -> (Option<Codec>, Effort) {
    match compress {
        Compression::None => (None, Effort::Normal),
        Compression::Zlib => (Some(Codec::Zlib), Effort::Normal),
        Compression::ZlibFixed => (Some(Codec::Zlib), Effort::Low),
        Compression::Lzo => (Some(Codec::Lzo), Effort::Normal),
        Compression::Snappy => (Some(Codec::Snappy), Effort::Normal),
        Compression::Zstd => (Some(Codec::Zstd), Effort::Normal),
        Compression::ZstdLazy => (Some(Codec::Zstd), Effort::High),
        Compression::Lz4 => (Some(Codec::Lz4), Effort::Normal),
    }
}

/// The memory plan, and the options that it is for. A request that cannot be met is an explicit limit's fault and
/// refused (which has been printed then); otherwise the request gives way, or at last the default limit: a dump
/// matters more.
pub(super) fn plan(
    headers: &Headers,
    options: &Options,
    args: &Args<'_>,
    console: &Console,
) -> Result<(Plan, Options), Exit> {
    let fit = |options: Options| Plan::new(headers, &options).map(|plan| (plan, options));
    let over = match fit(*options) {
        Ok(plan) => return Ok(plan),
        Err(over) => over,
    };
    if args.memory_limit.is_some() || options.whole_bitmap {
        return Err(JobError::Limit(over).report(console));
    }
    let fewer = Options { threads: over.threads.max(1), ..*options };
    let freed = Options { bitmap: None, threads: 1, ..*options };
    let plan = fit(fewer)
        .or_else(|_| fit(freed))
        .or_else(|over| fit(Options { limit: over.least, ..freed }));
    plan.map_err(|over| JobError::Memory(over).report(console))
}

/// Says what had to give way for the plan.
pub(super) fn explain_plan(plan: &Plan, vmcore: &Vmcore, args: &Args<'_>, console: &Console) {
    let limit = args.memory_limit.unwrap_or(args.usual_limit);
    if let Some(kib) = args.cyclic_buffer_kib
        && plan.bitmap < kib.saturating_mul(1024)
    {
        console.warn(format_args!(
            "--cyclic-buffer {kib} is too large for {limit} bytes of memory: taking {} KiB",
            plan.bitmap / 1024
        ));
    }
    let threads = plan.workers.max(1);
    if args.num_threads > threads && args.compress != Compression::None {
        console.warn(format_args!(
            "--num-threads {}: taking {threads}, for {} CPUs and {limit} bytes of memory",
            args.num_threads,
            sys::cpus()
        ));
    }
    if plan.total() > limit {
        console.warn(format_args!(
            "the input needs {} bytes of memory, more than the usual {limit}",
            plan.total()
        ));
    }
    if console.debugs() || args.dry_run {
        let mut table = console.table();
        let _ = writeln!(table, "Memory plan");
        for (owner, bytes) in plan.rows() {
            let _ = writeln!(table, "  {owner:<24}{bytes:>10} bytes");
        }
        let _ = writeln!(table, "  {:<24}{:>10} bytes of {limit}", "total", plan.total());
        let maps = vmcore.dump().file().is_mapped();
        let window = if maps { sys::Window::LEN * (plan.workers + 1) } else { 0 };
        let space = plan.total() + sys::image_size() + window + KERNELS_OWN;
        let _ = writeln!(table, "  {:<24}{space:>10} bytes", "address space");
    }
    console.debug(format_args!(
        "Buffer for the cyclic mode: {} bytes, number of cycles: {}\n",
        plan.bitmap,
        plan.cycles(vmcore.max_pfn().0)
    ));
}

pub(super) fn map(len: u64, console: &Console) -> Result<Arena, Exit> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    Arena::map(len).map_err(|io| JobError::Map { len, io }.report(console))
}
