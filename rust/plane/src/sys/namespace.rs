//! Opening sockets inside another network namespace.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::check;
use crate::error::PlaneError;

/// Runs `open` on a thread that has joined the network namespace `name` (as `ip netns` names them, or a path), or here
/// if there is none. A socket stays in the namespace that it was opened in, so nothing else has to move.
pub fn in_namespace<T: Send>(
    name: Option<&str>,
    open: impl FnOnce() -> Result<T, PlaneError> + Send,
) -> Result<T, PlaneError> {
    let Some(name) = name else { return open() };
    let path = if name.contains('/') { PathBuf::from(name) } else { Path::new("/run/netns").join(name) };
    let file = File::open(&path).map_err(|error| PlaneError::system("open network namespace", name, &error))?;
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                // SAFETY: setns reads two integers; the descriptor lives as long as `file`. Only this thread moves.
                check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })
                    .map_err(|error| PlaneError::system("enter network namespace", name, &error))?;
                open()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
