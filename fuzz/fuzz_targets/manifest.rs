//! The manifest of a checkpoint. What can be read can be written, and reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamwork::checkpoint::Manifest;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    for version in 1..=3 {
        let mut sealed = b"STRWMANI".to_vec();
        sealed.extend_from_slice(&[version, 0, 1]);
        sealed.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        sealed.extend_from_slice(bytes);
        sealed.extend_from_slice(&crc32fast::hash(&sealed).to_le_bytes());
        check(&sealed);
    }
});

fn check(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::from_bytes(bytes) {
        let written = manifest.to_bytes().expect("it can be written");
        assert_eq!(Manifest::from_bytes(&written).expect("it can be read"), manifest);
    }
}
