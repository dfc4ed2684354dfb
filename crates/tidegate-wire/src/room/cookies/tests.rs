//! Goal: only a cookie that is surely ours is read, and a browser keeps what we write to itself. Method: tables.

use http::header::HeaderName;

use super::*;

fn headers(lines: &[&[u8]]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        map.append(HeaderName::from_static("cookie"), HeaderValue::from_bytes(line).unwrap());
    }
    map
}

fn room() -> RoomName {
    RoomName::new("demo").unwrap()
}

fn read(lines: &[&[u8]], transport: Transport) -> Result<Option<String>, CookieError> {
    let (map, room) = (headers(lines), room());
    read_cookie(&map, CookieName::Ticket(&room), transport).map(|value| value.map(str::to_owned))
}

#[test]
fn names_say_room_and_transport() {
    let room = room();
    for (name, plain) in [
        (CookieName::Device, "tidegate_device"),
        (CookieName::Ticket(&room), "tidegate_ticket_demo"),
        (CookieName::Pass(&room), "tidegate_pass_demo"),
        (CookieName::PassJwt(&room), "tidegate_jwt_demo"),
    ] {
        assert_eq!(name.in_header(Transport::Plain), plain);
        assert_eq!(name.in_header(Transport::Tls), format!("__Host-{plain}"));
    }
}

#[test]
fn a_cookie_is_found_among_others() {
    let lines: &[&[&[u8]]] = &[
        &[b"tidegate_ticket_demo=v1.a"],
        &[b"a=b; tidegate_ticket_demo=v1.a; c"],
        &[b"a=b;tidegate_ticket_demo=v1.a;;"],
        &[b"a=b", b"tidegate_ticket_demo=v1.a"],
        &[b" \ttidegate_ticket_demo = v1.a "],
        &[b"x=\xff\xfe; tidegate_ticket_demo=v1.a; y=\"q;r\""],
        &[b"tidegate_ticket_other=v1.b; tidegate_ticket_demo=v1.a; TIDEGATE_TICKET_DEMO=v1.c"],
    ];
    for lines in lines {
        assert_eq!(read(lines, Transport::Plain), Ok(Some("v1.a".to_owned())), "{lines:?}");
        assert_eq!(read(lines, Transport::Tls), Ok(None), "only guarded names count over TLS: {lines:?}");
    }
    let absent: &[&[&[u8]]] = &[
        &[],
        &[b"a=b"],
        &[b"tidegate_ticket_demo"],
        &[b"tidegate_ticket_demo="],
        &[b"tidegate_ticket_demo_2=v1.a"],
        &[b"xtidegate_ticket_demo=v1.a"],
        &[b"__Host-tidegate_ticket_demo=v1.a"],
        // A no-break space and an em space, which some readers cut off and browsers do not.
        &[b"\xa0tidegate_ticket_demo=v1.a"],
        &[b"\xe2\x80\x83tidegate_ticket_demo=v1.a"],
    ];
    for lines in absent {
        assert_eq!(read(lines, Transport::Plain), Ok(None), "{lines:?}");
    }
    let unguarded = b"__host-tidegate_ticket_demo=v1.b; \xe2\x80\x83__Host-tidegate_ticket_demo=v1.c";
    assert_eq!(read(&[unguarded], Transport::Tls), Ok(None));
    assert_eq!(read(&[b"__Host-tidegate_ticket_demo=v1.a"], Transport::Tls), Ok(Some("v1.a".to_owned())));
}

#[test]
fn a_name_that_comes_twice_says_nothing() {
    let name = "tidegate_ticket_demo".to_owned();
    for lines in [
        [b"tidegate_ticket_demo=a; tidegate_ticket_demo=a".as_slice()].as_slice(),
        &[b"tidegate_ticket_demo=a", b"tidegate_ticket_demo=b"],
        &[b"tidegate_ticket_demo=; tidegate_ticket_demo=b"],
    ] {
        assert_eq!(read(lines, Transport::Plain), Err(CookieError::Duplicate(name.clone())), "{lines:?}");
    }
    for value in [b"\"a\"".as_slice(), b"a b", b"a,b", b"a%20", b"\xff", b"a=b", b"<a>"] {
        let line = [b"tidegate_ticket_demo=", value].concat();
        assert_eq!(read(&[&line], Transport::Plain), Err(CookieError::NotAToken(name.clone())), "{value:?}");
    }
}

#[test]
fn cookies_have_maxima() {
    let wide = vec![b'x'; MAX_COOKIE_HEADER_BYTES - 1];
    assert_eq!(read(&[&wide, b"y"], Transport::Plain), Ok(None));
    assert_eq!(read(&[&wide, b"yy"], Transport::Plain), Err(CookieError::TooLong));
    let many = vec![b';'; MAX_COOKIES];
    assert_eq!(read(&[&many[1..]], Transport::Plain), Ok(None));
    assert_eq!(read(&[&many], Transport::Plain), Err(CookieError::TooMany));
}

#[test]
fn cookies_are_written_for_this_host_only() {
    let room = room();
    let set = |transport| set_cookie(CookieName::Pass(&room), "v1.p_-.x", 40, transport).unwrap();
    assert_eq!(
        set(Transport::Tls),
        "__Host-tidegate_pass_demo=v1.p_-.x; Path=/; Max-Age=40; HttpOnly; SameSite=Lax; Secure"
    );
    assert_eq!(
        set(Transport::Plain),
        "tidegate_pass_demo=v1.p_-.x; Path=/; Max-Age=40; HttpOnly; SameSite=Lax"
    );
    assert_eq!(
        clear_cookie(CookieName::Device, Transport::Tls),
        "__Host-tidegate_device=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
    );
}

#[test]
fn what_is_no_token_is_not_written() {
    for token in ["", "a b", "a;b", "a\r\nb", "ä", "\"a\""] {
        let refused = set_cookie(CookieName::Device, token, 1, Transport::Tls);
        assert!(matches!(refused, Err(CookieError::NotAToken(_))), "{token:?}");
    }
    let name = CookieName::Device.in_header(Transport::Tls);
    let longest = "a".repeat(MAX_SET_COOKIE_BYTES - name.len());
    assert!(set_cookie(CookieName::Device, &longest, 1, Transport::Tls).is_ok());
    let refused = set_cookie(CookieName::Device, &format!("{longest}a"), 1, Transport::Tls);
    assert_eq!(refused, Err(CookieError::TooLongToKeep(name)));
}
