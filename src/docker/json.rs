//! JSON without duplicate keys.
//!
//! Promises: reads what `serde_json` reads, but a key that occurs twice in one object is an error: a reader of the first
//! one and a reader of the last one would do different things. Texts without escapes are borrowed from the bytes.
//! Knows nothing of fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// Up to this many entries are compared pairwise; more are sorted first.
const FEW: usize = 8;

/// A value read strictly.
#[derive(Debug)]
pub(super) enum Strict<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// An object.
    Object(Object<'a>),
    /// A list; only ever shown.
    List(Vec<Strict<'a>>),
    /// Null, a truth value or a number.
    Other(Value),
}

/// The entries of an object, in order.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Strict<'a>)>);

impl<'a> Object<'a> {
    /// The value of this key, if it exists and is not null.
    pub(super) fn get(&self, key: &str) -> Option<&Strict<'a>> {
        let (_, value) = self.0.iter().find(|(other, _)| other == key)?;
        (!matches!(value, Strict::Other(Value::Null))).then_some(value)
    }

    /// Everything, nulls included.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Strict<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    fn twice(&self) -> Option<&str> {
        if self.0.len() <= FEW {
            let again = |(at, (key, _)): &(usize, &(Cow<'a, str>, _))| {
                self.0.iter().take(*at).any(|(other, _)| other == key)
            };
            return self.0.iter().enumerate().find(again).map(|(_, (key, _))| key.as_ref());
        }
        let mut keys: Vec<&str> = self.entries().map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().copied())
    }
}

impl fmt::Display for Strict<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.plain())
    }
}

impl Strict<'_> {
    fn plain(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::List(items) => Value::Array(items.iter().map(Strict::plain).collect()),
            Self::Object(object) => {
                Value::Object(object.entries().map(|(key, value)| (key.to_owned(), value.plain())).collect())
            }
            Self::Other(value) => value.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Strict<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// A key: a text, borrowed where it can be.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Reader)? {
            Strict::Text(text) => Ok(Self(text)),
            other => Err(D::Error::custom(format!("{other} is not a key"))),
        }
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Strict<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Strict::Other(Value::Null))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Strict::Other(Value::Bool(flag)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Strict::Other(Value::Number(number.into())))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Strict::Other(Value::Number(number.into())))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Strict::Other(Number::from_f64(number).map_or(Value::Null, Value::Number)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Strict::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Strict::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Strict::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = Object(Vec::new());
        while let Some((Key(key), value)) = entries.next_entry()? {
            object.0.push((key, value));
        }
        if let Some(key) = object.twice() {
            let shown = crate::text::cut(key, 100);
            return Err(A::Error::custom(format!("duplicate key {shown:?}")));
        }
        Ok(Strict::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_once_is_read_as_ever() {
        let text = r#"{"a":[1,-2,0.5,null,true,"x",{"a":{}}],"b":"","\u0063":"\n"}"#;
        let strict: Strict<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(strict.plain(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_stands_twice_is_refused_at_every_depth() {
        let many =
            format!(r#"{{{},"a":1,"a":2}}"#, r#""b0":1,"b1":1,"b2":1,"b3":1,"b4":1,"b5":1,"b6":1,"b7":1"#);
        for text in
            [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"a":null}}]"#, r#"{"a":1,"\u0061":2}"#, many.as_str()]
        {
            let error = serde_json::from_str::<Strict<'_>>(text).err().unwrap().to_string();
            assert!(error.contains("duplicate key \"a\""), "{error}");
        }
    }
}
