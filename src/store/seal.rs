//! Tokens at rest: sealed with a key from a file, if there is one.
//!
//! What is stored begins with a byte that says how. After 0 come the plain bytes. After 1 come the
//! length of the key's id in one byte, the id, 12 random bytes, and what AES-256-GCM makes of the plain
//! bytes. The header up to the id, and what the bytes are bound to, are authenticated with them.
//!
//! The first byte protects nothing by itself: who can write to the store can replace what is sealed by
//! something plain. Sealing keeps what is stored from being read, and from being moved to another row.

use crate::options::invalid;
use crate::values::error::{Error, ErrorKind};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// The option that names the file.
const OPTION: &str = "store_key_file";
/// More than a thousand keys.
const MAX_FILE_BYTES: u64 = 128 * 1024;
const MAX_ID_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// The keys of the store: the first one seals, and all open. They never change; if a key is unknown,
/// the file is to be read again.
pub(crate) struct Keys(Vec<Key>);

struct Key {
    id: String,
    key: LessSafeKey,
}

/// Why something stored cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealFault {
    /// It was sealed with a key of this id.
    #[error("it is sealed with the key {0:?}, which is not in store_key_file; put its line back")]
    UnknownKey(String),
    /// It is sealed.
    #[error("it is sealed, but store_key_file is not set; set it to the file that has the key")]
    NoKeyFile,
    /// It is not what was sealed, or not with this key, or it is in another row.
    #[error(
        "it is damaged, was moved from another row, or is sealed with another key of the same id; \
         restore the store and store_key_file from a backup, or have the application installed again"
    )]
    Damaged,
}

impl Keys {
    /// No key file: everything is stored as it is.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads a key file: in each line the id of a key and its 32 bytes in hexadecimal or Base64. Empty
    /// lines and those that begin with `#` are skipped.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let fault = |fault: &str| invalid(OPTION, &format!("{} {fault}", path.display()));
        let unreadable = |error: io::Error| fault(&format!("cannot be read: {error}"));
        let file = open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        check(&metadata).map_err(|text| fault(&text))?;
        let mut content = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(unreadable)?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(fault(&format!("has more than {MAX_FILE_BYTES} bytes")));
        }
        parse(&content).map_err(|text| fault(&text)).map(Self)
    }

    /// Seals bytes. They can be opened only with the same `bound_to`.
    ///
    /// It fails only if the system has no random numbers: with others, what is sealed could be read.
    pub(crate) fn seal(&self, plain: &[u8], bound_to: &str) -> Result<Vec<u8>, Error> {
        let Some(Key { id, key }) = self.0.first() else {
            return Ok([&[PLAIN], plain].concat());
        };
        let cannot = |_| Error::new(ErrorKind::Internal, "the system has no random numbers");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(cannot)?;
        let id_length = u8::try_from(id.len()).unwrap_or_default();
        let mut sealed = [&[SEALED, id_length], id.as_bytes()].concat();
        let bound = bound(&sealed, bound_to);
        let mut text = plain.to_vec();
        let nonce_of_key = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce_of_key, bound, &mut text)
            .map_err(|_| Error::new(ErrorKind::Internal, "it is too long to be sealed"))?;
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what was sealed. What was stored plain opens also if there are keys now.
    pub(crate) fn open(&self, sealed: &[u8], bound_to: &str) -> Result<Vec<u8>, SealFault> {
        if let Some((&PLAIN, plain)) = sealed.split_first() {
            return Ok(plain.to_vec());
        }
        let (header, id, rest) = split(sealed).ok_or(SealFault::Damaged)?;
        let (nonce, text) = rest
            .split_first_chunk()
            .filter(|(_, text)| text.len() >= MAX_TAG_LEN)
            .ok_or(SealFault::Damaged)?;
        if self.0.is_empty() {
            return Err(SealFault::NoKeyFile);
        }
        let keys = &self.0;
        let Key { key, .. } = keys
            .iter()
            .find(|known| known.id == id)
            .ok_or_else(|| SealFault::UnknownKey(id.to_owned()))?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .open_in_place(nonce, bound(header, bound_to), &mut text)
            .map_err(|_| SealFault::Damaged)?
            .len();
        text.truncate(plain);
        Ok(text)
    }
}

/// Shows the ids.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")?;
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.id))
            .finish()
    }
}

/// What is authenticated with the sealed bytes. The header says how long it is itself.
fn bound(header: &[u8], bound_to: &str) -> Aad<Vec<u8>> {
    Aad::from([header, bound_to.as_bytes()].concat())
}

/// The header of what was sealed, the key's id in it, and what follows.
fn split(sealed: &[u8]) -> Option<(&[u8], &str, &[u8])> {
    let (&[SEALED, id_length], _) = sealed.split_first_chunk()? else {
        return None;
    };
    let (header, rest) = sealed.split_at_checked(2 + usize::from(id_length))?;
    let id = std::str::from_utf8(header.get(2..)?).ok()?;
    is_id(id).then_some((header, id, rest))
}

fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(allowed)
}

/// Opens a file, without waiting for a writer if it is a named pipe. A directory is opened too, to be
/// refused as such.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const BACKUP_SEMANTICS: u32 = 0x0200_0000;
        options.custom_flags(BACKUP_SEMANTICS);
    }
    options.open(path)
}

/// Whether it is a file that nobody else can read or change. It is the open file that is checked, not
/// what may have another file's name by now.
fn check(metadata: &Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != user && owner != 0 {
            return Err(format!(
                "belongs to the user {owner}; give it to this one: chown {user}, and chmod 600"
            ));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err("is open to other users; chmod 600 closes it to them".to_owned());
        }
    }
    Ok(())
}

/// The keys in the content of a file. The text of an error has the number of a line and nothing of
/// what is in it: whatever is there may be a key.
fn parse(content: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys: Vec<Key> = Vec::new();
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (id, key) = parse_line(line).map_err(|fault| {
            format!(
                "has in line {number} {fault}; a line is the key's id, a space, and the key's 32 bytes \
                 in hexadecimal or Base64"
            )
        })?;
        if keys.iter().any(|known| known.id == id) {
            return Err(format!(
                "has in line {number} the id of an earlier line; each key needs its own"
            ));
        }
        let id = id.to_owned();
        keys.push(Key { id, key });
    }
    if keys.is_empty() {
        return Err(
            "has no key; put a line into it: an id, a space, and what `openssl rand -hex 32` prints"
                .to_owned(),
        );
    }
    Ok(keys)
}

fn parse_line(line: &[u8]) -> Result<(&str, LessSafeKey), &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "something that is not text")?;
    let mut words = line.split_ascii_whitespace();
    let (Some(id), Some(key), None) = (words.next(), words.next(), words.next()) else {
        return Err("not two words");
    };
    if !is_id(id) {
        return Err("an id that is not 1 to 32 letters A-Z a-z, digits, '.', '_' or '-'");
    }
    let bytes = from_hexadecimal(key)
        .or_else(|| from_base64(key))
        .ok_or("a key that is not 32 bytes")?;
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| "a key that is not 32 bytes")?;
    Ok((id, LessSafeKey::new(key)))
}

fn from_hexadecimal(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok())
        .collect();
    bytes?.try_into().ok()
}

/// Decodes 32 bytes of Base64 (RFC 4648, section 4), with its padding or without.
fn from_base64(text: &str) -> Option<[u8; KEY_BYTES]> {
    /// So many characters for 32 bytes and two bits, which are 0.
    const CHARACTERS: usize = 43;
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() != CHARACTERS {
        return None;
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(bytes)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{KEY_BYTES, Keys, NONCE_LEN, SealFault, from_base64, from_hexadecimal, parse};
    use crate::values::error::ErrorKind;
    use std::collections::HashSet;
    use std::fs;
    use std::path::PathBuf;

    const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    const NUMBERS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const NUMBERS_BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const ONES_BASE64: &str = "//////////////////////////////////////////8=";

    fn keys(content: &str) -> Keys {
        Keys(parse(content.as_bytes()).unwrap())
    }

    fn key_fault(content: impl AsRef<[u8]>) -> String {
        parse(content.as_ref()).err().unwrap()
    }

    #[test]
    fn opens_what_it_sealed() {
        let keys = keys(&format!("2025-a {ZEROS}"));
        let long = vec![7; 100_000];
        let mut seen = HashSet::new();
        for plain in [&b""[..], b"token", &[0], &long] {
            for _ in 0..3 {
                let sealed = keys.seal(plain, "row 1").unwrap();
                assert_eq!(&sealed[..8], b"\x01\x062025-a");
                assert_eq!(sealed.len(), 8 + NONCE_LEN + plain.len() + 16);
                assert_eq!(keys.open(&sealed, "row 1").as_deref(), Ok(plain));
                assert!(seen.insert(sealed), "two alike");
            }
        }
        let sealed = keys.seal(b"a-secret-token", "row 1").unwrap();
        assert!(!sealed.windows(8).any(|part| part == b"a-secret"));
    }

    #[test]
    fn stores_plain_bytes_without_a_key_file() {
        let none = Keys::none();
        let stored = none.seal(b"token", "row").unwrap();
        assert_eq!(stored, b"\0token");
        assert_eq!(none.open(&stored, "other").as_deref(), Ok(&b"token"[..]));
        assert_eq!(none.open(b"\0", "row"), Ok(Vec::new()));
        let with_file = keys(&format!("a {ZEROS}"));
        assert_eq!(with_file.open(&stored, "row").as_deref(), Ok(&b"token"[..]));
        let sealed = with_file.seal(b"token", "row").unwrap();
        assert_eq!(none.open(&sealed, "row"), Err(SealFault::NoKeyFile));
    }

    #[test]
    fn seals_with_the_first_key_and_opens_with_all() {
        let old = keys(&format!("old {ZEROS}"));
        let both = keys(&format!("new {NUMBERS}\nold {ZEROS}"));
        let new = keys(&format!("new {NUMBERS_BASE64}"));
        let by_old = old.seal(b"token", "row").unwrap();
        let by_both = both.seal(b"token", "row").unwrap();
        for sealed in [&by_old, &by_both] {
            assert_eq!(both.open(sealed, "row").as_deref(), Ok(&b"token"[..]));
        }
        assert_eq!(new.open(&by_both, "row").as_deref(), Ok(&b"token"[..]));
        let unknown = SealFault::UnknownKey("old".to_owned());
        assert_eq!(new.open(&by_old, "row"), Err(unknown.clone()));
        assert!(unknown.to_string().contains("the key \"old\""));
        // The same id, and another key.
        let replaced = keys(&format!("old {NUMBERS}"));
        assert_eq!(replaced.open(&by_old, "row"), Err(SealFault::Damaged));
    }

    #[test]
    fn binds_to_the_row() {
        let keys = keys(&format!("a {ZEROS}"));
        let sealed = keys.seal(b"token", "row 1").unwrap();
        for other in ["", "row 2", "row 1 ", "row ", "arow 1"] {
            assert_eq!(
                keys.open(&sealed, other),
                Err(SealFault::Damaged),
                "{other}"
            );
        }
    }

    #[test]
    fn opens_nothing_that_was_changed() {
        let keys = keys(&format!("k1 {ZEROS}\nk2 {ZEROS}"));
        let sealed = keys.seal(b"token", "row").unwrap();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                match keys.open(&changed, "row") {
                    Err(SealFault::Damaged) => {}
                    // The id: of no key. Of the other one it is damaged, although its bytes are the same.
                    Err(SealFault::UnknownKey(_)) => assert!((1..4).contains(&at), "{at}"),
                    // The first byte: what is sealed is taken for something plain, and not opened.
                    Ok(plain) => assert!((at, bit) == (0, 0) && plain == sealed[1..]),
                    fault => panic!("{at} {bit}: {fault:?}"),
                }
            }
        }
        let mut other_key = sealed.clone();
        other_key[3] = b'2';
        assert_eq!(keys.open(&other_key, "row"), Err(SealFault::Damaged));
        for length in 0..sealed.len() {
            let fault = keys.open(&sealed[..length], "row");
            assert_eq!(fault, Err(SealFault::Damaged), "{length}");
            let fault = Keys::none().open(&sealed[..length], "row").unwrap_err();
            let has_all_parts = length >= 4 + NONCE_LEN + 16;
            assert_eq!(fault == SealFault::NoKeyFile, has_all_parts, "{length}");
        }
        assert!(keys.open(&[&sealed[..], b"x"].concat(), "row").is_err());
        assert!(keys.open(&[2; 100], "row").is_err());
        assert!(keys.open(&[1; 100], "row").is_err());
        assert!(keys.open(b"\x01\x00\x00", "row").is_err());
    }

    #[test]
    fn reads_hexadecimal_and_base64() {
        let numbers: [u8; KEY_BYTES] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(from_hexadecimal(NUMBERS), Some(numbers));
        assert_eq!(from_base64(NUMBERS_BASE64), Some(numbers));
        assert_eq!(from_base64(&NUMBERS_BASE64[..43]), Some(numbers));
        assert_eq!(from_base64(ONES_BASE64), Some([0xFF; KEY_BYTES]));
        for wrong in [
            "",
            "=",
            &NUMBERS[1..],
            &NUMBERS[2..],
            &format!("{NUMBERS}00"),
            &format!("{}g", &NUMBERS[1..]),
            &format!("+{}", &NUMBERS[1..]),
            &NUMBERS_BASE64[1..],
            &format!("{NUMBERS_BASE64}="),
            &format!("={}", &NUMBERS_BASE64[..43]),
            &NUMBERS_BASE64.replace("h8=", "h9="),
            &ONES_BASE64.replace('/', "_"),
            &ONES_BASE64.replacen('/', "é", 1),
        ] {
            assert!(from_hexadecimal(wrong).is_none(), "{wrong}");
            assert!(from_base64(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn reads_lines() {
        let content = format!(
            "# keys\r\n\n  a.b_C-9\t{NUMBERS}  \r\n#{ZEROS}\n   # x\n{} {ONES_BASE64}",
            "i".repeat(32)
        );
        let shown = format!("{:?}", keys(&content));
        assert_eq!(shown, format!("Keys[\"a.b_C-9\", \"{}\"]", "i".repeat(32)));
    }

    #[test]
    fn says_which_line_is_wrong_and_not_what_is_in_it() {
        let long = "i".repeat(33);
        let secret = "c0ffee";
        let table = [
            (
                format!("# x\n\nk {secret}"),
                "line 3 a key that is not 32 bytes",
            ),
            (format!("k {ZEROS}\n{secret}"), "line 2 not two words"),
            (format!("k {ZEROS} {secret}"), "line 1 not two words"),
            (format!("{secret}/ {ZEROS}"), "line 1 an id that is not"),
            (format!("{long} {ZEROS}"), "line 1 an id that is not"),
            (format!("{ZEROS} k"), "line 1 an id that is not"),
            (
                format!("k {ZEROS}\nl {ZEROS}\nk {ZEROS}"),
                "line 3 the id of an earlier",
            ),
            (String::new(), "has no key"),
            ("\n# k\n".to_owned(), "has no key"),
        ];
        for (content, fault) in table {
            let text = key_fault(&content);
            assert!(text.contains(fault), "{content}: {text}");
            for part in [secret, ZEROS, &long] {
                assert!(!text.contains(part), "{text}");
            }
        }
        assert!(key_fault(b"k \xff").contains("line 1 something that is not text"));
    }

    #[test]
    fn says_what_to_do() {
        assert!(
            SealFault::NoKeyFile
                .to_string()
                .contains("set it to the file")
        );
        assert!(SealFault::Damaged.to_string().contains("from a backup"));
    }

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("b24-seal-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, content: &str) -> PathBuf {
            let path = self.0.join("keys");
            fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn file_fault(path: &std::path::Path) -> String {
        let error = Keys::read(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("store_key_file {}", path.display())),
            "{text}"
        );
        text
    }

    #[cfg(unix)]
    #[test]
    fn reads_only_a_file_of_its_own() {
        use std::os::unix::fs::{PermissionsExt, chown, symlink};
        let directory = Directory::new("modes");
        let path = directory.file(&format!("k {ZEROS}\n"));
        let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o600, 0o400, 0o700] {
            set_mode(mode);
            assert_eq!(format!("{:?}", Keys::read(&path).unwrap()), "Keys[\"k\"]");
        }
        for bit in 0..6 {
            set_mode(0o600 | 1 << bit);
            assert!(file_fault(&path).contains("chmod 600"), "{bit}");
        }
        set_mode(0o600);
        // As a secret that a container gets: a link to the file.
        let link = directory.0.join("link");
        symlink(&path, &link).unwrap();
        assert!(Keys::read(&link).is_ok());
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(12345), None).unwrap();
            let text = file_fault(&path);
            assert!(
                text.contains("12345") && text.contains("chmod 600"),
                "{text}"
            );
        }
        assert!(file_fault(&directory.0).contains("not a regular file"));
        let pipe = directory.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        fs::set_permissions(&pipe, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(file_fault(&pipe).contains("not a regular file"));
    }

    #[test]
    fn says_why_a_file_cannot_be_read() {
        let directory = Directory::new("files");
        assert!(file_fault(&directory.0.join("none")).contains("cannot be read"));
        let path = directory.file(&"#\n".repeat(100_000));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(file_fault(&path).contains("more than"));
        directory.file("k c0ffee");
        let text = file_fault(&path);
        assert!(
            text.contains("line 1") && !text.contains("c0ffee"),
            "{text}"
        );
    }
}
