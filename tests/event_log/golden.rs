//! Logs of every version of the format that was ever released must be read for ever. A golden file is never edited.

use super::*;

/// The files of a small log with a full segment: their names in `tests/golden`, and their paths in the log.
const FILES: [(&str, &str); 5] = [
    ("log-meta-v1.hex", "meta"),
    ("log-segment-full-v1.hex", "partition-00000/00000000000000000000.log"),
    ("log-index-v1.hex", "partition-00000/00000000000000000000.index"),
    ("log-segment-last-v1.hex", "partition-00000/00000000000000000004.log"),
    ("log-end-v1.hex", "partition-00000/end"),
];

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn golden(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(golden_path(name)).expect("a golden file");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits are text");
        u8::from_str_radix(pair, 16).expect("two digits")
    };
    digits.chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    let line =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

/// The golden file that has another name since logs have an identity.
const META_V2: &str = "log-meta-v2.hex";
/// Where the identity is in `meta`, and where the checksum is.
const IDENTITY: std::ops::Range<usize> = 16..32;

/// The log that version 1 wrote, in a directory.
fn log_of_version_1() -> TempDir {
    let dir = tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("partition-00000")).expect("created");
    for (name, file) in FILES {
        fs::write(dir.path().join(file), golden(name)).expect("written");
    }
    dir
}

/// The same file with another byte at `at`, and a correct checksum.
pub(super) fn resealed(path: &Path, at: usize, byte: u8, checksum_at: usize) {
    let mut bytes = fs::read(path).expect("read");
    bytes[at] = byte;
    let checksum = crc32fast::hash(&bytes[..checksum_at]).to_le_bytes();
    bytes[checksum_at..][..4].copy_from_slice(&checksum);
    fs::write(path, bytes).expect("written");
}

#[test]
fn what_a_log_is_written_as_today_is_version_1_with_a_meta_of_version_2() {
    let dir = closed_log(6, 200);
    for (name, file) in FILES {
        let mut bytes = fs::read(dir.path().join(file)).expect("the log has such a file");
        let name = if file == "meta" { META_V2 } else { name };
        let text = fs::read_to_string(golden_path(name)).expect("a golden file");
        if file == "meta" {
            // The identity is drawn at random.
            bytes[IDENTITY].copy_from_slice(&golden(name)[IDENTITY]);
            let checksum = crc32fast::hash(&bytes[..IDENTITY.end]).to_le_bytes();
            bytes[IDENTITY.end..].copy_from_slice(&checksum);
        }
        assert_eq!(
            hex(&bytes),
            text,
            "{name} is written differently now: that needs a new version"
        );
    }
}

#[test]
fn a_meta_of_version_2_is_read_and_names_the_log() {
    let dir = log_of_version_1();
    fs::write(dir.path().join("meta"), golden(META_V2)).expect("written");
    assert_eq!(read_all(dir.path()), expected(0..6));
    let reader = LogReader::<String>::open(dir.path()).expect("opens");
    assert_eq!(reader.id().to_string(), "0f0e0d0c0b0a09080706050403020100");
    assert_eq!(open(dir.path(), LogOptions::default()).id(), reader.id());
}

#[test]
fn a_log_of_version_1_has_no_identity_and_gets_none() {
    let dir = log_of_version_1();
    let mut log = open(dir.path(), LogOptions::default());
    append(&mut log, 6..8);
    assert_eq!(log.id(), LogId::UNKNOWN);
    log.close().expect("closed");
    let reader = LogReader::<String>::open(dir.path()).expect("opens");
    assert_eq!(reader.id(), LogId::UNKNOWN);
    reader.check().expect("it is the same log");
    assert_eq!(fs::read(dir.path().join("meta")).expect("read"), golden("log-meta-v1.hex"));
}

#[test]
fn a_log_of_version_1_is_read_and_written_on() {
    let dir = log_of_version_1();
    assert_eq!(read_all(dir.path()), expected(0..6));
    let mut log = open(dir.path(), LogOptions::default());
    assert_eq!(log.repairs(), []);
    append(&mut log, 6..8);
    log.close().expect("closed");
    assert_eq!(read_all(dir.path()), expected(0..8));
}

#[test]
fn a_log_of_another_version_or_codec_is_refused_by_name_and_stays_as_it_is() {
    let meta = ("meta", 16);
    let segment = ("partition-00000/00000000000000000004.log", 28);
    for (file, checksum_at) in [meta, segment] {
        for (at, byte, expected) in [(8, 3, (3, 1)), (10, 2, (1, 2))] {
            let dir = log_of_version_1();
            let damaged = dir.path().join(file);
            resealed(&damaged, at, byte, checksum_at);
            let before = fs::read(&damaged).expect("read");
            let refusals = [refused(dir.path()), try_read_all(dir.path()).expect_err("refused")];
            for refusal in refusals {
                match refusal {
                    LogError::UnsupportedFormat { path, version, codec } => {
                        assert_eq!((path, (version, codec)), (damaged.clone(), expected));
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(fs::read(&damaged).expect("read"), before);
        }
    }
}

#[test]
fn an_index_of_another_version_is_not_used_but_made_again() {
    let dir = log_of_version_1();
    let index = dir.path().join("partition-00000/00000000000000000000.index");
    let whole = fs::read(&index).expect("read");
    let mut later = whole.clone();
    later[8] = 2;
    later[12..16].fill(0);
    let checksum = crc32fast::hash(&later).to_le_bytes();
    later[12..16].copy_from_slice(&checksum);
    fs::write(&index, later).expect("written");
    assert_eq!(read_all(dir.path()), expected(0..6), "readers do without");
    drop(open(dir.path(), LogOptions::default()));
    assert_eq!(fs::read(&index).expect("made again"), whole);
}
