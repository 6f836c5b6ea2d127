//! Free pages of kernels that have no mark of them, by the lists of their zones.

use tamis_core::capture::Notice;
use tamis_tests::oracle::{self, Reason};
use tamis_tests::rig::{self, Wish};
use tamis_tests::synth::{BentList, Class, Cpu, KernelStyle, Machine, MemModel, ZONE_END};
use tamis_tests::zoo::zoo_at;

use crate::common::check_inside;

/// Levels, and bytes of a window's bits: one window, and many.
const ALL: [(u8, usize); 4] = [(31, 1 << 20), (31, 2 << 10), (16, 1 << 20), (15, 1 << 20)];

/// Holds captures of a machine against the oracle; gives the notices of the first one.
fn check(machine: Machine, captures: &[(u8, usize)]) -> Vec<Notice> {
    let image = machine.zones().build();
    let vmcore = rig::vmcore(&image);
    let told = captures.iter().map(|(level, bitmap)| {
        let mut wish = Wish::new("", *level);
        wish.sizes[0] = *bitmap;
        if level & 16 != 0 && image.machine.has_zones() {
            let expected = oracle::expect(&image, (*level).into());
            assert!(expected.tally[&Reason::Free] > 20, "too few free pages to tell");
        }
        check_inside(&image, &vmcore, wish)
    });
    told.reduce(|first, _| first).expect("captures")
}

/// Two zoos, one in each zone; more free blocks of some orders.
fn two_zones(machine: Machine) -> Machine {
    let mut machine = zoo_at(zoo_at(machine, 0), 0x1_0000);
    for n in 0..40 {
        machine = machine.put(0x1_0280 + 4 * n, Class::Free { order: (n % 3) as u32 });
    }
    const { assert!(ZONE_END < 0x1_0000) };
    machine
}

/// 2.6.24 to 3.9: the layout of 2.6.x.
const OLD: KernelStyle = KernelStyle::V2_6_24;

#[test]
fn of_every_memory_model() {
    for model in [MemModel::Flat, MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Nodes] {
        let notices = check(two_zones(Machine::new(OLD).model(model)), &ALL);
        assert_eq!(notices, [], "{model:?}");
    }
}

#[test]
fn of_other_machines() {
    for cpu in [Cpu::I386 { pae: false }, Cpu::I386 { pae: true }, Cpu::Arm { lpae: false }] {
        for model in [MemModel::Flat, MemModel::SparsePlain] {
            let notices = check(two_zones(Machine::new(OLD).model(model).on(cpu)), &ALL[..1]);
            assert_eq!(notices, [], "{cpu:?} {model:?}");
        }
    }
    let big = Machine::new(OLD).on(Cpu::S390x { moved: false });
    assert_eq!(check(two_zones(big), &ALL[..1]), []);
}

#[test]
fn a_damaged_list_keeps_its_pages_and_is_named() {
    for how in [
        BentList::Ring,
        BentList::InUse,
        BentList::OtherZone,
        BentList::OtherOrder,
        BentList::Nowhere,
    ] {
        for model in [MemModel::Flat, MemModel::Vmemmap] {
            let machine = two_zones(Machine::new(OLD).model(model)).bend_lists(6, how);
            let notices = check(machine, &ALL[..1]);
            let is_damage = |notice: &Notice| matches!(notice, Notice::DamagedFreeList(..));
            assert!(!notices.is_empty() && notices.iter().all(is_damage), "{how:?}: {notices:?}");
        }
    }
}

/// Without zones no free page can go, so that the header must not say that they are gone.
#[test]
fn zones_that_are_none_are_named_and_leave_the_level_without_free_pages() {
    for model in [MemModel::Flat, MemModel::Nodes] {
        let machine = two_zones(Machine::new(OLD).model(model).strange_zones());
        let notices = check(machine, &ALL);
        let nodes = if model == MemModel::Flat { 1 } else { 2 };
        assert_eq!(notices.len(), nodes, "{model:?}: {notices:?}");
        let named = |notice: &Notice| matches!(notice, Notice::UnknownZones(_));
        assert!(notices.iter().all(named), "{model:?}: {notices:?}");
        assert!(notices[0].to_string().ends_with(": zones not known, free pages kept"));
    }
}
