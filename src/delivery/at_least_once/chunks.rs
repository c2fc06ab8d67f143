//! [`Chunks`]: a queue of events with consecutive numbers. It takes a whole batch with one copy, and uses the
//! memory of removed events for new ones. A ring would walk through all of its memory again and again, and
//! push everything else out of the cache.

use std::collections::VecDeque;

use crate::channel::frame::Batch;

/// How many emptied chunks are kept for new events.
const SPARE: usize = 16;

#[derive(Debug)]
pub(crate) struct Chunks<T> {
    /// None is empty.
    chunks: VecDeque<Chunk<T>>,
    end: u64,
    spare: Vec<Vec<T>>,
}

#[derive(Debug)]
struct Chunk<T> {
    /// The number of its first event.
    first: u64,
    events: VecDeque<T>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), end: 0, spare: Vec::new() }
    }
}

impl<T: Clone> Chunks<T> {
    /// The number that the next event will get.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.chunks.front().map_or(0, |chunk| (self.end - chunk.first) as usize)
    }

    /// Copies these to the end.
    pub(crate) fn extend(&mut self, events: &[T]) {
        let fits = |chunk: &&mut Chunk<T>| chunk.events.len() + events.len() <= Batch::<T>::FULL;
        if let Some(last) = self.chunks.back_mut().filter(fits) {
            last.events.extend(events.iter().cloned());
        } else if !events.is_empty() {
            let mut copied = self.spare.pop().unwrap_or_default();
            copied.extend_from_slice(events);
            self.chunks.push_back(Chunk { first: self.end, events: copied.into() });
        }
        self.end += events.len() as u64;
    }

    /// Drops the events below this number.
    pub(crate) fn release(&mut self, front: u64) {
        while let Some(chunk) = self.chunks.front_mut().filter(|chunk| chunk.first < front) {
            let gone = usize::try_from(front - chunk.first).unwrap_or(usize::MAX);
            if gone < chunk.events.len() {
                chunk.events.drain(..gone);
                chunk.first = front;
                return;
            }
            self.recycle();
        }
    }

    fn recycle(&mut self) {
        let emptied = self.chunks.pop_front().filter(|_| self.spare.len() < SPARE);
        self.spare.extend(emptied.map(|mut chunk| {
            chunk.events.clear();
            Vec::from(chunk.events)
        }));
    }

    /// Takes all events out, with their numbers.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (u64, T)> {
        let chunks = std::mem::take(&mut self.chunks);
        chunks.into_iter().flat_map(|chunk| (chunk.first..).zip(chunk.events))
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let after = self.chunks.partition_point(|chunk| chunk.first <= number);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        chunk.events.get(usize::try_from(number - chunk.first).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_numbers_while_those_before_them_leave() {
        let mut chunks = Chunks::default();
        let numbers: Vec<u64> = (0..5_000).collect();
        let mut at = 0;
        for length in [1, 1_000, 0, 1_024, 30, 2_000, 45, 900] {
            chunks.extend(&numbers[at..at + length]);
            at += length;
        }
        assert_eq!(chunks.end(), 5_000);
        for front in [0, 1, 500, 1_001, 1_001, 4_000, 4_999, 5_000] {
            chunks.release(front);
            let found = numbers.iter().filter(|number| chunks.get(**number) == Some(*number));
            assert_eq!(found.count() as u64, 5_000 - front);
            assert_eq!(front.checked_sub(1).and_then(|gone| chunks.get(gone)), None);
        }
        assert!(chunks.chunks.is_empty());
    }

    #[test]
    fn what_is_taken_out_comes_with_its_numbers_and_the_count_goes_on() {
        let mut chunks = Chunks::default();
        chunks.extend(&['a', 'b', 'c']);
        chunks.release(1);
        assert_eq!(chunks.take().collect::<Vec<_>>(), [(1, 'b'), (2, 'c')]);
        chunks.extend(&['d']);
        assert_eq!((chunks.get(2), chunks.get(3), chunks.end()), (None, Some(&'d'), 4));
    }

    #[test]
    fn a_queue_of_constant_length_allocates_no_more() {
        let mut chunks = Chunks::default();
        let batch = [0_u64; 1_024];
        chunks.extend(&batch);
        for round in 1..100 {
            chunks.extend(&batch);
            chunks.release(round * 1_024);
            assert!(chunks.spare.len() == 1 && chunks.spare[0].capacity() >= 1_024);
        }
    }
}
