//! Bodies come whole, within their size and the room that they share.

use super::*;

#[tokio::test]
async fn bodies_come_in_one_piece_in_many_or_not_at_all() {
    let door = start(patient());
    let mut client = door.connect().await;
    let whole = client.ask(b"POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc").await;
    assert!(whole.unwrap().ends_with("\r\n\r\nabc"));
    client.send(b"POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    client.send(b"2\r\nbc\r\n0\r\n\r\n").await;
    assert!(client.receive().await.unwrap().ends_with("\r\n\r\nabc"));
    let none = client.ask(b"POST /echo HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert!(none.unwrap().contains("content-length: 0"));
}

#[tokio::test]
async fn a_body_of_the_largest_size_passes_and_one_byte_more_does_not() {
    let door = start(patient());
    for (length, status) in [(MAX_BODY_BYTES, "200"), (MAX_BODY_BYTES + 1, "413")] {
        let body = "x".repeat(length);
        let declared = format!("POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n{body}");
        let chunked = format!(
            "POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        );
        for request in [declared, chunked] {
            let response = door.connect().await.ask(request.as_bytes()).await.expect("a response");
            assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {response}");
        }
    }
}

/// A request with a body of so many bytes, of which only a part is sent.
fn part_of(length: usize, part: usize) -> String {
    let part = "x".repeat(part);
    format!("POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n{part}")
}

#[tokio::test]
async fn bodies_that_are_not_whole_share_a_room_and_whole_ones_need_none() {
    let door = start(patient());
    let mut slow = door.connect().await;
    slow.send(part_of(900, 600).as_bytes()).await;
    eventually("its part is kept", || door.room.taken_bytes() == 600).await;
    let mut other = door.connect().await;
    other.send(part_of(900, 401).as_bytes()).await;
    assert!(other.receive().await.unwrap().starts_with("HTTP/1.1 503"), "1,000 bytes are all there is");
    let whole = door.connect().await.ask(part_of(900, 900).as_bytes()).await.unwrap();
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");

    let mut small = door.connect().await;
    small.send(part_of(900, 400).as_bytes()).await;
    eventually("both fit", || door.room.taken_bytes() == 1_000).await;
    small.send("x".as_bytes()).await;
    assert!(small.receive().await.unwrap().starts_with("HTTP/1.1 503"), "there is no room for more");
    slow.send("x".repeat(300).as_bytes()).await;
    assert!(slow.receive().await.unwrap().starts_with("HTTP/1.1 200"), "its last piece needs none");
    assert_eq!(door.room.taken_bytes(), 0);

    let mut leaving = door.connect().await;
    leaving.send(part_of(900, 600).as_bytes()).await;
    eventually("its part is kept", || door.room.taken_bytes() == 600).await;
    drop(leaving);
    eventually("it has left nothing", || door.room.taken_bytes() == 0).await;
}
