//! Word size and layouts follow the machine, not the file that its memory comes in.

use std::fs;

use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

use crate::common::Bench;

const EM_386: u16 = 3;
const EM_ARM: u16 = 40;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// The same vmcore under 32-bit headers, as `kexec --elf32-core-headers` makes them: all is where it was.
fn under_32_bit_headers(wide: &[u8]) -> Vec<u8> {
    let (phoff, phnum) = (u64_at(wide, 32) as usize, u16_at(wide, 56));
    let mut head = b"\x7fELF\x01\x01\x01".to_vec();
    head.resize(16, 0);
    head.extend(&wide[16..24]);
    for word in [0, 52, 0, 0] {
        head.extend(u32::to_le_bytes(word));
    }
    for half in [52, 32, phnum, 0, 0, 0] {
        head.extend(half.to_le_bytes());
    }
    for index in 0..usize::from(phnum) {
        let ph = &wide[phoff + 56 * index..][..56];
        let long = |at| (u64_at(ph, at) as u32).to_le_bytes();
        head.extend(&ph[..4]);
        // offset, vaddr, paddr, filesz, memsz
        [8, 16, 24, 32, 40].into_iter().for_each(|at| head.extend(long(at)));
        head.extend(&ph[4..8]);
        head.extend(long(48));
    }
    let mut narrow = wide.to_vec();
    narrow[..phoff + 56 * usize::from(phnum)].fill(0);
    narrow[..head.len()].copy_from_slice(&head);
    narrow
}

#[test]
fn a_64_bit_kernel_under_32_bit_headers_is_captured_as_under_its_own() {
    for style in [KernelStyle::V5_10, KernelStyle::V6_12] {
        let bench = Bench::new(zoo(style).build());
        let wide = fs::read(&bench.vmcore).unwrap();
        for options in [&["-c", "-d", "31"][..], &["-d", "1"]] {
            let dump = || {
                let output = bench.file("dump");
                bench.run(options, &output).expect(0);
                let bytes = fs::read(&output).unwrap();
                fs::remove_file(output).unwrap();
                bytes
            };
            fs::write(&bench.vmcore, &wide).unwrap();
            let expected = dump();
            fs::write(&bench.vmcore, under_32_bit_headers(&wide)).unwrap();
            assert!(dump() == expected, "{style:?} {options:?}");
        }
        let output = bench.file("elf");
        bench.run(&["-E", "-d", "31"], &output).expect(0);
        assert_eq!(fs::read(output).unwrap()[4], 2, "an ELF file of 64 bits");
    }
}

/// The headers of a dump of the zoo as if it were of this machine.
fn headers_of(machine: u16) -> (Vec<u8>, Vec<u8>) {
    let mut image = zoo(KernelStyle::V6_12).build();
    image.e_machine = machine;
    let bench = Bench::new(image);
    let output = bench.file("dump");
    bench.run(&["-d", "0"], &output).expect(0);
    let dump = fs::read(output).unwrap();
    (dump[..464].to_vec(), dump[4096..4200].to_vec())
}

#[test]
fn headers_have_the_layout_of_the_machine() {
    // A 32-bit kernel with more than 4 GiB comes in an ELF file of 64 bits.
    // Systems of 32-bit ARM have a `time_t` of 64 bits by now.
    for (machine, name, block_field, notes_field, own) in
        [(EM_386, "i686", 416, 32, 80), (EM_ARM, "armv7l", 428, 40, 96)]
    {
        let (main, sub) = headers_of(machine);
        assert_eq!(u32_at(&main, block_field), 4096, "block_size of {name}");
        assert!(main[12 + 4 * 65..].starts_with(name.as_bytes()), "machine name of {name}");
        assert_eq!(u32_at(&sub, 4), 0, "level of {name}");
        assert_eq!(u64_at(&sub, notes_field), 4096 + own, "offset_note of {name}");
        let vmcoreinfo = u64_at(&sub, if machine == EM_386 { 20 } else { 24 });
        assert!(vmcoreinfo > 4096 + own, "offset_vmcoreinfo of {name}");
    }
    let (main, sub) = headers_of(62);
    assert_eq!((u32_at(&main, 428), u64_at(&sub, 48)), (4096, 4096 + 104));
}
