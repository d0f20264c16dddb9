//! A port on the loopback interface, and the thread that accepts its connections.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::connection::{self, Role};
use crate::exchange::STACK_SIZE;
use crate::state::Shared;

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// An open port; it closes when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    port: u16,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(crate) fn start(shared: &Arc<Shared>, role: Role) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (shared, stopping) = (shared.clone(), stopping.clone());
            thread::Builder::new()
                .name("accept".into())
                .stack_size(STACK_SIZE)
                .spawn(move || accept(&listener, &shared, &Arc::new(role), &stopping))?
        };
        Ok(Self {
            port,
            stopping,
            thread: Some(thread),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // A last connection wakes the thread that accepts; if there is none, neither is the thread.
        let woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, role: &Arc<Role>, stopping: &AtomicBool) {
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        // A client that gave up before it was accepted needs no answer.
        let Ok(stream) = stream else { continue };
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
        let (shared, role) = (shared.clone(), role.clone());
        // Without a thread the connection is dropped, as an overloaded server would.
        let _ = thread::Builder::new()
            .name("connection".into())
            .stack_size(STACK_SIZE)
            .spawn(move || connection::run(&shared, &role, stream, number));
    }
}
