//! Messages: method calls as they are sent, and whatever is received.

use super::value::{Reader, Value, pad, write};

const METHOD_CALL: u8 = 1;
pub(in crate::systemd) const METHOD_RETURN: u8 = 2;
pub(in crate::systemd) const ERROR: u8 = 3;
pub(in crate::systemd) const SIGNAL: u8 = 4;

/// A received message.
pub(in crate::systemd) struct Message {
    pub(in crate::systemd) kind: u8,
    pub(in crate::systemd) reply_to: u32,
    pub(in crate::systemd) member: String,
    pub(in crate::systemd) error: String,
    pub(in crate::systemd) body: Vec<Value>,
}

/// A method call to be sent.
pub(in crate::systemd) struct MethodCall<'c> {
    /// The bus name of the service; none on a direct connection.
    pub(in crate::systemd) destination: Option<&'c str>,
    pub(in crate::systemd) path: &'c str,
    pub(in crate::systemd) interface: &'c str,
    pub(in crate::systemd) member: &'c str,
    pub(in crate::systemd) arguments: &'c [Value],
}

impl MethodCall<'_> {
    /// Appends the message to `out`.
    pub(in crate::systemd) fn encode(&self, serial: u32, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let mut signature = String::new();
        for argument in self.arguments {
            write(&mut body, argument);
            signature.push_str(&argument.signature());
        }
        let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::variant(value)]);
        let mut fields = vec![
            field(1, Value::ObjectPath(self.path.to_owned())),
            field(2, Value::string(self.interface)),
            field(3, Value::string(self.member)),
        ];
        if let Some(destination) = self.destination {
            fields.push(field(6, Value::string(destination)));
        }
        if !signature.is_empty() {
            fields.push(field(8, Value::Signature(signature)));
        }
        let mut message = vec![b'l', METHOD_CALL, 0, 1];
        message.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        message.extend(serial.to_le_bytes());
        write(&mut message, &Value::Array("(yv)".to_owned(), fields));
        pad(&mut message, 8);
        out.extend(message);
        out.extend(body);
    }
}

/// The size of the message that starts in `bytes`, once its fixed header of 16 bytes is there.
pub(in crate::systemd) fn size(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..16)?;
    let mut reader = Reader::new(header.get(4..)?, header.first() == Some(&b'B'));
    let body = usize::try_from(reader.u32()?).ok()?;
    let _serial = reader.u32()?;
    let fields = usize::try_from(reader.u32()?).ok()?;
    fields.checked_add(16)?.next_multiple_of(8).checked_add(body)
}

/// Reads one whole message; `None` where it is malformed.
pub(in crate::systemd) fn decode(bytes: &[u8]) -> Option<Message> {
    let big_endian = bytes.first()? == &b'B';
    let kind = *bytes.get(1)?;
    let body_size = usize::try_from(Reader::new(bytes.get(4..)?, big_endian).u32()?).ok()?;
    // The array of fields starts at offset 12, so alignment has to be counted from the message's start.
    let mut reader = Reader::new(bytes, big_endian);
    for _ in 0..3 {
        reader.u32()?;
    }
    let mut message = Message { kind, reply_to: 0, member: String::new(), error: String::new(), body: Vec::new() };
    let mut signature = String::new();
    if let Value::Array(_, fields) = reader.value("a(yv)")? {
        for field in fields {
            let Value::Struct(two) = field else { return None };
            let [Value::Byte(code), Value::Variant(value)] = two.as_slice() else { return None };
            match (code, value.as_ref()) {
                (3, value) => value.as_str()?.clone_into(&mut message.member),
                (4, value) => value.as_str()?.clone_into(&mut message.error),
                (5, Value::Uint32(serial)) => message.reply_to = *serial,
                (8, value) => value.as_str()?.clone_into(&mut signature),
                _ => {}
            }
        }
    }
    let body = bytes.get(bytes.len().checked_sub(body_size)?..)?;
    message.body = Reader::new(body, big_endian).values(&signature)?;
    Some(message)
}
