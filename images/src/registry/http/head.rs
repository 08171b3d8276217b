//! The head of a request and of an answer.

use std::io::{self, Read, Write};

use crate::registry::http::{Call, Outgoing};
use crate::registry::proxy::Proxy;
use crate::registry::wire::Stream;

/// The longest head that is read.
const LONGEST: usize = 64 << 10;
/// How many heads of 1xx may come before that of the answer.
const PASSED: usize = 16;
/// The most header lines that are read.
const MOST: usize = 128;

/// The header lines of an answer.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of `name`.
    pub(in crate::registry) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(in crate::registry) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[cfg(test)]
    pub(in crate::registry) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

/// The head of an answer, and the first bytes of its body that came with it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// Whether the connection may be used again.
    pub(super) keep: bool,
    pub(super) rest: Vec<u8>,
}

impl Head {
    /// Reads one head, passing over those with a status of 1xx.
    pub(super) fn read(stream: &mut Stream) -> io::Result<Self> {
        stream.in_time(Self::read_all)
    }

    fn read_all(stream: &mut Stream) -> io::Result<Self> {
        let mut passed = 0;
        let mut bytes = Vec::with_capacity(4096);
        let mut chunk = [0; 4096];
        loop {
            if let Some(head) = parse(&mut bytes)? {
                if (100..200).contains(&head.status) && head.status != 101 {
                    passed += 1;
                    if passed > PASSED {
                        return Err(io::Error::other("no answer, only heads that announce one"));
                    }
                    bytes = head.rest;
                    continue;
                }
                return Ok(head);
            }
            if bytes.len() > LONGEST {
                return Err(io::Error::other("the head of the answer is longer than 64 KiB"));
            }
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }
}

/// Parses a head once it is complete; the bytes after it become `rest`.
fn parse(bytes: &mut Vec<u8>) -> io::Result<Option<Head>> {
    let mut lines = [httparse::EMPTY_HEADER; MOST];
    let mut response = httparse::Response::new(&mut lines);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(io::Error::other(format!("the answer is not HTTP: {error}"))),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let headers = Headers(response.headers.iter().map(|line| (line.name.to_owned(), text(line.value))).collect());
    let says = |word: &str| {
        headers.all("connection").flat_map(|value| value.split(',')).any(|each| each.trim().eq_ignore_ascii_case(word))
    };
    let keep = if response.version == Some(0) { says("keep-alive") } else { !says("close") };
    let status = response.code.unwrap_or_default();
    let rest = bytes.split_off(length);
    Ok(Some(Head { status, headers, keep, rest }))
}

/// Writes the head of `call`.
pub(super) fn write(stream: &mut Stream, call: &Call<'_>, proxy: Option<&Proxy>) -> io::Result<()> {
    let url = call.url;
    // A plain request through a proxy names the whole URL; one by TLS goes through a tunnel.
    let through = proxy.filter(|_| !url.origin.secure);
    let target = if through.is_some() { format!("{}{}", url.origin, url.target) } else { url.target.clone() };
    let mut head = format!("{} {target} HTTP/1.1\r\nHost: {}\r\n", call.method, url.origin.authority());
    head.push_str(concat!("User-Agent: orlop-image/", env!("CARGO_PKG_VERSION"), "\r\n"));
    if let Some(authorization) = through.and_then(|proxy| proxy.authorization.as_ref()) {
        head.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    for (name, value) in &call.headers {
        if value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return Err(io::Error::other(format!("the value of {name} holds a control character")));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match &call.outgoing {
        Outgoing::Nothing if call.method == "GET" || call.method == "HEAD" => {}
        Outgoing::Nothing => head.push_str("Content-Length: 0\r\n"),
        Outgoing::Bytes(bytes) => head.push_str(&format!("Content-Length: {}\r\n", bytes.len())),
        Outgoing::Stream(_, length) => head.push_str(&format!("Content-Length: {length}\r\n")),
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.flush()
}
