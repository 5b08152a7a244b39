//! The packet plane: Session-Sender and Session-Reflector, their schedule, statistics and samples, and under them the
//! kernel ([`sys`]).
//!
//! No thread per session and no lock on a packet's path: worker threads own sessions, Python hands them specifications
//! and takes batches.

pub mod capabilities;
pub mod clock;
pub mod collections;
pub mod comparison;
pub mod distribution;
pub mod error;
pub mod histogram;
pub mod ledger;
pub mod made;
pub mod managed;
pub mod next_hop;
pub mod packed;
pub mod path;
pub mod patterns;
pub mod reflector;
pub mod sample;
pub mod schedule;
pub mod sender;
pub mod session_receiver;
pub mod session_reflector;
pub mod session_sender;
pub mod slots;
pub mod summary;
pub mod sys;
mod u192;
pub mod variation;
pub mod watch;
