//! Frames of a stack.

/// A frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Where its code goes on.
    pub pc: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// Whether that is the instruction itself, not the one behind a call.
    pub exact: bool,
    /// Whether nothing proves it.
    pub guessed: bool,
    /// Where the registers are of what was interrupted here.
    pub registers: Option<u64>,
}

/// Where a stack ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// In the first code of the task.
    Whole,
    /// In a program, there.
    User(u64),
    /// Nothing says what is behind it.
    Lost,
    /// It cannot be followed.
    Broken(String),
}

/// A stack that was walked.
pub struct Walked {
    /// Its frames, the innermost first.
    pub frames: Vec<Frame>,
    /// Where it ends.
    pub end: End,
}
