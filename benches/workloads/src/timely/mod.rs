//! timely 0.32.
