//! How much of a portal's rate limit is used, in a file for each portal.

use super::state_dir::{StateDir, file_name};
use super::system;
use super::token_store::LockError;
use crate::process::cancellation::CallContext;
use crate::values::LOG;
use crate::values::address::Origin;
use crate::values::rate::{Level, Rate};
use std::time::Duration;

impl StateDir {
    /// Two copies of this library in one process do not exclude each other here. The worst result
    /// is one request too many.
    pub(super) fn change_level_in_file(
        &self,
        portal: &Origin,
        rate: Rate,
        call: &CallContext,
        change: &mut dyn FnMut(&mut Level),
    ) -> Result<(), LockError> {
        let name = format!("{}.bucket", file_name(portal));
        let file = self.lock_record(&name, call, &|| true)?;
        let text = self.read_all(&name, &file)?;
        let now = system::uptime().as_secs_f64();
        let mut level = match std::str::from_utf8(&text).ok().and_then(read_level) {
            // A time in the future is from before the last start of the machine.
            Some((level, at)) if at <= now => {
                Level(level).drained(rate, Duration::from_secs_f64(now - at))
            }
            Some(_) => Level::default(),
            None if text.is_empty() => Level::default(),
            None => {
                log::warn!(target: LOG, "{}: damaged; the rate limit counts as used up", self.path.join(&name).display());
                Level(rate.burst)
            }
        };
        change(&mut level);
        let text = format!("{} {now}\n", level.0);
        system::write_at(&file, text.as_bytes(), 0)
            .and_then(|()| file.set_len(text.len() as u64))
            .map_err(|e| self.file_error(&name, &e))?;
        Ok(())
    }
}

/// The level, and when it was measured, in seconds since the machine started.
fn read_level(text: &str) -> Option<(f64, f64)> {
    let (level, at) = text.trim_end().split_once(' ')?;
    let read = |text: &str| {
        let number: f64 = text.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    Some((read(level)?, read(at)?))
}

#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(content: &[u8]) {
    if let Some((level, at)) = std::str::from_utf8(content).ok().and_then(read_level) {
        assert!(level.is_finite() && at.is_finite());
    }
}
