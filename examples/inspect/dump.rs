//! The state of one instance as bytes, and the texts in them, which are found without their type.
//!
//! State is written with bincode, which stores neither types nor names. A text can be found
//! nevertheless: it is stored unchanged after its length.

use streamwork::BoxError;
use streamwork::checkpoint::{CheckpointStore, DirectoryStore, PartName, Recovered, StateCodec};

use crate::Verdict;
use crate::words::counted;

/// Shorter texts are more often chance than text.
const TEXT_BYTES_MIN: usize = 4;

/// Bytes of a line.
const LINE_BYTES: usize = 16;

pub(crate) fn part(
    store: &DirectoryStore,
    start: Option<Recovered>,
    name: &str,
) -> Result<Verdict, BoxError> {
    let manifest = start.ok_or("no checkpoint was ever complete")?.manifest;
    let wanted = parse(name)?;
    let Some(state) = store.read_part(&manifest, &wanted)? else {
        let names: Vec<_> = manifest.parts.iter().map(|part| part.name.to_string()).collect();
        let (checkpoint, names) = (manifest.checkpoint, names.join(", "));
        return Err(format!("checkpoint {checkpoint} has no {wanted}, but {names}").into());
    };
    println!(
        "{wanted} in checkpoint {} of execution {}: {}",
        manifest.checkpoint,
        manifest.execution,
        counted(state.bytes.len() as u64, "byte")
    );
    if state.codec == StateCodec::SELF_DESCRIBING {
        let value: serde_json::Value = state.decode()?;
        println!("written with the names of its fields:\n\n{value:#}");
        return Ok(Verdict::Sound);
    }
    let state = state.bytes;
    println!("written with bincode, which does not describe itself: only the job knows the type\n");
    for (number, line) in state.chunks(LINE_BYTES).enumerate() {
        let ascii: String = line.iter().map(|byte| visible(*byte)).collect();
        println!("{:08x}  {:<47}  {ascii}", number * LINE_BYTES, spaced(line));
    }
    let texts = texts(&state);
    if !texts.is_empty() {
        println!("\nwhat reads as text:");
    }
    for (at, text) in texts {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => {
                println!("{at:08x}  JSON: {value:#}");
            }
            _ => println!("{at:08x}  {text:?}"),
        }
    }
    Ok(Verdict::Sound)
}

/// Bytes without spaces, a long run cut.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > 32 { format!("{shown}…") } else { shown }
}

fn parse(name: &str) -> Result<PartName, BoxError> {
    let parsed = name
        .strip_suffix(']')
        .and_then(|name| name.rsplit_once('['))
        .and_then(|(component, instance)| Some(PartName::new(component, instance.parse().ok()?)));
    parsed.ok_or_else(|| format!("{name} is not of the form component[0]").into())
}

fn visible(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' }
}

fn spaced(line: &[u8]) -> String {
    line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Every text that follows its length, or the whole if it is text.
fn texts(state: &[u8]) -> Vec<(usize, &str)> {
    if let Some(text) = readable(state) {
        return vec![(0, text)];
    }
    let mut found = Vec::new();
    let mut at = 0;
    while at + 8 < state.len() {
        let (length, rest) = state[at..].split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes were split off"));
        let text = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        match text.and_then(readable) {
            Some(text) => {
                found.push((at + 8, text));
                at += 8 + text.len();
            }
            None => at += 1,
        }
    }
    found
}

fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_text = |c: char| !c.is_control() || c.is_whitespace();
    (text.len() >= TEXT_BYTES_MIN && text.chars().all(is_text)).then_some(text)
}
