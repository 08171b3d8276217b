//! Base64 as credentials need it.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `bytes` in Base64, padded.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0, |word, (at, &byte)| word | u32::from(byte) << (16 - 8 * at));
        for at in 0..4 {
            let index = (word >> (18 - 6 * at) & 63) as usize;
            let letter = LETTERS.get(index).copied().filter(|_| at <= group.len());
            out.push(char::from(letter.unwrap_or(b'=')));
        }
    }
    out
}

/// The bytes that `text` encodes; with or without padding, nothing else lenient.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut word = 0;
        for (at, letter) in group.iter().enumerate() {
            let value = LETTERS.iter().position(|each| each == letter)?;
            word |= u32::try_from(value).ok()? << (18 - 6 * at);
        }
        let bytes = word.to_be_bytes();
        out.extend(bytes.get(1..group.len()).filter(|part| !part.is_empty())?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_as_the_standard_has_it() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).unwrap(), plain.as_bytes());
        }
        assert!(decode("Z").is_none() && decode("Zg!=").is_none());
    }
}
