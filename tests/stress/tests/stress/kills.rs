//! A process that is killed at any step of a renewal loses nothing that is on the disk.

use super::{Directory, WORKER, worker};
use b24_stress::{Fixture, RENEWAL};
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The system calls that change files, locks or sockets.
const STEPS: [&str; 13] = [
    "openat",
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "rename",
    "unlink",
    "flock",
    "fcntl",
    "sendto",
    "recvfrom",
    "close",
    "fstat",
];

/// Whether a file that has its final name contains the pair that was issued.
fn is_stored(directory: &Path, access_token: &str) -> bool {
    let listed = std::fs::read_dir(directory).expect("the state directory");
    listed
        .map(|file| file.expect("a file").path())
        // Nobody finds a file that does not have its final name yet.
        .filter(|path| path.extension().is_some_and(|kind| kind != "new"))
        .any(|path| {
            let content = std::fs::read(&path).expect("a file to read");
            let mut parts = content.windows(access_token.len());
            parts.any(|part| part == access_token.as_bytes())
        })
}

/// The files that others may find: those with their final names.
fn named(directory: &Path) -> BTreeSet<OsString> {
    let listed = std::fs::read_dir(directory).expect("the state directory");
    listed
        .map(|file| file.expect("a file").file_name())
        .filter(|name| {
            let kind = Path::new(name).extension();
            kind.is_none_or(|kind| kind != "new" && kind != "lock")
        })
        .collect()
}

/// Kills a worker at the `at`th system call of one kind in any of its threads, and lets another one
/// continue. Returns whether the first one was not killed.
fn kill_at(step: &str, at: u32, renewed_before: bool, lost: &mut u32) -> bool {
    let directory = Directory::new(&format!("kill-{step}-{at}-{renewed_before}"));
    let fixture = Fixture::new(&json!({"expired": true}));
    let mut options = RENEWAL.to_vec();
    options.push(("state_dir", directory.path()));
    // The system calls for opening the directory are not counted.
    drop(fixture.client(&options));
    let options = fixture.options(&options);
    if renewed_before {
        let mut first = worker(&["one", "1"], &options);
        first.go();
        assert_eq!(first.report()["kind"], "OK");
        fixture.fault(&json!([{"kind": "expire"}]));
    }
    let before = fixture.portal.seen().renewals;
    let files = named(&directory.0);
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={step}"))
        .arg("-e")
        .arg(format!("inject={step}:signal=KILL:when={at}"))
        .arg(WORKER)
        .args(["one", "1"])
        .args(options.iter().map(|(n, v)| format!("{n}={v}")))
        .stdin(std::process::Stdio::null());
    let status = strace.output().expect("strace").status;
    let granted = fixture.portal.seen().renewals > before;
    let tokens = fixture.portal.tokens();
    let token = tokens["access_token"].as_str().expect("a token");
    let stored = granted && is_stored(&directory.0, token);
    let mut second = worker(&["one", "1"], &options);
    second.go();
    let report = second.report();
    if granted && !stored {
        // Read or not, only the process had it, and no client can change that. But then no link may
        // lead to where it should be.
        assert_eq!(named(&directory.0), files, "killed at {step} {at}");
        *lost += 1;
    } else {
        assert_eq!(report["kind"], "OK", "killed at {step} {at}: {report}");
        assert_eq!(
            fixture.portal.tokens()["lost"],
            false,
            "killed at {step} {at}"
        );
        assert_eq!(fixture.portal.seen().spent_tokens, 0);
    }
    status.success()
}

#[test]
fn a_renewal_killed_at_any_step_loses_nothing_that_was_stored() {
    for renewed_before in [false, true] {
        let (mut rounds, mut lost) = (0, 0);
        for step in STEPS {
            // A process that lives longer than any renewal takes was not killed.
            for at in 1..60 {
                rounds += 1;
                if kill_at(step, at, renewed_before, &mut lost) {
                    break;
                }
            }
        }
        println!(
            "renewed before: {renewed_before}; {rounds} rounds; killed {lost} times between the \
             grant and the disk"
        );
        assert!(rounds > 40, "strace killed nobody");
    }
}
