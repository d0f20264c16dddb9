use super::Directory;
use b24_messageservice::{Client, Error, ErrorKind, Status};
use b24_stress::{CODE, Fixture, RENEWAL};
use serde_json::json;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A portal, and a state directory in which every file of the library exists.
struct Used {
    fixture: Fixture,
    directory: Directory,
}

impl Used {
    fn new(name: &str) -> Self {
        let used = Self {
            fixture: Fixture::new(&json!({"expired": true})),
            directory: Directory::new(name),
        };
        call(&used.client().expect("a good directory")).expect("renewed and stored");
        used
    }

    fn client(&self) -> Result<Client, Error> {
        let mut options = RENEWAL.to_vec();
        options.push(("state_dir", self.directory.path()));
        options.push(("rate_limit", "standard"));
        b24_stress::client(&self.fixture.options(&options))
    }

    fn files(&self) -> Vec<PathBuf> {
        let listed = std::fs::read_dir(&self.directory.0).expect("the state directory");
        let mut files: Vec<_> = listed.map(|file| file.expect("a file").path()).collect();
        files.sort();
        files
    }

    /// A new client's outcome, with its token expired so that every file is needed.
    fn outcome(&self) -> Result<(), Error> {
        self.fixture.fault(&json!([{"kind": "expire"}]));
        self.client().and_then(|client| call(&client))
    }
}

fn call(client: &Client) -> Result<(), Error> {
    client.message_status_update(CODE, "m1", Status::Sent)
}

#[test]
fn its_files_are_the_users_alone() {
    let used = Used::new("modes");
    let files = used.files();
    let mut kinds: Vec<_> = files
        .iter()
        .map(|f| f.extension().unwrap_or_default().to_owned())
        .collect();
    kinds.sort();
    // Links from the host and from the token, and the version.
    let expected = ["", "bucket", "link", "link", "lock", "tokens"];
    assert_eq!(kinds, expected, "{files:?}");
    for file in files {
        let mode = file.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{}", file.display());
    }
}

/// Replaces each file by something hostile. Then tokens are not renewed, and the error names the
/// file; the rate limit works without its file.
fn is_refused(name: &str, replace: impl Fn(&Path) -> bool) {
    let count = Used::new(&format!("{name}-count")).files().len();
    for at in 0..count {
        let used = Used::new(&format!("{name}-{at}"));
        let file = used.files()[at].clone();
        if !replace(&file) {
            return;
        }
        let outcome = used.outcome();
        let seen = used.fixture.portal.seen();
        let renewals = if file.extension().is_some_and(|e| e == "bucket") {
            outcome.expect("the rate limit is this process's own");
            2
        } else {
            let fault = outcome.expect_err(&file.display().to_string());
            assert!(
                [ErrorKind::InvalidConfig, ErrorKind::Storage].contains(&fault.kind()),
                "{name} {}: {fault}",
                file.display()
            );
            assert!(fault.message().contains("state_dir"), "{fault}");
            for secret in [&RENEWAL[0].1, &RENEWAL[2].1, &"access-0000000000000001"] {
                let secret = used.fixture.own(secret);
                assert!(!fault.message().contains(&secret), "{fault}");
            }
            1
        };
        assert_eq!(
            (seen.renewals, seen.spent_tokens),
            (renewals, 0),
            "{name} {}",
            file.display()
        );
    }
}

fn remove(file: &Path) {
    std::fs::remove_file(file).expect("a file to remove");
}

#[test]
fn a_symbolic_link_is_not_followed() {
    is_refused("link", |file| {
        let elsewhere = file.with_extension("elsewhere");
        std::fs::rename(file, &elsewhere).expect("a file to move");
        symlink(&elsewhere, file).expect("a link");
        true
    });
}

#[test]
fn a_file_that_others_may_read_is_not_trusted() {
    is_refused("mode", |file| {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        true
    });
}

#[test]
fn a_file_of_another_user_is_not_trusted() {
    is_refused("owner", |file| {
        let changed = std::os::unix::fs::chown(file, Some(65534), None);
        if let Err(fault) = &changed {
            println!("skipped: a file cannot be given away here ({fault}); it takes root");
        }
        changed.is_ok()
    });
}

#[test]
fn a_directory_in_the_place_of_a_file_is_refused() {
    is_refused("directory", |file| {
        remove(file);
        std::fs::create_dir(file).expect("a directory");
        true
    });
}

#[test]
fn a_fifo_hangs_nothing() {
    is_refused("fifo", |file| {
        remove(file);
        let made = Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(file)
            .status();
        made.is_ok_and(|status| status.success())
    });
}

#[test]
fn damaged_tokens_are_reported() {
    for text in [
        "",
        "{",
        "null",
        "\u{0}\u{0}\u{0}",
        "{\"version\":2}",
        "[[[[[[[[[[",
    ] {
        let used = Used::new(&format!("damaged-{}", text.len()));
        let file = used
            .files()
            .into_iter()
            .find(|f| f.extension().is_some_and(|e| e == "tokens"));
        std::fs::write(file.expect("a file of tokens"), text).expect("a file to damage");
        let fault = used.outcome().expect_err(text);
        assert_eq!(fault.kind(), ErrorKind::InvalidConfig, "{text:?}: {fault}");
        assert!(fault.message().contains("state_dir"), "{fault}");
    }
}

#[test]
fn a_directory_that_anybody_may_write_is_refused() {
    let used = Used::new("open");
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&used.directory.0, mode).expect("a mode");
    let fault = used.client().expect_err("anybody could put files there");
    assert_eq!(fault.kind(), ErrorKind::InvalidConfig);
    assert!(fault.message().contains("state_dir"), "{fault}");
}

#[test]
fn a_bucket_from_before_the_machine_started_is_empty() {
    let used = Used::new("reboot");
    let bucket = used
        .files()
        .into_iter()
        .find(|f| f.extension().is_some_and(|e| e == "bucket"));
    let bucket = bucket.expect("a file of the bucket");
    std::fs::write(&bucket, "5000 99999999999\n").expect("a level in the future");
    call(&used.client().expect("a good directory")).expect("a place at once");
    let text = std::fs::read_to_string(&bucket).expect("the bucket");
    let level: f64 = text
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a level");
    assert!(level <= 2.0, "{text}");
}
