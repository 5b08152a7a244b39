//! What is asked of a worker, on its way there. Asking is rare and never on the path of a packet.

use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use twoway_wire::tlv::AccessReport;

use super::bulk::Inquiry;
use super::worker::Session;
use crate::clock::Moment;
use crate::session_sender::Progress;
use crate::summary::Summary;
use crate::watch::{Asked, Watch};

/// What Python asks of a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Take a session over; it waits to be started.
    Add(Box<Session>),
    /// Begin its schedule then.
    Start(u64, Moment),
    /// Send no more; await what is outstanding.
    Stop(u64),
    /// End it now.
    Abort(u64),
    /// Forget it.
    Remove(u64),
    /// The whole session so far.
    Summary(u64, SyncSender<Summary>),
    /// What came since the last of these.
    Interval(u64, SyncSender<Summary>),
    /// Ask many.
    Ask(Box<Inquiry>),
    /// Look out for limits; None: for none any more.
    Follow(u64, Option<Box<Following>>),
    /// What it saw of the limits it looked out for goes on elsewhere.
    Bequeath(u64, SyncSender<Option<Watch>>),
    /// Report that state of the access network from the next packet on.
    Report(u64, AccessReport),
    /// How far its schedule got.
    Progress(u64, SyncSender<Progress>),
    /// End the thread.
    Exit,
}

/// Limits to look out for.
#[derive(Debug)]
pub(super) struct Following {
    /// Which limits these are (`Shared::follow`).
    pub number: u64,
    /// The limits.
    pub asked: Vec<Asked>,
    /// Departures later than that are this host's fault.
    pub late_ns: i64,
    /// What another Session-Sender saw of the same test-session.
    pub before: Option<Watch>,
}

/// Commands on their way to a worker.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Vec<Command>>);

impl Inbox {
    /// Leaves a command; wake the worker afterwards.
    pub(super) fn push(&self, command: Command) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(command);
    }

    /// All that was left since the last call.
    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
