//! Work in all cores, its results in order: what comes out does not depend on how many there are.

use crate::fail::{Fail, Result};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Pieces per worker that may be finished before their turn.
const AHEAD: u64 = 4;

struct State<R> {
    /// The piece that is begun next, and how many were taken.
    next: u64,
    taken: u64,
    done: BTreeMap<u64, R>,
    /// No more results are wanted: the taker gave up, or a worker panicked.
    stop: bool,
}

struct Shared<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the work of all when it goes out of scope before its time.
struct Stop<'a, R>(&'a Shared<R>);

impl<R> Drop for Stop<'_, R> {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_all();
    }
}

/// Does `work` for the pieces 0 to `pieces`, each with one of the workers, and hands the results to
/// `take` in the order of the pieces. Few results are held at a time. With one worker no thread is
/// made.
pub fn in_order<W: Send, R: Send>(
    workers: &mut [W],
    pieces: u64,
    work: impl Fn(&mut W, u64) -> R + Sync,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    if let [worker] = workers {
        return (0..pieces).try_for_each(|piece| take(work(worker, piece)));
    }
    let ahead = AHEAD * workers.len() as u64;
    let state = State { next: 0, taken: 0, done: BTreeMap::new(), stop: false };
    let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
    let (shared, work) = (&shared, &work);
    std::thread::scope(|scope| {
        let stop = Stop(shared);
        for worker in workers {
            let run = move || {
                let stop = Stop(shared);
                loop {
                    let mut state = shared.lock();
                    while !state.stop && state.next < pieces && state.next >= state.taken + ahead {
                        state = shared.wait(state);
                    }
                    if state.stop || state.next >= pieces {
                        break;
                    }
                    let piece = state.next;
                    state.next += 1;
                    drop(state);
                    let result = work(worker, piece);
                    shared.lock().done.insert(piece, result);
                    shared.changed.notify_all();
                }
                std::mem::forget(stop);
            };
            std::thread::Builder::new()
                .spawn_scoped(scope, run)
                .map_err(|e| Fail::new(format_args!("starting a thread: {e}")))?;
        }
        for piece in 0..pieces {
            let mut state = shared.lock();
            let result = loop {
                match state.done.remove(&piece) {
                    Some(result) => break result,
                    // A worker panicked; so does the scope.
                    None if state.stop => return Ok(()),
                    None => state = shared.wait(state),
                }
            };
            state.taken = piece + 1;
            drop(state);
            shared.changed.notify_all();
            take(result)?;
        }
        drop(stop);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_number_of_workers() {
        for count in [1, 2, 7] {
            let mut workers = vec![0u64; count];
            let mut got = Vec::new();
            let work = |done: &mut u64, piece: u64| {
                *done += 1;
                std::thread::sleep(std::time::Duration::from_micros(piece * 37 % 100));
                piece * piece
            };
            in_order(&mut workers, 200, work, |r| {
                got.push(r);
                Ok(())
            })
            .unwrap();
            assert_eq!(got, (0..200).map(|n| n * n).collect::<Vec<u64>>());
            assert_eq!(workers.iter().sum::<u64>(), 200);
        }
    }

    #[test]
    fn nothing_goes_on_after_an_error() {
        let mut workers = vec![0u64; 3];
        let work = |done: &mut u64, piece: u64| {
            *done += 1;
            piece
        };
        let done = in_order(&mut workers, 1_000_000, work, |piece| match piece {
            5 => Err(Fail::new("enough")),
            _ => Ok(()),
        });
        assert_eq!(done.unwrap_err().line(), "enough");
        assert!(workers.iter().sum::<u64>() <= 6 + AHEAD * 3 + 3);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_of_a_worker_is_not_waited_for() {
        let work = |_: &mut (), piece: u64| assert_ne!(piece, 9);
        let _ = in_order(&mut [(), ()], 1000, work, |()| Ok(()));
    }
}
