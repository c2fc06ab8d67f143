//! What an event weighs: the bytes that it owns on the heap, in addition to its own size.
//!
//! The weight of some types is known here. For other types the user gives it, for a stream
//! ([`Stream::weigh`](crate::Stream::weigh)) or for the events of a source (`event_bytes`).

use std::any::{Any, TypeId};
use std::sync::Arc;

/// Bytes that an event owns on the heap if its type is known here, and 0 for any other type.
#[inline]
pub(crate) fn heap_bytes<T: 'static>(event: &T) -> usize {
    // The type is known to the compiler, and so is which of these it is.
    let event: &dyn Any = event;
    if let Some(text) = event.downcast_ref::<String>() {
        return text.capacity();
    }
    if let Some(bytes) = event.downcast_ref::<Vec<u8>>() {
        return bytes.capacity();
    }
    if let Some(bytes) = event.downcast_ref::<Box<[u8]>>() {
        return bytes.len();
    }
    event.downcast_ref::<Box<str>>().map_or(0, |text| text.len())
}

fn is_known<T: 'static>() -> bool {
    let known = [
        TypeId::of::<String>(),
        TypeId::of::<Vec<u8>>(),
        TypeId::of::<Box<[u8]>>(),
        TypeId::of::<Box<str>>(),
    ];
    known.contains(&TypeId::of::<T>())
}

/// Says what these events weigh together.
type Weigh<T> = dyn Fn(&[T]) -> usize + Send + Sync;

/// What events of a stream weigh.
pub(crate) struct Weigher<T>(Arc<Weigh<T>>);

impl<T> Clone for Weigher<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: 'static> Weigher<T> {
    /// For a type whose length is known here.
    pub(crate) fn known() -> Option<Self> {
        is_known::<T>().then(|| Self::by(heap_bytes))
    }

    /// Each event owns this many bytes on the heap.
    pub(crate) fn by(heap_bytes: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |events| {
            let each = events.iter().map(|event| heap_bytes(event).saturating_add(size_of::<T>()));
            each.fold(0, usize::saturating_add)
        }))
    }
}

impl<T> Weigher<T> {
    /// What these weigh together, on the heap and by their own size.
    pub(crate) fn bytes(&self, events: &[T]) -> usize {
        (self.0)(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_text_and_bytes_is_known_and_that_of_others_is_what_is_said() {
        assert_eq!(heap_bytes(&vec![0_u8; 1_000]), 1_000);
        assert_eq!(heap_bytes(&"x".repeat(1_000)), 1_000);
        assert_eq!(heap_bytes(&vec![0_u8; 10].into_boxed_slice()), 10);
        assert_eq!(heap_bytes(&String::from("ten bytes.").into_boxed_str()), 10);
        assert_eq!(heap_bytes(&vec![0_u64; 10]), 0);
        assert!(Weigher::<u64>::known().is_none());
        let known = Weigher::<Vec<u8>>::known().map(|weigher| weigher.bytes(&[vec![0; 100]]));
        assert_eq!(known, Some(100 + size_of::<Vec<u8>>()));
        let said = Weigher::by(|n: &u64| *n as usize);
        assert_eq!(said.bytes(&[1_000, 2_000]), 3_016);
        assert_eq!(said.bytes(&[u64::MAX, 1]), usize::MAX);
    }
}
