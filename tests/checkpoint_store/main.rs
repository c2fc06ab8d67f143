//! The promises of the checkpoint store: without faults, with damaged bytes, with a disk that fails, and when power
//! fails between any two operations.

mod fixture;
mod memory_disk;

mod codec;
mod commit;
mod damage;
mod faults;
mod foreign;
mod golden;
mod overtaken;
mod ownership;
mod positions;
mod references;
mod retention;
mod savepoints;
mod together;
