//! PID 1: the whole initramfs. It makes the system usable, saves the log and the dump onto the
//! target, and ends the machine as ordered, whatever happens. `capture-bin/docs/init.md` is the manual.

mod memory;
mod raw;
mod retention;
mod say;
mod target;
mod text;

use self::memory::tell_memory;
use self::raw::save_raw;
use self::retention::{COMPLETE, INCOMPLETE, LOG, crash_name, make_own, make_room};
use self::say::{failed, say};
use self::target::{Found, find_target};
use self::text::{Path, read_text};
use crate::arena::Heap;
use crate::cli::{Args, parse_ordered};
use crate::console::{Console, Why};
use crate::exit::Exit;
use crate::job::{Ended, Job, Outputs};
use crate::log;
use crate::sys::{self, File};
use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, Ordering};
use tamis_boot::orders::{Final, OrderError, Orders, RAW, words};
use tamis_boot::paths::{self, MOST_TEXT};
use tamis_core::error::part;
use tamis_core::io::IoError;

/// Resets the machine unless it is written to in time.
const WATCHDOG: &[u8] = b"/dev/watchdog";
/// Where the target is mounted.
const MOUNT: &[u8] = b"/mnt";
/// Options of a capture when those ordered are not valid: a dump matters more.
const FALLBACK: &[u8] = b"-c -d 31";

/// How the machine ends; kept where a signal handler or a panic finds it. 0: not PID 1.
static LAST: AtomicI32 = AtomicI32::new(0);

/// Ends the machine if this is PID 1. Called when the program cannot go on.
pub fn end_after_failure() {
    let how = LAST.load(Ordering::Relaxed);
    if how != 0 {
        sys::print(sys::STDERR, b"tamis-capture: giving up; what was saved stays\n");
        sys::sync_all();
        sys::end_machine(how);
    }
}

/// Seconds that are left when the time is up, for what is held in memory.
const GRACE: u32 = 10;

/// The time is up, or the program failed.
extern "C" fn in_trouble(signal: c_int) {
    if signal == libc::SIGALRM && !sys::stop_asked() {
        sys::print(sys::STDERR, b"tamis-capture: the time is up; what was saved stays\n");
        sys::ask_to_stop();
        sys::alarm(GRACE);
        return;
    }
    if signal != libc::SIGALRM {
        sys::print(sys::STDERR, b"tamis-capture: internal error, signal\n");
    }
    end_after_failure();
    sys::exit(Exit::Failed.status());
}

/// Runs as the init of a crash kernel, or for one, with orders as `words`: then that one has made the system usable.
/// Returns only if the machine cannot be ended, or is not to be.
pub fn run(heap: &'static Heap, words: impl Iterator<Item = &'static [u8]>) -> Exit {
    let mut words = words.peekable();
    let alone = words.peek().is_none();
    if alone {
        // Until the orders are read: start again.
        LAST.store(libc::RB_AUTOBOOT, Ordering::Relaxed);
    }
    let (_, free_at_first) = sys::memory();
    if alone {
        make_usable();
    }

    let (mut file, mut line) = ([0; MOST_TEXT], [0; MOST_TEXT]);
    let mut orders = Orders::default();
    let mut failed = |error: OrderError<'_>| say(format_args!("{error}: this order is left out"));
    orders.file(read_text(paths::ORDERS.as_bytes(), &mut file), &mut failed);
    let given = read_text(b"/proc/cmdline", &mut line);
    orders.command_line(given, &mut failed);
    words.for_each(|word| orders.word(word, &mut failed));
    let (how, word) = match orders.last {
        Final::PowerOff => (libc::RB_POWER_OFF, "switching off"),
        Final::Halt => (libc::RB_HALT_SYSTEM, "halting"),
        Final::Return if !alone => (0, "going on"),
        Final::Reboot | Final::Return => (libc::RB_AUTOBOOT, "rebooting"),
    };
    LAST.store(how, Ordering::Relaxed);
    sys::on_trouble(orders.timeout, in_trouble);
    sys::ignore_write_signals();

    if alone {
        load_modules(given);
    }
    let status = save(heap, &orders, free_at_first);
    let outcome =
        if status == Exit::Done { "the dump is saved" } else { "there is no complete dump" };
    say(format_args!("{outcome}; {word}"));
    sys::sync_all();
    if how != 0 {
        sys::end_machine(how);
    }
    // Not PID 1, or not allowed: as any program.
    status
}

/// Mounts what every system has, and opens the console.
fn make_usable() {
    for (kind, at) in [(&b"proc"[..], &b"/proc"[..]), (b"sysfs", b"/sys"), (b"devtmpfs", b"/dev")] {
        let mounted = sys::make_folder(at).and_then(|()| sys::mount(kind, at, kind));
        // EBUSY: the kernel has mounted devtmpfs already.
        if let Err(io) = mounted
            && io.code != libc::EBUSY
        {
            say(format_args!("mounting {}: {}", at.escape_ascii(), Why(io)));
        }
    }
    if let Ok(console) = sys::open_device(b"/dev/console") {
        sys::become_console(console);
    }
}

/// Loads the modules, each with its parameters on the kernel command line.
fn load_modules(line: &[u8]) {
    let mut text = [0; MOST_TEXT];
    for path in read_text(paths::MODULES.as_bytes(), &mut text).split(|&b| b == b'\n') {
        let path = path.trim_ascii();
        if path.is_empty() || path.starts_with(b"#") {
            continue;
        }
        if let Err(io) = sys::load_module(path, &module_parameters(path, line)) {
            say(format_args!("loading {}: {}", path.escape_ascii(), Why(io)));
        }
    }
}

/// What the kernel command line has for a module, as `module.parameter=value`, in the form that the
/// kernel wants when the module is loaded. For modules that are built in it does this itself.
fn module_parameters(path: &[u8], line: &[u8]) -> Path {
    let file = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    let name = file.split(|&b| b == b'.').next().unwrap_or(file);
    let same = |a: &u8, b: &u8| a == b || b"-_".contains(a) && b"-_".contains(b);
    let mut found = Path::new();
    for word in words(line) {
        let Some((module, rest)) = word.split_at_checked(name.len()) else { continue };
        if !module.iter().zip(name).all(|(a, b)| same(a, b)) {
            continue;
        }
        let Some(parameter) = rest.strip_prefix(b".").filter(|p| !p.is_empty()) else { continue };
        if found.len() + parameter.len() >= found.capacity() {
            say(format_args!("too long for a parameter: {}", word.escape_ascii()));
            continue;
        }
        let _ = found.extend_from_slice(parameter);
        let _ = found.push(b' ');
    }
    found
}

/// Saves log and dump. Errors have already been printed.
fn save(heap: &'static Heap, orders: &Orders<'_>, free_at_first: u64) -> Exit {
    let parsed = parse_ordered(orders.args).or_else(|error| {
        say(format_args!("{error}"));
        say(format_args!("taking '{}' instead", FALLBACK.escape_ascii()));
        parse_ordered(FALLBACK)
    });
    let Ok(mut parsed) = parsed else { return Exit::Failed };
    let mut console = Console::new(parsed.messages, false);
    open_watchdog(&mut console);
    console.watch_memory();
    // The program's buffers are to be the smaller part of what there is.
    parsed.usual_limit = parsed.usual_limit.min(sys::memory().1 / 4);
    let saved = save_as_ordered(heap, &parsed, orders, &mut console);
    tell_memory(&console, free_at_first);
    match orders.last {
        // It would start the machine again.
        Final::Halt => console.leave_watchdog(),
        // A machine that hangs on its way down is started again by it.
        Final::Reboot | Final::PowerOff | Final::Return => console.leave_watchdog_armed(),
    }
    saved
}

/// From now on the watchdog, if there is one, bites if nothing moves.
fn open_watchdog(console: &mut Console) {
    match sys::open_device(WATCHDOG) {
        Ok(watchdog) => {
            match sys::watchdog_timeout(&watchdog) {
                Ok(seconds) => say(format_args!("feeding a watchdog that waits {seconds} s")),
                Err(io) => {
                    say(format_args!("feeding a watchdog; how long it waits: {}", Why(io)));
                }
            }
            console.feed(watchdog);
        }
        Err(IoError { code: libc::ENOENT | libc::ENODEV, .. }) => {}
        Err(io) => say(format_args!("opening {}: {}", WATCHDOG.escape_ascii(), Why(io))),
    }
}

fn save_as_ordered(
    heap: &'static Heap,
    parsed: &Args<'_>,
    orders: &Orders<'_>,
    console: &mut Console,
) -> Exit {
    let mut job = match Job::prepare(heap, parsed, console) {
        Ok(job) => job,
        Err(status) => return status,
    };
    if orders.target.is_empty() && orders.mounted.is_empty() {
        say(format_args!("no target: tamis.target= names where the dump goes"));
        return Exit::Failed;
    }
    let mut tries = 0;
    let mut own = Path::new();
    loop {
        match save_once(&mut job, orders, &mut own, console) {
            Ended::Done => return Exit::Done,
            // Another try would not find more space, or time.
            Ended::NoSpace => return Exit::Incomplete,
            Ended::Failed if sys::stop_asked() => return Exit::Incomplete,
            Ended::Failed if tries >= orders.retry => return Exit::Incomplete,
            Ended::Failed => {
                tries += 1;
                say(format_args!("trying again ({tries} of {})", orders.retry));
                for _ in 0..20 {
                    console.still_alive();
                    sys::sleep_ms(100);
                }
            }
        }
    }
}

/// `own` is the folder of the crash, as soon as it has one.
fn save_once(
    job: &mut Job<'_>,
    orders: &Orders<'_>,
    own: &mut Path,
    console: &mut Console,
) -> Ended {
    if !orders.mounted.is_empty() {
        return save_mounted(job, orders, orders.mounted, own, console);
    }
    say(format_args!("waiting for {}", orders.target.escape_ascii()));
    let mut found = Found::default();
    let until = sys::now().saturating_add(u64::from(orders.wait) * 1_000_000_000);
    while !find_target(orders.target, &mut found) {
        if sys::stop_asked() {
            return Ended::Failed;
        }
        if sys::now() >= until {
            let target = orders.target.escape_ascii();
            say(format_args!("{target} did not appear in {} s", orders.wait));
            return Ended::Failed;
        }
        console.still_alive();
        sys::sleep_ms(100);
    }
    if orders.fstype == RAW {
        return save_raw(job, &found.device, console);
    }
    let kind = if orders.fstype.is_empty() { found.kind.as_bytes() } else { orders.fstype };
    if kind.is_empty() {
        say(format_args!(
            "no file system is known on {}: tamis.fstype= says which, or raw",
            found.device.escape_ascii()
        ));
        return Ended::Failed;
    }
    say(format_args!("mounting {} ({})", found.device.escape_ascii(), kind.escape_ascii()));
    let mounted = sys::make_folder(MOUNT).and_then(|()| sys::mount(&found.device, MOUNT, kind));
    if let Err(io) = mounted {
        say(format_args!("mounting {}: {}", found.device.escape_ascii(), Why(io)));
        return Ended::Failed;
    }
    console.still_alive();
    let saved = save_mounted(job, orders, MOUNT, own, console);
    console.still_alive();
    if let Err(io) = sys::unmount(MOUNT) {
        say(format_args!("unmounting {}: {}", found.device.escape_ascii(), Why(io)));
    }
    saved
}

/// Saves onto the file system that is mounted at `mount`.
fn save_mounted(
    job: &mut Job<'_>,
    orders: &Orders<'_>,
    mount: &[u8],
    own: &mut Path,
    console: &mut Console,
) -> Ended {
    if sys::is_in_memory(mount) {
        say(format_args!("{} is memory, which ends with this kernel", mount.escape_ascii()));
        return Ended::Failed;
    }
    // Whatever links there are on the target, they lead to places on the target.
    match sys::Below::enter(mount) {
        Ok(below) => save_files(job, orders, &below, own, console),
        Err(io) => failed("entering", mount, io),
    }
}

/// Log and dump as files in a folder of their own.
fn save_files(
    job: &mut Job<'_>,
    orders: &Orders<'_>,
    below: &sys::Below,
    own: &mut Path,
    console: &mut Console,
) -> Ended {
    let mut parent = Path::new();
    let mut fits = true;
    for part in orders.path.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
        fits &= parent.push(b'/').is_ok() && parent.extend_from_slice(part).is_ok();
    }
    let name = crash_name(job.crash_time(), job.nodename());
    if !fits || parent.len() + name.len() + LOG.len() + INCOMPLETE.len() > 480 {
        say(format_args!("tamis.path is too long: taking the top of the target instead"));
        parent.clear();
    }
    loop {
        match save_folder(job, orders, below, (&parent, &name), own, console) {
            Ended::NoSpace => {}
            ended => return ended,
        }
        // Where that folder is in the end, or was to be.
        let (parent, name) = match own.iter().rposition(|&b| b == b'/') {
            Some(at) => (part(own, 0..at.max(1)), part(own, at + 1..own.len())),
            None => (&parent[..], &b""[..]),
        };
        if !make_room(parent, name, orders.keep) {
            return Ended::NoSpace;
        }
    }
}

/// Makes the folder of the crash, and those on the way to it.
fn make_folders(parent: &Path, name: &str, own: &mut Path) -> Result<(), Ended> {
    // Every folder on the way, from the top of the target on.
    let ends = parent.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/').map(|(end, _)| end);
    for end in ends.chain([parent.len()]).filter(|end| *end > 0) {
        let made = part(parent, 0..end);
        sys::make_folder(made).map_err(|io| failed("making", made, io))?;
    }
    make_own(parent, name, own).map_err(|io| failed("making a folder in", parent, io))
}

fn save_folder(
    job: &mut Job<'_>,
    orders: &Orders<'_>,
    below: &sys::Below,
    (parent, name): (&Path, &str),
    own: &mut Path,
    console: &mut Console,
) -> Ended {
    let top = Path::new();
    let made = make_folders(parent, name, own).or_else(|ended| match ended {
        Ended::NoSpace => Err(ended),
        // A dump elsewhere is better than none.
        _ => {
            say(format_args!("taking the top of the target instead"));
            make_folders(&top, name, own)
        }
    });
    if let Err(ended) = made {
        return ended;
    }
    let folder = &*own;
    if !below.is_elsewhere(folder) {
        say(format_args!("{} is not on the target", folder.escape_ascii()));
        return Ended::Failed;
    }
    let within = |file: &[u8]| {
        let mut path = folder.clone();
        let _ = path.push(b'/');
        let _ = path.extend_from_slice(file);
        path
    };
    // The log is small and may be all that can be saved.
    let log = within(LOG);
    let logged = !orders.dmesg || save_log(job, &log, console);
    let _ = sys::sync_folder(folder);
    console.still_alive();
    let (incomplete, complete) = (within(INCOMPLETE), within(COMPLETE));
    let names: [&[u8]; 1] = [&incomplete];
    let ended = job.write(&Outputs { names: &names, base: 0, force: true }, console);
    if ended != Ended::Done {
        let _ = sys::sync_folder(folder);
        return ended;
    }
    if !logged {
        // What failed before may work by now; the dump has the log as well.
        save_log(job, &log, console);
    }
    let named = sys::rename(&incomplete, &complete)
        .and_then(|()| sys::sync_folder(folder))
        .and_then(|()| sys::sync_folder(within(b"..").as_slice()));
    match named {
        Ok(()) => {
            say(format_args!("saved {}", complete.escape_ascii()));
            Ended::Done
        }
        Err(io) => failed("naming", &complete, io),
    }
}

/// Saves the log, down to the medium: what comes after it may hang. Errors have already been printed.
fn save_log(job: &mut Job<'_>, path: &[u8], console: &Console) -> bool {
    let saved = log::save(job, path, console);
    let synced = saved.then(|| File::open(path).and_then(|file| file.sync_data()));
    if let Some(Err(io)) = synced {
        say(format_args!("writing {}: {}", path.escape_ascii(), Why(io)));
    }
    synced.is_some_and(|synced| synced.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_get_their_parameters_from_the_command_line() {
        let line =
            b"ro dog.margin=4 snd-dog.x=1 snd_dog.y=\"a b\" do.g=1 dogs.z=2 dog dog. snd_dog.w";
        let of = |path: &[u8]| module_parameters(path, line);
        assert_eq!(of(b"/modules/dog.ko"), b"margin=4 ");
        assert_eq!(of(b"/modules/snd_dog.ko.xz"), b"x=1 y=\"a b\" w ");
        assert_eq!(of(b"snd-dog.ko"), b"x=1 y=\"a b\" w ");
        assert_eq!((of(b"/modules/cat.ko"), of(b"")), (Path::new(), Path::new()));
        let long = [b"dog.a=".as_slice(), &[b'x'; 600], b" dog.b=1"].concat();
        assert_eq!(module_parameters(b"dog.ko", &long), b"b=1 ");
    }
}
