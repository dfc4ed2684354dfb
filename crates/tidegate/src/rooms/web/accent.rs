//! The colour of a brand, made legible: surfaces have it as it is, text where it has contrast enough, else darker or lighter.

use super::PageError;

/// The least contrast of text (WCAG 2.2, success criterion 1.4.3).
const MIN_CONTRAST: f64 = 4.5;
/// How far a colour goes towards black or white in one step.
const STEP: f64 = 0.02;

/// The surfaces that the accent stands on, as in `room.css`.
pub(super) const LIGHT_SURFACE: Colour = Colour([0xff, 0xff, 0xff]);
pub(super) const DARK_SURFACE: Colour = Colour([0x17, 0x1c, 0x24]);

/// An opaque colour: red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour([u8; 3]);

/// A brand's colour and what goes with it. Everything that is read has [`MIN_CONTRAST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accent {
    /// The colour as it is, for surfaces.
    pub(super) fill: Colour,
    /// Text on it: black or white.
    pub(super) on_fill: Colour,
    /// Text and lines on a light page.
    pub(super) light: Colour,
    /// Text and lines on a dark page.
    pub(super) dark: Colour,
}

impl Accent {
    /// Reads `#rgb` or `#rrggbb`.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn parse(text: &str) -> Result<Self, PageError> {
        let colour = Colour::parse(text).ok_or_else(|| {
            PageError::new("accent", format!("'{text}' is not a colour: write it as #0b6e7f or #07a"))
        })?;
        let (black, white) = (Colour([0; 3]), Colour([255; 3]));
        Ok(Self {
            fill: colour,
            on_fill: if colour.contrast(white) >= MIN_CONTRAST { white } else { black },
            light: colour.towards(black, LIGHT_SURFACE),
            dark: colour.towards(white, DARK_SURFACE),
        })
    }
}

// === impl Colour ===

impl Colour {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        let [_, red, green, blue] = number.to_be_bytes();
        match digits.len() {
            6 => Some(Self([red, green, blue])),
            3 => Some(Self([green & 0xf, blue >> 4, blue & 0xf].map(|digit| digit * 0x11))),
            _ => None,
        }
    }

    /// The colour nearest to this one on the way to `end` that has contrast enough on `surface`.
    fn towards(self, end: Self, surface: Self) -> Self {
        let mut share = 0.0;
        loop {
            let mixed = self.mixed(end, share);
            if mixed.contrast(surface) >= MIN_CONTRAST || share >= 1.0 {
                return mixed;
            }
            share += STEP;
        }
    }

    fn mixed(self, other: Self, share: f64) -> Self {
        let mix = |index: usize| {
            let (from, to) = (f64::from(self.0[index]), f64::from(other.0[index]));
            // Between two bytes: the cast saturates and cuts nothing off.
            (from + (to - from) * share.min(1.0)).round() as u8
        };
        Self([mix(0), mix(1), mix(2)])
    }

    /// The contrast ratio of WCAG 2.2, 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance() + 0.05, other.luminance() + 0.05);
        one.max(two) / one.min(two)
    }

    /// The relative luminance of WCAG 2.2.
    fn luminance(self) -> f64 {
        let linear = |byte: u8| {
            let part = f64::from(byte) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        let [red, green, blue] = self.0.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_or_refused() {
        assert_eq!(Colour::parse("#07a"), Colour::parse("#0077aa"));
        for wrong in
            ["", "#", "07a", "#07", "#07aa", "#0077ag", "#+077aa", "red", "#07a;x:url(//e)", "#0077aa\n"]
        {
            let error = Accent::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("is not a colour"), "{error}");
        }
    }

    #[test]
    fn every_colour_is_legible_on_both_surfaces() {
        let black_on_white = Colour([0; 3]).contrast(Colour([255; 3]));
        assert!((black_on_white - 21.0).abs() < 1e-9, "{black_on_white}");
        for number in (0..0x0100_0000_u32).step_by(0x7_f3d1 / 8) {
            let accent = Accent::parse(&format!("#{number:06x}")).unwrap();
            assert!(accent.fill.contrast(accent.on_fill) >= MIN_CONTRAST, "{number:06x}: {accent:?}");
            assert!(accent.light.contrast(LIGHT_SURFACE) >= MIN_CONTRAST, "{number:06x}: {accent:?}");
            assert!(accent.dark.contrast(DARK_SURFACE) >= MIN_CONTRAST, "{number:06x}: {accent:?}");
        }
    }

    #[test]
    fn a_legible_colour_stays_as_it_is_and_the_surfaces_are_those_of_the_style_sheet() {
        assert_eq!(Accent::parse("#0b6e7f").unwrap().light.to_string(), "#0b6e7f");
        let css = include_str!("room.css");
        for surface in [LIGHT_SURFACE, DARK_SURFACE] {
            assert!(css.contains(&format!("--surface: {surface};")), "{surface}");
        }
    }
}
