//! Every reader of stored bytes, given damaged bytes: never a panic, never an allocation beyond what the
//! input justifies, never a result that is silently empty or altered.

mod decode;
mod fuzz;
mod golden;
mod log_files;
mod mutate;
mod positions;
mod store_files;

#[path = "../checkpoint_store/fixture.rs"]
#[allow(dead_code, reason = "each binary uses what it needs")]
mod fixture;

#[path = "../checkpoint_store/memory_disk.rs"]
mod memory_disk;

#[path = "../tier/mod.rs"]
mod tier;

/// The memory that a reader may use beside the input: a first guess of one mebibyte for each nested
/// collection, and buffers.
const ALLOWANCE_BYTES: u64 = 4 << 20;

/// The memory that a reader may use for each byte of input: a payload of a log may take sixteen, and a copy or two.
const ALLOWANCE_PER_BYTE: u64 = 20;

/// Reads within bounds; panics with `what` if more memory was used than the input justifies.
#[track_caller]
fn within_bounds<T>(what: &str, input_bytes: usize, read: impl FnOnce() -> T) -> T {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(read()));
    let allowed = ALLOWANCE_BYTES + ALLOWANCE_PER_BYTE * input_bytes as u64;
    assert!(
        used.bytes_max <= allowed,
        "{what}: {} bytes were held to read {input_bytes}",
        used.bytes_max
    );
    result.expect("it was measured")
}

#[test]
#[should_panic(expected = "were held to read 10")]
fn an_allocation_beyond_the_input_is_noticed() {
    within_bounds("a gigabyte", 10, || {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 30)));
    });
}
