//! The provider, from the installation of its application to receipts at the portal.

#![allow(
    clippy::unwrap_used,
    reason = "a test: what cannot be unwrapped has failed"
)]
#![cfg(all(unix, feature = "provider"))]

use b24_messageservice::{Config, ErrorKind, Provider, Request, RequestKind, Status};
use b24_portal::{Portal, Settings};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

const CODE: &str = "provider1";

/// An emulator, a directory for the store, and a provider on it.
struct Stage {
    portal: Portal,
    directory: PathBuf,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        let portal = Portal::start(settings).unwrap();
        let directory = portal.ca_file().parent().unwrap().join("store");
        std::fs::create_dir(&directory).unwrap();
        Self { portal, directory }
    }

    fn store(&self) -> PathBuf {
        self.directory.join("b24.db")
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        let ports = [self.portal.https_port(), self.portal.oauth_port()];
        let resolve: Vec<_> = ports
            .iter()
            .map(|port| format!("*:{port}:127.0.0.1"))
            .collect();
        config
            .store(&format!("sqlite:{}", self.store().display()))
            .client_id("app.1")
            .client_secret("secret-0000000000000001")
            .oauth_url(&format!(
                "https://oauth.bitrix24.test:{}",
                self.portal.oauth_port()
            ))
            .ca_file(self.portal.ca_file())
            .resolve(&resolve.join(","))
            .timeout(Duration::from_secs(10))
            .proxy("none");
        config
    }

    fn open(&self) -> Provider {
        Provider::open(&self.config()).unwrap()
    }

    fn install(&self, provider: &Provider, order: Value) -> Result<Request, ErrorKind> {
        let request = self.portal.install(order).unwrap();
        receive(provider, &request)
    }

    fn statuses(&self, message: &str) -> Value {
        let all = self.portal.messages();
        all["history"][format!("{CODE}|{message}")].clone()
    }
}

fn receive(provider: &Provider, request: &Value) -> Result<Request, ErrorKind> {
    let content_type = request["content_type"].as_str().unwrap();
    let body = request["body"].as_str().unwrap();
    provider
        .receive(content_type, body.as_bytes())
        .map_err(|error| {
            println!("{error}");
            error.kind()
        })
}

#[test]
fn the_whole_story() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    let installed = stage.install(&provider, json!({})).unwrap();
    assert_eq!(installed.kind(), RequestKind::Install);
    let member = installed.member_id().to_owned();

    let message = stage
        .portal
        .message(json!({"code": CODE, "message_id": "m1"}))
        .unwrap();
    let message = receive(&provider, &message).unwrap();
    assert_eq!(message.kind(), RequestKind::Message);
    assert_eq!(message.get("message_id"), Some("m1"));
    assert_eq!(message.member_id(), member);

    provider.track("op-1", &member, CODE, "m1").unwrap();
    provider.report_reference("op-1", "sent", None).unwrap();
    provider
        .report(&member, CODE, "m1", Status::Delivered, None)
        .unwrap();
    provider.report(&member, CODE, "m1", "sent", None).unwrap();
    let drained = provider.drain(Duration::from_millis(500)).unwrap();
    println!("{drained:?} {}", stage.portal.messages());
    assert_eq!((drained.sent, drained.waiting), (1, 0));
    assert_eq!(stage.portal.messages()[format!("{CODE}|m1")], "delivered");
    let portals = provider.inspect().unwrap();
    println!("{portals:?}");
    assert_eq!(portals[0].state, "active");
}
