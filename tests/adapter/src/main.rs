//! Scenario adapter.
fn main() {}
