use super::{Directory, worker};
use b24_messageservice::{Client, Status};
use b24_stress::{CODE, Fixture, RENEWAL, Worker};
use serde_json::json;
use std::time::{Duration, Instant};

fn with_state(directory: &Directory) -> [(&str, &str); 4] {
    let [refresh, id, secret] = RENEWAL;
    [refresh, id, secret, ("state_dir", directory.path())]
}

#[test]
fn sixteen_threads_with_an_expired_token_renew_once() {
    // Several times, because the order is a matter of chance.
    for _ in 0..50 {
        let fixture = Fixture::new(&json!({"expired": true}));
        let client = fixture.client(&RENEWAL);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let client = &client;
                scope.spawn(move || {
                    let id = format!("m{thread}");
                    let outcome = client.message_status_update(CODE, &id, Status::Delivered);
                    outcome.expect("renewed and stored");
                });
            }
        });
        let seen = fixture.portal.seen();
        assert_eq!(
            (seen.renewals, seen.renewal_requests, seen.spent_tokens),
            (1, 1, 0)
        );
        assert_eq!(seen.bad, Vec::<String>::new());
    }
}

#[test]
fn a_storm_of_processes_renews_once() {
    for latency in [0, 20, 100] {
        let directory = Directory::new(&format!("storm-{latency}"));
        let fixture = Fixture::new(&json!({"expired": true, "oauth_latency_ms": latency}));
        let options = fixture.options(&with_state(&directory));
        let mut workers: Vec<_> = (0..8)
            .map(|_| worker(&["threads", "8"], &options))
            .collect();
        workers.iter_mut().for_each(Worker::go);
        for worker in workers {
            let report = worker.report();
            assert_eq!(report["faults"], json!([]), "{report}");
        }
        let seen = fixture.portal.seen();
        assert_eq!(
            (seen.renewals, seen.renewal_requests, seen.spent_tokens),
            (1, 1, 0)
        );
        assert_eq!(seen.bad, Vec::<String>::new());
    }
}

#[test]
fn a_process_killed_before_the_answer_loses_nothing() {
    for round in 0..5 {
        let directory = Directory::new(&format!("killed-{round}"));
        let fixture = Fixture::new(&json!({"expired": true}));
        fixture.fault(&json!([{"at": "oauth", "kind": "hang"}]));
        let options = fixture.options(&with_state(&directory));
        let mut killed = worker(&["threads", "4"], &options);
        killed.go();
        while fixture.portal.seen().renewal_requests == 0 {
            std::thread::yield_now();
        }
        killed.kill();
        fixture.portal.release();
        let mut next = worker(&["threads", "1"], &options);
        next.go();
        assert_eq!(next.report()["faults"], json!([]));
        assert_eq!(fixture.portal.seen().renewals, 1);
    }
}

#[test]
fn a_process_killed_at_any_moment_has_stored_what_it_used() {
    let mut random = fastrand::Rng::with_seed(20_261_123);
    let (mut kept, mut unread) = (0, 0);
    for round in 0..24 {
        let directory = Directory::new(&format!("killed-any-{round}"));
        let fixture = Fixture::new(&json!({"expired": true, "oauth_latency_ms": 5}));
        let options = fixture.options(&with_state(&directory));
        let mut killed = worker(&["threads", "4"], &options);
        killed.go();
        while fixture.portal.seen().renewals == 0 {
            std::thread::yield_now();
        }
        // A random moment around the storing of the pair, which takes a time that depends on the
        // machine.
        let latest = 1000 << (round % 8);
        let moment = Instant::now() + Duration::from_micros(random.u64(0..latest));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        killed.kill();
        let log = fixture.portal.seen().log;
        let used = log
            .iter()
            .any(|entry| entry.path.starts_with("/rest/") && entry.answer.status == 200);
        let stored = std::fs::read_dir(&directory.0)
            .expect("the state directory")
            .any(|file| file.is_ok_and(|f| f.path().extension().is_some_and(|e| e == "tokens")));
        assert!(stored || !used, "the new token was used and not stored");
        let mut next = worker(&["threads", "1"], &options);
        next.go();
        let report = next.report();
        if stored {
            kept += 1;
            assert_eq!(report["faults"], json!([]), "the pair was stored");
            assert_eq!(fixture.portal.seen().spent_tokens, 0);
        } else {
            // Killed before it could store the answer, which is lost for any client.
            unread += 1;
        }
    }
    println!("killed at a random moment: {kept} had stored the pair, {unread} had not come so far");
    assert!(kept > 0, "no kill came late enough to prove anything");
}

#[test]
fn who_comes_later_starts_from_the_stored_pair() {
    let directory = Directory::new("later");
    let fixture = Fixture::new(&json!({"expired": true}));
    let options = fixture.options(&with_state(&directory));
    for _ in 0..3 {
        let mut worker = worker(&["threads", "2"], &options);
        worker.go();
        let report = worker.report();
        assert_eq!(report["faults"], json!([]));
        assert_ne!(report["access_token"], json!("access-0000000000000001"));
    }
    let seen = fixture.portal.seen();
    let counts = (seen.renewals, seen.renewal_requests, seen.spent_tokens);
    assert_eq!(counts, (1, 1, 0));
}

/// Settings may be of any age and have any name of the portal: a process with any token of the
/// installation finds it, and only one renews.
#[test]
fn processes_with_old_and_new_settings_renew_once() {
    const ROUNDS: usize = 12;
    let directory = Directory::new("settings");
    let fixture = Fixture::new(&json!({"expired": true}));
    let port = fixture.portal.http_port();
    let mut pairs = vec![(
        fixture.own("access-0000000000000001"),
        fixture.own(RENEWAL[0].1),
    )];
    let resolve = (0..=ROUNDS)
        .map(|number| format!("name{number}.bitrix24.test:{port}:127.0.0.1"))
        .collect::<Vec<_>>()
        .join(",");
    for round in 0..ROUNDS {
        let mut workers: Vec<_> = (0..5)
            .map(|number| {
                // A new name for the portal in each round, and tokens of any age.
                let name = format!("name{}.bitrix24.test", round + number % 2);
                let portal = format!("http://{name}:{port}");
                let (access, refresh) = &pairs[(round * number) % pairs.len()];
                let mut options = fixture.options(&[
                    ("client_id", RENEWAL[1].1),
                    ("client_secret", RENEWAL[2].1),
                    ("state_dir", directory.path()),
                ]);
                for (name, value) in [
                    ("portal", portal.as_str()),
                    ("resolve", &resolve),
                    ("refresh_token", refresh),
                    ("access_token", access),
                ] {
                    options.retain(|(known, _)| known != name);
                    options.push((name.to_owned(), value.to_owned()));
                }
                worker(&["threads", "3"], &options)
            })
            .collect();
        workers.iter_mut().for_each(Worker::go);
        for worker in workers {
            let report = worker.report();
            assert_eq!(report["faults"], json!([]), "round {round}: {report}");
        }
        let seen = fixture.portal.seen();
        assert_eq!(seen.spent_tokens, 0, "round {round}");
        assert_eq!(fixture.portal.tokens()["lost"], false, "round {round}");
        let tokens = fixture.portal.tokens();
        let text = |name: &str| tokens[name].as_str().expect(name).to_owned();
        pairs.push((text("access_token"), text("refresh_token")));
        fixture.fault(&json!([{"kind": "expire", "at": "update"}]));
    }
    println!(
        "{ROUNDS} rounds of 5 processes with 3 threads: {} renewals, none of a spent token",
        fixture.portal.seen().renewals
    );
}

/// A process may find a pair that it took over refused at once, and renew it before the process
/// that had renewed it has finished.
#[test]
fn whoever_is_told_a_pair_shares_its_renewals() {
    let fixture = Fixture::new(&json!({"expired": true}));
    let mut config = b24_stress::config(&fixture.options(&RENEWAL)).expect("a configuration");
    let (tell, told) = std::sync::mpsc::channel();
    config.on_renewal(move |tokens| {
        if tell.send(tokens.clone()).is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let teller = Client::new(&config).expect("a client");
    let update = |client: &Client, id| client.message_status_update(CODE, id, Status::Sent);
    std::thread::scope(|scope| {
        // The portal refuses the new pair too, and a call renews once: the second one renews again.
        scope.spawn(|| {
            update(&teller, "m1").expect_err("refused");
            update(&teller, "m1").expect("renewed again");
        });
        let tokens = told.recv().expect("a renewed pair");
        drop(told);
        let again = json!({"expired": true, "oauth_latency_ms": 1000});
        fixture.portal.set(&again).expect("settings");
        let mut options = RENEWAL.to_vec();
        options[0].1 = tokens.refresh_token();
        options.push(("access_token", tokens.access_token()));
        update(&fixture.client(&options), "m2").expect("renewed again");
    });
    let seen = fixture.portal.seen();
    assert_eq!((seen.spent_tokens, seen.bad), (0, Vec::new()));
}
