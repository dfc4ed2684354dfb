//! The secret is changed while people wait: on one node with a state file, and on nodes that share a room, one after the other.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_testkit::{RedisServer, TempDir, Tidegate, TidegateOptions};

use crate::site::{SECRET, Visitor};

const NEXT: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
const ONE_SEAT: &str = "version: 1\ndomains: []\nrooms:\n  - { name: demo, capacity: 1, release_rate: 100/s, session: { limit: 600s, idle: 60s } }\n";

/// A node with a secret of its own.
struct Node {
    process: Tidegate,
    secret: PathBuf,
}

impl Node {
    fn start(dir: &TempDir, number: usize, secret: &str, arguments: [&str; 2]) -> Self {
        let rules = dir.write("rules.yaml", ONE_SEAT).display().to_string();
        let secret = dir.write(&format!("secret-{number}"), secret);
        let file = secret.display().to_string();
        let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"));
        let options =
            options.arguments(["--rules", &rules, "--room-secret-file", &file]).arguments(arguments);
        Self { process: Tidegate::with(&options), secret }
    }

    /// The same node, started again with another secret.
    fn change(&mut self, secret: &str) {
        self.process.terminate();
        fs::write(&self.secret, secret).unwrap();
        self.process.restart();
    }

    async fn join(&self) -> Visitor {
        let mut visitor = Visitor::new(self.process.address());
        let answer = visitor.call("join", json!({})).await;
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.process.logs());
        visitor
    }

    /// How somebody stands here: the number and how many are ahead.
    async fn place(&self, visitor: &mut Visitor) -> (Value, Value) {
        visitor.address = self.process.address();
        let answer = visitor.call("poll", json!({})).await;
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.process.logs());
        let seat = answer.json();
        (seat["queue_number"].clone(), seat["position"].clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_changed_while_people_wait_and_the_room_goes_on_when_the_old_one_is_dropped() {
    let dir = TempDir::new("room-secrets");
    let state = dir.join("state").display().to_string();
    let mut node = Node::start(&dir, 0, SECRET, ["--state-file", &state]);
    let _inside = node.join().await;
    let (mut second, mut third) = (node.join().await, node.join().await);
    node.change(&format!("{NEXT}\n{SECRET}"));
    assert_eq!(node.place(&mut second).await, (json!(2), json!(0)));
    assert_eq!(node.place(&mut third).await, (json!(3), json!(1)));
    let mut fourth = node.join().await;
    assert_eq!(node.place(&mut fourth).await, (json!(4), json!(2)));
    // Seeds of draws are made from the secret, and the room has one. It can be changed as ever.
    dir.write("rules.yaml", &ONE_SEAT.replace("capacity: 1", "capacity: 2"));
    node.change(NEXT);
    let mut looks = Visitor::new(node.process.address());
    let status = looks.get("/v1/rooms/demo/status").await;
    assert_eq!((status.status, &status.json()["capacity"]), (200, &json!(2)), "{}", status.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_change_their_secret_one_after_the_other_while_people_wait_at_all_of_them() {
    let (dir, redis) = (TempDir::new("room-secrets-of-nodes"), RedisServer::start());
    let store = redis.url();
    let before = format!("{SECRET}\nnext: {NEXT}");
    let mut nodes: Vec<_> =
        (0..2).map(|number| Node::start(&dir, number, &before, ["--store", &store])).collect();
    let _inside = nodes[0].join().await;
    let mut line = vec![nodes[0].join().await, nodes[1].join().await];
    for changed in 0..2 {
        nodes[changed].change(&format!("{NEXT}\n{SECRET}"));
        for node in &nodes {
            line.push(node.join().await);
            for (place, visitor) in line.iter_mut().enumerate() {
                assert_eq!(node.place(visitor).await, (json!(place + 2), json!(place)), "{changed}");
            }
        }
    }
}
