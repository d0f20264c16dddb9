//! Name servers that do not answer, or count the questions. In a mount namespace, so that the DNS
//! of other programs is not disturbed.

use super::{Directory, WORKER};
use b24_stress::{Fixture, Worker};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::process::Command;

struct NameServer {
    socket: UdpSocket,
    directory: Directory,
    mount: String,
}

impl NameServer {
    /// None, and a message with the reason, if there cannot be one.
    fn start(address: &str) -> Option<Self> {
        let socket = match UdpSocket::bind((address, 53)) {
            Ok(socket) => socket,
            Err(fault) => {
                println!("skipped: port 53 cannot be bound here ({fault}); it takes root");
                return None;
            }
        };
        let directory = Directory::new(&format!("dns-{address}"));
        let file = directory.0.join("resolv.conf");
        std::fs::write(&file, format!("nameserver {address}\n")).expect("a file");
        let mount = format!("mount --bind {} /etc/resolv.conf", file.display());
        let tried = Command::new("unshare")
            .args(["-m", "sh", "-c", &mount])
            .status();
        if !tried.is_ok_and(|status| status.success()) {
            println!("skipped: no mount namespace can be made here; it takes CAP_SYS_ADMIN");
            return None;
        }
        Some(Self {
            socket,
            directory,
            mount,
        })
    }

    /// A worker that asks this server for names.
    fn worker(&self, words: &[&str], options: &[(String, String)]) -> Worker {
        let script = format!("{} && exec \"$0\" \"$@\"", self.mount);
        let mut command = Command::new("unshare");
        command
            .current_dir(&self.directory.0)
            .args(["-m", "sh", "-c", &script, WORKER]);
        Worker::start(&mut command, words, options)
    }

    /// How many questions have arrived that were not received yet.
    fn asked(&self) -> usize {
        self.socket.set_nonblocking(true).expect("an option");
        std::iter::from_fn(|| self.socket.recv(&mut [0; 512]).ok()).count()
    }

    /// Answers the next question: 127.0.0.1 for an address of IPv4, nothing for any other.
    fn answer(&self) -> std::io::Result<()> {
        let mut question = [0; 512];
        let (length, from) = self.socket.recv_from(&mut question)?;
        let mut answer = question[..length].to_vec();
        let of_ipv4 = answer[12..].windows(5).any(|w| w == [0, 0, 1, 0, 1]);
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        // One answer or none, no authority, no additional record.
        answer[6..12].copy_from_slice(&[0, u8::from(of_ipv4), 0, 0, 0, 0]);
        let end = 12 + answer[12..].iter().position(|b| *b == 0).expect("a name") + 5;
        answer.truncate(end);
        if of_ipv4 {
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        self.socket.send_to(&answer, from).map(drop)
    }
}

#[test]
fn a_deadline_holds_while_dns_does_not_answer() {
    let Some(server) = NameServer::start("127.53.53.53") else {
        return;
    };
    let fixture = Fixture::new(&json!({}));
    let options = fixture.options(&[
        ("timeout_ms", "400"),
        ("portal", "http://portal.nowhere.test"),
    ]);
    let mut worker = server.worker(&["one", "1"], &options);
    worker.go();
    let report: Value = worker.report();
    println!("DNS that does not answer: {report}, deadline 400 ms");
    assert_eq!(report["kind"], json!("TIMEOUT"));
    assert!(server.asked() > 0, "nobody asked the silent server");
}

/// glibc asks for both families at once, and again after five seconds.
const OF_ONE_QUESTION: usize = 2;

#[test]
fn calls_of_one_name_ask_once_and_leave_one_thread() {
    let Some(server) = NameServer::start("127.53.53.54") else {
        return;
    };
    let fixture = Fixture::new(&json!({}));
    let options = fixture.options(&[
        ("timeout_ms", "400"),
        ("portal", "http://portal.nowhere.test"),
    ]);
    let mut worker = server.worker(&["names", "100"], &options);
    worker.go();
    let report = worker.report();
    println!("three rounds of 100 calls, silent DNS: {report}");
    assert_eq!(report["outcomes"], json!({"TIMEOUT": 300}));
    assert_eq!(report["threads"], json!(1));
    assert_eq!(server.asked(), OF_ONE_QUESTION);
}

#[test]
fn calls_of_many_names_leave_few_threads() {
    let Some(server) = NameServer::start("127.53.53.55") else {
        return;
    };
    let fixture = Fixture::new(&json!({}));
    let options = fixture.options(&[
        ("timeout_ms", "400"),
        ("portal", "http://portal{n}.nowhere.test"),
    ]);
    let mut worker = server.worker(&["names", "100"], &options);
    worker.go();
    let report = worker.report();
    println!("three rounds of calls of 100 names, silent DNS: {report}");
    assert_eq!(report["outcomes"], json!({"TIMEOUT": 300}));
    assert_eq!(report["threads"], json!(8));
    assert_eq!(server.asked(), 8 * OF_ONE_QUESTION);
}

#[test]
fn everybody_gets_the_answer_to_one_question() {
    let Some(server) = NameServer::start("127.53.53.56") else {
        return;
    };
    let fixture = Fixture::new(&json!({}));
    let portal = format!("http://portal.nowhere.test:{}", fixture.portal.http_port());
    let mut worker = server.worker(&["names", "100"], &fixture.options(&[("portal", &portal)]));
    worker.go();
    for _ in 0..OF_ONE_QUESTION {
        server.answer().expect("a question and its answer");
    }
    let report = worker.report();
    assert_eq!(report["outcomes"], json!({"OK": 300}), "{report}");
    assert_eq!(server.asked(), 0);
}
