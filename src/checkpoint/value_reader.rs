//! [`ValueReader`]: reads the bytes of a state piece by piece, where no single type stands for all of it.
//!
//! A stored value is what a user keeps within what the engine keeps: a key before it, timers behind it. When the user's
//! part is read as another type than today's, the parts are read one after the other. The reader knows how each codec
//! writes tuples, structs and options.

use serde::de::DeserializeOwned;

use super::encoded::EncodedState;
use crate::storage::codec::{Bincode, Codec, CodecError, CodecId, MessagePack};

/// The bytes of a state that are not read yet.
#[derive(Debug)]
pub(crate) struct ValueReader<'b> {
    codec: CodecId,
    rest: &'b [u8],
}

impl<'b> ValueReader<'b> {
    pub(crate) fn new(bytes: &'b [u8], codec: CodecId) -> Self {
        Self { codec, rest: bytes }
    }

    /// The next value.
    ///
    /// # Errors
    /// The bytes do not begin with a `T`, or the codec is not known.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<T, CodecError> {
        match self.codec {
            Bincode::ID => Bincode::take(&mut self.rest),
            MessagePack::ID => MessagePack::take(&mut self.rest),
            codec => Err(CodecError::Unknown { codec }),
        }
    }

    /// A tuple of this many elements begins; they are read next. At most 15.
    ///
    /// # Errors
    /// Something else begins here.
    pub(crate) fn begin_tuple(&mut self, elements: u8) -> Result<(), CodecError> {
        self.expect_head(0x90 | elements, "a tuple")
    }

    /// A struct of this many fields begins; they are read next, each behind its name. At most 15.
    ///
    /// # Errors
    /// Something else begins here.
    pub(crate) fn begin_struct(&mut self, fields: u8) -> Result<(), CodecError> {
        self.expect_head(0x80 | fields, "a struct")
    }

    /// The next value is this field.
    ///
    /// # Errors
    /// It is another field.
    pub(crate) fn field(&mut self, name: &'static str) -> Result<(), CodecError> {
        let is_named = self.codec == MessagePack::ID;
        if is_named && self.read::<String>()? != name {
            return Err(unexpected(name));
        }
        Ok(())
    }

    /// Whether an option has a value, which is read next.
    ///
    /// # Errors
    /// There is no option here.
    pub(crate) fn has_some(&mut self) -> Result<bool, CodecError> {
        const NIL: u8 = 0xc0;
        match (self.codec, self.rest.split_first()) {
            (_, None) => Err(unexpected("an option")),
            (MessagePack::ID, Some((&NIL, rest))) => {
                self.rest = rest;
                Ok(false)
            }
            (MessagePack::ID, _) => Ok(true),
            _ => Ok(self.read::<u8>()? != 0),
        }
    }

    /// # Errors
    /// There are more bytes.
    pub(crate) fn end(self, type_name: &'static str) -> Result<(), CodecError> {
        match self.rest {
            [] => Ok(()),
            _ => Err(CodecError::TrailingBytes { type_name }),
        }
    }

    fn expect_head(&mut self, head: u8, what: &'static str) -> Result<(), CodecError> {
        if self.codec == MessagePack::ID {
            let (first, rest) = self.rest.split_first().ok_or_else(|| unexpected(what))?;
            if *first != head {
                return Err(unexpected(what));
            }
            self.rest = rest;
        }
        Ok(())
    }
}

impl EncodedState {
    /// Reads all of the bytes piece by piece.
    ///
    /// # Errors
    /// What `read` returns, or that it has left bytes.
    pub(crate) fn read_with<T>(
        &self,
        read: impl FnOnce(&mut ValueReader<'_>) -> Result<T, CodecError>,
    ) -> Result<T, CodecError> {
        let mut reader = ValueReader::new(&self.bytes, self.codec);
        let value = read(&mut reader)?;
        reader.end(std::any::type_name::<T>())?;
        Ok(value)
    }
}

fn unexpected(expected: &'static str) -> CodecError {
    CodecError::Decode { type_name: expected, source: "something else is stored there".into() }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::checkpoint::StateCodec;

    #[derive(Serialize)]
    struct Around {
        state: Option<(u8, String)>,
        rest: Vec<u32>,
    }

    #[test]
    fn what_a_codec_has_written_is_read_in_pieces_up_to_its_end() {
        for codec in [StateCodec::POSITIONAL, StateCodec::SELF_DESCRIBING] {
            for state in [None, Some((7, "seven".to_owned()))] {
                let around = Around { state: state.clone(), rest: vec![1, 70_000] };
                let encoded = EncodedState::of(&("key", around), codec).expect("encoded");
                let read = |reader: &mut ValueReader<'_>| {
                    reader.begin_tuple(2)?;
                    let key: String = reader.read()?;
                    reader.begin_struct(2)?;
                    reader.field("state")?;
                    let state = match reader.has_some()? {
                        true => Some(reader.read::<(u8, String)>()?),
                        false => None,
                    };
                    reader.field("rest")?;
                    Ok((key, state, reader.read::<Vec<u32>>()?))
                };
                let given_back = encoded.read_with(read).expect("read");
                assert_eq!(given_back, ("key".to_owned(), state, vec![1, 70_000]));
                for cut in 0..encoded.bytes.len() {
                    let bytes = encoded.bytes[..cut].to_vec();
                    assert!(EncodedState { codec, bytes }.read_with(read).is_err(), "cut at {cut}");
                }
                let mut longer = encoded.clone();
                longer.bytes.push(0);
                assert!(longer.read_with(read).is_err(), "a byte too many");
            }
        }
    }
}
