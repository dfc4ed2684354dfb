//! The pages in a browser that reaches this server and nothing else.

use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_testkit::{TempDir, wait_for};

use super::conformance::http_door;
use super::site::Site;

/// Longer than a page takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a page is once its scripts have run, and what they had to complain of.
struct Opened {
    page: String,
    complaints: Vec<String>,
}

fn open(url: &str, wanted: &str) -> Opened {
    #[expect(clippy::disallowed_methods, reason = "which browser to test with is a setting of the tests")]
    let program = std::env::var("TEST_CHROMIUM_BIN").unwrap_or_else(|_| "chromium".to_owned());
    let profile = TempDir::new("chromium");
    // A page that is slow to come up is opened again: the time that it may take is virtual, the machine is not.
    wait_for(&format!("{url} shows {wanted}"), DEADLINE, || {
        let output = Command::new(&program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            .args(["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", url])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; install chromium (scripts/test does)"));
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        let complaints =
            complaints.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
        page.contains(wanted).then_some(Opened { page, complaints })
    })
}

/// Text as it stands in a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[test]
fn both_pages_show_every_operation_and_break_no_rule_of_their_policy() {
    let site = Site::start();
    for (path, wanted) in [("/docs", "decide one request"), ("/redoc", "decide one request")] {
        let opened = open(&format!("http://{}{path}", site.server.address()), wanted);
        assert!(opened.complaints.is_empty(), "{path}: {:#?}", opened.complaints);
        for item in http_door().paths().values() {
            for operation in item.as_object().unwrap().values() {
                let summary = operation["summary"].as_str().unwrap();
                assert!(opened.page.contains(&escaped(summary)), "{path} does not show '{summary}'");
            }
        }
        assert!(!opened.page.contains("class=\"errors-wrapper\""), "{path} shows errors");
    }
}
