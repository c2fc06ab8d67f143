//! What all contestants work on, made from an index by SplitMix64, and the checksums that must be equal at the end.
//!
//! Never knows a contestant.

use serde::{Deserialize, Serialize};

/// A payment by card.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Transaction {
    pub id: u64,
    pub account: u64,
    pub merchant: u32,
    pub amount_cents: u32,
    pub ts_ms: u64,
}

impl Transaction {
    /// The transaction of this index, the same in every run.
    #[inline(always)]
    pub fn of(index: u64, accounts: u64) -> Self {
        // Opaque: records come one by one from a world outside. Otherwise the compiler makes vectors of some contestants' loops
        // and not of others', and one that it should not have (six times slower) of renoir's.
        let hash = std::hint::black_box(split_mix_64(index));
        Self {
            id: index,
            account: hash % accounts,
            merchant: (hash >> 32) as u32,
            amount_cents: (hash >> 8) as u32 & 0xF_FFFF,
            ts_ms: index / 100,
        }
    }

    /// The map of the pipeline: twice the amount, and one.
    #[inline(always)]
    pub fn doubled(self) -> Self {
        Self { amount_cents: self.amount_cents * 2 + 1, ..self }
    }

    /// A stage of a chain. Nothing is left out when one follows another.
    #[inline(always)]
    pub fn stirred(self) -> Self {
        Self { amount_cents: self.amount_cents.rotate_left(5) ^ self.merchant, ..self }
    }

    /// The filter of the pipeline. One in ten is not kept.
    #[inline(always)]
    pub fn is_kept(&self) -> bool {
        !self.merchant.is_multiple_of(10)
    }
}

/// An event of a given size. Every byte is written when it is made; who reads it looks at both ends.
#[derive(Clone)]
pub struct Filled<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Filled<BYTES> {
    #[inline(always)]
    pub fn of(index: u64) -> Self {
        let mut bytes = [std::hint::black_box(index) as u8; BYTES];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        Self(bytes)
    }

    #[inline(always)]
    fn digest(&self) -> u64 {
        let index = u64::from_le_bytes(self.0[..8].try_into().expect("eight bytes"));
        index.wrapping_add(u64::from(self.0[BYTES - 1]))
    }
}

/// One step of SplitMix64.
#[inline(always)]
pub fn split_mix_64(index: u64) -> u64 {
    let z = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What an account has come to, and by which transaction.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Update {
    pub id: u64,
    pub account: u64,
    pub count: u64,
    pub sum_cents: u64,
}

/// What is remembered of an account: how many transactions, how many cents.
pub type Balance = (u64, u64);

/// The map of accounts that every contestant uses where it lets its user choose.
pub type Balances = rustc_hash::FxHashMap<u64, Balance>;

/// Counts a transaction.
#[inline(always)]
pub fn count(balance: &mut Balance, transaction: &Transaction) -> Update {
    balance.0 += 1;
    balance.1 += u64::from(transaction.amount_cents);
    Update {
        id: transaction.id,
        account: transaction.account,
        count: balance.0,
        sum_cents: balance.1,
    }
}

/// What the states of the keyed job know of, or should: how many transactions, of which accounts, over how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub events: u64,
    pub digest: u64,
    pub cents: u64,
}

impl Counted {
    pub fn in_state(balances: &Balances) -> Self {
        let accounts = balances.iter().map(|(account, (count, cents))| Self {
            events: *count,
            digest: (account + 1).wrapping_mul(*count),
            cents: *cents,
        });
        accounts.fold(Self::default(), Self::merged)
    }

    /// What a state should know of when these transactions have been emitted.
    pub fn emitted(indexes: impl Iterator<Item = u64>, accounts: u64) -> Self {
        indexes.fold(Self::default(), |counted, index| {
            let transaction = Transaction::of(index, accounts);
            counted.merged(Self {
                events: 1,
                digest: transaction.account + 1,
                cents: u64::from(transaction.amount_cents),
            })
        })
    }

    pub fn merged(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            digest: self.digest.wrapping_add(other.digest),
            cents: self.cents + other.cents,
        }
    }
}

/// What a sink has seen. The order of events plays no part, every field does, so that no contestant can leave out the making of
/// one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    pub events: u64,
    pub digest: u64,
    /// Depends on the order in which the sources were read; it is not compared.
    pub sums: u64,
}

impl Total {
    /// The sink of the pipeline.
    #[inline(always)]
    pub fn add(&mut self, transaction: &Transaction) {
        self.events += 1;
        self.digest = self
            .digest
            .wrapping_add(u64::from(transaction.amount_cents))
            .wrapping_add(transaction.id ^ transaction.account ^ transaction.ts_ms)
            .wrapping_add(u64::from(transaction.merchant));
    }

    /// The sink of events of a size.
    #[inline(always)]
    pub fn add_filled<const BYTES: usize>(&mut self, event: &Filled<BYTES>) {
        self.events += 1;
        self.digest = self.digest.wrapping_add(event.digest());
    }

    /// The sink of the keyed job. Each account reaches each count once, whatever the order.
    #[inline(always)]
    pub fn add_update(&mut self, update: &Update) {
        self.events += 1;
        self.digest = self
            .digest
            .wrapping_add((update.account + 1).wrapping_mul(update.count))
            .wrapping_add(update.id);
        self.sums = self.sums.wrapping_add(update.sum_cents);
    }

    /// Both together.
    pub fn merged(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            digest: self.digest.wrapping_add(other.digest),
            sums: self.sums.wrapping_add(other.sums),
        }
    }
}
