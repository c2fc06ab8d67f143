//! The checkpoint store: what it promises when all goes well, when bytes are damaged, when the disk refuses, and when
//! power fails between any two operations.

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
mod together;
