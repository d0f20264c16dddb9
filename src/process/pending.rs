//! A value that one thread finds out, and that calls wait for.

use super::cancellation::{CallContext, Event, Interrupt};
use super::sync::{Mutex, MutexGuard};
use std::fmt;
use std::sync::{Arc, PoisonError};

pub(crate) struct Pending<T>(Mutex<State<T>>);

struct State<T> {
    value: Option<T>,
    waiting: Vec<Arc<Event>>,
}

impl<T: Clone> Pending<T> {
    /// Gives the value to everybody who waits. The first one stands.
    pub(crate) fn set(&self, value: T) {
        let mut state = self.lock();
        state.value.get_or_insert(value);
        for event in state.waiting.drain(..) {
            event.notify();
        }
    }

    /// Waits for the value, until the call's deadline at the latest.
    pub(crate) fn wait(&self, call: &CallContext) -> Result<T, Interrupt> {
        let event = {
            let mut state = self.lock();
            if let Some(value) = &state.value {
                return Ok(value.clone());
            }
            let event = Event::new().map_err(|_| Interrupt::NoDescriptor)?;
            state.waiting.push(Arc::clone(&event));
            event
        };
        let waited = call.wait(&event, call.deadline);
        let mut state = self.lock();
        state.waiting.retain(|other| !Arc::ptr_eq(other, &event));
        // A value that has come counts, even if the wait was interrupted.
        match &state.value {
            Some(value) => Ok(value.clone()),
            None => Err(waited.err().unwrap_or(Interrupt::Deadline)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            value: None,
            waiting: Vec::new(),
        }))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cancellation::CancelSource;
    use crate::process::per_process::Process;
    use std::time::Duration;

    #[test]
    fn whoever_waits_gets_the_first_value_or_the_deadline() {
        let call = |timeout| {
            let cancel = Arc::new(CancelSource::new(None));
            CallContext::new(&Process::current(), cancel, timeout, timeout, "")
        };
        let pending = Pending::default();
        let too_early = pending.wait(&call(Duration::ZERO));
        assert_eq!(too_early, Err(Interrupt::Deadline));
        std::thread::scope(|scope| {
            let wait = || pending.wait(&call(Duration::from_secs(60)));
            let waiters = [(); 3].map(|()| scope.spawn(wait));
            pending.set(1);
            pending.set(2);
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Ok(1));
            }
        });
        assert_eq!(pending.wait(&call(Duration::ZERO)), Ok(1));
    }
}
