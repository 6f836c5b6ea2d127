//! `tamis`: the workstation side of the project.
fn main() {}
