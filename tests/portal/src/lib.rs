//! The portal emulator.
