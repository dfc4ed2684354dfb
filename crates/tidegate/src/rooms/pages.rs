//! How the pages of all rooms are made: the languages there are, and the folder with templates. And what is wrong with a room of a
//! rule file that only shows here: hosts, where visitors go, how its page looks.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_config::{RoomDefinition, RoomFault, RoomSeatPer};
use tidegate_core::room::{OpeningOrder, Settings};
use tidegate_wire::room::return_to::ReturnTo;
use tidegate_wire::room::site::AllowedHosts;

use super::web::{LanguageOptions, Languages, Opening, Page, PageError, PageOptions};

/// What is chosen for the pages of all rooms.
#[derive(Clone, Debug, Default)]
pub struct PageSettings {
    /// The folder in which the templates are that rooms name.
    pub templates: Option<PathBuf>,
    /// The languages.
    pub languages: LanguageOptions,
}

/// Makes pages. Clones share everything.
#[derive(Clone, Debug)]
pub struct Pages {
    templates: Option<PathBuf>,
    languages: Arc<Languages>,
}

/// How one room looks.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) room: &'a str,
    pub(super) title: &'a str,
    pub(super) accent: Option<&'a str>,
    pub(super) template: Option<&'a str>,
    pub(super) asset_origins: &'a [String],
    /// Where its visitors may be sent to.
    pub(super) hosts: &'a AllowedHosts,
    pub(super) settings: Option<&'a Settings>,
}

impl Pages {
    /// Reads the languages.
    ///
    /// # Errors
    /// A language file is not as it should be: the error says where and what to do.
    pub fn load(settings: &PageSettings) -> Result<Self, PageError> {
        Ok(Self {
            templates: settings.templates.clone(),
            languages: Arc::new(Languages::load(&settings.languages)?),
        })
    }

    /// The page of a room, tried on every state that a visitor can be in.
    ///
    /// # Errors
    /// A template or a setting is not as it should be.
    pub(super) fn of_room(&self, look: Look<'_>) -> Result<Page, PageError> {
        let order = look.settings.and_then(|settings| settings.spec().opening).map(|opening| opening.order);
        let template = look.template.map(|name| match &self.templates {
            Some(folder) => Ok(folder.join(name)),
            None => Err(PageError::new(
                "template",
                "this server has no folder of templates: start it with --room-templates",
            )),
        });
        let options = PageOptions {
            room: look.room.to_owned(),
            title: look.title.to_owned(),
            accent: look.accent.map(str::to_owned),
            template: template.transpose()?,
            asset_origins: look.asset_origins.to_vec(),
            goals: look.hosts.origins().collect(),
            opening: match order {
                Some(OpeningOrder::AsTheyCame) => Opening::Arrival,
                Some(OpeningOrder::Shuffled) | None => Opening::Draw,
            },
        };
        Page::new(options, Arc::clone(&self.languages))
    }

    /// What this server would refuse of a room.
    #[must_use]
    pub fn check(&self, room: &RoomDefinition) -> Vec<RoomFault> {
        let mut faults = Vec::new();
        for (item, host) in room.hosts.iter().enumerate() {
            if let Err(error) = AllowedHosts::new([host.as_str()]) {
                faults.push(fault("hosts", Some(item), &error.to_string(), "correct the host"));
            }
        }
        match AllowedHosts::new(room.hosts.iter().map(String::as_str)) {
            Ok(hosts) => {
                let place = room.return_to.as_deref().map(|place| ReturnTo::parse(place, &hosts));
                if let Some(Err(error)) = place {
                    let remedy = "write a path such as /shop, or an address of one of the hosts";
                    faults.push(fault("return_to", None, &error.to_string(), remedy));
                }
            }
            Err(error) if faults.is_empty() => {
                faults.push(fault("hosts", None, &error.to_string(), "name fewer hosts"));
            }
            Err(_) => {}
        }
        if let RoomSeatPer::Header(name) = &room.one_seat_per
            && name.parse::<http::HeaderName>().is_err()
        {
            let message = format!("'{name}' is no name of a field");
            faults.push(fault("one_seat_per", None, &message, "write the name of a header field"));
        }
        if let Err(error) = self.of_room(Look::of(room, &AllowedHosts::default())) {
            let field = match error.place() {
                "title" => "title",
                "accent" => "accent",
                "asset origins" => "asset_origins",
                _ => "template",
            };
            let text = if field == "template" { error.to_string() } else { error.what().to_owned() };
            faults.push(fault(field, None, &text, "correct it"));
        }
        faults
    }
}

impl<'a> Look<'a> {
    fn of(room: &'a RoomDefinition, hosts: &'a AllowedHosts) -> Self {
        Self {
            room: room.name.as_str(),
            title: &room.title,
            accent: room.accent.as_deref(),
            template: room.template.as_deref(),
            asset_origins: &room.asset_origins,
            hosts,
            settings: None,
        }
    }
}

/// A text that says what is wrong, and after a colon what to do.
fn fault(field: &'static str, item: Option<usize>, text: &str, otherwise: &str) -> RoomFault {
    // That of a template begins with its place, `brand.html:12: `, which has no blank in it.
    let skip = text.find(": ").filter(|at| !text[..*at].contains(' ')).map_or(0, |at| at + 2);
    let (message, remedy) = match text[skip..].find(": ") {
        Some(at) => (&text[..skip + at], &text[skip + at + 2..]),
        None => (text, otherwise),
    };
    RoomFault { field, item, message: message.to_owned(), remedy: remedy.to_owned() }
}
