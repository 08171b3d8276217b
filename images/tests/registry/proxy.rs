//! A proxy that passes requests on to a registry, and misbehaves where a test says so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether it fetches a blob of this length or a part of it.
    pub(crate) fn fetches_blob(&self) -> bool {
        self.method == "GET" && self.target.contains("/blobs/sha256:")
    }
}

/// Called with the number of bytes of a body that have passed.
pub(crate) type Hook = Arc<dyn Fn(u64) + Send + Sync>;

/// What becomes of a request.
pub(crate) enum Reply {
    /// It is passed on.
    Forward,
    /// It is passed on, and the connection cut after this many bytes of the answer's body.
    Cut(u64),
    /// It is passed on, and nothing more comes after this many bytes of the answer's body.
    Stall(u64),
    /// It is passed on, and the hook sees how much of the answer's body has passed.
    Watch(Hook),
    /// It is answered with this head and body.
    Answer(String, Vec<u8>),
    /// It is answered with this, a byte after each pause, until the other side has had enough.
    Trickle(String, Duration),
}

impl Reply {
    /// An answer with a right length.
    pub(crate) fn answer(status: &str, headers: &[&str], body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        Self::Answer(format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n", body.len()), body)
    }
}

/// A proxy on loopback. It ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    served: Arc<Mutex<u64>>,
}

impl Proxy {
    /// Begins to listen. `decide` is asked about each request, with the number of those before.
    pub(crate) fn start(upstream: SocketAddr, decide: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, served) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let decide = Arc::new(decide);
        let shared = (Arc::clone(&seen), Arc::clone(&served));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (decide, shared) = (Arc::clone(&decide), shared.clone());
                // A conversation that breaks is what the tests are about.
                std::thread::spawn(move || converse(stream, upstream, &*decide, &shared).ok());
            }
        });
        Self { address, seen, served }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many bytes of bodies of blobs have passed.
    pub(crate) fn served(&self) -> u64 {
        *self.served.lock().unwrap()
    }
}

type Shared = (Arc<Mutex<Vec<Seen>>>, Arc<Mutex<u64>>);

/// Reads the head of a message, and what came after it.
fn head(reader: &mut impl BufRead) -> std::io::Result<(String, Vec<(String, String)>)> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok((first.trim_end().to_owned(), headers)),
        }
    }
}

fn converse(
    stream: TcpStream,
    upstream: SocketAddr,
    decide: &(dyn Fn(&Seen, usize) -> Reply + Send + Sync),
    (seen, served): &Shared,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (line, headers) = head(&mut reader)?;
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let request = Seen { method: word(), target: word(), headers };
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let length: u64 = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or_default();
    let reply = decide(&request, count);
    if let Reply::Answer(head, body) = &reply {
        std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
        let mut stream = stream;
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        stream.write_all(body)?;
        return stream.shutdown(Shutdown::Both);
    }
    if let Reply::Trickle(text, pause) = &reply {
        let mut stream = stream;
        return text.bytes().try_for_each(|byte| {
            std::thread::sleep(*pause);
            stream.write_all(&[byte])
        });
    }
    let mut server = TcpStream::connect(upstream)?;
    server.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    server.write_all(format!("{text}\r\n").as_bytes())?;
    // A registry that refuses a body closes the connection; what it has said is passed back.
    std::io::copy(&mut reader.take(length), &mut server).ok();
    pass_back(server, stream, &request, &reply, served)
}

fn pass_back(
    server: TcpStream,
    mut stream: TcpStream,
    request: &Seen,
    reply: &Reply,
    served: &Mutex<u64>,
) -> std::io::Result<()> {
    let mut answer = BufReader::new(server);
    let (line, headers) = head(&mut answer)?;
    let mut text = format!("{line}\r\nConnection: close\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    let mut passed = 0_u64;
    let mut buffer = [0; 16 << 10];
    loop {
        let room = match reply {
            Reply::Cut(limit) | Reply::Stall(limit) => usize::try_from(limit - passed).unwrap().min(buffer.len()),
            _ => buffer.len(),
        };
        if room == 0 {
            if matches!(reply, Reply::Stall(_)) {
                std::thread::sleep(Duration::from_secs(4));
            }
            return stream.shutdown(Shutdown::Both);
        }
        let count = answer.read(&mut buffer[..room])?;
        if count == 0 {
            return stream.shutdown(Shutdown::Both);
        }
        stream.write_all(&buffer[..count])?;
        passed += count as u64;
        if request.fetches_blob() {
            *served.lock().unwrap() += count as u64;
        }
        if let Reply::Watch(hook) = reply {
            hook(passed);
        }
    }
}
