//! [`OnError`]: what an error of `apply` or `write` means for the event at hand.

/// What follows when the `apply` of an operator, or the `write` of a sink, returns an error; chosen per component by
/// [`Stream::on_error`](crate::Stream::on_error) and [`SinkHandle::on_error`](crate::SinkHandle::on_error).
///
/// It covers these errors only. A panic may leave a broken component behind, and an error of any other
/// callback (`flush`, `prepare`, `on_timer`, …) does not belong to one event: there the guarantee decides. It
/// also decides for an event that `apply` has deferred, since its token may still be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The guarantee decides: the event is dropped, it is replayed, or the job is rolled back to its last
    /// checkpoint.
    #[default]
    AsGuaranteed,
    /// The event becomes a [`DeadLetter`](crate::DeadLetter), in the stream that `dead_letters` reads, at the
    /// first error and under every guarantee. Nothing is rolled back or replayed.
    DeadLetter,
}
