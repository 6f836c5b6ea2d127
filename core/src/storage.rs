//! Storage that is borrowed or owned: borrowed in a program that has carved it out of one piece of memory, owned
//! (feature `alloc`) in one that opens and closes dumps as they come.

#[cfg(feature = "alloc")]
use alloc::{sync::Arc, vec::Vec};
use core::ops::Deref;
pub use managed::ManagedSlice;

/// A table that does not change any more and that several readers share.
pub enum Table<'t, T> {
    /// Of somebody else.
    Borrowed(&'t [T]),
    /// Of all that share it.
    #[cfg(feature = "alloc")]
    Shared(Arc<[T]>),
}

impl<T> Clone for Table<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Table::Borrowed(table) => Table::Borrowed(table),
            #[cfg(feature = "alloc")]
            Table::Shared(table) => Table::Shared(table.clone()),
        }
    }
}

impl<'t, T> From<&'t [T]> for Table<'t, T> {
    fn from(table: &'t [T]) -> Self {
        Table::Borrowed(table)
    }
}

#[cfg(feature = "alloc")]
impl<T> From<Vec<T>> for Table<'_, T> {
    fn from(table: Vec<T>) -> Self {
        Table::Shared(table.into())
    }
}

impl<T> Default for Table<'_, T> {
    fn default() -> Self {
        Table::Borrowed(&[])
    }
}

impl<T> Deref for Table<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Table::Borrowed(table) => table,
            #[cfg(feature = "alloc")]
            Table::Shared(table) => table,
        }
    }
}

/// The first `len` items of a storage, which are all from now on.
pub(crate) fn finish<T>(storage: ManagedSlice<'_, T>, len: usize) -> Table<'_, T> {
    match storage {
        ManagedSlice::Borrowed(table) => {
            let len = len.min(table.len());
            Table::Borrowed(crate::error::part(table, 0..len))
        }
        #[cfg(feature = "alloc")]
        ManagedSlice::Owned(mut table) => {
            Vec::truncate(&mut table, len);
            Table::Shared(table.into())
        }
    }
}
