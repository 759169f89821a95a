//! The ledger: which events were begun, and how each ended. Survives `kill -9` at any byte.
//!
//! It is written ahead: the events due in a slice of time are *reserved* in the file before the
//! first byte of them is sent, and *settled* when their outcome is known. After a crash, what is
//! reserved and not settled is unknown, never forgotten; what was never reserved was never sent.
//!
//! The file is a sequence of frames, `marker | length u32 | crc32 u32 | entries`, the numbers
//! little-endian, the checksum that of length and entries. A crash can tear only the last frame,
//! which is dropped then. Where a frame is not as it was written, the reader looks for a whole
//! frame behind it, by its marker. If there is one, the file is damaged: that is an error, and the
//! ledger is never simply taken to be shorter. An entry is a byte for its kind and LEB128 numbers:
//! `tenant, start, count` for a range of one tenant, or `from, count` in µs for a slice of time of
//! all tenants, which the plan turns into ranges. The last entry of a ledger that was closed in
//! order says so.
//!
//! What is written survives the process at once, and the machine as [`Durability`] says.
//!
//! A run that is taken up again goes on in the same file. An event that was acknowledged once stays
//! acknowledged. Otherwise the last entry counts, and an event that is reserved again is open
//! again.
//!
//! Settled ranges wait in memory until they are long enough to be worth writing, so that a ledger
//! stays under one megabyte per million events whether ten tenants send batches or thousands send
//! single events; what a crash finds waiting there counts as unknown.

mod account;
mod slices;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use events::identity::TenantIndex;
use events::script::Script;
use events::timeline::UnixMicros;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

pub use self::account::Account;
use self::account::{REPAIRED, RESERVED};
use self::slices::{Place, Slices};
use crate::leb128;
use crate::ranges::{RangeSet, TenantRanges};
use plans::spec::RunSpec;

/// How an attempt to send ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Settlement {
    /// The target answered 2xx.
    Acknowledged = 1,
    /// Certainly not taken.
    Refused = 2,
    /// No answer that settles it.
    Unknown = 3,
    /// Given up before any byte left.
    Unsent = 4,
    /// The target answered 2xx, but on purpose it was sent in a way in which nobody can be
    /// expected to store it.
    Spoiled = 5,
}

/// Whether events are sent again because they were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsRepair {
    Yes,
    No,
}

/// What a ledger survives, beside `kill -9`, which it always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Durability {
    /// Survives the end of the process. After a power failure, entries of about the last half
    /// minute may be missing, and the ledger then counts as not closed.
    #[default]
    Process,
    /// Also survives a power failure: each write waits for the disk, about five times a second.
    Power,
}

/// Keeps other processes from writing to the same ledger.
fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::from(io::ErrorKind::ResourceBusy),
        TryLockError::Error(source) => source,
    })
}

/// Writes the ledger of one shard. Shared by all senders of a process.
///
/// All that writes may wait for the disk; the threads of a runtime go on with other tasks
/// meanwhile. Settling only changes memory, and never waits.
#[derive(Debug)]
pub struct LedgerWriter {
    /// Taken before [`Self::waiting`], if both are.
    log: Mutex<Log>,
    waiting: Mutex<Waiting>,
}

/// The file.
#[derive(Debug)]
struct Log {
    file: File,
    durability: Durability,
    bytes_written: u64,
    /// The file ends with half a frame that could not be removed, so nothing may be appended.
    is_torn: bool,
}

/// What is settled and not yet in the file.
#[derive(Debug, Default)]
struct Waiting {
    sets: BTreeMap<(Settlement, TenantIndex), RangeSet>,
    events_settled: u64,
}

/// Which run a ledger is of, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerHead {
    /// Follows from all that the run's events follow from: see [`RunSpec::seal`].
    pub seal: [u8; 16],
    /// The shard has every tenant whose index is `shard`, modulo `shards`.
    pub shard: u32,
    pub shards: u32,
}

impl LedgerHead {
    const BYTES: usize = 32;

    /// The head of the ledger of a shard of a run.
    pub fn of(run: &RunSpec, shard: u32) -> Self {
        Self { seal: run.seal(), shard, shards: run.shards }
    }

    fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..24].copy_from_slice(&self.seal);
        bytes[24..28].copy_from_slice(&self.shard.to_le_bytes());
        bytes[28..].copy_from_slice(&self.shards.to_le_bytes());
        bytes
    }

    /// Whether the shard has a tenant.
    pub fn has(&self, tenant: TenantIndex) -> bool {
        u32::from(tenant.0) % self.shards == self.shard
    }
}

impl LedgerWriter {
    /// Creates a ledger.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error, also if the file exists.
    pub fn create(path: &Path, head: &LedgerHead) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
        lock(&file)?;
        file.write_all(&head.bytes())?;
        Ok(Self::to(Log::of(file)))
    }

    /// Opens a ledger to go on with it, without what a crash left of its last frame; a new one,
    /// if there is none.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the file cannot be read or written, is damaged, or is of another
    /// run or shard; [`LedgerError::Unreadable`] with [`io::ErrorKind::ResourceBusy`] if another
    /// process writes to it.
    pub fn open(path: &Path, head: &LedgerHead) -> Result<Self, LedgerError> {
        let unreadable = |source| LedgerError::Unreadable { path: path.to_owned(), source };
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(unreadable)?;
        lock(&file).map_err(unreadable)?;
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let whole = whole_frames(path, &bytes, head, |_, _| Ok(()))?;
        let mut log = Log::of(file);
        let begun = if bytes.len() < head.bytes().len() {
            log.file.set_len(0).and_then(|()| log.file.write_all(&head.bytes()))
        } else {
            log.file.set_len(whole as u64)
        };
        begun.map_err(unreadable)?;
        Ok(Self::to(log))
    }

    /// Whether anything was ever written down in it.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error.
    pub fn is_begun(&self) -> io::Result<bool> {
        let bytes = self.lock_log().file.metadata()?.len();
        Ok(bytes > LedgerHead::BYTES as u64)
    }

    /// From now on, writes wait for the disk as `durability` says.
    #[must_use]
    pub fn durable(self, durability: Durability) -> Self {
        self.lock_log().durability = durability;
        self
    }

    fn to(log: Log) -> Self {
        Self { log: Mutex::new(log), waiting: Mutex::default() }
    }

    /// Reserves all events due in a slice of time, of all tenants. Call it before the first byte
    /// of them is sent.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error: then nothing may be sent.
    pub fn reserve(&self, due: &Range<UnixMicros>) -> io::Result<()> {
        let mut entries = Vec::with_capacity(32);
        put_slice(RESERVED, due, &mut entries);
        aside(|| self.lock_log().append(&entries))
    }

    /// Reserves sequence numbers of some tenants anew, which were sent before and may be sent
    /// again now. `is_repair` says that they were acknowledged, and are known to be lost.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error: then nothing may be sent.
    pub fn reserve_again<'s>(
        &self,
        seqs: impl IntoIterator<Item = (TenantIndex, &'s RangeSet)>,
        is_repair: IsRepair,
    ) -> io::Result<()> {
        let kind = if is_repair == IsRepair::Yes { REPAIRED } else { RESERVED };
        let mut entries = Vec::new();
        for (tenant, set) in seqs {
            for range in set.ranges() {
                put_range(kind, tenant, range, &mut entries);
            }
        }
        aside(|| {
            let mut log = self.lock_log();
            // What waits in memory was settled earlier, so it must come first in the file.
            log.append(&self.lock_waiting().take(1))?;
            log.append(&entries)
        })
    }

    /// Settles sequence numbers of a tenant. They reach the file with a later [`Self::flush`].
    pub fn settle(&self, tenant: TenantIndex, seqs: Range<u64>, settlement: Settlement) {
        let mut waiting = self.lock_waiting();
        waiting.events_settled += seqs.end - seqs.start;
        waiting.sets.entry((settlement, tenant)).or_default().insert(seqs);
    }

    /// Settles sets of sequence numbers, as [`Self::settle`] does one range.
    pub fn settle_all(&self, events: &TenantRanges, settlement: Settlement) {
        for (tenant, set) in events.iter() {
            for range in set.ranges() {
                self.settle(tenant, range.clone(), settlement);
            }
        }
    }

    /// Settles all events due in a slice of time, of all tenants, and writes it at once.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error.
    pub fn settle_slice(&self, due: &Range<UnixMicros>, settlement: Settlement) -> io::Result<()> {
        let mut entries = Vec::with_capacity(32);
        put_slice(settlement as u8, due, &mut entries);
        aside(|| self.lock_log().append(&entries))
    }

    /// Writes the settled ranges that are long enough to be worth their bytes; all of them while
    /// the ledger is well within its size. Call it about once a second.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error.
    pub fn flush(&self) -> io::Result<()> {
        aside(|| {
            let mut log = self.lock_log();
            let entries = self.lock_waiting().take_worthwhile(log.bytes_written);
            log.append(&entries)
        })
    }

    /// Writes all that waits and the mark of an orderly end, and waits for the disk.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error.
    pub fn close(&self) -> io::Result<()> {
        aside(|| {
            let mut log = self.lock_log();
            log.append(&self.lock_waiting().take(1))?;
            log.append(&[CLOSED])?;
            log.file.sync_all()
        })
    }

    fn lock_log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no holder of the lock panics")
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of the lock panics")
    }
}

/// Does what may wait for the disk, so that no other task of the thread waits too.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

impl Waiting {
    /// Takes the ranges that are long enough, as entries; all ranges, while the file is well within
    /// its size.
    fn take_worthwhile(&mut self, bytes_written: u64) -> Vec<u8> {
        let ranges: u64 = self.sets.values().map(|set| set.ranges().len() as u64).sum();
        let allowed = ALLOWANCE_BYTES + self.events_settled / 2;
        let all =
            bytes_written + ranges * ENTRY_BYTES_MAX <= allowed || ranges > WAITING_RANGES_MAX;
        self.take(if all { 1 } else { WORTHWHILE_EVENTS })
    }

    /// Takes the ranges of at least as many events, as entries.
    fn take(&mut self, events_min: u64) -> Vec<u8> {
        let mut entries = Vec::new();
        for ((settlement, tenant), set) in &mut self.sets {
            let (write, wait): (Vec<_>, Vec<_>) =
                set.ranges().iter().cloned().partition(|seqs| seqs.end - seqs.start >= events_min);
            for seqs in &write {
                put_range(*settlement as u8, *tenant, seqs, &mut entries);
            }
            *set = wait.into_iter().collect();
        }
        self.sets.retain(|_, set| !set.is_empty());
        entries
    }
}

impl Log {
    fn of(file: File) -> Self {
        Self { file, durability: Durability::Process, bytes_written: 0, is_torn: false }
    }

    /// One frame is one write: after a crash of the process it is there whole or not at all.
    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.is_torn {
            return Err(io::Error::other("the last record of the ledger was cut short"));
        }
        let length = u32::try_from(entries.len()).map_err(io::Error::other)?.to_le_bytes();
        let frame = [&MARKER[..], &length, &checksum(length, entries), entries].concat();
        self.bytes_written += frame.len() as u64;
        let end = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&frame) {
            // The part of the frame that fitted on a full disk must not stay before later frames.
            self.is_torn = self.file.set_len(end).is_err();
            return Err(error);
        }
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Power => self.file.sync_data(),
        }
    }
}

/// A ledger as read: one account for each tenant of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    pub accounts: Vec<Account>,
    /// The writer ended in order. If not, it may have been killed, or the file cut.
    pub closed: bool,
}

/// Why a ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("cannot use the ledger {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the ledger {} is of another run or shard; copy the shards of one run only",
        path.display()
    )]
    OtherRun { path: PathBuf },
    #[error(
        "the ledger {} is damaged at byte {at}: {fact}; restore the run directory from a copy",
        path.display()
    )]
    Damaged { path: PathBuf, at: usize, fact: &'static str },
}

impl Ledger {
    /// Returns a ledger in which nothing has happened.
    pub fn empty(script: &Script) -> Self {
        let accounts = script.tenants().map(|_| Account::default()).collect();
        Self { accounts, closed: true }
    }

    /// Reads a ledger and adds what it says. Ledgers of several shards add up.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the file cannot be read, is of another run or shard than `head`
    /// says, or is damaged before its end.
    pub fn read(
        &mut self,
        path: &Path,
        script: &Script,
        head: &LedgerHead,
    ) -> Result<(), LedgerError> {
        let bytes = std::fs::read(path)
            .map_err(|source| LedgerError::Unreadable { path: path.to_owned(), source })?;
        let mut closed = false;
        let mut reading = Reading::new(script, head);
        let each = |entries: &[u8], at| {
            self.read_entries(entries, &mut reading, &mut closed).map_err(|fact| (at, fact))
        };
        let whole = whole_frames(path, &bytes, head, each)?;
        self.take_slices(&mut reading).map_err(|fact| LedgerError::Damaged {
            path: path.to_owned(),
            at: whole,
            fact,
        })?;
        // The torn frame may have said anything, so the ledger is not closed.
        self.closed &= closed && whole == bytes.len();
        Ok(())
    }

    fn read_entries(
        &mut self,
        mut entries: &[u8],
        reading: &mut Reading<'_>,
        closed: &mut bool,
    ) -> Result<(), &'static str> {
        while let Some((&kind, rest)) = entries.split_first() {
            entries = rest;
            // A repair of a run that has ended opens nothing again.
            if kind != REPAIRED {
                *closed = kind == CLOSED;
            }
            if kind == CLOSED {
                continue;
            }
            let mut number = || leb128::take(&mut entries).ok_or("an entry ends too early");
            if kind & SLICE == 0 {
                let (tenant, start, count) = (number()?, number()?, number()?);
                self.take(reading, tenant, kind, start..start + count)?;
                continue;
            }
            let from = i64::try_from(number()?).map_err(|_| "a slice is outside of time")?;
            let until = from.checked_add_unsigned(number()?).ok_or("a slice is outside of time")?;
            if kind & !SLICE > REPAIRED {
                return Err(NO_KIND);
            }
            reading.slices.push(kind & !SLICE, from..until);
        }
        Ok(())
    }

    /// Takes an entry of one tenant, after the slices that came before it.
    fn take(
        &mut self,
        reading: &mut Reading<'_>,
        tenant: u64,
        kind: u8,
        seqs: Range<u64>,
    ) -> Result<(), &'static str> {
        let tenant = u16::try_from(tenant).map(TenantIndex).map_err(|_| NO_TENANT)?;
        let account = self.accounts.get_mut(usize::from(tenant.0)).ok_or(NO_TENANT)?;
        let is_known = reading.bring(tenant, account) && account.take(kind, seqs);
        is_known.then_some(()).ok_or(NO_KIND)
    }

    /// Takes all slices that wait, for every tenant of the shard.
    fn take_slices(&mut self, reading: &mut Reading<'_>) -> Result<(), &'static str> {
        let (script, head) = (reading.script, *reading.head);
        let own = script.tenants().zip(&mut self.accounts).filter(|(it, _)| head.has(*it));
        let mut all = own.map(|(tenant, account)| reading.bring(tenant, account));
        all.all(|is_known| is_known).then_some(()).ok_or(NO_KIND)
    }

    /// Which of the first events of a tenant, up to `planned`, were never begun.
    pub fn unsent(&self, tenant: TenantIndex, planned: u64) -> RangeSet {
        let all = RangeSet::of(0..planned);
        all.difference(&self.accounts[usize::from(tenant.0)].attempted())
    }
}

/// Slices of a ledger of one shard that not every tenant's account has taken.
struct Reading<'r> {
    script: &'r Script,
    head: &'r LedgerHead,
    slices: Slices,
    /// How far each tenant's account is.
    places: Vec<Place>,
}

impl<'r> Reading<'r> {
    fn new(script: &'r Script, head: &'r LedgerHead) -> Self {
        let places = script.tenants().map(|_| Place::default()).collect();
        Self { script, head, slices: Slices::default(), places }
    }

    fn bring(&mut self, tenant: TenantIndex, account: &mut Account) -> bool {
        if !self.head.has(tenant) {
            return true;
        }
        let place = &mut self.places[usize::from(tenant.0)];
        self.slices.bring(account, place, self.script.timeline(tenant))
    }
}

const NO_TENANT: &str = "an entry is of a tenant that the plan does not have";
const NO_KIND: &str = "an entry has a kind that this version does not know";

const MAGIC: &[u8; 8] = b"ASLEDGR3";

/// Begins a frame. No entry of a ledger begins like it.
const MARKER: [u8; 4] = [0xf5, b'a', b's', 0xfa];
const FRAME_HEAD_BYTES: usize = MARKER.len() + 4 + 4;

const CLOSED: u8 = 7;
const SLICE: u8 = 8;

/// Kind, tenant (16 bits), start and count (40 bits each) as LEB128.
const ENTRY_BYTES_MAX: u64 = 1 + 3 + 6 + 6;
const ALLOWANCE_BYTES: u64 = 64 << 10;
const WORTHWHILE_EVENTS: u64 = 32;

/// The most ranges that wait. Where single events are spoiled or refused, ranges never join.
const WAITING_RANGES_MAX: u64 = 1 << 20;

fn put_range(kind: u8, tenant: TenantIndex, seqs: &Range<u64>, entries: &mut Vec<u8>) {
    entries.push(kind);
    leb128::put(tenant.0.into(), entries);
    leb128::put(seqs.start, entries);
    leb128::put(seqs.end - seqs.start, entries);
}

fn put_slice(kind: u8, due: &Range<UnixMicros>, entries: &mut Vec<u8>) {
    let positive = |micros| u64::try_from(micros).expect("history is after 1970");
    entries.push(kind | SLICE);
    leb128::put(positive(due.start), entries);
    leb128::put(positive(due.end - due.start), entries);
}

/// Calls `each` with the entries of every frame of a ledger and where the frame begins. Returns
/// where the last whole frame ends: what is behind it was torn by a crash.
fn whole_frames(
    path: &Path,
    bytes: &[u8],
    head: &LedgerHead,
    mut each: impl FnMut(&[u8], usize) -> Result<(), (usize, &'static str)>,
) -> Result<usize, LedgerError> {
    let damaged = |(at, fact)| LedgerError::Damaged { path: path.to_owned(), at, fact };
    if bytes.iter().zip(MAGIC).any(|(found, expected)| found != expected) {
        return Err(damaged((0, "it does not begin as a ledger of this version")));
    }
    if bytes.iter().zip(head.bytes()).any(|(found, expected)| *found != expected) {
        return Err(LedgerError::OtherRun { path: path.to_owned() });
    }
    let mut at = LedgerHead::BYTES.min(bytes.len());
    while at < bytes.len() {
        let Some(entries) = frame_at(bytes, at) else {
            let fact = "a record before others is not as it was written";
            return if has_frame(&bytes[at + 1..]) { Err(damaged((at, fact))) } else { Ok(at) };
        };
        each(entries, at).map_err(damaged)?;
        at += FRAME_HEAD_BYTES + entries.len();
    }
    Ok(at)
}

/// Returns the entries of the frame that begins there, if one does, and is as it was written.
fn frame_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let frame = bytes.get(at..)?.strip_prefix(&MARKER)?;
    let (length, rest) = frame.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let entries = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (!entries.is_empty() && checksum(*length, entries) == *crc).then_some(entries)
}

/// Whether there is a whole frame anywhere.
fn has_frame(bytes: &[u8]) -> bool {
    let mut places = bytes.windows(MARKER.len()).enumerate();
    places.any(|(at, window)| window == MARKER && frame_at(bytes, at).is_some())
}

fn checksum(length: [u8; 4], entries: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(entries);
    crc.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::live_plan;

    const T3: TenantIndex = TenantIndex(3);
    const HEAD: LedgerHead = LedgerHead { seal: [7; 16], shard: 0, shards: 1 };

    fn set(range: Range<u64>) -> RangeSet {
        [range].into_iter().collect()
    }

    fn read(path: &Path) -> Result<Ledger, LedgerError> {
        let plan = live_plan("10/s", "5", "100s");
        let mut ledger = Ledger::empty(&plan.script);
        ledger.read(path, &plan.script, &HEAD).map(|()| ledger)
    }

    fn written(dir: &Path) -> PathBuf {
        let path = dir.join("ledger-0.bin");
        let writer = LedgerWriter::create(&path, &HEAD).unwrap();
        let plan = live_plan("10/s", "5", "100s");
        for second in [0, 10] {
            let from = plan.start + second * 1_000_000;
            writer.reserve(&(from..from + 10_000_000)).unwrap();
        }
        writer.settle(T3, 0..90, Settlement::Acknowledged);
        writer.settle(T3, 95..100, Settlement::Refused);
        writer.flush().unwrap();
        writer.settle(T3, 150..200, Settlement::Unsent);
        writer.close().unwrap();
        path
    }

    #[test]
    fn what_is_reserved_and_not_settled_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = read(&written(dir.path())).unwrap();
        let account = &ledger.accounts[3];
        assert!(ledger.closed);
        assert_eq!(account.acknowledged, set(0..90));
        assert_eq!(account.refused, set(95..100));
        assert_eq!(account.unknown(), [90..95, 100..150].into_iter().collect());
        assert_eq!(ledger.unsent(T3, 1_000), set(150..1_000));
        assert_eq!(ledger.accounts[2].unknown(), set(0..200));
    }

    #[test]
    fn a_ledger_cut_at_any_byte_is_read_to_its_last_whole_frame_and_is_not_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let whole = std::fs::read(&path).unwrap();
        let complete = read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let ledger = read(&path).unwrap();
            assert!(!ledger.closed, "cut at {length}");
            let (cut, full) = (&ledger.accounts[3], &complete.accounts[3]);
            assert!(cut.acknowledged.difference(&full.acknowledged).is_empty());
            assert!(cut.reserved.difference(&full.reserved).is_empty());
        }
    }

    /// A ledger of many frames, and where the last one begins.
    fn of_many_frames(dir: &Path) -> (PathBuf, usize) {
        let path = dir.join("ledger-0.bin");
        let plan = live_plan("10/s", "5", "100s");
        let writer = LedgerWriter::create(&path, &HEAD).unwrap();
        for second in 0..12 {
            let from = plan.start + second * 1_000_000;
            writer.reserve(&(from..from + 1_000_000)).unwrap();
            let seqs = u64::try_from(second).unwrap() * 10;
            writer.settle(T3, seqs..seqs + 7, Settlement::Acknowledged);
            writer.flush().unwrap();
        }
        let last = std::fs::metadata(&path).unwrap().len();
        writer.close().unwrap();
        (path, usize::try_from(last).unwrap())
    }

    #[test]
    fn any_byte_that_changes_is_told_and_never_makes_a_ledger_shorter() {
        let dir = tempfile::tempdir().unwrap();
        let (path, last) = of_many_frames(dir.path());
        let whole = std::fs::read(&path).unwrap();
        let complete = read(&path).unwrap();
        let flips = [0x01, 0x80, 0xff];
        for (at, flip) in (0..whole.len()).flat_map(|at| flips.map(move |flip| (at, flip))) {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            std::fs::write(&path, &damaged).unwrap();
            let (read, opened) = (read(&path), LedgerWriter::open(&path, &HEAD));
            if at < last {
                assert!(read.is_err(), "byte {at} ^ {flip}");
                let error = opened.unwrap_err();
                let offset = match error {
                    LedgerError::Damaged { at, .. } => at,
                    LedgerError::OtherRun { .. } => 0,
                    other @ LedgerError::Unreadable { .. } => panic!("{other}"),
                };
                assert!(offset <= at, "byte {at}: {offset}");
                assert_eq!(
                    std::fs::read(&path).unwrap(),
                    damaged,
                    "byte {at}: it is left as it is"
                );
            } else {
                let torn = read.unwrap();
                assert!(!torn.closed, "byte {at}");
                assert_eq!(torn.accounts, complete.accounts);
                opened.unwrap();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bytes_that_rot_never_make_a_ledger_shorter(
            at in 0usize..10_000,
            rotten in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (path, last) = of_many_frames(dir.path());
            let mut bytes = std::fs::read(&path).unwrap();
            let complete = read(&path).unwrap();
            let at = at % last;
            let end = (at + rotten.len()).min(last);
            bytes[at..end].copy_from_slice(&rotten[..end - at]);
            let is_changed = bytes != std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            match read(&path) {
                Ok(ledger) => prop_assert!(!is_changed && ledger == complete),
                Err(_) => prop_assert!(LedgerWriter::open(&path, &HEAD).is_err()),
            }
            prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_tail_of_zeros_or_of_a_torn_repair_is_no_record_and_no_orderly_end() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = of_many_frames(dir.path());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &[0; 4_096]].concat()).unwrap();
        assert!(!read(&path).unwrap().closed, "as some file systems leave it without power");
        LedgerWriter::open(&path, &HEAD).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        let repair = LedgerWriter::open(&path, &HEAD).unwrap();
        repair.reserve_again([(T3, &set(0..5))], IsRepair::Yes).unwrap();
        drop(repair);
        assert!(read(&path).unwrap().closed);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(!read(&path).unwrap().closed, "a repair was begun, nobody knows of what");
    }

    #[test]
    fn a_ledger_that_waits_for_the_disk_holds_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = of_many_frames(dir.path());
        let powerless = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let writer = LedgerWriter::create(&path, &HEAD).unwrap().durable(Durability::Power);
        assert!(!writer.is_begun().unwrap());
        let plan = live_plan("10/s", "5", "100s");
        writer.reserve(&(plan.start..plan.start + 12_000_000)).unwrap();
        assert!(writer.is_begun().unwrap());
        for seqs in (0..12).map(|second| second * 10..second * 10 + 7) {
            writer.settle(T3, seqs, Settlement::Acknowledged);
        }
        writer.close().unwrap();
        assert_eq!(read(&path).unwrap(), powerless);
    }

    #[test]
    fn a_ledger_is_gone_on_with_after_a_cut_at_any_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let before = read(&path).unwrap();
            let writer = LedgerWriter::open(&path, &HEAD).unwrap();
            writer.settle(T3, 40..50, Settlement::Acknowledged);
            writer.close().unwrap();
            let after = read(&path).unwrap();
            assert!(after.closed, "cut at {length}");
            let mut expected = before.accounts[3].clone();
            assert!(expected.take(1, 40..50));
            assert_eq!(after.accounts[3], expected, "cut at {length}");
        }
    }

    #[test]
    fn only_one_process_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger-0.bin");
        let writer = LedgerWriter::create(&path, &HEAD).unwrap();
        let busy = LedgerWriter::open(&path, &HEAD).unwrap_err();
        let LedgerError::Unreadable { source, .. } = busy else { panic!("{busy}") };
        assert_eq!(source.kind(), io::ErrorKind::ResourceBusy);
        drop(writer);
        LedgerWriter::open(&path, &HEAD).unwrap();
    }

    #[test]
    fn the_last_word_holds_but_what_was_acknowledged_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger-0.bin");
        let writer = LedgerWriter::create(&path, &HEAD).unwrap();
        let all = RangeSet::of(0..100);
        writer.reserve_again([(T3, &all)], IsRepair::No).unwrap();
        writer.settle(T3, 0..40, Settlement::Acknowledged);
        writer.settle(T3, 40..60, Settlement::Refused);
        writer.settle(T3, 60..80, Settlement::Unknown);
        writer.settle(T3, 80..100, Settlement::Unsent);
        writer.reserve_again([(T3, &set(50..90))], IsRepair::No).unwrap();
        writer.settle(T3, 50..70, Settlement::Acknowledged);
        writer.settle(T3, 70..75, Settlement::Refused);
        writer.reserve_again([(T3, &set(10..20))], IsRepair::Yes).unwrap();
        writer.settle(T3, 10..20, Settlement::Unknown);
        writer.close().unwrap();
        let account = read(&path).unwrap().accounts[3].clone();
        assert_eq!(account.acknowledged, [0..40, 50..70].into_iter().collect());
        assert_eq!(account.refused, [40..50, 70..75].into_iter().collect());
        assert_eq!(account.unknown(), set(75..90));
        assert_eq!(account.unsent, set(90..100));
        assert_eq!(account.repaired, set(10..20));
    }

    #[test]
    fn a_shard_reserves_its_own_tenants_and_is_not_taken_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger-1.bin");
        let plan = live_plan("10/s", "5", "100s");
        let head = LedgerHead { shard: 1, shards: 2, ..HEAD };
        let writer = LedgerWriter::create(&path, &head).unwrap();
        writer.reserve(&(plan.start..plan.start + 1_000_000)).unwrap();
        writer.close().unwrap();
        let mut ledger = Ledger::empty(&plan.script);
        ledger.read(&path, &plan.script, &head).unwrap();
        let reserved: Vec<_> = ledger.accounts.iter().map(|it| it.reserved.count()).collect();
        assert_eq!(reserved, [0, 10, 0, 10, 0]);
        for other in [HEAD, LedgerHead { seal: [8; 16], ..head }] {
            let result = Ledger::empty(&plan.script).read(&path, &plan.script, &other);
            assert!(matches!(result, Err(LedgerError::OtherRun { .. })), "{result:?}");
        }
    }

    #[test]
    fn slices_of_time_are_ranges_of_every_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger-0.bin");
        let plan = live_plan("10/s", "5", "100s");
        let start = plan.start;
        let writer = LedgerWriter::create(&path, &HEAD).unwrap();
        writer.reserve(&(start..start + 2_000_000)).unwrap();
        writer.settle_slice(&(start..start + 1_000_000), Settlement::Acknowledged).unwrap();
        writer.close().unwrap();
        let mut ledger = Ledger::empty(&plan.script);
        ledger.read(&path, &plan.script, &HEAD).unwrap();
        for account in &ledger.accounts {
            assert_eq!(account.acknowledged, set(0..10));
            assert_eq!(account.unknown(), set(10..20));
        }
    }

    #[test]
    fn a_ledger_takes_less_than_a_byte_per_event_whatever_the_tenant_count() {
        for tenants in [1u16, 200, 5_000, u16::MAX] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ledger-0.bin");
            let writer = LedgerWriter::create(&path, &HEAD).unwrap();
            let events = 1_000_000 / u64::from(tenants);
            // Single events, round robin; slices of at least 64 events.
            for sent in (0..1_000_000).step_by(64) {
                writer.reserve(&(sent * 20..sent * 20 + 1_280)).unwrap();
            }
            for seq in 0..events {
                for tenant in (0..tenants).map(TenantIndex) {
                    writer.settle(tenant, seq..seq + 1, Settlement::Acknowledged);
                }
                if seq % 5 == 0 {
                    writer.flush().unwrap();
                }
            }
            writer.close().unwrap();
            let bytes = std::fs::metadata(&path).unwrap().len();
            let allowed = events * u64::from(tenants) + (1 << 16);
            assert!(bytes < allowed, "{tenants} tenants: {bytes} bytes, {allowed} allowed");
        }
    }
}
