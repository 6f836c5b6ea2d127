//! Dumps hold passwords: who can read them, where they go, and what they must not hold.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use page_codec::{Decode, Decoders};
use tamis_core::input::kdump::codec_of;
use tamis_core::wire::disk_header::Signature;
use tamis_core::wire::page_desc::CodecFlags;
use tamis_tests::dumpread::Dump;
use tamis_tests::elfread::Elf;
use tamis_tests::flat;
use tamis_tests::oracle::{Fate, expect};
use tamis_tests::rig::CODECS;
use tamis_tests::run::{Run, capture_binary, host_binary, run_command};
use tamis_tests::synth::{Content, KernelStyle, LogLine, marker};
use tamis_tests::zoo::{END, START, zoo};

use crate::common::{Bench, foreign_markers};

fn bench() -> Bench {
    let lines = [LogLine::new(1000, 1, "one"), LogLine::new(2000, 1, "two")];
    Bench::new(zoo(KernelStyle::V6_12).log(&lines, 0).build())
}

/// Runs a program with a umask.
fn with_umask(program: &Path, args: &[&OsStr], umask: libc::mode_t) -> Run {
    let mut command = Command::new(program);
    // SAFETY: between fork and exec only umask(2) is called, which is a bare system call.
    unsafe {
        command.pre_exec(move || {
            libc::umask(umask);
            Ok(())
        });
    }
    run_command(command.args(args), args.iter().map(|word| (*word).to_owned()).collect())
}

#[track_caller]
fn is_private(path: &Path) {
    let found = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(found.permissions().mode() & 0o7777, 0o600, "{}", path.display());
    // SAFETY: always allowed.
    assert_eq!(found.uid(), unsafe { libc::geteuid() });
}

fn words<'a>(options: &'a str, paths: &[&'a Path]) -> Vec<&'a OsStr> {
    let options = options.split_whitespace().map(OsStr::new);
    options.chain(paths.iter().map(|path| path.as_os_str())).collect()
}

#[test]
fn outputs_are_for_their_owner_whatever_the_umask() {
    let bench = bench();
    let out = |n: usize| bench.file(&format!("out{n}"));
    let (a, b) = (out(0), out(1));
    for umask in [0, 0o022, 0o777] {
        for (options, outputs) in [
            ("-d 31", &[&*a][..]),
            ("-c -d 31", &[&a]),
            ("-E -d 31", &[&a]),
            ("--split -d 31", &[&a, &b]),
            ("--dump-dmesg", &[&a]),
        ] {
            let paths: Vec<&Path> = [&[&*bench.vmcore], outputs].concat();
            with_umask(capture_binary(), &words(options, &paths), umask).expect(0);
            outputs.iter().for_each(|path| is_private(path));
            // Over a file that all could read.
            for path in outputs {
                fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
            }
            let options = format!("-f {options}");
            with_umask(capture_binary(), &words(&options, &paths), umask).expect(0);
            outputs.iter().for_each(|path| is_private(path));
            outputs.iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
}

#[test]
fn what_the_workstation_tool_writes_is_for_its_owner() {
    let bench = bench();
    let file = |name: &str| bench.file(name);
    let (dump, stream) = (file("dump"), file("stream"));
    bench.run(&["-c", "-d", "1"], &dump).expect(0);
    let mut command = Command::new(capture_binary());
    command.args(["-F", "-d", "31"]).arg(&bench.vmcore);
    command.stdout(fs::File::create(&stream).unwrap()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    let out = file("out");
    for umask in [0, 0o777] {
        for (options, input) in [
            ("repair", &dump),
            ("repair", &stream),
            ("rearrange", &stream),
            ("refilter -d 31", &dump),
            ("refilter -d 31 --to elf", &bench.vmcore),
        ] {
            let run = with_umask(host_binary(), &words(options, &[input, &out]), umask);
            run.expect(0);
            is_private(&out);
            fs::set_permissions(&out, fs::Permissions::from_mode(0o666)).unwrap();
            let options = format!("{options} -f");
            with_umask(host_binary(), &words(&options, &[input, &out]), umask).expect(0);
            is_private(&out);
            fs::remove_file(&out).unwrap();
        }
    }
}

/// What somebody may have put where the output goes, to have another file of ours overwritten.
fn traps(bench: &Bench, output: &Path, victim: &Path, then: impl Fn(&str, &Path)) {
    let link: fn(&Path, &Path) = |to, at| symlink(to, at).unwrap();
    let hard: fn(&Path, &Path) = |to, at| fs::hard_link(to, at).unwrap();
    let nowhere = bench.file("nowhere");
    for (what, lay, to) in [
        ("a symbolic link", link, victim),
        ("a hard link", hard, victim),
        ("a symbolic link to nowhere", link, &*nowhere),
    ] {
        fs::write(victim, b"precious").unwrap();
        lay(to, output);
        then(what, output);
        assert_eq!(fs::read(victim).unwrap(), b"precious", "{what} was followed");
        assert!(!nowhere.exists(), "{what} was followed");
        let _ = fs::remove_file(output);
    }
}

#[test]
fn no_link_is_followed() {
    let bench = bench();
    let (output, victim) = (bench.file("output"), bench.file("victim"));
    let second = bench.file("second");
    for options in ["-d 31", "-E -d 31", "--dump-dmesg", "--split -d 31"] {
        let paths = |output: &Path| -> Vec<PathBuf> {
            let both = [bench.vmcore.clone(), output.to_owned(), second.clone()];
            both.into_iter().take(2 + usize::from(options.contains("split"))).collect()
        };
        traps(&bench, &output, &victim, |what, output| {
            let paths = paths(output);
            let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
            let run = with_umask(capture_binary(), &words(options, &paths), 0);
            assert_eq!(run.code, Some(1), "{options}, {what}: {}", run.text());
            assert!(!second.exists());
            // -f replaces what has the name, and not what it leads to.
            let forced = format!("-f {options}");
            with_umask(capture_binary(), &words(&forced, &paths), 0).expect(0);
            assert!(fs::symlink_metadata(output).unwrap().is_file(), "{options}, {what}");
            is_private(output);
            let _ = fs::remove_file(&second);
        });
    }
}

#[test]
fn the_workstation_tool_follows_no_link() {
    let bench = bench();
    let (output, victim, dump) = (bench.file("output"), bench.file("victim"), bench.file("dump"));
    bench.run(&["-c", "-d", "1"], &dump).expect(0);
    for options in ["repair", "refilter -d 31", "refilter -d 31 --to elf"] {
        traps(&bench, &output, &victim, |what, output| {
            let run = with_umask(host_binary(), &words(options, &[&dump, output]), 0);
            assert_eq!(run.code, Some(3), "{options}, {what}: {}", run.text());
            let forced = format!("{options} -f");
            with_umask(host_binary(), &words(&forced, &[&dump, output]), 0).expect(0);
            assert!(fs::symlink_metadata(output).unwrap().is_file(), "{options}, {what}");
            is_private(output);
        });
    }
}

#[test]
fn an_old_reader_does_not_see_the_new_dump() {
    // Somebody holds the file open that -f replaces.
    let bench = bench();
    let output = bench.file("old");
    fs::write(&output, b"old").unwrap();
    let held = fs::File::open(&output).unwrap();
    bench.run(&["-f", "-d", "31"], &output).expect(0);
    assert_eq!(std::io::read_to_string(held).unwrap(), "old");
    assert!(Dump::open(&output).is_ok());
}

#[test]
fn retries_follow_no_link_either() {
    // No space for level 0: the file is made anew for the next one.
    let bench = bench();
    let output = bench.file("again");
    let run = bench.run(&["-d", "0,31", "-L", "3M"], &output);
    run.expect(0).says("trying again with dump level 31");
    is_private(&output);
}

/// Every page of user, cache and free memory has its own number in it, many times.
fn marked() -> Bench {
    let machine = zoo(KernelStyle::V6_12)
        .fill(START..0x400, Content::Stamp)
        .fill(0x400..END, Content::Text)
        .fill(0x500..0x540, Content::Noise);
    Bench::new(machine.build())
}

#[test]
fn nothing_of_an_excluded_page_is_in_a_dump() {
    let bench = marked();
    let output = bench.file("leak");
    for level in [2, 8, 16, 31] {
        let expected = expect(&bench.image, level);
        let may_be = |pfn: u64| {
            let fate = expected.fates.get(pfn as usize);
            matches!(fate, Some(Fate::Keep | Fate::Either))
        };
        let dropped: Vec<u64> =
            (0..expected.fates.len() as u64).filter(|pfn| !may_be(*pfn)).collect();
        let marks = dropped.iter().filter(|pfn| {
            let page = bench.image.expected_page(**pfn);
            page.is_some_and(|page| page.windows(16).any(|w| w == marker(**pfn)))
        });
        assert!(marks.count() > 8, "level {level}: there is nothing that could leak");
        let level = level.to_string();
        for codec in CODECS {
            for form in ["", "-F", "--split"] {
                let mut args = vec!["-d".as_ref(), OsStr::new(&level)];
                args.extend([codec, form].into_iter().filter(|w| !w.is_empty()).map(OsStr::new));
                let second = bench.file("leak2");
                let what = format!("-d {level} {codec} {form}");
                let files: Vec<Vec<u8>> = match form {
                    "-F" => {
                        args.push(bench.vmcore.as_os_str());
                        let run = with_umask(capture_binary(), &args, 0o022);
                        run.expect(0);
                        let wrong = foreign_markers(&run.stdout, may_be);
                        assert_eq!(wrong, Vec::<u64>::new(), "{what}, in the stream");
                        vec![flat::rearrange(&run.stdout).unwrap().file]
                    }
                    "--split" => {
                        args.extend([bench.vmcore.as_os_str(), output.as_ref(), second.as_ref()]);
                        with_umask(capture_binary(), &args, 0o022).expect(0);
                        vec![fs::read(&output).unwrap(), fs::read(&second).unwrap()]
                    }
                    _ => {
                        args.extend([bench.vmcore.as_os_str(), output.as_ref()]);
                        with_umask(capture_binary(), &args, 0o022).expect(0);
                        vec![fs::read(&output).unwrap()]
                    }
                };
                let mut found = 0;
                for bytes in files {
                    let wrong = foreign_markers(&bytes, may_be);
                    assert_eq!(wrong, Vec::<u64>::new(), "{what}, in the file");
                    let dump = Dump::new(bytes).unwrap();
                    let mut decoders = Decoders::new();
                    let mut page = [0; 4096];
                    for (pfn, d) in dump.descriptors().unwrap() {
                        let at = d.offset as usize..d.offset as usize + d.size as usize;
                        let stored = &dump.bytes()[at];
                        match codec_of(CodecFlags::from_bits_retain(d.flags), Signature::Tamis) {
                            Some(codec) => decoders.decode(codec, stored, &mut page).unwrap(),
                            None => page.copy_from_slice(stored),
                        }
                        let wrong = foreign_markers(&page, |mark| mark == pfn);
                        assert_eq!(wrong, Vec::<u64>::new(), "{what}, in frame {pfn:#x}");
                        found += u64::from(page.windows(8).any(|w| w == b"TAMISPFN"));
                    }
                }
                assert!(found > 50, "{what}: only {found} pages with marks");
                let _ = (fs::remove_file(&output), fs::remove_file(&second));
            }
        }
        bench.run(&["-E", "-d", &level], &output).expect(0);
        let bytes = fs::read(&output).unwrap();
        assert_eq!(foreign_markers(&bytes, may_be), Vec::<u64>::new(), "-E -d {level}");
        assert!(Elf::parse(&bytes).unwrap().of_kind(1).count() > 0);
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn notes_that_run_over_memory_bring_none_of_it() {
    let bench = marked();
    let expected = expect(&bench.image, 31);
    let may_be =
        |pfn: u64| matches!(expected.fates.get(pfn as usize), Some(Fate::Keep | Fate::Either));
    let output = bench.file("overrun");
    let whole = fs::metadata(&bench.vmcore).unwrap().len();
    let vmcore = fs::OpenOptions::new().write(true).open(&bench.vmcore).unwrap();
    for claimed in [whole / 2, whole, 1 << 40, u64::MAX] {
        // p_filesz of the first program header, which is the notes'.
        vmcore.write_all_at(&claimed.to_le_bytes(), 64 + 32).unwrap();
        for form in ["-c", "-E"] {
            let run = bench.run(&[form, "-d", "31"], &output);
            run.expect(0);
            let said = String::from_utf8_lossy(&run.stderr);
            assert!(said.contains("the notes of"), "{claimed:#x} {form}: {said}");
            let bytes = fs::read(&output).unwrap();
            assert_eq!(foreign_markers(&bytes, may_be), Vec::<u64>::new(), "{claimed:#x} {form}");
            assert!(foreign_markers(&bytes, |_| false).len() > 50 || form == "-c");
            fs::remove_file(&output).unwrap();
        }
    }
}

#[test]
fn an_elf_file_that_replaces_another_has_nothing_of_it() {
    // Holes must read as zeros, not as what was there before.
    let bench = marked();
    let output = bench.file("twice");
    bench.run(&["-E", "-d", "0"], &output).expect(0);
    bench.run(&["-f", "-E", "-d", "31"], &output).expect(0);
    let expected = expect(&bench.image, 31);
    let may_be =
        |pfn: u64| matches!(expected.fates.get(pfn as usize), Some(Fate::Keep | Fate::Either));
    assert_eq!(foreign_markers(&fs::read(&output).unwrap(), may_be), Vec::<u64>::new());
}
