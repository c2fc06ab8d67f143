//! What a power failure does to each operation: everything that it may do comes up, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

const FILE: &str = "/file";

fn path(name: &str) -> PathBuf {
    Path::new("/").join(name)
}

/// A disk with a file of this content, durable by name and content.
fn with_file(content: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let file = disk.create(Path::new(FILE)).unwrap();
    file.append(content).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// All that is found after a power failure, over many seeds.
fn found<T: Ord>(disk: &SimulatedDisk, look: impl Fn(&SimulatedDisk) -> T) -> BTreeSet<T> {
    let after = (0..2_000).map(|seed| {
        let disk = disk.fork();
        disk.lose_power(seed);
        look(&disk)
    });
    after.collect()
}

fn contents(disk: &SimulatedDisk) -> BTreeSet<Vec<u8>> {
    found(disk, |disk| disk.read(Path::new(FILE)).unwrap())
}

fn names(disk: &SimulatedDisk) -> BTreeSet<Vec<String>> {
    found(disk, |disk| disk.peek(Path::new("/")))
}

fn set<'a>(names: impl IntoIterator<Item = &'a [&'a str]>) -> BTreeSet<Vec<String>> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    names.into_iter().map(owned).collect()
}

#[test]
fn what_was_synchronized_is_there() {
    let disk = with_file(b"abc");
    assert_eq!(contents(&disk), [b"abc".to_vec()].into());
    let file = disk.open_for_writing(Path::new(FILE)).unwrap();
    file.write_at(1, b"x").unwrap();
    file.truncate(2).unwrap();
    file.sync().unwrap();
    assert_eq!(contents(&disk), [b"ax".to_vec()].into());
}

#[test]
fn an_append_may_be_cut_at_any_byte_or_be_zeros_from_there_on() {
    let disk = with_file(b"abc");
    disk.open_for_writing(Path::new(FILE)).unwrap().append(b"defg").unwrap();
    let mut possible = BTreeSet::new();
    for arrived in 0..=4 {
        let cut = [b"abc", &b"defg"[..arrived]].concat();
        let mut filled = cut.clone();
        filled.resize(7, 0);
        possible.extend([cut, filled]);
    }
    assert_eq!(contents(&disk), possible);
}

#[test]
fn a_later_append_may_be_there_without_an_earlier_one() {
    let disk = with_file(b"");
    let file = disk.open_for_writing(Path::new(FILE)).unwrap();
    file.append(b"first").unwrap();
    file.append(b"later").unwrap();
    let contents = contents(&disk);
    for possible in [&b""[..], b"first", b"firstlater", b"\0\0\0\0\0later", b"fir\0\0later"] {
        assert!(contents.contains(possible), "{possible:?}");
    }
}

#[test]
fn a_write_in_place_leaves_the_old_bytes_where_it_did_not_arrive() {
    let disk = with_file(b"abcd");
    disk.open_for_writing(Path::new(FILE)).unwrap().write_at(1, b"xy").unwrap();
    let possible = ["abcd", "axcd", "axyd"].map(|content| content.as_bytes().to_vec());
    assert_eq!(contents(&disk), possible.into());
}

#[test]
fn two_writes_into_different_sectors_are_not_both_torn() {
    let disk = with_file(&[0; 1024]);
    let file = disk.open_for_writing(Path::new(FILE)).unwrap();
    for slot in [0, 512] {
        file.write_at(slot, b"abcd").unwrap();
    }
    for content in contents(&disk) {
        let is_torn =
            |slot: usize| ![b"abcd", &[0; 4]].contains(&&content[slot..][..4].try_into().unwrap());
        assert!(!is_torn(0) || !is_torn(512));
    }
}

#[test]
fn a_truncation_may_be_undone() {
    let disk = with_file(b"abcd");
    disk.open_for_writing(Path::new(FILE)).unwrap().truncate(1).unwrap();
    assert_eq!(contents(&disk), [b"abcd".to_vec(), b"a".to_vec()].into());
    disk.create(Path::new(FILE)).unwrap();
    let possible = [b"abcd".to_vec(), b"a".to_vec(), b"".to_vec()];
    assert_eq!(contents(&disk), possible.into());
}

#[test]
fn names_that_were_given_or_taken_may_be_the_old_or_the_new_ones_each_for_itself() {
    let disk = with_file(b"");
    disk.link(Path::new(FILE), &path("link")).unwrap();
    disk.create(&path("new")).unwrap();
    disk.remove_file(Path::new(FILE)).unwrap();
    let possible: [&[&str]; 8] = [
        &[],
        &["file"],
        &["file", "link"],
        &["file", "link", "new"],
        &["file", "new"],
        &["link"],
        &["link", "new"],
        &["new"],
    ];
    assert_eq!(names(&disk), set(possible));
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(names(&disk), set([&["link", "new"][..]]));
}

#[test]
fn what_is_renamed_has_the_old_name_or_the_new_one_or_both_and_never_none() {
    let disk = with_file(b"abc");
    disk.rename(Path::new(FILE), &path("new")).unwrap();
    let possible: [&[&str]; 3] = [&["file"], &["new"], &["file", "new"]];
    assert_eq!(names(&disk), set(possible));
}

#[test]
fn a_process_that_is_killed_leaves_all_that_it_wrote() {
    let disk = with_file(b"abc");
    let file = disk.open_for_writing(Path::new(FILE)).unwrap();
    file.append(b"def").unwrap();
    disk.rename(Path::new(FILE), &path("new")).unwrap();
    disk.lose_process();
    assert_eq!(disk.read(&path("new")).unwrap(), b"abcdef");
    file.append(b"g").unwrap_err();
}
