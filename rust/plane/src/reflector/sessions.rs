//! The bounded table of test-sessions that a stateful Session-Reflector counts for (RFC 8762 section 4.3.1).
//!
//! Theory of operation. A test-session is known by source and destination address and port, SSID (RFC 8972 section 3),
//! the interface of a link-local peer, and whether it is authenticated: a forged unauthenticated packet must not spend the
//! sequence numbers of an authenticated test-session. Slots lie in one vector whose room is reserved (not touched) at the
//! start, so nothing is allocated on the path of a packet and an unused table costs address space, not memory. They hang
//! in hash chains (a keyed hash: an attacker cannot aim for one chain) and in one of two lists by age of their last packet:
//!
//! * *new*: one packet so far. That is all that a forged source address can make.
//! * *established*: more than one packet.
//!
//! When the table is full, a packet of an unknown test-session may take the place of, in this order, a test-session that
//! has been idle for the session timeout, or the oldest new one if that has been idle for [`NEW_GRACE_NS`]. Otherwise the
//! packet is refused. So a flood of forged test-sessions fights with newcomers only: it can never reset the counter of an
//! established test-session, which its Session-Sender would read as loss, and refusing shows as a count here
//! (`session_table_full:dropped`), where a recycled counter would show as wrong numbers at the Session-Sender.
//!
//! The bound is for the reflector as a whole: the workers draw on one [`SessionBudget`], and only when a test-session
//! begins or ends, so they do not meet on the path of a packet.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use twoway_wire::WallNanos;

/// How long a test-session of one packet keeps its place in a full table: enough for the second packet of one that sends
/// a packet a second.
pub const NEW_GRACE_NS: u64 = 2_000_000_000;

/// "No slot" in chains and lists. Slots are numbered from 1 so that a zeroed hash table is an empty one.
const NONE: u32 = 0;

/// What tells one test-session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    source: u128,
    destination: u128,
    source_port: u16,
    destination_port: u16,
    ssid: u16,
    authenticated: bool,
    /// Interface of a link-local source, otherwise 0.
    interface: u32,
}

impl SessionKey {
    /// The test-session of a packet. `interface` counts only where the source address is link-local.
    pub fn new(source: SocketAddr, destination: SocketAddr, interface: u32, ssid: u16, authenticated: bool) -> Self {
        let bits = |address: SocketAddr| match address {
            SocketAddr::V4(address) => address.ip().to_ipv6_mapped().to_bits(),
            SocketAddr::V6(address) => address.ip().to_bits(),
        };
        let link_local = matches!(source, SocketAddr::V6(address) if address.ip().is_unicast_link_local());
        Self {
            source: bits(source),
            destination: bits(destination),
            source_port: source.port(),
            destination_port: destination.port(),
            ssid,
            authenticated,
            interface: if link_local { interface } else { 0 },
        }
    }
}

/// A place in the table, valid until its test-session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHandle {
    slot: u32,
    generation: u32,
}

/// When a reply left, by the kernel's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Sequence number of the reply.
    pub sequence: u32,
    /// When it left.
    pub left: WallNanos,
}

#[derive(Debug)]
struct Slot {
    key: SessionKey,
    used_ns: u64,
    next_sequence: u32,
    /// Requests so far.
    received: u32,
    /// The latest departure that was stamped; its time is 0 while there is none.
    departed_ns: i64,
    departed_sequence: u32,
    /// Number of the latest request for several replies.
    control_sequence: Option<u32>,
    generation: u32,
    chain: u32,
    older: u32,
    newer: u32,
    established: bool,
}

impl Slot {
    fn begin_counting(&mut self) {
        self.next_sequence = 0;
        self.received = 0;
        self.departed_ns = 0;
        self.control_sequence = None;
    }
}

/// A list of slots by age; `oldest` ends the `older` links.
#[derive(Debug, Default)]
struct AgeList {
    oldest: u32,
    newest: u32,
}

/// How many test-sessions all workers of a reflector may keep together.
#[derive(Debug)]
pub struct SessionBudget {
    left: AtomicU32,
    capacity: u32,
}

impl SessionBudget {
    /// Room for `capacity` test-sessions.
    pub fn new(capacity: u32) -> Self {
        Self { left: AtomicU32::new(capacity), capacity }
    }

    fn take(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self, places: u32) {
        self.left.fetch_add(places, Relaxed);
    }

    /// Test-sessions kept at the moment.
    pub fn used(&self) -> u32 {
        self.capacity - self.left.load(Relaxed)
    }
}

/// One worker's test-sessions.
#[derive(Debug)]
pub struct SessionTable {
    slots: Vec<Slot>,
    free: u32,
    heads: Vec<u32>,
    hasher: RandomState,
    new: AgeList,
    established: AgeList,
    budget: Arc<SessionBudget>,
    timeout_ns: u64,
    evictions: u64,
    expirations: u64,
}

impl SessionTable {
    /// A table that draws on `budget`; a test-session idle for `timeout_ns` has ended.
    pub fn new(budget: Arc<SessionBudget>, timeout_ns: u64) -> Self {
        let capacity = budget.capacity as usize;
        Self {
            slots: Vec::with_capacity(capacity),
            free: NONE,
            heads: vec![NONE; capacity.next_power_of_two()],
            hasher: RandomState::new(),
            new: AgeList::default(),
            established: AgeList::default(),
            budget,
            timeout_ns,
            evictions: 0,
            expirations: 0,
        }
    }

    /// Memory that one test-session takes in a full table, in octets.
    pub const fn octets_per_session() -> usize {
        // The hash table has at most two heads for each slot.
        size_of::<Slot>() + 2 * size_of::<u32>()
    }

    /// Live test-sessions whose place was given to another before their time.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Test-sessions that ended by the session timeout.
    pub fn expirations(&self) -> u64 {
        self.expirations
    }

    /// The test-session of a packet received at `now_ns` (monotonic), begun if it is unknown; `None` when there is no room.
    pub fn find_or_begin(&mut self, key: &SessionKey, now_ns: u64) -> Option<SessionHandle> {
        let head = self.head_of(key);
        let mut slot = self.heads[head];
        while slot != NONE {
            let found = self.at(slot);
            if found.key == *key {
                let (idle_ns, generation) = (now_ns.saturating_sub(found.used_ns), found.generation);
                let handle = if idle_ns >= self.timeout_ns {
                    // It ended in the meantime; this packet begins its successor in the same place.
                    self.expirations += 1;
                    let successor = self.at_mut(slot);
                    successor.generation = generation.wrapping_add(1);
                    successor.begin_counting();
                    self.move_to(slot, false, now_ns)
                } else {
                    self.move_to(slot, true, now_ns)
                };
                return Some(handle);
            }
            slot = found.chain;
        }
        self.begin(key, head, now_ns)
    }

    /// Takes the next sequence number of a test-session; `None` where it has ended since the handle was made.
    pub fn take_sequence(&mut self, handle: SessionHandle) -> Option<u32> {
        let slot = self.live(handle)?;
        let sequence = slot.next_sequence;
        slot.next_sequence = sequence.wrapping_add(1);
        Some(sequence)
    }

    /// Gives back the number taken last, for a reply that was not sent.
    pub fn give_back_sequence(&mut self, handle: SessionHandle) {
        if let Some(slot) = self.live(handle) {
            slot.next_sequence = slot.next_sequence.wrapping_sub(1);
        }
    }

    /// Counts a request; returns how many there were with it.
    pub fn count_received(&mut self, handle: SessionHandle) -> u32 {
        self.live(handle).map_or(0, |slot| {
            slot.received = slot.received.wrapping_add(1);
            slot.received
        })
    }

    /// Notes a request for several replies. False: its number is not above that of the latest one, so it is a replay or
    /// was overtaken (RFC 10052 section 5).
    pub fn take_control(&mut self, handle: SessionHandle, sequence: u32) -> bool {
        self.live(handle).is_some_and(|slot| {
            let new = slot.control_sequence.is_none_or(|latest| sequence.wrapping_sub(latest) as i32 > 0);
            if new {
                slot.control_sequence = Some(sequence);
            }
            new
        })
    }

    /// The kernel has stamped the departure of a reply.
    pub fn note_departure(&mut self, handle: SessionHandle, departure: Departure) {
        if let Some(slot) = self.live(handle) {
            (slot.departed_sequence, slot.departed_ns) = (departure.sequence, departure.left.0);
        }
    }

    /// The latest departure of the test-session that was stamped.
    pub fn latest_departure(&self, handle: SessionHandle) -> Option<Departure> {
        let slot = Some(self.at(handle.slot)).filter(|slot| slot.generation == handle.generation)?;
        let departure = Departure { sequence: slot.departed_sequence, left: WallNanos(slot.departed_ns) };
        (slot.departed_ns != 0).then_some(departure)
    }

    /// Ends at most `limit` test-sessions whose time has come.
    pub fn expire(&mut self, now_ns: u64, limit: usize) {
        for _ in 0..limit {
            let Some(slot) = self.expired(now_ns) else { return };
            self.expirations += 1;
            self.end(slot);
        }
    }

    fn begin(&mut self, key: &SessionKey, head: usize, now_ns: u64) -> Option<SessionHandle> {
        if !self.budget.take() {
            if let Some(expired) = self.expired(now_ns) {
                self.expirations += 1;
                self.end(expired);
            } else {
                let oldest = self.new.oldest;
                if oldest == NONE || now_ns.saturating_sub(self.at(oldest).used_ns) < NEW_GRACE_NS {
                    return None;
                }
                self.evictions += 1;
                self.end(oldest);
            }
            if !self.budget.take() {
                return None; // another worker was quicker
            }
        }
        let chain = self.heads[head];
        let slot = if self.free == NONE {
            self.slots.push(Slot {
                key: *key,
                used_ns: now_ns,
                next_sequence: 0,
                received: 0,
                departed_ns: 0,
                departed_sequence: 0,
                control_sequence: None,
                generation: 0,
                chain,
                older: NONE,
                newer: NONE,
                established: false,
            });
            self.slots.len() as u32
        } else {
            let slot = self.free;
            self.free = self.at(slot).chain;
            let reused = self.at_mut(slot);
            reused.key = *key;
            reused.used_ns = now_ns;
            reused.begin_counting();
            reused.chain = chain;
            reused.established = false;
            slot
        };
        self.heads[head] = slot;
        self.link(slot);
        Some(self.handle(slot))
    }

    /// Frees a slot. Its generation moves on, so that handles to it no longer fit.
    fn end(&mut self, slot: u32) {
        self.unlink(slot);
        let head = self.head_of(&self.at(slot).key);
        let chain = self.at(slot).chain;
        if self.heads[head] == slot {
            self.heads[head] = chain;
        } else {
            let mut before = self.heads[head];
            while self.at(before).chain != slot {
                before = self.at(before).chain;
            }
            self.at_mut(before).chain = chain;
        }
        let free = self.free;
        let ended = self.at_mut(slot);
        ended.generation = ended.generation.wrapping_add(1);
        ended.chain = free;
        self.free = slot;
        self.budget.give_back(1);
    }

    /// The oldest slot of either list, if its test-session has been idle for the session timeout.
    fn expired(&self, now_ns: u64) -> Option<u32> {
        [self.new.oldest, self.established.oldest]
            .into_iter()
            .find(|slot| *slot != NONE && now_ns.saturating_sub(self.at(*slot).used_ns) >= self.timeout_ns)
    }

    fn move_to(&mut self, slot: u32, established: bool, now_ns: u64) -> SessionHandle {
        self.unlink(slot);
        let moved = self.at_mut(slot);
        moved.established = established;
        moved.used_ns = now_ns;
        self.link(slot);
        self.handle(slot)
    }

    fn link(&mut self, slot: u32) {
        let established = self.at(slot).established;
        let list = if established { &mut self.established } else { &mut self.new };
        let older = list.newest;
        list.newest = slot;
        if older == NONE {
            list.oldest = slot;
        } else {
            self.at_mut(older).newer = slot;
        }
        let linked = self.at_mut(slot);
        linked.older = older;
        linked.newer = NONE;
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { older, newer, established, .. } = *self.at(slot);
        if older != NONE {
            self.at_mut(older).newer = newer;
        }
        if newer != NONE {
            self.at_mut(newer).older = older;
        }
        let list = if established { &mut self.established } else { &mut self.new };
        if list.oldest == slot {
            list.oldest = newer;
        }
        if list.newest == slot {
            list.newest = older;
        }
    }

    fn live(&mut self, handle: SessionHandle) -> Option<&mut Slot> {
        Some(self.at_mut(handle.slot)).filter(|slot| slot.generation == handle.generation)
    }

    fn handle(&self, slot: u32) -> SessionHandle {
        SessionHandle { slot, generation: self.at(slot).generation }
    }

    fn head_of(&self, key: &SessionKey) -> usize {
        self.hasher.hash_one(key) as usize & (self.heads.len() - 1)
    }

    fn at(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize - 1]
    }

    fn at_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize - 1]
    }
}

impl Drop for SessionTable {
    fn drop(&mut self) {
        let mut free = 0;
        let mut slot = self.free;
        while slot != NONE {
            free += 1;
            slot = self.at(slot).chain;
        }
        self.budget.give_back(self.slots.len() as u32 - free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TIMEOUT: u64 = 100 * SECOND;

    fn key(number: u16) -> SessionKey {
        let source = SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 40_000));
        SessionKey::new(source, SocketAddr::from(([10, 1, 0, 1], 862)), 2, 7, false)
    }

    fn table(capacity: u32) -> (SessionTable, Arc<SessionBudget>) {
        let budget = Arc::new(SessionBudget::new(capacity));
        (SessionTable::new(Arc::clone(&budget), TIMEOUT), budget)
    }

    /// Begins or continues a test-session with one packet; returns its sequence number.
    fn packet(table: &mut SessionTable, number: u16, now_ns: u64) -> Option<u32> {
        let handle = table.find_or_begin(&key(number), now_ns)?;
        table.take_sequence(handle)
    }

    #[test]
    fn a_session_takes_little_memory() {
        assert!(SessionTable::octets_per_session() <= 128, "{}", SessionTable::octets_per_session());
    }

    #[test]
    fn each_session_counts_from_zero() {
        let (mut table, budget) = table(10);
        for round in 0..5 {
            for number in 0..10 {
                assert_eq!(packet(&mut table, number, SECOND), Some(round));
            }
        }
        assert_eq!(budget.used(), 10);
    }

    #[test]
    fn ssid_authentication_and_link_local_interface_tell_sessions_apart() {
        let v4 = SocketAddr::from(([10, 0, 0, 1], 1));
        let link_local = "[fe80::1]:1".parse().expect("address");
        let to = SocketAddr::from(([10, 0, 0, 2], 862));
        let base = SessionKey::new(v4, to, 1, 5, false);
        assert_ne!(base, SessionKey::new(v4, to, 1, 6, false));
        assert_ne!(base, SessionKey::new(v4, to, 1, 5, true));
        assert_eq!(base, SessionKey::new(v4, to, 9, 5, false));
        assert_ne!(SessionKey::new(link_local, to, 1, 5, false), SessionKey::new(link_local, to, 2, 5, false));
    }

    #[test]
    fn a_number_given_back_is_used_again() {
        let (mut table, _) = table(2);
        let handle = table.find_or_begin(&key(1), 0).expect("room");
        assert_eq!(table.take_sequence(handle), Some(0));
        assert_eq!(table.take_sequence(handle), Some(1));
        table.give_back_sequence(handle);
        assert_eq!(table.take_sequence(handle), Some(1));
    }

    #[test]
    fn a_flood_of_new_sessions_never_resets_an_established_one() {
        let (mut table, budget) = table(8);
        for round in 0..2 {
            for number in 0..4 {
                assert_eq!(packet(&mut table, number, SECOND), Some(round));
            }
        }
        let mut refused = 0;
        for flood in 100..10_000 {
            refused += u32::from(packet(&mut table, flood, SECOND + u64::from(flood) * 1_000_000).is_none());
        }
        for number in 0..4 {
            assert_eq!(packet(&mut table, number, 12 * SECOND), Some(2));
        }
        assert!(refused > 9000);
        assert!(table.evictions() > 0);
        assert_eq!(budget.used(), 8);
    }

    #[test]
    fn a_full_table_of_live_sessions_refuses_then_recovers_by_timeout() {
        let (mut table, _) = table(4);
        for _ in 0..2 {
            for number in 0..4 {
                packet(&mut table, number, SECOND);
            }
        }
        assert_eq!(packet(&mut table, 9, 50 * SECOND), None);
        assert_eq!(packet(&mut table, 9, SECOND + TIMEOUT), Some(0));
        assert_eq!(table.evictions(), 0);
        assert_eq!(table.expirations(), 1);
    }

    #[test]
    fn a_session_idle_for_the_timeout_begins_anew() {
        let (mut table, budget) = table(4);
        assert_eq!(packet(&mut table, 1, 0), Some(0));
        assert_eq!(packet(&mut table, 1, TIMEOUT - 1), Some(1));
        let stale = table.find_or_begin(&key(1), TIMEOUT).expect("known");
        assert_eq!(packet(&mut table, 1, 2 * TIMEOUT), Some(0));
        assert_eq!(table.take_sequence(stale), None);
        assert_eq!(budget.used(), 1);
    }

    #[test]
    fn expire_ends_what_is_due_and_handles_no_longer_fit() {
        let (mut table, budget) = table(8);
        let handle = table.find_or_begin(&key(1), 0).expect("room");
        packet(&mut table, 2, 90 * SECOND);
        table.expire(TIMEOUT, 100);
        assert_eq!(budget.used(), 1);
        assert_eq!(table.take_sequence(handle), None);
        table.give_back_sequence(handle);
        assert_eq!(packet(&mut table, 2, TIMEOUT), Some(1));
    }

    #[test]
    fn workers_share_one_budget_and_return_it() {
        let budget = Arc::new(SessionBudget::new(3));
        let mut first = SessionTable::new(Arc::clone(&budget), TIMEOUT);
        let mut second = SessionTable::new(Arc::clone(&budget), TIMEOUT);
        assert!(packet(&mut first, 1, 0).is_some());
        assert!(packet(&mut first, 2, 0).is_some());
        assert!(packet(&mut second, 3, 0).is_some());
        assert!(packet(&mut second, 4, 0).is_none());
        drop(first);
        assert!(packet(&mut second, 4, 0).is_some());
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_table_of_no_capacity_refuses_everything() {
        let (mut table, _) = table(0);
        assert_eq!(packet(&mut table, 1, 0), None);
    }

    /// The table agrees with a plain model while test-sessions come, stay and end in a long pseudo-random run.
    #[test]
    fn chains_and_lists_stay_whole_under_churn() {
        use std::collections::HashMap;
        let (mut table, budget) = table(64);
        let mut model: HashMap<u16, (u32, u64)> = HashMap::new();
        let mut random = 12_345_u64;
        for step in 0..200_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = ((random >> 33) % 80) as u16;
            let now_ns = step * 50_000_000;
            let got = packet(&mut table, number, now_ns);
            let known = model.get(&number).filter(|(_, used)| now_ns - used < TIMEOUT).map(|(next, _)| *next);
            match (known, got) {
                (Some(next), Some(sequence)) if sequence != 0 => assert_eq!(sequence, next),
                (_, Some(sequence)) => assert_eq!(sequence, 0),
                (known, None) => assert!(known.is_none_or(|next| next <= 1), "an established session was refused"),
            }
            if let Some(sequence) = got {
                model.insert(number, (sequence + 1, now_ns));
            }
            assert!(budget.used() <= 64);
            if step % 1000 == 0 {
                table.expire(now_ns, 8);
            }
        }
    }
}
