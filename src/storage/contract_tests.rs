//! What every disk does, on the disk of the machine and on the simulated one alike.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, RealDisk, create_dir_all, create_dir_durably, is_there};
use crate::testkit::SimulatedDisk;

/// Runs a check in an empty directory of each disk.
fn on_each_disk(check: impl Fn(&dyn Disk, &Path)) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    check(&RealDisk, directory.path());
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new("/directory")).expect("created");
    check(&disk, Path::new("/directory"));
}

fn write(disk: &dyn Disk, path: &Path, content: &[u8]) {
    disk.create(path).expect("created").append(content).expect("written");
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn a_file_is_read_and_written_at_any_place_and_appended_to() {
    on_each_disk(|disk, directory| {
        let path = directory.join("file");
        let file = disk.create(&path).expect("created");
        file.append(b"hello").expect("written");
        file.append(b" disk").expect("written");
        file.write_at(1, b"a").expect("written");
        file.write_at(12, b"!").expect("written");
        assert_eq!(file.length().expect("measured"), 13);
        let mut read = [7; 6];
        assert_eq!(file.read_at(9, &mut read).expect("read"), 4);
        assert_eq!(read, *b"k\0\0!\x07\x07");
        for beyond in [13, 99, 1 << 60] {
            assert_eq!(file.read_at(beyond, &mut read).expect("read"), 0, "{beyond}");
        }
        assert_eq!(disk.read(&path).expect("read"), b"hallo disk\0\0!");
    });
}

#[test]
fn a_file_is_cut_and_filled_up_with_zeros() {
    on_each_disk(|disk, directory| {
        let path = directory.join("file");
        write(disk, &path, b"abcdef");
        let file = disk.open_for_writing(&path).expect("opened");
        file.truncate(2).expect("cut");
        file.truncate(4).expect("filled up");
        file.sync().expect("synchronized");
        assert_eq!(disk.read(&path).expect("read"), b"ab\0\0");
        disk.create(&path).expect("created anew");
        assert_eq!(disk.read(&path).expect("read"), b"");
    });
}

#[test]
fn a_file_that_is_opened_for_reading_is_not_written() {
    on_each_disk(|disk, directory| {
        let path = directory.join("file");
        write(disk, &path, b"abc");
        let file = disk.open(&path).expect("opened");
        file.write_at(0, b"x").expect_err("it is open for reading");
        file.truncate(0).expect_err("it is open for reading");
        assert_eq!(disk.read(&path).expect("read"), b"abc");
    });
}

#[test]
fn a_file_that_is_not_there_is_not_found_and_not_made() {
    on_each_disk(|disk, directory| {
        let path = directory.join("file");
        assert_eq!(kind(disk.open(&path)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open_for_writing(&path)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.read(&path)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.read_range(&path, 0..1)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.remove_file(&path)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.link(&path, &directory.join("name"))), Some(ErrorKind::NotFound));
        assert!(!is_there(disk, &path).expect("asked"));
        assert!(disk.names(directory).expect("listed").is_empty());
    });
}

#[test]
fn a_file_has_as_many_names_as_it_was_given_and_no_link_replaces_one() {
    on_each_disk(|disk, directory| {
        let [first, second, other] = ["first", "second", "other"].map(|name| directory.join(name));
        write(disk, &first, b"content");
        write(disk, &other, b"other");
        disk.link(&first, &second).expect("linked");
        assert_eq!(kind(disk.link(&first, &other)), Some(ErrorKind::AlreadyExists));
        assert_eq!(disk.read(&other).expect("read"), b"other");
        // Two names of one file stay both.
        disk.rename(&first, &second).expect("renamed");
        assert!(is_there(disk, &first).expect("asked"));
        disk.open_for_writing(&first).expect("opened").append(b"!").expect("written");
        disk.remove_file(&first).expect("removed");
        assert_eq!(disk.read(&second).expect("read"), b"content!");
    });
}

#[test]
fn of_many_that_give_one_name_at_the_same_time_one_succeeds() {
    on_each_disk(|disk, directory| {
        let path = directory.join("file");
        write(disk, &path, b"");
        let name = directory.join("name");
        let linked = std::thread::scope(|threads| {
            let link = || (0..8).map(|_| disk.link(&path, &name).is_ok()).filter(|ok| *ok).count();
            let threads: Vec<_> = (0..4).map(|_| threads.spawn(link)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).sum::<usize>()
        });
        assert_eq!(linked, 1);
    });
}

#[test]
fn a_file_stays_open_when_its_name_is_removed_or_another_takes_its_place() {
    on_each_disk(|disk, directory| {
        let [path, other] = ["file", "other"].map(|name| directory.join(name));
        write(disk, &path, b"old");
        write(disk, &other, b"new");
        let file = disk.open(&path).expect("opened");
        disk.rename(&other, &path).expect("renamed");
        let mut read = [0; 3];
        file.read_at(0, &mut read).expect("read");
        assert_eq!(read, *b"old");
        assert_eq!(disk.read(&path).expect("read"), b"new");
    });
}

#[test]
fn directories_are_listed_with_what_lies_in_them_and_removed_when_empty() {
    on_each_disk(|disk, directory| {
        let below = directory.join("a/b");
        create_dir_all(disk, &below).expect("made");
        create_dir_all(disk, &below).expect("there already");
        create_dir_durably(disk, &below).expect("there already");
        write(disk, &directory.join("a/file"), b"abc");
        assert_eq!(kind(disk.create_dir(&below)), Some(ErrorKind::AlreadyExists));
        let mut listed = disk.list(&directory.join("a")).expect("listed");
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        let found: Vec<_> = listed.iter().map(|entry| (&*entry.name, entry.is_dir)).collect();
        assert_eq!(found, [("b", true), ("file", false)]);
        assert_eq!(listed[1].bytes, 3);
        let mut names = disk.names(&directory.join("a")).expect("listed");
        names.sort();
        assert_eq!(names, ["b", "file"]);
        disk.remove_dir(&directory.join("a")).expect_err("it is not empty");
        disk.remove_dir(&below).expect("it is empty");
        let file = directory.join("a/file");
        assert_eq!(kind(create_dir_all(disk, &file)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(create_dir_all(disk, &file.join("c"))), Some(ErrorKind::NotADirectory));
    });
}

#[test]
fn a_lock_is_free_again_when_it_is_dropped() {
    on_each_disk(|disk, directory| {
        let path: PathBuf = directory.join("LOCK");
        let first = disk.try_lock(&path).expect("asked").expect("nobody has it");
        assert!(disk.try_lock(&path).expect("asked").is_none());
        drop(first);
        assert!(disk.try_lock(&path).expect("asked").is_some());
    });
}

#[test]
fn a_synchronization_that_was_started_ends_and_says_how() {
    on_each_disk(|disk, directory| {
        let file: Arc<dyn super::DiskFile> =
            Arc::from(disk.create(&directory.join("file")).expect("created"));
        file.append(b"content").expect("written");
        let started = Arc::clone(&file).start_sync().expect("started");
        file.append(b" and more").expect("written meanwhile");
        started.wait().expect("synchronized");
    });
}

#[test]
fn no_disk_draws_a_number_twice() {
    on_each_disk(|disk, _| {
        let drawn: std::collections::BTreeSet<_> = (0..100).map(|_| disk.draw_id()).collect();
        assert_eq!(drawn.len(), 100);
        assert!(!drawn.contains(&0));
    });
}
