//! How a file is verified before its content is used. Every file of a checkpoint has this envelope.
//!
//! ```text
//! offset  0       8          10       11                19          19 + length
//!         magic   version    codec    length of body    body        CRC-32 of all before
//!         8       u16        u8       u64               ...         u32
//! ```
//!
//! Numbers are written least significant byte first. The version is the version of the *body*: the envelope itself is the
//! same for ever, so a file of a later version is told apart from a damaged one, and refused by name.

use std::array::TryFromSliceError;

use super::codec::{Bincode, Codec, CodecError, CodecId, MessagePack};

/// Why bytes that were read are not the expected file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file is too short or too long.
    #[error("{what} has not the length it says")]
    Length {
        /// What the file should be.
        what: &'static str,
    },
    /// The file does not begin with the bytes of its kind.
    #[error("not a {what}")]
    Magic {
        /// What the file should be.
        what: &'static str,
    },
    /// A byte differs from what was written.
    #[error("checksum of the {what} does not match")]
    Checksum {
        /// What the file should be.
        what: &'static str,
    },
    /// The file is whole, but a later version of this library wrote it.
    #[error("{what} has format version {found}, the newest known is {newest_known}")]
    UnknownVersion {
        /// What the file is.
        what: &'static str,
        /// The version in the file.
        found: u16,
        /// The newest version that can be read.
        newest_known: u16,
    },
    /// The file is whole, but written with a codec that this build does not have.
    #[error("{what} is written with codec {found}, which is not known")]
    UnknownCodec {
        /// What the file is.
        what: &'static str,
        /// The codec in the file.
        found: CodecId,
    },
    /// The file is whole, but a later version of this library wrote something that must not be ignored.
    #[error("{what} has a field {field} that is not known")]
    UnknownField {
        /// What the file is.
        what: &'static str,
        /// The number of the field.
        field: u16,
    },
    /// Something is missing that every version writes.
    #[error("{what} has no field {field}")]
    MissingField {
        /// What the file is.
        what: &'static str,
        /// The number of the field.
        field: u16,
    },
    /// The file is whole, but its identity is that of another one.
    #[error("found {found} in the place of {expected}")]
    Misplaced {
        /// What was expected here.
        expected: String,
        /// What was found here.
        found: String,
    },
    /// A file that the manifest names does not exist.
    #[error("{expected} is missing")]
    Missing {
        /// What was expected here.
        expected: String,
    },
    /// The checksum is right but the content cannot be decoded.
    #[error(transparent)]
    Content(#[from] CodecError),
}

impl FormatError {
    /// Whether the file is whole but made by another version of the library: then do not set it aside, but
    /// upgrade.
    ///
    /// ```
    /// use streamwork::checkpoint::Manifest;
    ///
    /// assert!(!Manifest::from_bytes(b"rubbish").unwrap_err().is_unknown_format());
    /// ```
    #[must_use]
    pub fn is_unknown_format(&self) -> bool {
        matches!(
            self,
            Self::UnknownVersion { .. } | Self::UnknownCodec { .. } | Self::UnknownField { .. }
        )
    }
}

/// A kind of file: what its envelope begins with.
pub(crate) struct Kind {
    /// The noun for messages.
    pub(crate) what: &'static str,
    /// The first bytes of the file.
    pub(crate) magic: [u8; 8],
    /// The version that is written, and the newest that is read.
    pub(crate) version: u16,
    /// The oldest that is read.
    pub(crate) oldest: u16,
    /// The codecs that its content may have; the first one is the default for writing.
    pub(crate) codecs: &'static [CodecId],
}

/// Bytes that an envelope adds to a body.
pub(crate) const OVERHEAD_BYTES: u64 = (HEAD_BYTES + CHECKSUM_BYTES) as u64;

/// A file around a small body.
pub(crate) fn seal(kind: &Kind, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(kind, kind.codecs[0], body.len() as u64).to_vec();
    bytes.extend_from_slice(body);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The envelope's bytes before a body of `body_bytes`; for bodies too large to be copied.
pub(crate) fn head(kind: &Kind, codec: CodecId, body_bytes: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&kind.magic);
    head[8..10].copy_from_slice(&kind.version.to_le_bytes());
    head[10] = codec.0;
    head[11..].copy_from_slice(&body_bytes.to_le_bytes());
    head
}

/// The body of a file that is one envelope and nothing else.
pub(crate) fn open<'a>(kind: &Kind, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    match open_first(kind, bytes)? {
        (body, []) => Ok(body),
        _ => Err(FormatError::Length { what: kind.what }),
    }
}

/// The version of a file that [`open`] opens.
pub(crate) fn version(bytes: &[u8]) -> u16 {
    bytes.get(8..10).map_or(0, |version| number(version, u16::from_le_bytes))
}

/// The codec of the content of a file that [`open`] opens.
pub(crate) fn codec(bytes: &[u8]) -> CodecId {
    CodecId(bytes.get(10).copied().unwrap_or_default())
}

/// The body of the envelope that a file begins with, and what follows the envelope.
pub(crate) fn open_first<'a>(
    kind: &Kind,
    bytes: &'a [u8],
) -> Result<(&'a [u8], &'a [u8]), FormatError> {
    let what = kind.what;
    if bytes.get(..8).is_some_and(|magic| magic != kind.magic) {
        return Err(FormatError::Magic { what });
    }
    let (head, rest) =
        bytes.split_first_chunk::<HEAD_BYTES>().ok_or(FormatError::Length { what })?;
    let (body, after) = usize::try_from(number(&head[11..], u64::from_le_bytes))
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(FormatError::Length { what })?;
    let (checksum, after) =
        after.split_first_chunk::<CHECKSUM_BYTES>().ok_or(FormatError::Length { what })?;
    if crc32fast::hash(&bytes[..HEAD_BYTES + body.len()]) != u32::from_le_bytes(*checksum) {
        return Err(FormatError::Checksum { what });
    }
    // Only after the checksum is verified can an unknown number mean a later version and not damage.
    known(kind, head)?;
    Ok((body, after))
}

fn known(kind: &Kind, head: &[u8; HEAD_BYTES]) -> Result<(), FormatError> {
    let what = kind.what;
    let found = number(&head[8..10], u16::from_le_bytes);
    if !(kind.oldest..=kind.version).contains(&found) {
        return Err(FormatError::UnknownVersion { what, found, newest_known: kind.version });
    }
    let found = CodecId(head[10]);
    if !kind.codecs.contains(&found) {
        return Err(FormatError::UnknownCodec { what, found });
    }
    Ok(())
}

fn number<'a, T, const N: usize>(bytes: &'a [u8], from: fn([u8; N]) -> T) -> T
where
    [u8; N]: TryFrom<&'a [u8], Error = TryFromSliceError>,
{
    from(bytes.try_into().expect("the caller cuts as many bytes as the number has"))
}

/// Files without state of a user.
pub(crate) const OURS: &[CodecId] = &[Bincode::ID];
/// Files with state.
pub(crate) const STATES: &[CodecId] = &[Bincode::ID, MessagePack::ID];

const HEAD_BYTES: usize = 19;
const CHECKSUM_BYTES: usize = 4;
