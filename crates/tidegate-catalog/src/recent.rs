//! stub
#[derive(Debug)]
pub struct Recorder;
#[derive(Debug)]
pub struct RecentRequest {
    pub at_us: i64,
    pub entries: Vec<(String, String)>,
    pub cost: u64,
}
impl Recorder {
    pub fn new(_: usize) -> Self {
        Self
    }
    pub fn since(&self, _: i64, _: &str) -> Vec<RecentRequest> {
        Vec::new()
    }
    pub fn capacity_bytes(&self) -> usize {
        0
    }
    pub fn skipped(&self) -> u64 {
        0
    }
}
