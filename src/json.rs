//! A JSON reader for input in which no key may be lost.
//!
//! Promises: reads what `serde_json` reads, and keeps the entries of an object in order, including
//! duplicates, so that they can be refused ([`Json::once`]): some readers use the first duplicate, others the
//! last one. Strings without escapes are borrowed from the bytes. Knows nothing about particular fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// Up to this many entries are compared pairwise; more are sorted first.
const FEW: usize = 8;

/// A value.
#[derive(Debug)]
pub enum Json<'a> {
    Null,

    Bool(bool),

    Number(Number),

    Text(Cow<'a, str>),

    List(Vec<Self>),

    Object(Object<'a>),
}

/// The entries of an object, in order.
pub type Object<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// The value of this key, if it exists and is not null.
pub fn get<'o, 'a>(object: &'o Object<'a>, key: &str) -> Option<&'o Json<'a>> {
    let (_, value) = object.iter().find(|(other, _)| other == key)?;
    (!matches!(value, Json::Null)).then_some(value)
}

/// Returns a duplicate key, if any.
fn twice<'o>(object: &'o Object<'_>) -> Option<&'o str> {
    if object.len() <= FEW {
        let again = |(at, (key, _)): &(usize, &(Cow<'_, str>, _))| {
            object.iter().take(*at).any(|(other, _)| other == key)
        };
        return object.iter().enumerate().find(again).map(|(_, (key, _))| key.as_ref());
    }
    let mut keys: Vec<&str> = object.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().copied())
}

impl Json<'_> {
    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Refuses duplicate keys within one object, at every depth; the error is the key.
    pub fn once(&self) -> Result<(), &str> {
        match self {
            Self::List(items) => items.iter().try_for_each(Self::once),
            Self::Object(object) => {
                twice(object).map_or(Ok(()), Err)?;
                object.iter().try_for_each(|(_, value)| value.once())
            }
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonReader)
    }
}

/// A key: a string, borrowed if possible.
struct JsonKey<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for JsonKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(JsonReader)? {
            Json::Text(text) => Ok(Self(text)),
            other => Err(D::Error::custom(format!("{} is not a key", other.kind()))),
        }
    }
}

struct JsonReader;

impl<'de> Visitor<'de> for JsonReader {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = Vec::new();
        while let Some((JsonKey(key), value)) = entries.next_entry()? {
            object.push((key, value));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn plain(json: &Json<'_>) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => Value::Number(number.clone()),
            Json::Text(text) => Value::String(text.clone().into_owned()),
            Json::List(items) => Value::Array(items.iter().map(plain).collect()),
            Json::Object(object) => {
                Value::Object(object.iter().map(|(key, value)| (key.to_string(), plain(value))).collect())
            }
        }
    }

    #[test]
    fn unique_keys_are_read_as_usual() {
        let text = r#"{"a":[1,-2,0.5,null,true,"x",{"a":{}}],"b":"","\u0063":"\n"}"#;
        let read: Json<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(read.once(), Ok(()));
        assert_eq!(plain(&read), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn duplicate_keys_are_refused_at_every_depth() {
        let many =
            format!(r#"{{{},"a":1,"a":2}}"#, r#""b0":1,"b1":1,"b2":1,"b3":1,"b4":1,"b5":1,"b6":1,"b7":1"#);
        for text in
            [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"a":null}}]"#, r#"{"a":1,"\u0061":2}"#, many.as_str()]
        {
            assert_eq!(serde_json::from_str::<Json<'_>>(text).unwrap().once(), Err("a"), "{text}");
        }
    }
}
