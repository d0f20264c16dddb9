//! What an operator's or provider's own words for a status mean.

use super::error::{Error, ErrorKind};
use super::shown::shown;
use super::status::Status;
use std::collections::BTreeMap;

/// What a word says: a status, or why it says none.
type Meaning = Result<Status, &'static str>;

const QUEUED: Meaning = Ok(Status::Queued);
const SENT: Meaning = Ok(Status::Sent);
const DELIVERED: Meaning = Ok(Status::Delivered);
const UNDELIVERED: Meaning = Ok(Status::Undelivered);
const FAILED: Meaning = Ok(Status::Failed);

/// The states of SMPP, as numbers of `message_state` and as words.
///
/// SMPP 3.4, section 5.2.28: the numbers 1 to 8 and their names. Appendix B: the short names in the
/// text of a receipt (`stat:DELIVRD`). SMPP 5.0, section 4.7.15, adds 0 and 9.
///
/// - ACCEPTED is final in the standard, for a message that customer service read to the subscriber.
///   Operators use it for a message that they have taken over, which says less, so it is `sent`.
/// - DELETED, REJECTED, SKIPPED ("accepted but not transmitted"): nobody tried to deliver it to the end.
/// - UNKNOWN is "message is in invalid state": the operator does not know what became of the message.
///   That is neither a success nor a failure, and a final status could not be taken back.
const SMPP: &[(&[&str], Meaning)] = &[
    (&["0", "scheduled"], QUEUED),
    (&["1", "enroute"], SENT),
    (&["2", "delivrd", "delivered"], DELIVERED),
    (&["3", "expired"], UNDELIVERED),
    (&["4", "deleted"], FAILED),
    (&["5", "undeliv", "undeliverable"], UNDELIVERED),
    (&["6", "acceptd", "accepted"], SENT),
    (
        &["7", "unknown"],
        Err("that the operator does not know what became of the message"),
    ),
    (&["8", "rejectd", "rejected"], FAILED),
    (&["9", "skipped"], FAILED),
];

/// The ranges of TP-Status, first and last number: GSM 03.40 and 3GPP TS 23.040, section 9.2.3.15.
///
/// Numbers that are not here are reserved. What is left to each service centre has the meaning of
/// the group in which it is, if that says what becomes of the message.
const GSM: &[(u8, u8, Meaning)] = &[
    // The transaction is completed: the message was received;
    (0x00, 0x00, DELIVERED),
    // it was forwarded, but "the SC is unable to confirm delivery";
    (0x01, 0x01, SENT),
    // it was replaced by another one, so that itself it arrives no more;
    (0x02, 0x02, UNDELIVERED),
    // it was completed in a way that only the service centre knows.
    (
        0x10,
        0x1F,
        Err("something that each service centre defines for itself"),
    ),
    // A temporary error, and the service centre still tries.
    (0x20, 0x25, SENT),
    (0x30, 0x3F, SENT),
    // A permanent error: also that the message expired (0x46),
    (0x40, 0x46, UNDELIVERED),
    // that it was deleted, by its sender or by the service centre,
    (0x47, 0x48, FAILED),
    // or that the service centre no longer has it.
    (0x49, 0x49, UNDELIVERED),
    (0x50, 0x5F, UNDELIVERED),
    // A temporary error, but the service centre tries no more.
    (0x60, 0x65, UNDELIVERED),
    (0x70, 0x7F, UNDELIVERED),
];

const INBOUND: Meaning = Err("that a message is an incoming one");

/// `MessageStatus` of Twilio's callbacks, and `status` of its Message resource:
/// <https://www.twilio.com/docs/messaging/api/message-resource#message-status-values>
///
/// With `sending` Twilio has not handed the message over yet. Who has `read` a message has received
/// it. `partially_delivered` is not here: it says what became of some recipients of several.
const TWILIO: &[(&[&str], Meaning)] = &[
    (&["queued"], QUEUED),
    (&["accepted"], QUEUED),
    (&["scheduled"], QUEUED),
    (&["sending"], QUEUED),
    (&["sent"], SENT),
    (&["delivered"], DELIVERED),
    (&["read"], DELIVERED),
    (&["undelivered"], UNDELIVERED),
    (&["failed"], FAILED),
    (&["canceled"], FAILED),
    (&["receiving"], INBOUND),
    (&["received"], INBOUND),
];

/// The names of the vocabularies that are known here.
const NAMES: [&str; 3] = ["smpp", "gsm", "twilio"];

/// What an operator's or provider's own words for a status mean.
///
/// Words compare without case and surrounding spaces. In the vocabularies `smpp` and `gsm` a number
/// may be written in decimal or, with `0x`, in hexadecimal: `2`, `0x02`. A word that says nothing about
/// the delivery of a message is an error, as is one that is not known: neither is guessed at.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    name: String,
    has_numbers: bool,
    words: BTreeMap<String, Meaning>,
}

impl Vocabulary {
    /// An empty vocabulary, for words of the host's own. Its name is for messages.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            has_numbers: false,
            words: BTreeMap::new(),
        }
    }

    /// A vocabulary that is known here: `smpp` (the states in receipts and the numbers of `message_state`),
    /// `gsm` (the numbers of TP-Status) or `twilio` (`MessageStatus`).
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for any other name.
    pub fn named(name: &str) -> Result<Self, Error> {
        let known = NAMES
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!(
                        "vocabulary {} is not one of {}; make your own from its words",
                        shown(name),
                        NAMES.join(", ")
                    ),
                )
            })?;
        let words = match known {
            "smpp" => words(SMPP),
            "gsm" => GSM
                .iter()
                .flat_map(|(first, last, meaning)| {
                    (*first..=*last).map(|number| (number.to_string(), *meaning))
                })
                .collect(),
            _ => words(TWILIO),
        };
        Ok(Self {
            name: known.to_owned(),
            has_numbers: known != "twilio",
            words,
        })
    }

    /// Sets what a word means. It replaces what the word meant before.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for an empty word, and for a status that the
    /// portal does not have.
    pub fn set(&mut self, word: &str, status: impl AsRef<str>) -> Result<&mut Self, Error> {
        let status: Status = status.as_ref().parse()?;
        let key = self.key(word);
        if key.is_empty() {
            return Err(self.fault("cannot have an empty word"));
        }
        self.words.insert(key, Ok(status));
        Ok(self)
    }

    /// What a word means.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the word is not known, or says nothing about the
    /// delivery of a message.
    pub fn status(&self, word: &str) -> Result<Status, Error> {
        match self.words.get(&self.key(word)) {
            Some(Ok(status)) => Ok(*status),
            Some(Err(said)) => Err(self.fault(&format!(
                "says with {} {said}; it is not a status, unless you set which",
                shown(word.trim())
            ))),
            None => Err(self.fault(&format!(
                "does not have the word {}; set what it means",
                shown(word.trim())
            ))),
        }
    }

    /// The form in which a word is kept. Numbers are kept in decimal.
    fn key(&self, word: &str) -> String {
        let word = word.trim().to_lowercase();
        let hexadecimal = word.strip_prefix("0x").filter(|digits| {
            self.has_numbers && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_hexdigit())
        });
        match hexadecimal.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(number)) => number.to_string(),
            _ => word,
        }
    }

    fn fault(&self, fault: &str) -> Error {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("vocabulary {} {fault}", shown(&self.name)),
        )
    }
}

fn words(table: &[(&[&str], Meaning)]) -> BTreeMap<String, Meaning> {
    table
        .iter()
        .flat_map(|(words, meaning)| words.iter().map(|word| ((*word).to_owned(), *meaning)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Vocabulary;
    use crate::values::error::ErrorKind;
    use crate::values::status::Status;

    fn fault(vocabulary: &Vocabulary, word: &str) -> String {
        let error = vocabulary.status(word).expect_err(word);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    }

    #[test]
    fn knows_every_state_of_smpp() {
        let smpp = Vocabulary::named("smpp").unwrap();
        let table = [
            ("SCHEDULED", "SCHEDULED", 0, Status::Queued),
            ("ENROUTE", "ENROUTE", 1, Status::Sent),
            ("DELIVRD", "DELIVERED", 2, Status::Delivered),
            ("EXPIRED", "EXPIRED", 3, Status::Undelivered),
            ("DELETED", "DELETED", 4, Status::Failed),
            ("UNDELIV", "UNDELIVERABLE", 5, Status::Undelivered),
            ("ACCEPTD", "ACCEPTED", 6, Status::Sent),
            ("REJECTD", "REJECTED", 8, Status::Failed),
            ("SKIPPED", "SKIPPED", 9, Status::Failed),
        ];
        for (short, long, number, status) in table {
            let words = [
                short.to_owned(),
                short.to_lowercase(),
                format!(" {long}\n"),
                number.to_string(),
                format!("0x{number:x}"),
                format!("0X{number:02X}"),
            ];
            for word in words {
                assert_eq!(smpp.status(&word), Ok(status), "{word}");
            }
        }
        for word in ["UNKNOWN", "7", "0x07"] {
            let fault = fault(&smpp, word);
            assert!(fault.contains(&format!("{word:?}")), "{fault}");
            assert!(fault.contains("does not know what became"), "{fault}");
        }
    }

    #[test]
    fn knows_every_number_of_gsm() {
        let gsm = Vocabulary::named("GSM").unwrap();
        for number in 0..=0xFF_u8 {
            let expected = match number {
                0x00 => Some(Status::Delivered),
                0x01 | 0x20..=0x25 | 0x30..=0x3F => Some(Status::Sent),
                0x02 | 0x40..=0x46 | 0x49 | 0x50..=0x5F | 0x60..=0x65 | 0x70..=0x7F => {
                    Some(Status::Undelivered)
                }
                0x47 | 0x48 => Some(Status::Failed),
                _ => None,
            };
            for word in [
                number.to_string(),
                format!("0x{number:02x}"),
                format!(" 0x{number:X} "),
            ] {
                assert_eq!(gsm.status(&word).ok(), expected, "{word}");
            }
        }
        assert!(fault(&gsm, "0x1f").contains("each service centre"));
        assert!(fault(&gsm, "0x26").contains("does not have the word \"0x26\""));
    }

    #[test]
    fn knows_every_status_of_twilio() {
        let twilio = Vocabulary::named("twilio").unwrap();
        let table = [
            ("queued", Status::Queued),
            ("accepted", Status::Queued),
            ("scheduled", Status::Queued),
            ("sending", Status::Queued),
            ("sent", Status::Sent),
            ("delivered", Status::Delivered),
            ("read", Status::Delivered),
            ("undelivered", Status::Undelivered),
            ("failed", Status::Failed),
            ("canceled", Status::Failed),
        ];
        for (word, status) in table {
            assert_eq!(twilio.status(word), Ok(status), "{word}");
            assert_eq!(twilio.status(&word.to_uppercase()), Ok(status), "{word}");
        }
        for word in ["receiving", "received"] {
            assert!(fault(&twilio, word).contains("incoming"));
        }
        assert!(fault(&twilio, "partially_delivered").contains("does not have the word"));
    }

    #[test]
    fn guesses_at_no_word() {
        for name in ["smpp", "gsm", "twilio"] {
            let vocabulary = Vocabulary::named(name).unwrap();
            for word in [
                "", " ", "lost", "DELIVRDX", "00", "02", "-1", "+2", "2.0", "0x", "0x002", "0x+2",
                "x02", "128", "256", "0xff", "0x100", "1 2", "２",
            ] {
                let fault = fault(&vocabulary, word);
                assert!(fault.contains(&format!("vocabulary {name:?}")), "{fault}");
                assert!(fault.contains(&format!("{:?}", word.trim())), "{fault}");
            }
        }
        let fault = fault(&Vocabulary::new("a\nb"), &"x\ny".repeat(100));
        assert!(fault.len() < 200 && !fault.contains('\n'), "{fault}");
    }

    #[test]
    fn has_words_of_the_host() {
        let mut own = Vocabulary::new("operator");
        assert!(own.set("OK", "Delivered").is_ok());
        assert!(own.set(" Доставлено ", Status::Delivered).is_ok());
        assert!(own.set("0x02", Status::Failed).is_ok());
        assert_eq!(own.status("ok "), Ok(Status::Delivered));
        assert_eq!(own.status("ДОСТАВЛЕНО"), Ok(Status::Delivered));
        assert_eq!(own.status("0X02"), Ok(Status::Failed));
        fault(&own, "2");
        assert!(own.set("x", "arrived").is_err());
        assert!(own.set(" ", "sent").is_err());
        fault(&own, "x");

        let mut smpp = Vocabulary::named("smpp").unwrap();
        assert!(smpp.set("unknown", "undelivered").is_ok());
        assert!(smpp.set("0x07", "undelivered").is_ok());
        assert!(smpp.set("6", "delivered").is_ok());
        assert_eq!(smpp.status("UNKNOWN"), Ok(Status::Undelivered));
        assert_eq!(smpp.status("7"), Ok(Status::Undelivered));
        assert_eq!(smpp.status("0x6"), Ok(Status::Delivered));
    }

    #[test]
    fn lists_the_names() {
        let error = Vocabulary::named("sms\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let text = error.to_string();
        assert!(
            text.contains(r#""sms\n" is not one of smpp, gsm, twilio"#),
            "{text}"
        );
    }
}
