//! How a run ends.

/// How a run ended. A number for the system is made of it in one place, [`Exit::status`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Everything on the command line is done.
    Done,
    /// The dump is incomplete, or there is none for lack of space.
    Incomplete,
    /// Nothing was written.
    Failed,
    /// The `-i` file is of another kernel than the vmcore.
    OtherKernel,
}

impl Exit {
    /// The exit status.
    pub fn status(self) -> i32 {
        match self {
            Exit::Done => 0,
            Exit::Incomplete | Exit::Failed => 1,
            Exit::OtherKernel => 2,
        }
    }
}
