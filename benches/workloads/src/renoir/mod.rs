//! renoir 0.6.
