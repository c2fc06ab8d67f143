//! How the examples end when their output is closed, as in `example | head`: quietly, with 0.

use std::any::Any;

/// Ends the process when its standard output has been closed. `println!` panics then, on whichever thread it is
/// called; a hook sees the panic before anybody can take it for a failure of the job.
pub(crate) fn ends_quietly() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if is_closed_output(info.payload()) {
            std::process::exit(0);
        }
        report(info);
    }));
}

/// Whether this is what the standard library panics with when a pipe has no reader.
fn is_closed_output(payload: &dyn Any) -> bool {
    let said = payload.downcast_ref::<String>();
    said.is_some_and(|said| {
        said.starts_with("failed printing to stdout") && said.ends_with("(os error 32)")
    })
}
