//! Frames whole, in parts, too large, and damaged.

use super::*;

fn call(method: &str) -> Request {
    Request {
        service: "containerd.task.v3.Task".to_owned(),
        method: method.to_owned(),
        payload: vec![10, 2, b'a', b'b'],
        timeout_nano: 0,
    }
}

/// A frame by hand: the lengths and numbers as PROTOCOL.md of ttrpc lays them out.
#[test]
fn a_request_has_the_bytes_that_the_protocol_says() {
    let small = Request { service: "s".to_owned(), method: "m".to_owned(), ..Request::default() };
    assert_eq!(request(5, &small), [0, 0, 0, 6, 0, 0, 0, 5, 1, 0, 10, 1, b's', 18, 1, b'm']);
}

#[test]
fn frames_come_out_as_they_went_in_whatever_the_pieces() {
    let mut bytes = request(1, &call("State"));
    bytes.extend(request(3, &call("Kill")));
    bytes.extend(response(3, Ok(vec![8, 1])));
    for piece in [1, 2, 3, 7, 10, 11, 64, 4096] {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for part in bytes.chunks(piece) {
            decoder.feed(part);
            while let Some(incoming) = decoder.next() {
                seen.push(incoming);
            }
        }
        assert_eq!(
            seen,
            [
                Incoming::Request { stream: 1, request: call("State") },
                Incoming::Request { stream: 3, request: call("Kill") },
                Incoming::Response { stream: 3, response: Response { status: None, payload: vec![8, 1] } },
            ],
            "in pieces of {piece}"
        );
        assert_eq!(decoder.bytes.capacity(), 0, "an idle connection holds no memory");
    }
}

#[test]
fn a_message_that_is_too_large_is_refused_and_the_next_one_served() {
    let mut decoder = Decoder::default();
    let length = u32::try_from(MAX_MESSAGE + 1).unwrap();
    decoder.feed(&length.to_be_bytes());
    decoder.feed(&[0, 0, 0, 7, 1, 0]);
    assert!(matches!(
        decoder.next(),
        Some(Incoming::Refused { stream: 7, failure: Failure { code: Code::ResourceExhausted, .. } })
    ));
    let piece = [0u8; 8192];
    let mut left = MAX_MESSAGE + 1;
    while left > 0 {
        let now = left.min(piece.len());
        decoder.feed(&piece[..now]);
        left -= now;
        assert!(decoder.bytes.len() < 2 * piece.len(), "what is passed over is not kept");
    }
    decoder.feed(&request(9, &call("Wait")));
    assert_eq!(decoder.next(), Some(Incoming::Request { stream: 9, request: call("Wait") }));
}

#[test]
fn a_stream_is_refused_and_data_and_unknown_kinds_are_passed_over() {
    let mut bytes = request(1, &call("Stream"));
    bytes[9] = REMOTE_OPEN;
    let mut data = request(1, &call("x"));
    data[8] = 3;
    bytes.extend(data);
    bytes.extend(request(3, &call("Pids")));
    let mut decoder = Decoder::default();
    decoder.feed(&bytes);
    assert!(matches!(
        decoder.next(),
        Some(Incoming::Refused { stream: 1, failure: Failure { code: Code::Unimplemented, .. } })
    ));
    assert_eq!(decoder.next(), Some(Incoming::Request { stream: 3, request: call("Pids") }));
    assert_eq!(decoder.next(), None);
}

#[test]
fn an_answer_that_is_too_large_becomes_an_error() {
    let bytes = response(1, Ok(vec![0; MAX_MESSAGE]));
    assert!(bytes.len() < 1024);
    let mut decoder = Decoder::default();
    decoder.feed(&bytes);
    let Some(Incoming::Response { response, .. }) = decoder.next() else { panic!("no response") };
    assert_eq!(response.status.unwrap().code, Code::ResourceExhausted as i32);
}

/// Whatever comes, the decoder neither panics nor keeps more than a message, and a request that it lets through is written
/// again as one that reads the same.
#[test]
fn mutated_frames_do_no_harm() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let mut whole = request(1, &call("Create"));
    whole.extend(response(1, Err(Failure::new(Code::NotFound, "container not created"))));
    whole.extend(request(3, &call("Exec")));
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(4) {
            let place = random(bytes.len());
            match random(4) {
                0 => bytes[place] = u8::try_from(random(256)).unwrap(),
                1 => bytes[place] ^= 1 << random(8),
                2 => bytes.truncate(place.max(1)),
                _ => bytes.insert(place, u8::try_from(random(256)).unwrap()),
            }
        }
        let mut decoder = Decoder::default();
        for part in bytes.chunks(1 + random(40)) {
            decoder.feed(part);
            while let Some(incoming) = decoder.next() {
                if let Incoming::Request { request: read, .. } = incoming {
                    assert_eq!(decode::<Request>(&encode(&read)), Ok(read));
                }
            }
            assert!(decoder.bytes.len() <= bytes.len());
        }
    }
}
