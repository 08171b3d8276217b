//! ttrpc: one request and one response per stream, each a frame of ten bytes and a message.

use crate::proto::{Malformed, Message, decode, encode};

/// The largest message that the protocol allows.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;
const HEADER: usize = 10;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// A flag of a request whose stream stays open for more: unary calls do not have it.
const REMOTE_OPEN: u8 = 2;

messages! {
    Request {
        1 service: String,
        2 method: String,
        3 payload: Vec<u8>,
        4 timeout_nano: i64,
    }
    Response {
        1 status: Option<Status>,
        2 payload: Vec<u8>,
    }
    /// `google.rpc.Status`.
    Status {
        1 code: i32,
        2 message: String,
    }
}

/// The codes of `google.rpc.Code` that are in use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Unavailable = 14,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a call answers: the bytes of a message, or why there is none.
pub(crate) type Answer = Result<Vec<u8>, Failure>;

/// A frame that came in.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    Request {
        stream: u32,
        request: Request,
    },
    Response {
        stream: u32,
        response: Response,
    },
    /// A call that cannot be served; the peer is told why.
    Refused {
        stream: u32,
        failure: Failure,
    },
}

/// Puts frames together from bytes as they come. What it holds is never more than one message and what was read with it.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    /// What is left of a message that is too large to be kept.
    skip: usize,
}

impl Decoder {
    /// Takes bytes that were read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.bytes.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// The next frame, when it is there as a whole.
    pub(crate) fn next(&mut self) -> Option<Incoming> {
        loop {
            let (header, _) = self.bytes.split_first_chunk::<HEADER>()?;
            let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = *header;
            let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
            let stream = u32::from_be_bytes([s0, s1, s2, s3]);
            if length > MAX_MESSAGE {
                self.pass_over(length);
                if kind == REQUEST {
                    let text = format!("a message of {length} bytes is larger than {MAX_MESSAGE}");
                    return Some(Incoming::Refused { stream, failure: Failure::new(Code::ResourceExhausted, text) });
                }
                continue;
            }
            let end = HEADER + length;
            let incoming = read(kind, flags, stream, self.bytes.get(HEADER..end)?);
            self.bytes.drain(..end);
            if self.bytes.is_empty() {
                // Idle connections hold no memory.
                self.bytes = Vec::new();
            }
            if incoming.is_some() {
                return incoming;
            }
        }
    }

    fn pass_over(&mut self, length: usize) {
        let end = HEADER.saturating_add(length);
        let here = end.min(self.bytes.len());
        self.skip = end - here;
        self.bytes.drain(..here);
    }
}

/// What a frame says; `None` for data of streams, which there are none of, and for kinds that are not known.
fn read(kind: u8, flags: u8, stream: u32, data: &[u8]) -> Option<Incoming> {
    let refused = |code, text: &str| Some(Incoming::Refused { stream, failure: Failure::new(code, text) });
    match kind {
        REQUEST if flags & REMOTE_OPEN != 0 => refused(Code::Unimplemented, "calls with streams are not served"),
        REQUEST => match decode(data) {
            Ok(request) => Some(Incoming::Request { stream, request }),
            Err(Malformed) => refused(Code::InvalidArgument, "the request is no ttrpc request"),
        },
        RESPONSE => {
            let status = Status { code: Code::Unknown as i32, message: "the response is no ttrpc response".to_owned() };
            let response = decode(data).unwrap_or(Response { status: Some(status), payload: Vec::new() });
            Some(Incoming::Response { stream, response })
        }
        _ => None,
    }
}

/// The frame of a request.
pub(crate) fn request(stream: u32, request: &Request) -> Vec<u8> {
    frame(stream, REQUEST, request)
}

/// The frame of a response.
pub(crate) fn response(stream: u32, answer: Answer) -> Vec<u8> {
    let response = match answer {
        Ok(payload) if payload.len() < MAX_MESSAGE - 64 => Response { status: None, payload },
        Ok(payload) => failed(&Failure::new(
            Code::ResourceExhausted,
            format!("the answer has {} bytes, and a message at most {MAX_MESSAGE}", payload.len()),
        )),
        Err(failure) => failed(&failure),
    };
    frame(stream, RESPONSE, &response)
}

fn failed(failure: &Failure) -> Response {
    let status = Status { code: failure.code as i32, message: failure.message.clone() };
    Response { status: Some(status), payload: Vec::new() }
}

fn frame(stream: u32, kind: u8, message: &impl Message) -> Vec<u8> {
    let data = encode(message);
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + data.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(&data);
    bytes
}

#[cfg(test)]
mod tests;
