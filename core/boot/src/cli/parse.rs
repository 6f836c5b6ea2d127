//! The words of the command line, one after the other.

use super::table::{CONFLICTS, Opt, Takes, find_long, find_short};
use super::{
    ArgError, Args, Compression, MAX_LEVELS, MAX_OUTPUTS, Mapping, Messages, Mode, Notices,
};
use tamis_core::error::part;
use tamis_core::units::{SIZE_SYNTAX, parse_size};

/// Reads a command line, without the name of the program.
///
/// # Errors
/// The first thing wrong, in the order of the words; then conflicts between options; then
/// operands. With `--help` or `--version`, only the words themselves are checked.
pub fn parse<'a>(mut argv: impl Iterator<Item = &'a [u8]>) -> Result<Args<'a>, ArgError<'a>> {
    parse_words(&mut argv)
}

/// Not generic: one copy serves all callers.
fn parse_words<'a>(argv: &mut dyn Iterator<Item = &'a [u8]>) -> Result<Args<'a>, ArgError<'a>> {
    let mut parser = Parser::new();
    let mut only_operands = false;
    while let Some(word) = argv.next() {
        match word {
            b"--" if !only_operands => only_operands = true,
            [b'-', b'-', long @ ..] if !only_operands => {
                let (name, value) = match long.iter().position(|&byte| byte == b'=') {
                    Some(at) => (part(long, 0..at), long.get(at + 1..)),
                    None => (long, None),
                };
                let row = find_long(word, name)?;
                match (row.takes, value) {
                    (Takes::Nothing(opt), None) => parser.flag(opt),
                    (Takes::Nothing(_), Some(value)) => {
                        return Err(ArgError::UnexpectedValue { option: row.name, value });
                    }
                    (Takes::Value(opt), value) => {
                        let value = value
                            .or_else(|| argv.next())
                            .ok_or(ArgError::MissingValue(row.name))?;
                        parser.value(opt, row.name, value)?;
                    }
                    (Takes::Refused(instead), _) => {
                        return Err(ArgError::Refused { option: row.name, instead });
                    }
                }
            }
            // A lone `-` is an operand.
            [b'-', letters @ ..] if !only_operands && !letters.is_empty() => {
                let mut rest = letters;
                while let [letter, tail @ ..] = rest {
                    rest = tail;
                    let row = find_short(*letter)
                        .ok_or(ArgError::UnknownShort { letter: *letter, word })?;
                    match row.takes {
                        Takes::Nothing(opt) => {
                            parser.flag(opt);
                            // A level is part of the word: `-c VMCORE` must not swallow a name.
                            let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
                            if (Opt::ZLIB | Opt::ZSTD).contains(opt)
                                && let Some((level @ [_, ..], after)) =
                                    tail.split_at_checked(digits)
                            {
                                parser.level(opt, row.name, level)?;
                                rest = after;
                            }
                        }
                        Takes::Value(opt) => {
                            let attached = (!tail.is_empty()).then_some(tail);
                            let value = attached
                                .or_else(|| argv.next())
                                .ok_or(ArgError::MissingValue(row.name))?;
                            parser.value(opt, row.name, value)?;
                            rest = &[];
                        }
                        Takes::Refused(instead) => {
                            return Err(ArgError::Refused { option: row.name, instead });
                        }
                    }
                }
            }
            operand => parser.operand(operand)?,
        }
    }
    parser.finish()
}

/// The command line as far as it is read.
struct Parser<'a> {
    args: Args<'a>,
    /// The options given.
    seen: Opt,
}

impl<'a> Parser<'a> {
    fn new() -> Self {
        let args = Args {
            mode: Mode::Capture,
            check_params: false,
            compress: Compression::None,
            elf: false,
            flattened: false,
            force: false,
            size_limit: None,
            vmcoreinfo: None,
            rules: None,
            exclude_guests: false,
            xen_info: None,
            cyclic_buffer_kib: None,
            non_cyclic: false,
            memory_limit: None,
            usual_limit: tamis_core::capture::plan::DEFAULT_LIMIT,
            split: false,
            splitblock_kib: None,
            messages: Messages::DEFAULT,
            dry_run: false,
            partial_dmesg: false,
            mapping: Mapping::Auto,
            num_threads: 1,
            page_checksums: true,
            notices: Notices::default(),
            vmcore: None,
            levels: [0; MAX_LEVELS],
            level_count: 1,
            outputs: [&[]; MAX_OUTPUTS],
            output_count: 0,
        };
        Parser { args, seen: Opt::empty() }
    }

    fn has(&self, opt: Opt) -> bool {
        self.seen.contains(opt)
    }

    fn flag(&mut self, opt: Opt) {
        self.seen |= opt;
        match opt {
            Opt::ZLIB => self.args.compress = Compression::Zlib,
            Opt::LZO => self.args.compress = Compression::Lzo,
            Opt::SNAPPY => self.args.compress = Compression::Snappy,
            Opt::ZSTD => self.args.compress = Compression::Zstd,
            Opt::LZ4 => self.args.compress = Compression::Lz4,
            _ => {}
        }
    }

    /// The level behind `-c` or `-z`. Only levels that make a difference are there: one that is
    /// asked for and does nothing would be a promise not kept.
    fn level(&mut self, opt: Opt, name: &'static str, level: &'a [u8]) -> Result<(), ArgError<'a>> {
        self.args.compress = match (opt, level) {
            (Opt::ZLIB, b"0") => Compression::ZlibFixed,
            (Opt::ZLIB, b"1") => Compression::Zlib,
            (Opt::ZSTD, b"1") => Compression::Zstd,
            (Opt::ZSTD, b"2") => Compression::ZstdLazy,
            _ => {
                let wants = match opt {
                    Opt::ZLIB => "no level, 1 (the same), or 0 (faster, larger)",
                    _ => "no level, 1 (the same), or 2 (slower, smaller)",
                };
                return Err(ArgError::BadValue { option: name, value: level, wants });
            }
        };
        Ok(())
    }

    /// `name` is how messages call the option.
    fn value(&mut self, opt: Opt, name: &'static str, value: &'a [u8]) -> Result<(), ArgError<'a>> {
        let bad = |wants| ArgError::BadValue { option: name, value, wants };
        self.seen |= opt;
        let args = &mut self.args;
        match opt {
            Opt::LEVELS => args.level_count = read_levels(name, value, &mut args.levels)?,
            Opt::SIZE_LIMIT | Opt::MEMORY_LIMIT => {
                let bytes = parse_size(value).ok_or(bad(SIZE_SYNTAX))?;
                if opt == Opt::SIZE_LIMIT {
                    args.size_limit = Some(bytes);
                } else {
                    args.memory_limit = Some(bytes);
                }
            }
            Opt::CYCLIC_BUFFER => {
                let kib = kib(value).ok_or(bad("a decimal number of KiB, 0 for automatic"))?;
                args.cyclic_buffer_kib = (kib > 0).then_some(kib);
            }
            Opt::SPLIT_BLOCK => {
                let kib = kib(value).filter(|&kib| kib > 0);
                args.splitblock_kib = Some(kib.ok_or(bad("a decimal number of KiB above 0"))?);
            }
            Opt::MESSAGE_LEVEL => {
                let bits = up_to_31(value).ok_or(bad(FROM_0_TO_31))?;
                args.messages = Messages::from_bits_truncate(bits);
            }
            Opt::NUM_THREADS => {
                let count = threads(value).ok_or(bad("a decimal number"))?;
                args.num_threads = count.max(1);
            }
            Opt::WRITE_CACHE => {
                decimal(value).ok_or(bad("a decimal number"))?;
            }
            Opt::VMCOREINFO => {
                args.vmcoreinfo = Some(value).filter(|name| !name.is_empty());
                args.vmcoreinfo.ok_or(bad("the name of a file"))?;
            }
            Opt::RULES => {
                args.rules = Some(value).filter(|name| !name.is_empty());
                args.rules.ok_or(bad("the name of a file"))?;
            }
            Opt::XEN_INFO => {
                args.xen_info = Some(value).filter(|name| !name.is_empty());
                args.xen_info.ok_or(bad("the name of a file"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn operand(&mut self, word: &'a [u8]) -> Result<(), ArgError<'a>> {
        let args = &mut self.args;
        if args.vmcore.is_none() {
            args.vmcore = Some(word);
        } else {
            let slot = args.outputs.get_mut(args.output_count).ok_or(ArgError::TooManyOutputs)?;
            *slot = word;
            args.output_count += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Args<'a>, ArgError<'a>> {
        self.args.mode = if self.has(Opt::HELP) {
            Mode::Help
        } else if self.has(Opt::VERSION) {
            Mode::Version
        } else if self.has(Opt::DUMP_DMESG) {
            Mode::Dmesg
        } else {
            Mode::Capture
        };
        self.args.check_params = self.has(Opt::CHECK_PARAMS);
        self.args.elf = self.has(Opt::ELF);
        self.args.flattened = self.has(Opt::FLATTENED);
        self.args.force = self.has(Opt::FORCE);
        self.args.exclude_guests = self.has(Opt::EXCLUDE_GUESTS);
        self.args.non_cyclic = self.has(Opt::NON_CYCLIC);
        self.args.split = self.has(Opt::SPLIT);
        self.args.dry_run = self.has(Opt::DRY_RUN);
        self.args.page_checksums = !self.has(Opt::NO_PAGE_CHECKSUMS);
        self.args.partial_dmesg = self.has(Opt::PARTIAL_DMESG);
        self.args.mapping = match (self.has(Opt::MMAP), self.has(Opt::NON_MMAP)) {
            (true, _) => Mapping::Always,
            (false, true) => Mapping::Never,
            (false, false) => Mapping::Auto,
        };
        self.args.notices = Notices {
            write_cache: self.has(Opt::WRITE_CACHE),
            work_dir: self.has(Opt::WORK_DIR),
            debug_info: self.has(Opt::DEBUG_INFO),
            xen_symbols: self.has(Opt::XEN_SYMBOLS),
            num_threads: self.args.num_threads > 1 && self.args.compress == Compression::None,
        };
        if self.has(Opt::DEBUG) {
            self.args.messages |= Messages::DEBUG;
        }
        if self.has(Opt::SHOW_STATS) {
            self.args.messages |= Messages::REPORT;
        }
        if self.args.check_params {
            self.args.messages = Messages::DEFAULT;
        }
        if !matches!(self.args.mode, Mode::Help | Mode::Version) {
            self.check_conflicts()?;
            check_operands(&self.args)?;
        }
        Ok(self.args)
    }

    fn check_conflicts(&self) -> Result<(), ArgError<'a>> {
        for &(one, other, why) in CONFLICTS {
            if self.has(one) && self.has(other) {
                return Err(ArgError::Conflict(why));
            }
        }
        if self.has(Opt::PARTIAL_DMESG) && !self.has(Opt::DUMP_DMESG) {
            return Err(ArgError::Conflict("--partial-dmesg needs --dump-dmesg"));
        }
        Ok(())
    }
}

fn check_operands<'a>(args: &Args<'a>) -> Result<(), ArgError<'a>> {
    let (wants, min, max) = if args.flattened {
        ("only VMCORE, with -F", 0, 0)
    } else if matches!(args.mode, Mode::Dmesg) {
        ("VMCORE LOGFILE", 1, 1)
    } else if args.split {
        ("VMCORE and at least two DUMPFILEs, with --split", 2, MAX_OUTPUTS)
    } else if args.dry_run {
        ("VMCORE, and DUMPFILE if you like, with --dry-run", 0, 1)
    } else {
        ("VMCORE DUMPFILE", 1, 1)
    };
    let mut names = args.outputs();
    if args.vmcore.is_none() || !(min..=max).contains(&names.len()) {
        let given = usize::from(args.vmcore.is_some()) + names.len();
        return Err(ArgError::Operands { wants, given });
    }
    // An output that is also the vmcore would, with -f, be truncated before it is read.
    if let Some(vmcore) = args.vmcore
        && names.contains(&vmcore)
    {
        return Err(ArgError::SameFile(vmcore));
    }
    while let [name, others @ ..] = names {
        if others.contains(name) {
            return Err(ArgError::SameFile(name));
        }
        names = others;
    }
    Ok(())
}

const FROM_0_TO_31: &str = "a decimal number from 0 to 31";

/// Reads a comma separated list; returns how many levels there are.
fn read_levels<'a>(
    option: &'static str,
    list: &'a [u8],
    levels: &mut [u8; MAX_LEVELS],
) -> Result<usize, ArgError<'a>> {
    let mut count = 0;
    for item in list.split(|&byte| byte == b',') {
        let bad = |value, wants| ArgError::BadValue { option, value, wants };
        if item.is_empty() {
            return Err(bad(list, "decimal numbers from 0 to 31 with a comma between two"));
        }
        let level = up_to_31(item).ok_or(bad(item, FROM_0_TO_31))?;
        *levels.get_mut(count).ok_or(bad(list, "at most 32 levels"))? = level;
        count += 1;
    }
    Ok(count)
}

/// A decimal number and nothing else.
fn decimal(text: &[u8]) -> Option<u64> {
    let mut digits = text.iter().map(|byte| char::from(*byte).to_digit(10));
    let number = digits
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit?)));
    number.filter(|_| !text.is_empty())
}

fn up_to_31(text: &[u8]) -> Option<u8> {
    decimal(text).and_then(|number| u8::try_from(number).ok()).filter(|&number| number <= 31)
}

/// A number of KiB that is also a number of bytes.
fn kib(text: &[u8]) -> Option<u64> {
    decimal(text).filter(|&kib| kib <= u64::MAX / 1024)
}

/// A number of threads; below zero means none.
fn threads(text: &[u8]) -> Option<u64> {
    let (negative, number) = match text {
        [b'-', number @ ..] => (true, number),
        _ => (false, text),
    };
    let count = decimal(number).filter(|&count| i64::try_from(count).is_ok())?;
    Some(if negative { 0 } else { count })
}
