//! The portal emulator.
fn main() {}
