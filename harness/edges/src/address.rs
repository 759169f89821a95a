//! Addresses of servers, as all programs read them: once, strictly, and all in the same way. Pure.
//!
//! Libraries that read addresses leniently send to places that nobody meant: a port of 99999 became
//! port 80, and `127.1` means 127.0.0.1. Here an address means exactly what is written, or it is an
//! error that shows the text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What an address may consist of.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Schemes, with the port that each has where none is written.
    schemes: &'static [(&'static str, u16)],
    /// The scheme that is assumed if none is written. If this is `None`, a scheme must be written.
    scheme: Option<&'static str>,
    user: Part,
    path: Part,
    query: Part,
    /// What it is an address of.
    kind: &'static str,
    /// How such an address is written.
    example: &'static str,
}

/// Whether a part may be in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    May,
    MustNot,
}

/// Where audit events are posted to.
pub const WEBHOOK: Form = Form {
    schemes: &[("http", 80), ("https", 443)],
    scheme: None,
    user: Part::MustNot,
    path: Part::May,
    query: Part::May,
    kind: "webhook address",
    example: "https://vector.example:8443/events",
};

/// ClickHouse's HTTP interface. The client would drop a query in the address.
pub const CLICKHOUSE: Form = Form {
    schemes: &[("http", 80), ("https", 443)],
    scheme: None,
    user: Part::MustNot,
    path: Part::May,
    query: Part::MustNot,
    kind: "ClickHouse address",
    example: "http://127.0.0.1:8123",
};

/// A server of NATS.
pub const NATS: Form = Form {
    schemes: &[("nats", 4222), ("tls", 4222)],
    scheme: Some("nats"),
    user: Part::May,
    path: Part::MustNot,
    query: Part::MustNot,
    kind: "NATS address",
    example: "nats://127.0.0.1:4222",
};

/// What shows audit events over HTTP.
pub const QUERY_API: Form = Form {
    schemes: &[("http", 80), ("https", 443)],
    scheme: None,
    user: Part::MustNot,
    path: Part::May,
    query: Part::MustNot,
    kind: "address of a query API",
    example: "https://activity.example:6443",
};

/// A page that is read: metrics, and answers of Prometheus.
pub const PAGE: Form = Form {
    schemes: &[("http", 80), ("https", 443)],
    scheme: None,
    user: Part::MustNot,
    path: Part::May,
    query: Part::May,
    kind: "address to read from",
    example: "http://127.0.0.1:9598/metrics",
};

/// An address, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// In lower case.
    pub scheme: &'static str,
    pub host: Host,
    /// As written, or the scheme's own.
    pub port: u16,
    is_port_written: bool,
    /// From the first slash on, or empty.
    pub path: String,
    /// What follows the question mark, if there is one.
    pub query: Option<String>,
}

/// A name, or the address that is written instead of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Ip(IpAddr),
}

/// Why a text is no address. The message never shows a user or password from the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is no {kind}: {fact}; write it like {example}")]
pub struct AddressError {
    /// The text, without what may be secret in it.
    pub shown: String,
    pub fact: &'static str,
    kind: &'static str,
    example: &'static str,
}

impl Form {
    /// Says that a text is no such address.
    pub fn error(&self, text: &str, fact: &'static str) -> AddressError {
        let &Self { kind, example, .. } = self;
        AddressError { shown: without_secrets(text), fact, kind, example }
    }
}

impl Host {
    /// As a socket takes it: without the brackets of an IPv6 address.
    pub fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Ip(ip) => ip.to_string(),
        }
    }
}

impl Address {
    /// Reads an address: scheme, host and port are exactly those that are written.
    ///
    /// # Errors
    ///
    /// Returns [`AddressError`] with what is wrong.
    pub fn read(text: &str, form: &Form) -> Result<Self, AddressError> {
        Self::parts(text, form).map_err(|fact| form.error(text, fact))
    }

    fn parts(text: &str, form: &Form) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("it has white space in it");
        }
        if !text.is_ascii() {
            return Err("it has letters beyond ASCII; write a name of such as xn--…");
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => (form.scheme.ok_or("its scheme is missing")?, text),
        };
        let known = form.schemes.iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme));
        let &(scheme, scheme_port) =
            known.ok_or("its scheme is not one of those that can be used")?;
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if fragment.is_some() {
            return Err("it has a fragment (#), which is never sent to a server");
        }
        if form.query == Part::MustNot && query.is_some() {
            return Err("it must not hold a query");
        }
        if form.path == Part::MustNot && !matches!(path, "" | "/") {
            return Err("it must not hold a path");
        }
        if path.contains(UNSAFE) || query.is_some_and(|query| query.contains(UNSAFE)) {
            return Err("its path has a character that must be written with a %");
        }
        let place = match authority.rsplit_once('@') {
            Some(_) if form.user == Part::MustNot => {
                return Err("it must not hold a user or password");
            }
            Some((_, place)) => place,
            None => authority,
        };
        let (host, port) = host_and_port(place)?;
        if port == Some(0) {
            return Err(PORT);
        }
        Ok(Self {
            scheme,
            host,
            port: port.unwrap_or(scheme_port),
            is_port_written: port.is_some(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
        })
    }

    /// Whether it is spoken to through TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.scheme, "https" | "tls")
    }

    /// Host and port, as for a connection.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Path and query, as a request names them.
    pub fn target(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        path.to_owned() + &query
    }

    /// Host, and port if one is written: what HTTP calls the authority.
    pub fn authority(&self) -> String {
        if self.is_port_written { self.place() } else { self.host.to_string() }
    }
}

/// The address without user and password; an address is recorded and shown like this.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.path)
    }
}

/// Addresses of IPv6 stand in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// Reads an address to listen at, like `127.0.0.1:9464`; port 0 takes a free port.
///
/// # Errors
///
/// Returns what is wrong, for the command line, which names the text itself.
pub fn read_listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = |fact: &str| format!("{fact}; write it like 127.0.0.1:9464");
    match host_and_port(text) {
        Ok((Host::Ip(ip), Some(port))) => Ok(SocketAddr::new(ip, port)),
        Ok((Host::Ip(_), None)) => Err(wrong("its port is missing")),
        Ok((Host::Name(_), _)) => Err(wrong("its host must be an IP address")),
        Err(fact) => Err(wrong(fact)),
    }
}

/// Makes sure that a flag's text is the address of a page, for the command line.
///
/// # Errors
///
/// Returns what is wrong.
pub fn read_page(text: &str) -> Result<String, String> {
    let wrong = |error: AddressError| format!("{}; write it like {}", error.fact, error.example);
    Address::read(text, &PAGE).map(|_| text.to_owned()).map_err(wrong)
}

/// Returns a text without what may be a user, a password, or a key in a query, and with nothing in
/// it that a terminal obeys.
pub fn without_secrets(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // A password may contain characters that end a host, so everything before the last @ is left
    // out.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}{}", rest.split(['?', '#']).next().unwrap_or_default())
}

/// Reads `host`, `host:port` or `[address]:port`.
fn host_and_port(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, after) = rest.split_once(']').ok_or("its bracket is not closed")?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| "there is no IPv6 address in its brackets")?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(read_port(port)?),
            None if after.is_empty() => None,
            None => return Err("after its bracket comes no colon"),
        };
        return Ok((Host::Ip(ip.into()), port));
    }
    let (host, port) = cut(text, ':');
    if port.is_some_and(|port| port.contains(':')) {
        return Err("it has several colons: write an IPv6 address in brackets");
    }
    Ok((read_host(host)?, port.map(read_port).transpose()?))
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    if text.is_empty() {
        return Err("it names no host");
    }
    let labels: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Resolvers take numbers of many kinds for addresses: 127.1, 0x7f000001, 2130706433.
    if is_number(last) || last.starts_with("0x") || last.starts_with("0X") {
        let ip: Ipv4Addr = text.parse().map_err(|_| "its host is no IPv4 address")?;
        return Ok(Host::Ip(ip.into()));
    }
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_label = |label: &&str| (1..=63).contains(&label.len()) && label.bytes().all(is_letter);
    if text.len() > 253 || !labels.iter().all(is_label) {
        return Err("its host is not a valid name");
    }
    Ok(Host::Name(text.to_owned()))
}

fn read_port(text: &str) -> Result<u16, &'static str> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().map_err(|_| PORT) } else { Err(PORT) }
}

const PORT: &str = "its port is no number from 1 to 65535";

/// What HTTP lets stand in no path and no query (RFC 3986, section 2).
const UNSAFE: [char; 9] = ['"', '<', '>', '\\', '^', '`', '{', '|', '}'];

/// Cuts a text at a character, if it has it.
fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

#[cfg(test)]
mod tests {
    use async_nats::ServerAddr;
    use hyper::Uri;
    use proptest::prelude::*;

    use super::*;

    const FORMS: [&Form; 5] = [&WEBHOOK, &CLICKHOUSE, &NATS, &QUERY_API, &PAGE];

    #[track_caller]
    fn check(text: &str, form: &Form, expected: Result<(&str, u16, bool), &str>) {
        match (Address::read(text, form), expected) {
            (Ok(address), Ok(expected)) => {
                let found = (address.host.to_string(), address.port, address.is_tls());
                assert_eq!(found, (expected.0.to_owned(), expected.1, expected.2), "{text}");
            }
            (Err(error), Err(fact)) => {
                let error = error.to_string();
                assert!(error.contains(fact), "{text}: {error}");
                assert!(!error.contains("secret"), "{text}: {error}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn host_and_port_are_those_that_are_written() {
        check("http://vector:8080/events", &WEBHOOK, Ok(("vector", 8080, false)));
        check("HTTPS://vector.example", &WEBHOOK, Ok(("vector.example", 443, true)));
        check("https://[::1]?a=b", &WEBHOOK, Ok(("[::1]", 443, true)));
        check("http://[::1]:65535/", &CLICKHOUSE, Ok(("[::1]", 65535, false)));
        check("http://my_host.:1", &PAGE, Ok(("my_host.", 1, false)));
        check("10.0.0.1", &NATS, Ok(("10.0.0.1", 4222, false)));
        check("tls://me:sec:ret@host:4223", &NATS, Ok(("host", 4223, true)));
        check("token@host", &NATS, Ok(("host", 4222, false)));
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for port in ["99999", "65536", "0", "+80", "-1", "", "8o", "18446744073709551696", " 80"] {
            for form in FORMS {
                let scheme = form.schemes[0].0;
                let text = format!("{scheme}://127.0.0.1:{port}");
                let error = Address::read(&text, form).unwrap_err();
                let expected = if port == " 80" { "white space" } else { "1 to 65535" };
                assert!(error.to_string().contains(expected), "{error}");
                assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
            }
        }
        check("", &WEBHOOK, Err("it is empty"));
        check("vector:8080", &WEBHOOK, Err("its scheme is missing"));
        check("ftp://vector/events", &WEBHOOK, Err("its scheme is not one of those"));
        check("http://", &WEBHOOK, Err("names no host"));
        check("http://:80", &WEBHOOK, Err("names no host"));
        check("http://me:secret@vector/", &WEBHOOK, Err("user or password"));
        check("http://me:secret?x@vector/", &WEBHOOK, Err(""));
        check("http://127.1/", &WEBHOOK, Err("no IPv4 address"));
        check("http://0x7f000001/", &WEBHOOK, Err("no IPv4 address"));
        check("http://::1:80/", &WEBHOOK, Err("write an IPv6 address in brackets"));
        check("http://[::1/", &WEBHOOK, Err("not closed"));
        check("http://[1.2.3.4]/", &WEBHOOK, Err("no IPv6 address"));
        check("http://[::1]80/", &WEBHOOK, Err("no colon"));
        check("http://a..b/", &WEBHOOK, Err("its host is not a valid name"));
        check("http://a%20b/", &WEBHOOK, Err("its host is not a valid name"));
        check("http://müller/", &WEBHOOK, Err("beyond ASCII"));
        check("http://a/#b", &WEBHOOK, Err("fragment"));
        check("http://a/?password=secret", &CLICKHOUSE, Err("query"));
        check("nats://a/b", &NATS, Err("path"));
        check("https://a/metrics", &PAGE, Ok(("a", 443, true)));
        check("ftp://a/metrics", &PAGE, Err("its scheme is not one of those"));
    }

    #[test]
    fn addresses_to_listen_at_have_an_ip_address_and_a_port() {
        assert_eq!(read_listen("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(read_listen("[::]:9464").unwrap().to_string(), "[::]:9464");
        for wrong in ["9464", "127.0.0.1", "localhost:9464", "127.0.0.1:99999", ":9464", ""] {
            assert!(read_listen(wrong).unwrap_err().contains("write it like"), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_of_an_address_holds_no_secret() {
        let check = |url, expected| assert_eq!(without_secrets(url), expected, "{url}");
        check("http://127.0.0.1:8080/events", "http://127.0.0.1:8080/events");
        check("https://[::1]:8443/e?key=secret", "https://[::1]:8443/e");
        check("https://me:secret@host/e#x", "https://host/e");
        check("https://me:se?cret@host/e", "https://host/e");
        check("me:secret@host", "host");
    }

    /// Texts that look like addresses, and some that do not.
    fn texts() -> impl Strategy<Value = String> {
        let scheme = prop_oneof!["http://", "https://", "nats://", "tls://", "", "HTTP://", "x://"];
        let user = prop_oneof!["", "[a-z:@]{0,4}@"];
        let host = prop_oneof![
            "[a-z0-9._-]{0,12}",
            r"[0-9]{1,3}(\.[0-9]{1,3}){0,4}",
            r"\[[0-9a-f:.]{0,12}\]?",
            "0x[0-9a-f]{1,8}",
        ];
        let port = prop_oneof!["", ":[0-9]{0,7}", ":[+-][0-9]{1,3}", ":.{0,3}"];
        let path = prop_oneof!["", "/[a-z/]{0,5}", r"[?#/\\].{0,5}"];
        let like = (scheme, user, host, port, path).prop_map(|(scheme, user, host, port, path)| {
            format!("{scheme}{user}{host}{port}{path}")
        });
        prop_oneof![9 => like, 1 => ".{0,20}".prop_map(String::from)]
    }

    /// Host and port as anybody can find them in a text that is an address.
    fn written(text: &str) -> (&str, Option<&str>) {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap();
        let place = authority.rsplit('@').next().unwrap();
        match place.rfind(':').filter(|at| !place[*at..].contains(']')) {
            Some(at) => (&place[..at], Some(&place[at + 1..])),
            None => (place, None),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_text_is_an_error_that_names_it_or_exactly_the_host_and_port_in_it(text in texts()) {
            for form in FORMS {
                let address = match Address::read(&text, form) {
                    Ok(address) => address,
                    Err(error) => {
                        let named = format!("{:?}", without_secrets(&text));
                        prop_assert!(error.to_string().starts_with(&named), "{error}");
                        continue;
                    }
                };
                let (host, port) = written(&text);
                match &address.host {
                    Host::Name(name) => prop_assert_eq!(name, host),
                    Host::Ip(IpAddr::V4(ip)) => prop_assert_eq!(ip.to_string(), host),
                    Host::Ip(IpAddr::V6(ip)) => {
                        prop_assert_eq!(host[1..host.len() - 1].parse(), Ok(*ip));
                    }
                }
                let scheme = form.schemes.iter().find(|(name, _)| *name == address.scheme);
                let own = scheme.unwrap().1;
                let expected = port.map_or(own, |port| port.parse::<u16>().unwrap());
                prop_assert_eq!(address.port, expected);
                prop_assert!(address.port > 0);
            }
        }

        #[test]
        fn those_who_dial_understand_an_address_as_it_was_read(text in texts()) {
            if let Ok(address) = Address::read(&text, &WEBHOOK) {
                let uri: Uri = text.parse().unwrap();
                let port = uri.port_u16().unwrap_or(if address.is_tls() { 443 } else { 80 });
                let host = uri.host().unwrap();
                prop_assert_eq!(port, address.port);
                if let Host::Name(name) = &address.host {
                    prop_assert_eq!(name, host);
                }
            }
            if let Ok(address) = Address::read(&text, &NATS) {
                let server: ServerAddr = text.parse().unwrap();
                prop_assert_eq!(server.port(), address.port);
                let (one, other) = (server.host(), address.host.to_string());
                prop_assert_eq!(one.trim_matches(['[', ']']), other.trim_matches(['[', ']']));
            }
        }
    }
}
