//! stub
use crate::model::*;
use std::sync::Arc;
use std::time::Duration;
#[derive(Debug)]
pub struct UsageMeter;
impl UsageMeter {
    pub fn new(_: usize) -> Self {
        Self
    }
}
#[derive(Debug, Default)]
pub struct WriterStats;
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub waiting: u64,
    pub dropped: u64,
    pub batches: u64,
    pub failures: u64,
}
impl WriterStats {
    pub fn get(&self) -> Written {
        Written::default()
    }
}
#[derive(Debug, Default)]
pub struct TopKeys;
#[derive(Debug)]
pub struct TopKey {
    pub key: String,
    pub count: u64,
    pub error: u64,
    pub allowed: u64,
    pub denied: u64,
    pub cost: u64,
}
impl TopKeys {
    pub fn top(&self, _: &str, _: usize, _: i64) -> Vec<TopKey> {
        Vec::new()
    }
}
pub struct WriterOptions {
    pub node: String,
    pub flush: Duration,
    pub buffer_rows: usize,
}
pub struct Writer<S>(S);
impl<S> Writer<S> {
    pub fn new(s: S, _: Arc<UsageMeter>, _: Arc<WriterStats>, _: WriterOptions) -> Self {
        Self(s)
    }
    pub async fn run(self, _: impl Fn() -> i64, stop: impl Future<Output = ()>) {
        stop.await
    }
}
pub type _X = UsageKey;
