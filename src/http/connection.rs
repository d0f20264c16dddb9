//! Connections as ureq uses them: how one is opened, and what is sent and received on it.
//!
//! ureq's own connections cannot be used: their waits end neither at `cancel` nor on a signal, they
//! send head and body separately, and everything that passes through them is logged. Buffers and
//! the tunnel through a proxy are ureq's.

use super::exchange::Exchange;
use super::hidden::{ResponseMask, insert_query};
use super::proxy::Direct;
use super::tcp::TcpOpener;
use super::tls::Tls;
use super::wire::Wire;
use std::fmt;
use std::sync::Arc;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, LazyBuffers, NextTimeout,
    Transport, TransportAdapter,
};

const BUFFER: usize = 16 * 1024;

impl Wire for TransportAdapter {
    fn is_open(&mut self) -> bool {
        let tunnel = self.get_mut();
        tunnel.buffers().input().is_empty() && tunnel.is_open()
    }
}

/// Opens connections: TCP or a proxy's tunnel, and TLS over it for `https`.
pub(super) struct PortalConnector {
    /// Whether there is a proxy, and the hosts that are reached without it.
    pub(super) has_proxy: bool,
    pub(super) direct: Direct,
    pub(super) tunnels: ConnectProxyConnector,
    pub(super) tcp: TcpOpener,
    pub(super) tls: Tls,
}

impl Connector for PortalConnector {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let host = details.uri.host().unwrap_or_default();
        let is_tls = details.needs_tls();
        // To make a tunnel, ureq asks for the connection to the proxy with a configuration without
        // a proxy.
        let to_proxy = self.has_proxy && details.config.proxy().is_none();
        if !to_proxy {
            Exchange::with(Exchange::opening)?;
        }
        let tunnel = if details.config.proxy().is_none() || self.direct.holds(host) {
            None
        } else {
            self.tunnels.connect(details, None::<()>)?
        };
        let mut wire: Box<dyn Wire> = if let Some(tunnel) = tunnel {
            let clock = Arc::clone(&details.current_time);
            Box::new(TransportAdapter::new(tunnel.boxed(), clock))
        } else {
            let usual = if is_tls { 443 } else { 80 };
            let port = details.uri.port_u16().unwrap_or(usual);
            Box::new(self.tcp.open(host, port)?)
        };
        if is_tls {
            wire = Box::new(self.tls.handshake(host, wire)?);
        }
        if !to_proxy {
            Exchange::with(Exchange::ready)?;
        }
        Ok(Some(Connection {
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            pending: Vec::new(),
            wire,
            mask: (!to_proxy).then(ResponseMask::default),
            is_tls,
        }))
    }
}

/// A connection to a portal or authorization server, or to a proxy.
pub(super) struct Connection {
    buffers: LazyBuffers,
    /// What ureq has written. It stays here until an answer is awaited, so that head and body leave
    /// in one send.
    pending: Vec<u8>,
    wire: Box<dyn Wire>,
    /// None for a proxy, whose answer ureq reads itself.
    mask: Option<ResponseMask>,
    is_tls: bool,
}

impl Connection {
    fn send_pending(&mut self) -> Result<(), ureq::Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Some(mask) = &mut self.mask {
            mask.begin();
            let query = Exchange::with(|exchange| {
                exchange.sent = true;
                std::mem::take(&mut exchange.query)
            })?;
            if !query.is_empty() {
                insert_query(&mut self.pending, &query)?;
            }
        }
        self.wire.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.pending.extend_from_slice(output);
        if self.pending.len() < BUFFER {
            return Ok(());
        }
        self.send_pending()
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.send_pending()?;
        loop {
            // A line is passed on when it is complete.
            let begun = self.mask.as_ref().map_or(&[][..], |mask| &mask.line);
            let held = begun.len();
            let free = self.buffers.input_append_buf();
            let Some((line, room @ [_, ..])) = free.split_at_mut_checked(held) else {
                return Err(ureq::Error::LargeResponseHeader(BUFFER + 1, BUFFER));
            };
            line.copy_from_slice(begun);
            let amount = self.wire.read(room)?;
            if amount == 0 {
                return Ok(false);
            }
            let input = free.get_mut(..held + amount).unwrap_or_default();
            let passed = match &mut self.mask {
                Some(mask) => Exchange::with(|exchange| mask.hide(input, &mut exchange.hidden))?,
                None => input.len(),
            };
            self.buffers.input_appended(passed);
            if passed > 0 {
                return Ok(true);
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.wire.is_open()
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }
}

impl fmt::Debug for PortalConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortalConnector").finish_non_exhaustive()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use ureq::unversioned::transport::time::Instant;

    #[derive(Debug)]
    struct Tunnel(LazyBuffers);

    impl Transport for Tunnel {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.0
        }

        fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), ureq::Error> {
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
            Ok(false)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    #[test]
    fn a_tunnel_is_open_if_all_that_came_through_it_was_read() {
        let mut tunnel = Tunnel(LazyBuffers::new(BUFFER, BUFFER));
        let answers = b"an answer, and one that nobody asked for";
        tunnel.0.input_append_buf()[..answers.len()].copy_from_slice(answers);
        tunnel.0.input_appended(answers.len());
        let mut wire = TransportAdapter::new(tunnel.boxed(), Arc::new(Instant::now));
        wire.read_exact(&mut [0; 9]).unwrap();
        assert!(!wire.is_open());
        wire.read_exact(&mut [0; 31]).unwrap();
        assert!(wire.is_open());
    }
}
