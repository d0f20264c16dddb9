//! The provider's whole job in one program: it receives the installation and a message of a portal,
//! stores the operator's receipt, and sends it.
//!
//! ```sh
//! provider STORE CLIENT_ID CLIENT_SECRET OAUTH_URL CA_FILE RESOLVE INSTALLATION MESSAGE
//! ```
//!
//! The last two are files with the bodies of the portal's requests. In a real provider these arrive
//! at its handler, receipts come from the operator, and a process of its own drains.

use b24_messageservice::{Config, Error, Provider, RequestKind, Status};
use std::time::Duration;

const FORM: &str = "application/x-www-form-urlencoded";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [
        store,
        client_id,
        secret,
        oauth_url,
        ca_file,
        resolve,
        requests @ ..,
    ] = &arguments[..]
    else {
        return Err("give STORE CLIENT_ID CLIENT_SECRET OAUTH_URL CA_FILE RESOLVE REQUEST…".into());
    };
    let mut config = Config::new();
    config
        .store(store)
        .client_id(client_id)
        .client_secret(secret)
        .oauth_url(oauth_url)
        .ca_file(ca_file)
        .resolve(resolve);
    let provider = Provider::open(&config)?;

    for file in requests {
        let request = provider.receive(FORM, &std::fs::read(file)?)?;
        if request.kind() == RequestKind::Message {
            let field = |name| request.get(name).unwrap_or_default();
            // The operator knows the message by a number of its own.
            provider.track(
                "rust-1",
                request.member_id(),
                field("code"),
                field("message_id"),
            )?;
        }
    }
    send(&provider)?;
    Ok(())
}

fn send(provider: &Provider) -> Result<(), Error> {
    provider.report_reference("rust-1", Status::Delivered, None)?;
    let drained = provider.drain(Duration::from_secs(1))?;
    println!("Rust: {} sent, {} waiting", drained.sent, drained.waiting);
    Ok(())
}
