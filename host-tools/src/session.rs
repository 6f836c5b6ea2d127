//! A session of the engine over a dump that is open.

use crate::dump::opened::{Dump, Opened, level_of};
use tamis_core::arch::paging::TableCache;
use tamis_core::{DumpLevel, Options, Session, Storage};

/// A session, which looks at pages slice by slice; with `skip_classes`, at none.
///
/// `sizes` are the bytes of the bits of a window, of pages read at a time, of page data and of descriptors.
pub fn session(
    opened: &mut Opened,
    level: DumpLevel,
    skip_classes: bool,
    sizes: [usize; 4],
) -> Session<'static, &mut Dump> {
    let said = opened.info().page_struct();
    let bytes = |len: usize| vec![0; len].into();
    let [bitmap, run, data, descriptors] = sizes.map(bytes);
    let storage = Storage {
        bitmap,
        run,
        data,
        descriptors,
        mem_map: bytes(1024 * said.unwrap_or(64) as usize),
        tables: bytes(TableCache::STORAGE),
        sections: bytes(opened.shift.bytes()),
        vmcoreinfo: Vec::new().into(),
        ranges: Vec::new().into(),
        places: Vec::new().into(),
    };
    let (text, shift, end) = (opened.text.clone(), opened.shift, opened.max_pfn);
    let options = Options { level, skip_classes, ..Options::default() };
    let input = level_of(opened);
    let mut session = Session::over(&mut opened.dump, text, None, shift, end, storage, &options);
    session.set_input_level(input);
    // Whatever the kernel knew of: a dump that is made of another keeps what that has.
    session.set_end(end);
    session
}

/// Classes that cannot be recognised, and why.
pub fn unclassified(session: &Session<'_, &mut Dump>) -> Vec<String> {
    session.unclassified().map(|d| format!("{} is kept: {}", d.kept, d.key)).collect()
}
