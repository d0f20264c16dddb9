//! The address of a PostgreSQL database: what `tokio-postgres` reads, and how TLS is used, of which
//! that crate knows less than libpq.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};

/// A PostgreSQL database, and how to connect to it. It may hold a password, which neither `Debug`
/// nor the name shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    /// The file of root certificates, instead of those that are trusted otherwise.
    pub(crate) root_certificates: Option<PathBuf>,
    /// What it is called in messages.
    pub(crate) name: String,
}

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing: what is sent is encrypted, if at all.
    Any,
    /// That a trusted authority has issued it.
    Issuer,
    /// And that it has the name of the host.
    IssuerAndName,
}

/// A server of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The path of its socket.
    Socket(PathBuf),
    /// Its name, which its certificate has; where it is, if that is not to be looked up; its port.
    Host {
        name: String,
        address: Option<std::net::IpAddr>,
        port: u16,
    },
}

const DEFAULT_PORT: u16 = 5432;

impl PostgresUrl {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETER=VALUE`. The message of a fault
    /// says nothing of the text, which may hold a password.
    pub(crate) fn read(url: &str) -> Result<Self, String> {
        // The protocol ends texts by it.
        if url.contains("%00") {
            return Err(UNREADABLE.to_owned());
        }
        check_signs(url)?;
        let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
        let mut ssl_mode = None;
        let mut root_certificates = None;
        let mut others = Vec::new();
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => ssl_mode = Some(mode),
                Some(("sslrootcert", file)) => root_certificates = Some(decoded(file)?),
                Some((name @ ("sslcert" | "sslkey" | "passfile" | "service"), _)) => {
                    return Err(format!("has {name}, which this library does not know"));
                }
                // As libpq has it, also for directories of sockets.
                Some(("host", hosts)) => {
                    let hosts = hosts.replace("%2C", ",").replace("%2c", ",");
                    others.extend(hosts.split(',').map(|host| format!("host={host}")));
                }
                _ => others.push(parameter.to_owned()),
            }
        }
        let mut text = base.to_owned();
        if !others.is_empty() {
            text = format!("{text}?{}", others.join("&"));
        }
        let mut config: Config = text.parse().map_err(|_| UNREADABLE.to_owned())?;
        let (mode, trust) = match (ssl_mode.unwrap_or("prefer"), &root_certificates) {
            ("disable", _) => (SslMode::Disable, Trust::Any),
            ("prefer", _) => (SslMode::Prefer, Trust::Any),
            // As libpq does it.
            ("require", None) => (SslMode::Require, Trust::Any),
            ("require", Some(_)) | ("verify-ca", _) => (SslMode::Require, Trust::Issuer),
            ("verify-full", _) => (SslMode::Require, Trust::IssuerAndName),
            _ => {
                return Err(
                    "has an sslmode that this library does not know; it takes disable, prefer, \
                     require, verify-ca or verify-full"
                        .to_owned(),
                );
            }
        };
        config.ssl_mode(mode);
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("names no host; for a socket give its directory, as in \
                        postgres:///DATABASE?host=/run/postgresql"
                .to_owned());
        }
        if cfg!(windows) && names_a_socket(&config) {
            return Err(
                "names a directory of sockets, which PostgreSQL does not have on Windows; give \
                        the name or address of the server"
                    .to_owned(),
            );
        }
        if config.get_channel_binding() == ChannelBinding::Require {
            return Err("has channel_binding=require, which this library cannot do".to_owned());
        }
        if config.get_load_balance_hosts() != LoadBalanceHosts::Disable {
            return Err(
                "has load_balance_hosts, but all hosts of a store must be one database; leave it out"
                    .to_owned(),
            );
        }
        if config.get_application_name().is_none() {
            config.application_name("b24-messageservice");
        }
        let root_certificates = root_certificates
            .filter(|file| file != "system")
            .map(PathBuf::from);
        let mut read = Self {
            name: String::new(),
            config,
            trust,
            root_certificates,
        };
        read.name = read.described();
        Ok(read)
    }

    fn described(&self) -> String {
        let servers: Vec<String> = self.servers().iter().map(Server::to_string).collect();
        let user = self.config.get_user();
        let database = self.config.get_dbname().or(user).unwrap_or_default();
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        format!("postgres://{user}{}/{database}", servers.join(","))
    }

    /// The servers, in the order in which they are tried.
    pub(crate) fn servers(&self) -> Vec<Server> {
        let hosts = self.config.get_hosts();
        let addresses = self.config.get_hostaddrs();
        let ports = self.config.get_ports();
        (0..hosts.len().max(addresses.len()))
            .map(|at| {
                let port = ports.get(at).or(ports.first()).copied();
                let port = port.unwrap_or(DEFAULT_PORT);
                let address = addresses.get(at).copied();
                match (hosts.get(at), address) {
                    #[cfg(unix)]
                    (Some(Host::Unix(directory)), _) => {
                        Server::Socket(directory.join(format!(".s.PGSQL.{port}")))
                    }
                    #[cfg(not(unix))]
                    (Some(Host::Tcp(name)), _) if name.starts_with('/') => {
                        Server::Socket(PathBuf::from(name))
                    }
                    (Some(Host::Tcp(name)), address) => Server::Host {
                        name: name.clone(),
                        address,
                        port,
                    },
                    (_, address) => Server::Host {
                        name: address.map(|ip| ip.to_string()).unwrap_or_default(),
                        address,
                        port,
                    },
                }
            })
            .collect()
    }

    /// Whether a server that cannot be written is passed over.
    pub(crate) fn wants_writable(&self) -> bool {
        self.config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite
    }

    pub(crate) fn uses_tls(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }

    /// How long connecting may take, if the address says so.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        self.config.get_connect_timeout().copied()
    }
}

fn names_a_socket(config: &Config) -> bool {
    let is_path = |host: &Host| matches!(host, Host::Tcp(name) if name.starts_with('/'));
    config.get_hosts().iter().any(is_path)
}

const UNREADABLE: &str = "is not the address of a PostgreSQL database that can be read; it takes \
    postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters as %XX, and after ? the \
    parameters host, hostaddr, port, user, password, dbname, sslmode, sslrootcert, connect_timeout, \
    application_name, options and target_session_attrs";

/// A password with a sign that has a meaning in addresses would be read as a host, which is shown.
fn check_signs(url: &str) -> Result<(), String> {
    let Some((_, rest)) = url.split_once("://") else {
        return Ok(());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let signs = rest.matches('@').count();
    if signs == 0 || (signs == 1 && authority.contains('@')) {
        return Ok(());
    }
    Err(
        "has an @ that does not end the user and the password, or one of / ? # before it: in a user, a \
         password or a parameter write %40 for @, %2F for /, %3F for ? and %23 for #"
            .to_owned(),
    )
}

fn decoded(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| UNREADABLE.to_owned())
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Host { name, port, .. } => write!(f, "{name}:{port}"),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Hash for PostgresUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_nowhere_to_be_seen() {
        let url = "postgres://sms:s3cret@db.example.com/receipts?sslmode=verify-full";
        let read = PostgresUrl::read(url).unwrap();
        assert_eq!(read.name, "postgres://sms@db.example.com:5432/receipts");
        assert_eq!(format!("{read:?}"), read.name);
        assert_eq!(read.trust, Trust::IssuerAndName);
        for wrong in [
            "postgres://sms:s3cret@db.example.com:port/receipts",
            "postgres://sms:s3cret@db.example.com/receipts?sslmode=s3cret",
            "postgres://sms:s3cret@db.example.com/receipts?s3cret=1",
            "postgres://sms:s3cret@/receipts",
        ] {
            let fault = PostgresUrl::read(wrong).unwrap_err();
            assert!(!fault.contains("s3cret"), "{fault}");
        }
    }

    #[test]
    fn several_servers_have_their_own_ports() {
        let url = "postgresql://sms@one:6000,two:6001/receipts?target_session_attrs=read-write";
        let read = PostgresUrl::read(url).unwrap();
        let servers: Vec<String> = read.servers().iter().map(Server::to_string).collect();
        assert_eq!(servers, ["one:6000", "two:6001"]);
        assert!(read.wants_writable());
        for comma in [",", "%2C", "%2c"] {
            let url = format!("postgres:///receipts?host=one{comma}%74wo&port=6000,6001");
            let read = PostgresUrl::read(&url).unwrap();
            let servers: Vec<String> = read.servers().iter().map(Server::to_string).collect();
            assert_eq!(servers, ["one:6000", "two:6001"]);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_directory_is_that_of_a_socket() {
        let read = PostgresUrl::read("postgres://sms@/receipts?host=/run/postgresql&port=5433");
        let servers = read.unwrap().servers();
        let path = PathBuf::from("/run/postgresql/.s.PGSQL.5433");
        assert_eq!(servers, [Server::Socket(path)]);
        for comma in [",", "%2C", "%2c"] {
            let url = format!("postgres:///receipts?host=/one{comma}%2Ftwo&port=6000,6001");
            let read = PostgresUrl::read(&url).unwrap();
            let servers: Vec<String> = read.servers().iter().map(Server::to_string).collect();
            assert_eq!(servers, ["/one/.s.PGSQL.6000", "/two/.s.PGSQL.6001"]);
        }
    }
}
