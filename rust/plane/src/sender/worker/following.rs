//! Sessions on whose results somebody acts: what is notable is said at once, and nothing else.

use twoway_wire::WallNanos;

use super::super::handle::{News, Notable};
use super::Session;

/// Somebody acts on what this session shows: give its samples away at once, and say what is notable.
pub(super) fn follow(session: &mut Session, alerts: &News, wall: WallNanos) {
    let mut notable = 0;
    if session.engine.has_samples() && session.engine.hand_over(&session.shared) {
        notable = session.shared.collect_now(wall.0);
    }
    if let Some(watch) = session.engine.watch()
        && watch.is_news()
        && session.shared.found(session.following, watch.findings())
        && watch.take_changed()
    {
        notable |= 1 << Notable::Limits as u8;
    }
    if notable != 0 {
        alerts.alert(session.id, &session.shared, notable);
    }
}
