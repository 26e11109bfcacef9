//! Bytes in JSON: as text where they are UTF-8, else as `{"base64": "…"}`. Never as an array of numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelled<'a> {
    Text(std::borrow::Cow<'a, str>),
    Encoded { base64: String },
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let spelled = match std::str::from_utf8(bytes) {
        Ok(text) => Spelled::Text(text.into()),
        Err(_) => Spelled::Encoded { base64: STANDARD.encode(bytes) },
    };
    spelled.serialize(serializer)
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    match Spelled::deserialize(deserializer)? {
        Spelled::Text(text) => Ok(text.into_owned().into_bytes()),
        Spelled::Encoded { base64 } => STANDARD.decode(base64).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(transparent)]
    struct Bytes(#[serde(with = "super")] Vec<u8>);

    #[test]
    fn bytes_are_text_where_they_can_be() {
        for (bytes, json) in [(&b"a\n"[..], r#""a\n""#), (b"", r#""""#), (b"\xff\0", r#"{"base64":"/wA="}"#)] {
            assert_eq!(serde_json::to_string(&Bytes(bytes.to_vec())).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bytes>(json).unwrap().0, bytes);
        }
        assert!(serde_json::from_str::<Bytes>(r#"{"base64":"!"}"#).is_err());
    }
}
