//! When the program ends: at a signal, or when its standard input does.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Read};
use std::thread;

pub(crate) struct End(Signals);

impl End {
    /// From now on, signals are noticed.
    pub(crate) fn prepare() -> io::Result<Self> {
        Ok(Self(Signals::new([SIGTERM, SIGINT])?))
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self, ignore_stdin: bool) {
        if !ignore_stdin {
            let handle = self.0.handle();
            thread::spawn(move || {
                let _ = io::stdin().lock().read_to_end(&mut Vec::new());
                handle.close();
            });
        }
        self.0.forever().next();
    }
}
