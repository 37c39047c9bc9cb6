//! The drawing area: plotters' SVG, with colours that the page decides.
//!
//! plotters knows colours as numbers, and the page has two sets of them, for light and for dark. So a
//! drawing uses one number per [`Ink`], and [`draw`] replaces each by the name of the page's variable.
//! A text cannot be taken for a colour: plotters writes a quotation mark in a text as `&quot;`.
//!
//! # Rejected
//!
//! *One drawing for every width*: what is readable at 800 pixels is not at 330. [`both`] draws twice, and
//! the page shows one of the two.

use std::error::Error;
use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::prelude::{SVGBackend, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontFamily, FontStyle, FontTransform, IntoFont, RGBAColor, RGBColor, ShapeStyle,
    TextStyle,
};

use crate::scale::Scale;

/// The size of texts in pixels.
const TEXT: f64 = 12.5;

/// How wide a character is taken to be, in pixels.
const CHARACTER: f64 = 6.9;

/// How many colours the series of one figure have before they begin again.
pub(crate) const SERIES: usize = 7;

/// Why a figure could not be drawn.
pub(crate) type Fault = Box<dyn Error>;

/// What the drawings are made on.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An area with two scales.
pub(crate) type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Places, Places>>;

/// One direction of an area: its ends, and the places that have a number.
pub(crate) struct Places {
    ends: Range<f64>,
    ticks: Vec<f64>,
}

impl Places {
    fn of(scale: &Scale) -> Self {
        Self {
            ends: scale.low..scale.high,
            ticks: scale.ticks.clone(),
        }
    }
}

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.ends.start) / (self.ends.end - self.ends.start);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.clone()
        }
    }

    fn range(&self) -> Range<f64> {
        self.ends.clone()
    }
}

/// What a stroke or a text is for; the page has a colour for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Text,
    Muted,
    Grid,
    /// The background, for a text on a filled shape.
    Card,
    /// One of [`SERIES`] colours.
    Series(usize),
    /// What does not belong to a series.
    Plain,
}

impl Ink {
    const FIXED: [Self; 5] = [Self::Text, Self::Muted, Self::Grid, Self::Card, Self::Plain];

    fn every() -> impl Iterator<Item = Self> {
        (0..SERIES).map(Self::Series).chain(Self::FIXED)
    }

    fn number(self) -> u8 {
        match self {
            Self::Series(index) => (index % SERIES) as u8,
            Self::Plain => 7,
            Self::Text => 8,
            Self::Muted => 9,
            Self::Grid => 10,
            Self::Card => 11,
        }
    }

    fn color(self) -> RGBColor {
        RGBColor(0xF0, 0xA5, self.number())
    }

    /// The name of the page's variable.
    pub(crate) fn variable(self) -> String {
        match self {
            Self::Text => "--ink".to_owned(),
            Self::Muted => "--muted".to_owned(),
            Self::Grid => "--grid".to_owned(),
            Self::Card => "--card".to_owned(),
            Self::Series(_) | Self::Plain => format!("--c{}", self.number()),
        }
    }

    /// A filled shape.
    pub(crate) fn filled(self) -> ShapeStyle {
        self.color().filled()
    }

    /// A shape through which others are seen.
    pub(crate) fn faint(self) -> ShapeStyle {
        self.color().mix(0.28).filled()
    }

    /// A line of this many pixels.
    pub(crate) fn line(self, pixels: u32) -> ShapeStyle {
        self.color().stroke_width(pixels)
    }
}

/// How much room a drawing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A phone.
    Narrow,
    /// A screen or a sheet of paper.
    Wide,
}

impl Room {
    /// The width of a drawing in pixels.
    pub(crate) fn width(self) -> u32 {
        match self {
            Self::Narrow => 330,
            Self::Wide => 800,
        }
    }

    /// How many numbers an axis has at most.
    pub(crate) fn most_ticks(self) -> usize {
        match self {
            Self::Narrow => 5,
            Self::Wide => 9,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Narrow => "plot narrow",
            Self::Wide => "plot wide",
        }
    }
}

/// What somebody who does not see the drawing is told.
pub(crate) struct Words<'a> {
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
}

/// The drawing for each [`Room`], by `draw`, which returns the height it needs for one and draws on an area.
///
/// # Errors
///
/// Those of plotters, whose reasons are ranges without width.
pub(crate) fn both(
    words: &Words<'_>,
    height: impl Fn(Room) -> u32,
    draw: impl Fn(&Area<'_>, Room) -> Result<(), Fault>,
) -> Result<String, Fault> {
    let mut text = String::new();
    for room in [Room::Narrow, Room::Wide] {
        let mut svg = String::new();
        {
            let backend = SVGBackend::with_string(&mut svg, (room.width(), height(room)));
            let area = backend.into_drawing_area();
            draw(&area, room)?;
            area.present()?;
        }
        text += &dress(&svg, words, room);
    }
    Ok(text)
}

/// `svg` with the page's colours and the words for those who do not see it.
fn dress(svg: &str, words: &Words<'_>, room: Room) -> String {
    let mut svg = svg.replace(" font-family=\"sans-serif\"", "");
    svg = svg.replace(" opacity=\"1\"", "");
    for ink in Ink::every() {
        let RGBColor(r, g, b) = ink.color();
        let from = format!("\"#{r:02X}{g:02X}{b:02X}\"");
        svg = svg.replace(&from, &format!("\"var({})\"", ink.variable()));
    }
    let head = format!("<svg class=\"{}\" role=\"img\" viewBox=\"0 0", room.class());
    let body = svg.find("viewBox=\"0 0").map_or("", |at| &svg[at + 12..]);
    let open = body.find('>').map_or(0, |at| at + 1);
    format!(
        "{head}{}<title>{}</title><desc>{}</desc>{}",
        &body[..open],
        escape(words.title),
        escape(words.description),
        &body[open..]
    )
}

fn escape(text: &str) -> String {
    maud::html! { (text) }.into_string()
}

/// A text of one size.
fn style(ink: Ink, pos: Pos, bold: bool) -> TextStyle<'static> {
    let weight = if bold {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    // plotters divides the size by this when it writes it.
    (FontFamily::SansSerif, TEXT * 1.24, weight)
        .into_font()
        .transform(FontTransform::None)
        .color(&ink.color())
        .pos(pos)
}

/// Writes `text` at a place in pixels, its left, middle or right end there by `side`, centred upon the line.
pub(crate) fn write(
    area: &Area<'_>,
    ink: Ink,
    (x, y): (i32, i32),
    side: HPos,
    text: &str,
) -> Result<(), Fault> {
    let pos = Pos::new(side, VPos::Center);
    area.draw(&Text::new(text.to_owned(), (x, y), style(ink, pos, false)))?;
    Ok(())
}

/// `text` in at most `pixels`, its end cut off where it is longer.
pub(crate) fn fit(text: &str, pixels: i32) -> String {
    let most = (f64::from(pixels.max(0)) / CHARACTER) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}\u{2026}", kept.trim_end())
}

/// About how many pixels `text` takes.
pub(crate) fn width_of(text: &str) -> i32 {
    (text.chars().count() as f64 * CHARACTER).ceil() as i32
}

/// The room around a plot, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Margins {
    pub(crate) left: i32,
    pub(crate) right: i32,
    pub(crate) top: i32,
    pub(crate) bottom: i32,
}

/// What is on the y axis.
pub(crate) enum Upward<'a> {
    /// Rows numbered from 0 at the top; no numbers.
    Rows(usize),
    /// Values.
    Values(&'a Scale),
}

/// Axes, grid and numbers of a plot within `margins`.
pub(crate) fn axes<'a>(
    area: &Area<'a>,
    margins: Margins,
    x: &Scale,
    y: &Upward<'_>,
) -> Result<Chart<'a>, Fault> {
    let upward = match y {
        Upward::Rows(count) => Places {
            ends: (*count).max(1) as f64..0.0,
            ticks: Vec::new(),
        },
        Upward::Values(scale) => Places::of(scale),
    };
    let pixels = area.dim_in_pixel().0.cast_signed() - margins.left - margins.right;
    let across = Places {
        ticks: thinned(x, pixels),
        ..Places::of(x)
    };
    let mut chart = ChartBuilder::on(area)
        .margin_top(margins.top)
        .margin_right(margins.right)
        .x_label_area_size(margins.bottom)
        .y_label_area_size(margins.left)
        .build_cartesian_2d(across, upward)?;
    let x_label = |place: &f64| x.label(*place);
    let y_label = |place: &f64| match y {
        Upward::Rows(_) => String::new(),
        Upward::Values(scale) => scale.label(*place),
    };
    let pos = |side, up| Pos::new(side, up);
    let mut mesh = chart.configure_mesh();
    mesh.axis_style(Ink::Grid.line(1))
        .bold_line_style(Ink::Grid.line(1))
        .light_line_style(RGBAColor(0, 0, 0, 0.0))
        .x_label_formatter(&x_label)
        .y_label_formatter(&y_label)
        .x_label_style(style(Ink::Muted, pos(HPos::Center, VPos::Top), false))
        .y_label_style(style(Ink::Muted, pos(HPos::Right, VPos::Center), false))
        .set_all_tick_mark_size(4);
    if matches!(y, Upward::Rows(_)) {
        mesh.disable_y_mesh().disable_y_axis();
    }
    mesh.draw()?;
    drop(mesh);
    Ok(chart)
}

/// The ticks whose numbers fit beside each other into `pixels`.
fn thinned(scale: &Scale, pixels: i32) -> Vec<f64> {
    let widths = scale
        .ticks
        .iter()
        .map(|tick| width_of(&scale.label(*tick)) + 12);
    let widest = widths.max().unwrap_or(1);
    let room = (pixels / widest).max(1).unsigned_abs() as usize;
    let stride = scale.ticks.len().div_ceil(room).max(1);
    scale.ticks.iter().copied().step_by(stride).collect()
}

/// Where a place of the scales is, in pixels of the whole area.
pub(crate) fn pixel(chart: &Chart<'_>, place: (f64, f64)) -> (i32, i32) {
    chart.plotting_area().map_coordinate(&place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_the_pages_and_texts_stay_texts() {
        let words = Words {
            title: "a <title>",
            description: "\"#F0A508\"",
        };
        let evil = "</text><script>alert(1)</script> fill=\"#F0A508\"";
        let draw = |area: &Area<'_>, _: Room| write(area, Ink::Text, (5, 5), HPos::Left, evil);
        let svg = both(&words, |_| 20, draw).unwrap();
        assert_eq!(svg.matches("<svg class=\"plot").count(), 2, "{svg}");
        assert!(svg.contains("fill=\"var(--ink)\""), "{svg}");
        assert!(
            !svg.contains("<script") && !svg.contains("#F0A508\" "),
            "{svg}"
        );
        assert!(svg.contains("<title>a &lt;title&gt;</title>"), "{svg}");
    }

    #[test]
    fn a_text_that_is_too_long_ends_in_dots() {
        assert_eq!(fit("short", 100), "short");
        let cut = fit("a rather long label", 60);
        assert!(
            cut.ends_with('\u{2026}') && cut.chars().count() <= 8,
            "{cut}"
        );
        assert_eq!(fit("word", 0), "\u{2026}");
    }
}
