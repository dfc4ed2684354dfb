//! The end of a run, for people.

use super::report::{Latency, Report};

/// The report as text.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut page = Page(String::new());
    page.line(&format!(
        "A crowd in room {}: {:.1} s, {} requests",
        report.room, report.seconds, report.requests
    ));
    page.counts(report);
    page.times(report);
    page.errors(report);
    page.verdict(report);
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn title(&mut self, title: &str) {
        self.0.push('\n');
        self.line(title);
    }

    fn count(&mut self, name: &str, count: impl std::fmt::Display) {
        self.line(&format!("  {name:<34} {count:>10}"));
    }

    fn counts(&mut self, report: &Report) {
        self.title("Visitors");
        for (name, count) in &report.visitors {
            self.count(&name.replace('_', " "), count);
        }
        self.title("Places");
        self.count("numbers given", report.numbers);
        self.count("called", report.offered);
        self.count("let in", report.admitted);
        self.count("most inside at one time", report.sessions.most_seen);
        self.count("most inside as the room told", report.sessions.most_told);
        let capacity = report.sessions.capacity;
        self.count("seats", capacity.map_or_else(|| "?".to_owned(), |capacity| capacity.to_string()));
    }

    fn times(&mut self, report: &Report) {
        self.title(&format!(
            "{:<16} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "Milliseconds", "count", "p50", "p90", "p95", "p99", "longest"
        ));
        for (call, latency) in &report.latency_ms {
            self.latency(call, latency);
        }
        if let Some(wait) = &report.wait_ms {
            self.latency("wait", wait);
        }
        if let Some(delay) = &report.own_delay_ms {
            self.latency("own delay", delay);
        }
    }

    fn latency(&mut self, name: &str, latency: &Latency) {
        let Latency { count, p50, p90, p95, p99, max } = latency;
        self.line(&format!(
            "  {name:<14} {count:>9} {p50:>10.1} {p90:>10.1} {p95:>10.1} {p99:>10.1} {max:>10.1}"
        ));
    }

    fn errors(&mut self, report: &Report) {
        if report.errors.is_empty() {
            return;
        }
        self.title("Errors");
        for (kind, count) in &report.errors {
            self.count(kind, count);
        }
    }

    fn verdict(&mut self, report: &Report) {
        let found = &report.violations;
        let wrong = [
            ("overtaken", found.overtaken.visitors),
            ("positions that grew", found.grown_positions),
            ("places lost", found.lost_places),
            ("sessions lost", found.lost_sessions),
            ("second numbers", found.second_numbers),
            ("second sessions", found.second_sessions),
            ("numbers of two visitors", found.shared_numbers),
            ("sessions beyond the seats", found.over_capacity),
        ];
        if report.is_fair && !report.is_enough {
            let came: u64 = report.visitors.values().sum();
            self.title(&format!(
                "NO VERDICT: {} of {came} visitors heard of a place in this room.",
                report.heard
            ));
            return;
        }
        if report.is_fair {
            self.title("Fair: nobody was overtaken, lost a place, or had two; never more were inside than there are seats.");
            return;
        }
        self.title("NOT FAIR");
        for (name, count) in wrong.into_iter().filter(|(_, count)| *count > 0) {
            self.count(name, count);
        }
        if found.overtaken.visitors > 0 {
            let (ms, numbers) = (found.overtaken.longest_ms, found.overtaken.most_numbers);
            self.line(&format!(
                "  the worst waited on for {ms:.0} ms; the most numbers in between: {numbers}"
            ));
        }
    }
}
