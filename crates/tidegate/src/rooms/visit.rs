//! Who asks, and from where: cookies, the address, the page it was asked from.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use tidegate_core::room::{Identity, Prefix};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_wire::identity::{ClientIp, IdentityPolicy, single_header};
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::cookies::{
    CookieError, CookieName, DEVICE_MAX_AGE_S, Transport, clear_cookie, read_cookie, read_cookies, set_cookie,
};
use tidegate_wire::room::name::RoomName;
use tidegate_wire::room::return_to::ReturnTo;
use tidegate_wire::room::site::{Audience, Scheme, SiteHost};
use tidegate_wire::room::token::Device;
use tidegate_wire::room::visitor::{DeviceId, VisitorId};

use super::definition::{OneSeatPer, Room};
use super::keys::RoomKeys;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The cookie of a device is signed anew when it is older than this, so that one that is in use never runs out.
const DEVICE_RENEWED_AFTER: Micros = Micros::from_secs(30 * 24 * 3_600);

/// How long a browser keeps where its visitor wants to go, in seconds: a day in a line.
const PLACE_MAX_AGE_S: u32 = 24 * 3_600;

/// A request for a room, as far as its head says.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    /// The head.
    pub(crate) head: &'a Parts,
    /// Who sent it: a visitor, or a proxy.
    pub(crate) peer: IpAddr,
    /// Whom to believe.
    pub(crate) identity: &'a IdentityPolicy,
}

/// The device that asks.
pub(super) struct Known {
    pub(super) device: Device,
    /// What the browser is to keep from now on; `None` where it has it.
    pub(super) cookie: Option<HeaderValue>,
    /// Whether it showed its cookie.
    pub(super) is_known: bool,
}

impl<'a> Visit<'a> {
    pub(super) fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }

    fn is_of_proxy(&self) -> bool {
        self.identity.proxies.contains(self.peer)
    }

    /// Whether the browser's connection is encrypted: a trusted proxy says so.
    pub(super) fn transport(&self) -> Transport {
        let proto = single_header(self.headers(), &X_FORWARDED_PROTO).ok().flatten();
        let is_tls = self.is_of_proxy() && proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        if is_tls { Transport::Tls } else { Transport::Plain }
    }

    /// The host at which the browser asks, with its port.
    pub(super) fn host(&self) -> Option<SiteHost> {
        let forwarded = single_header(self.headers(), &X_FORWARDED_HOST).ok().flatten();
        let forwarded = forwarded.filter(|_| self.is_of_proxy());
        let uri = self.head.uri.authority().map(http::uri::Authority::as_str);
        let host = || self.headers().get(HOST)?.to_str().ok();
        SiteHost::parse(forwarded.or(uri).or_else(host)?, scheme_of(self.transport())).ok()
    }

    pub(super) fn client(&self) -> ClientIp {
        self.identity.client_ip(self.peer, self.headers())
    }

    /// The hosts that a pass is given for: those of the room, and the one at which it is asked for.
    pub(super) fn audience(&self, room: &Room) -> Audience {
        let own = self.host().filter(|_| room.audience.hosts().is_empty());
        Audience::new(room.audience.hosts().iter().cloned().chain(own)).unwrap_or_default()
    }

    /// The value of a cookie of ours.
    pub(super) fn cookie(&self, name: CookieName<'_>) -> Result<Option<&'a str>, CookieError> {
        read_cookie(self.headers(), name, self.transport())
    }

    /// All values of a cookie of ours, to be verified.
    pub(super) fn cookies(&self, name: CookieName<'_>) -> Result<Vec<&'a str>, CookieError> {
        read_cookies(self.headers(), name, self.transport())
    }

    /// Tells a browser to keep a token. One that is too long for a cookie is not kept: who asks has it in the answer.
    pub(super) fn keep(&self, name: CookieName<'_>, token: &str, max_age_s: u32) -> Option<HeaderValue> {
        set_cookie(name, token, max_age_s, self.transport()).ok()
    }

    /// Tells a browser where its visitor wants to go.
    pub(super) fn keep_place(&self, room: &RoomName, place: &ReturnTo) -> Option<HeaderValue> {
        self.keep(CookieName::Place(room), &place.to_cookie(), PLACE_MAX_AGE_S)
    }

    /// Where the visitor wants to go, as its browser has kept it.
    pub(super) fn place(&self, room: &Room) -> Option<ReturnTo> {
        let value = self.cookie(CookieName::Place(&room.name)).ok().flatten()?;
        ReturnTo::of_cookie(value, &room.hosts)
    }

    pub(super) fn forget(&self, name: CookieName<'_>) -> HeaderValue {
        clear_cookie(name, self.transport())
    }

    /// The device that asks; a new one where it shows none that is good.
    ///
    /// # Errors
    /// The system has no random numbers: 503.
    pub(super) fn device(&self, keys: &RoomKeys, now: Timestamp) -> Result<Known, Problem> {
        let shown = self.cookies(CookieName::Device).unwrap_or_default();
        let known = shown.into_iter().find_map(|token| keys.tokens.verify_device(token, now).ok());
        let is_known = known.is_some();
        let mut device = match known {
            Some(device) => device,
            None => {
                Device { id: DeviceId::from_random(unguessable().ok_or_else(no_randomness)?), issued_at: now }
            }
        };
        let is_old = now.since(device.issued_at) > DEVICE_RENEWED_AFTER;
        if is_old {
            device.issued_at = now;
        }
        let renew = || self.keep(CookieName::Device, &keys.tokens.sign_device(&device), DEVICE_MAX_AGE_S);
        let cookie = if is_known && !is_old { None } else { renew() };
        Ok(Known { device, cookie, is_known })
    }

    /// The visitor as the room counts visitors.
    ///
    /// # Errors
    /// The field that names visitors is not there, or says nothing certain.
    pub(super) fn visitor(&self, room: &Room, keys: &RoomKeys, known: &Known) -> Result<VisitorId, Problem> {
        match &room.one_seat_per {
            OneSeatPer::Device => Ok(keys.visitors.of_device(&room.name, known.device.id)),
            OneSeatPer::Address => Ok(keys.visitors.of_address(&room.name, self.client())),
            OneSeatPer::Header(name) => {
                let refuse = |why: String| Problem::new(ProblemType::Unauthorized, why);
                if !self.is_of_proxy() {
                    return Err(refuse(format!(
                        "this room knows visitors by the field {name}, which only a --trusted-proxy may write"
                    )));
                }
                let value = single_header(self.headers(), name).map_err(|error| refuse(error.to_string()))?;
                let value = value.unwrap_or_default().as_bytes();
                keys.visitors.of_header(&room.name, value).map_err(|error| refuse(error.to_string()))
            }
        }
    }

    /// Whose address it is, for the cap of seats.
    pub(super) fn prefix(&self, room: &Room, keys: &RoomKeys) -> Prefix {
        prefix_of(keys, room, self.client())
    }

    /// The origin of the page that asks, where that is another one than this server's and the room's operator has named it.
    /// Requests of pages that are neither are refused: their visitor does not know of them.
    ///
    /// # Errors
    /// A page of somebody else asks.
    pub(super) fn origin(&self, room: &Room) -> Result<Option<&'a HeaderValue>, Problem> {
        let refuse = || {
            Problem::new(
                ProblemType::Forbidden,
                "a page of another site asks, which is none of this room's hosts: the room's operator can add it",
            )
        };
        let mut origins = self.headers().get_all(ORIGIN).iter();
        let (origin, None) = (origins.next(), origins.next()) else { return Err(refuse()) };
        let Some(value) = origin else {
            let site = self.headers().get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
            let is_own = matches!(site, None | Some(b"same-origin" | b"none"));
            return if is_own { Ok(None) } else { Err(refuse()) };
        };
        let text = value.to_str().unwrap_or_default();
        let (scheme, host) = match text.split_once("://") {
            Some(("https", host)) => (Scheme::Https, host),
            Some(("http", host)) => (Scheme::Http, host),
            _ => return Err(refuse()),
        };
        let host = SiteHost::parse(host, scheme).map_err(|_| refuse())?;
        if room.hosts.contains(scheme, &host) {
            return Ok(Some(value));
        }
        // A proxy that ends TLS need not say so: whose page it is is said by the host.
        let own = self.host();
        let is_own = own.as_ref().is_some_and(|own| without_usual_port(own) == without_usual_port(&host));
        if is_own { Ok(None) } else { Err(refuse()) }
    }
}

/// A host without the port of either scheme.
fn without_usual_port(host: &SiteHost) -> &str {
    let text = host.as_str();
    text.strip_suffix(":443").or_else(|| text.strip_suffix(":80")).unwrap_or(text)
}

const fn scheme_of(transport: Transport) -> Scheme {
    match transport {
        Transport::Tls => Scheme::Https,
        Transport::Plain => Scheme::Http,
    }
}

/// Whose address it is, for the cap of seats.
pub(super) fn prefix_of(keys: &RoomKeys, room: &Room, client: ClientIp) -> Prefix {
    let bits = keys.visitors.address_of(&room.name, client).to_bits();
    Prefix::new(u32::try_from(bits & u128::from(u32::MAX)).unwrap_or_default())
}

/// What a room remembers of a visitor: half of its bits.
pub(super) fn identity_of(visitor: VisitorId) -> Identity {
    Identity::new((visitor.to_bits() >> 64) as u64)
}

fn no_randomness() -> Problem {
    Problem::new(
        ProblemType::Overloaded,
        "this node has no random numbers for a new visitor; try again shortly",
    )
}

/// A number that nobody can guess: whoever knows a device's has its seats. `None` where the system has no random numbers.
fn unguessable() -> Option<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok().map(|()| u128::from_be_bytes(bytes))
}
