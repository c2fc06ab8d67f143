//! [`Event`]: what may travel on a stream.

/// What may travel on a stream: any value that can be cloned and sent to another thread.
///
/// Implemented for every such type; there is nothing to write but `#[derive(Clone)]`. The engine
/// clones an event only where the job asks for copies: broadcast, several readers of one stream,
/// and the replay buffer of a guarantee that keeps events until they are acknowledged.
///
/// ```
/// #[derive(Clone)]
/// struct Click { user: u64, page: String }
///
/// fn is_event<E: streamwork::Event>() {}
/// is_event::<Click>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel on a stream",
    label = "not an event",
    note = "an event is `Clone + Send + 'static`: derive `Clone`, and hold no references or `Rc`"
)]
pub trait Event: Clone + Send + 'static {}

impl<T: Clone + Send + 'static> Event for T {}
