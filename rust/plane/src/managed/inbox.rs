//! What is asked of a worker of managed test-sessions, on its way there. Asking is rare and never on the path of a packet.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use twoway_wire::ErrorEstimate;

use super::worker::Session;
use crate::session_receiver::SessionReceiver;

/// What is asked of a worker.
pub(super) enum Command {
    /// Take a session over.
    Add(Box<Session>),
    /// Its start has been noted in what is shared.
    Start(u64),
    /// Stop-Sessions was exchanged: answer for the timeout still.
    Stop(u64),
    /// Forget it now.
    Remove(u64),
    /// A copy of a Session-Receiver as it stands.
    Look(u64, SyncSender<Box<SessionReceiver>>),
    /// The Session-Receiver itself, which ends here, with the moment (monotonic) and the Error Estimate of its clock.
    Take(u64, SyncSender<(Box<SessionReceiver>, i64, ErrorEstimate)>),
    /// End the thread.
    Exit,
}

/// Commands on their way to a worker.
#[derive(Default)]
pub(super) struct Inbox {
    commands: Mutex<Vec<Command>>,
    /// Whether sessions wait to be taken over.
    additions: AtomicBool,
}

impl Inbox {
    /// Leaves a command; wake the worker afterwards.
    pub(super) fn push(&self, command: Command) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(command, Command::Add(_)) {
            self.additions.store(true, Release);
        }
        commands.push(command);
    }

    /// Takes what has been left, in that order.
    pub(super) fn take(&self) -> Vec<Command> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        self.additions.store(false, Release);
        std::mem::take(&mut commands)
    }

    /// The sessions to be taken over, ahead of other commands: those about a session only follow it.
    pub(super) fn take_additions(&self) -> Vec<Command> {
        if !self.additions.load(Acquire) {
            return Vec::new();
        }
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        self.additions.store(false, Release);
        commands.extract_if(.., |command| matches!(command, Command::Add(_))).collect()
    }
}
