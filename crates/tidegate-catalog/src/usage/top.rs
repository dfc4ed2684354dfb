//! The busiest keys of each domain lately.
//!
//! Space-Saving: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
//! Streams", ICDT 2005. Of N requests, m counters overestimate a key by at most N/m, and every key with more than N/m
//! requests has a counter.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

/// Counters of a domain.
const COUNTERS: usize = 512;
/// Most domains that have counters.
const MAX_DOMAINS: usize = 256;
/// Longest text of a key, in bytes; a longer one is cut.
const MAX_KEY_BYTES: usize = 256;
/// Microseconds after which counting begins anew. What was counted in the span before still shows.
const SPAN_US: i64 = 600_000_000;

/// What a request was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It may pass.
    Allowed,
    /// It may not pass.
    Denied,
}

/// A busy key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopKey {
    /// Its text.
    pub key: String,
    /// Requests, at most.
    pub count: u64,
    /// How much too high `count` can be.
    pub error: u64,
    /// Requests that were allowed, of those surely seen.
    pub allowed: u64,
    /// Requests that were denied, of those surely seen.
    pub denied: u64,
    /// Units that were allowed, of those surely seen.
    pub cost: u64,
}

/// The busiest keys of the last ten to twenty minutes, for each domain.
#[derive(Debug, Default)]
pub struct TopKeys {
    domains: RwLock<HashMap<Box<str>, Arc<Mutex<Generations>>>>,
    /// When domains that are quiet may be looked for again.
    tidy_at_us: AtomicI64,
    skipped: AtomicU64,
}

impl TopKeys {
    /// Counts a request. Never waits for another: where it would have to, the request is skipped, and that is counted.
    pub fn record(&self, now_us: i64, domain: &str, key: &str, told: Told, cost: u64) {
        let counted = self.domain(domain, now_us).is_some_and(|domain| match domain.try_lock() {
            Some(mut generations) => {
                generations.at(now_us).current.record(cut(key), told, cost);
                true
            }
            None => false,
        });
        if !counted {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The busiest keys of a domain, at most `most`, busiest first.
    #[must_use]
    pub fn top(&self, domain: &str, most: usize, now_us: i64) -> Vec<TopKey> {
        let Some(domain) = self.domains.read().get(domain).map(Arc::clone) else { return Vec::new() };
        let mut keys = domain.lock().at(now_us).merged();
        keys.sort_by(|a, b| (b.count, b.count - b.error, &a.key).cmp(&(a.count, a.count - a.error, &b.key)));
        keys.truncate(most);
        keys
    }

    /// Requests that were not counted because another thread was counting, or there were too many domains.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn domain(&self, name: &str, now_us: i64) -> Option<Arc<Mutex<Generations>>> {
        let domains = self.domains.try_read()?;
        if let Some(domain) = domains.get(name) {
            return Some(Arc::clone(domain));
        }
        if domains.len() >= MAX_DOMAINS && now_us < self.tidy_at_us.load(Ordering::Relaxed) {
            return None;
        }
        drop(domains);
        let mut domains = self.domains.try_write()?;
        if domains.len() >= MAX_DOMAINS {
            self.tidy_at_us.store(now_us.saturating_add(SPAN_US), Ordering::Relaxed);
            domains.retain(|_, domain| {
                domain.try_lock().is_none_or(|generations| !generations.is_quiet(now_us))
            });
            if domains.len() >= MAX_DOMAINS {
                return None;
            }
        }
        Some(Arc::clone(domains.entry(name.into()).or_default()))
    }
}

/// The beginning of a key that has counters.
fn cut(key: &str) -> &str {
    let mut end = key.len().min(MAX_KEY_BYTES);
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    &key[..end]
}

/// What is counted now, and what was counted in the span before.
#[derive(Debug, Default)]
struct Generations {
    began_us: i64,
    current: Sketch,
    previous: Sketch,
}

impl Generations {
    /// As they are at a time: a span that is over is put behind.
    fn at(&mut self, now_us: i64) -> &mut Self {
        let age_us = now_us.saturating_sub(self.began_us);
        if age_us >= SPAN_US {
            self.previous = mem::take(&mut self.current);
            if age_us >= 2 * SPAN_US {
                self.previous = Sketch::default();
            }
            self.began_us = now_us;
        }
        self
    }

    const fn is_quiet(&self, now_us: i64) -> bool {
        now_us.saturating_sub(self.began_us) >= 2 * SPAN_US
    }

    /// Both together. Where one has no counter for a key of the other, it may have had as many requests as its least.
    fn merged(&self) -> Vec<TopKey> {
        let (current, previous) = (&self.current, &self.previous);
        let mut keys: Vec<TopKey> = current
            .counters
            .iter()
            .map(|counter| counter.top_key(previous.get(&counter.key), previous.least()))
            .collect();
        let only_before = previous.counters.iter().filter(|counter| current.get(&counter.key).is_none());
        keys.extend(only_before.map(|counter| counter.top_key(None, current.least())));
        keys
    }
}

/// One key's counter.
#[derive(Debug)]
struct Counter {
    key: Arc<str>,
    count: u64,
    error: u64,
    allowed: u64,
    denied: u64,
    cost: u64,
    /// Where it stands in the heap.
    place: usize,
}

impl Counter {
    fn top_key(&self, other: Option<&Counter>, least: u64) -> TopKey {
        let of_other = |value: fn(&Counter) -> u64| other.map_or(0, value);
        TopKey {
            key: self.key.as_ref().to_owned(),
            count: self.count + other.map_or(least, |other| other.count),
            error: self.error + other.map_or(least, |other| other.error),
            allowed: self.allowed + of_other(|other| other.allowed),
            denied: self.denied + of_other(|other| other.denied),
            cost: self.cost.saturating_add(of_other(|other| other.cost)),
        }
    }
}

/// Space-Saving: counters, found by key, with the least of them on top of a heap.
#[derive(Debug, Default)]
struct Sketch {
    by_key: HashMap<Arc<str>, usize>,
    counters: Vec<Counter>,
    /// Counters by index; none has a lower count than the one at half its place.
    heap: Vec<usize>,
}

impl Sketch {
    fn record(&mut self, key: &str, told: Told, cost: u64) {
        let index = match self.by_key.get(key) {
            Some(index) => *index,
            None => self.take_counter(key),
        };
        let counter = &mut self.counters[index];
        counter.count += 1;
        match told {
            Told::Allowed => {
                counter.allowed += 1;
                counter.cost = counter.cost.saturating_add(cost);
            }
            Told::Denied => counter.denied += 1,
        }
        let place = counter.place;
        self.sink(place);
    }

    /// A counter for a new key: a free one, else that of the key with the least requests.
    fn take_counter(&mut self, key: &str) -> usize {
        let key: Arc<str> = key.into();
        let (mut index, mut least) = (self.counters.len(), 0);
        let full = index >= COUNTERS;
        if full {
            index = self.heap[0];
            least = self.counters[index].count;
            self.by_key.remove(&self.counters[index].key);
        }
        self.by_key.insert(Arc::clone(&key), index);
        let place = if full { 0 } else { index };
        let counter = Counter { key, count: least, error: least, allowed: 0, denied: 0, cost: 0, place };
        if full {
            self.counters[index] = counter;
        } else {
            self.counters.push(counter);
            self.heap.push(index);
            self.rise(place);
        }
        index
    }

    fn count_at(&self, place: usize) -> u64 {
        self.counters[self.heap[place]].count
    }

    /// Puts a counter with a new, lowest count where it belongs.
    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.count_at(place) < self.count_at((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    /// Puts a counter whose count has grown where it belongs.
    fn sink(&mut self, mut place: usize) {
        loop {
            let children = (2 * place + 1)..(2 * place + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.count_at(*child)) else { return };
            if self.count_at(least) >= self.count_at(place) {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.counters[self.heap[a]].place = a;
        self.counters[self.heap[b]].place = b;
    }

    fn get(&self, key: &str) -> Option<&Counter> {
        self.counters.get(*self.by_key.get(key)?)
    }

    /// The most requests that a key without a counter can have had.
    fn least(&self) -> u64 {
        if self.counters.len() < COUNTERS { 0 } else { self.count_at(0) }
    }
}

#[cfg(test)]
#[path = "top_tests.rs"]
mod tests;
