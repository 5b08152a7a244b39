//! A running Session-Reflector: its parts around the engine (`session_reflector`), and the threads that own the sockets.

pub mod allow;
pub mod departure;
pub mod dispositions;
pub mod limits;
pub mod sessions;
