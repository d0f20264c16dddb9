//! When the program ends: when its standard input does. Ctrl-C ends it too, without this.

use std::io::{self, Read};
use std::thread;

pub(crate) struct End;

impl End {
    pub(crate) fn prepare() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the end.
    pub(crate) fn wait(self, ignore_stdin: bool) {
        if ignore_stdin {
            loop {
                thread::park();
            }
        }
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
    }
}
