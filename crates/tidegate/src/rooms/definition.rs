//! What is chosen for a room beside its settings: who is one visitor, where visitors come from and go to, how its page looks.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderName;
use serde_json::Value;
use tidegate_config::{RoomDefinition, RoomSeatPer, room_json};
use tidegate_core::room::{Settings, Spec};
use tidegate_wire::room::name::RoomName;
use tidegate_wire::room::return_to::{ReturnTo, ReturnToError};
use tidegate_wire::room::site::{AllowedHosts, Audience};

use super::events::News;
use super::kept::Kept;
use super::keys::RoomKeys;
use super::pages::{Look, Pages};
use super::watch::Counts;
use super::web::{Page, PageError};

/// Whose seat it is: one visitor has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OneSeatPer {
    /// A browser, by a signed cookie.
    #[default]
    Device,
    /// A client address: all who share one share a seat.
    Address,
    /// What a trusted proxy writes into this field, of a visitor who has logged in.
    Header(HeaderName),
}

/// A room as a rule file or an operator describes it.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The name in addresses.
    pub name: RoomName,
    /// What decides.
    pub settings: Settings,
    /// Who is one visitor.
    pub one_seat_per: OneSeatPer,
    /// The hosts whose pages may ask, that visitors may be sent to, and that passes hold for, beside the host at which the room
    /// itself is asked.
    pub hosts: AllowedHosts,
    /// Where visitors go who did not say it; nowhere by itself if absent.
    pub return_to: Option<String>,
    /// What visitors read as its name.
    pub title: String,
    /// What the line is told: text.
    pub message: Option<String>,
    /// The brand's colour, `#rrggbb` or `#rgb`.
    pub accent: Option<String>,
    /// The name of a template in the folder of the server's templates.
    pub template: Option<String>,
    /// Where a template may have pictures, styles and fonts from, beside this server.
    pub asset_origins: Vec<String>,
    /// The same as a rule file has it, for operators; null where it was written by a program.
    pub document: Value,
}

/// Why a room cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Its page cannot be.
    #[error("room {0}: {1}")]
    Page(RoomName, PageError),
    /// A host, a field or a setting is wrong.
    #[error("room {0}: {1}")]
    Wrong(RoomName, String),
    /// Visitors cannot be sent there.
    #[error("room {0}: {1}")]
    ReturnTo(RoomName, ReturnToError),
}

/// A room of this node.
pub(super) struct Room {
    pub(super) name: RoomName,
    pub(super) settings: Settings,
    pub(super) one_seat_per: OneSeatPer,
    pub(super) hosts: AllowedHosts,
    pub(super) audience: Audience,
    pub(super) return_to: Option<ReturnTo>,
    pub(super) page: Page,
    /// The operator changes it while visitors wait.
    pub(super) message: Arc<ArcSwapOption<String>>,
    pub(super) news: Arc<News>,
    pub(super) counts: Arc<Counts>,
    pub(super) document: Value,
}

impl Definition {
    /// A room with these settings, and everything else as usual.
    #[must_use]
    pub fn new(name: RoomName, settings: Settings) -> Self {
        Self {
            title: name.to_string(),
            name,
            settings,
            one_seat_per: OneSeatPer::default(),
            hosts: AllowedHosts::default(),
            return_to: None,
            message: None,
            accent: None,
            template: None,
            asset_origins: Vec::new(),
            document: Value::Null,
        }
    }

    /// The room as a rule file or an operator has it. What it draws is drawn from the keys.
    ///
    /// # Errors
    /// A host or the name of a field is none, or the settings cannot be.
    pub fn of_file(room: &RoomDefinition, keys: &RoomKeys) -> Result<Self, DefinitionError> {
        Self::of(&Kept { room: room.clone(), of_file: None }, keys)
    }

    /// The same, of what is to be kept of it.
    ///
    /// # Errors
    /// As [`Definition::of_file`].
    pub(super) fn of(kept: &Kept, keys: &RoomKeys) -> Result<Self, DefinitionError> {
        let room = &kept.room;
        let wrong = |what: String| DefinitionError::Wrong(room.name.clone(), what);
        let spec = Spec { seed: Some(keys.seed(&room.name)), ..room.spec.clone() };
        let one_seat_per = match &room.one_seat_per {
            RoomSeatPer::Device => OneSeatPer::Device,
            RoomSeatPer::Ip => OneSeatPer::Address,
            RoomSeatPer::Header(name) => OneSeatPer::Header(
                name.parse().map_err(|_| wrong(format!("'{name}' is no name of a field")))?,
            ),
        };
        let hosts = room.hosts.iter().map(String::as_str);
        let settings = Settings::new(spec).map_err(|error| wrong(error.to_string()))?;
        let notes = kept.notes().ok_or_else(|| wrong("it is too long to be kept".to_owned()))?;
        Ok(Self {
            one_seat_per,
            hosts: AllowedHosts::new(hosts).map_err(|error| wrong(error.to_string()))?,
            return_to: room.return_to.clone(),
            title: room.title.clone(),
            message: room.message.clone(),
            accent: room.accent.clone(),
            template: room.template.clone(),
            asset_origins: room.asset_origins.clone(),
            document: room_json(room),
            ..Self::new(room.name.clone(), settings.with_notes(Some(notes)))
        })
    }
}

impl Room {
    /// The room of this definition. `former` is the one it replaces: who follows its news goes on doing so.
    ///
    /// # Errors
    /// It cannot be shown, or nobody could be sent where its visitors are to go.
    pub(super) fn new(
        definition: &Definition,
        pages: &Pages,
        former: Option<&Self>,
    ) -> Result<Self, DefinitionError> {
        let name = definition.name.clone();
        let page = pages.of_room(Look {
            room: name.as_str(),
            title: &definition.title,
            accent: definition.accent.as_deref(),
            template: definition.template.as_deref(),
            asset_origins: &definition.asset_origins,
            hosts: &definition.hosts,
            settings: Some(&definition.settings),
        });
        let page = page.map_err(|error| DefinitionError::Page(name.clone(), error))?;
        let return_to = definition.return_to.as_deref();
        let return_to = return_to.map(|text| ReturnTo::parse(text, &definition.hosts)).transpose();
        Ok(Self {
            settings: definition.settings.clone(),
            one_seat_per: definition.one_seat_per.clone(),
            hosts: definition.hosts.clone(),
            audience: definition.hosts.audience(),
            return_to: return_to.map_err(|error| DefinitionError::ReturnTo(name.clone(), error))?,
            page,
            document: definition.document.clone(),
            message: Arc::new(ArcSwapOption::from_pointee(definition.message.clone())),
            news: former.map_or_else(Arc::default, |former| Arc::clone(&former.news)),
            counts: former.map_or_else(Arc::default, |former| Arc::clone(&former.counts)),
            name,
        })
    }
}
