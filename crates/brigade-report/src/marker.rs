//! The marks that tell series apart without colour.

use plotters::element::{Circle, PathElement, Polygon};

use crate::canvas::{Area, Fault, Ink};

/// The form of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Disc,
    Ring,
    Triangle,
    Square,
    Diamond,
    Cross,
    Plus,
}

const FORMS: [Form; 7] = [
    Form::Disc,
    Form::Square,
    Form::Triangle,
    Form::Diamond,
    Form::Cross,
    Form::Ring,
    Form::Plus,
];

impl Form {
    /// The form of the series with this number.
    pub(crate) fn of(index: usize) -> Self {
        FORMS[index % FORMS.len()]
    }

    /// Draws the mark with its centre there.
    pub(crate) fn draw(self, area: &Area<'_>, ink: Ink, (x, y): (i32, i32)) -> Result<(), Fault> {
        let path = |from: (i32, i32), to: (i32, i32)| {
            let ends = [from, to].map(|(dx, dy)| (x + dx, y + dy));
            area.draw(&PathElement::new(ends, ink.line(2)))
        };
        let polygon = |points: &[(i32, i32)]| {
            let points: Vec<_> = points.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
            area.draw(&Polygon::new(points, ink.filled()))
        };
        match self {
            Self::Disc => area.draw(&Circle::new((x, y), 4, ink.filled()))?,
            Self::Ring => area.draw(&Circle::new((x, y), 4, ink.line(2)))?,
            Self::Triangle => polygon(&[(0, -5), (5, 4), (-5, 4)])?,
            Self::Square => polygon(&[(-4, -4), (4, -4), (4, 4), (-4, 4)])?,
            Self::Diamond => polygon(&[(0, -6), (5, 0), (0, 6), (-5, 0)])?,
            Self::Cross => {
                path((-4, -4), (4, 4))?;
                path((-4, 4), (4, -4))?;
            }
            Self::Plus => {
                path((-5, 0), (5, 0))?;
                path((0, -5), (0, 5))?;
            }
        }
        Ok(())
    }

    /// The mark as a drawing of its own, for a legend.
    pub(crate) fn legend(self, ink: Ink) -> String {
        let color = format!("var({})", ink.variable());
        let fill = |points: &str| format!("<polygon points=\"{points}\" fill=\"{color}\"/>");
        let line = |path: &str| {
            format!("<path d=\"{path}\" stroke=\"{color}\" stroke-width=\"2\" fill=\"none\"/>")
        };
        let shape = match self {
            Self::Disc => format!("<circle cx=\"7\" cy=\"7\" r=\"4\" fill=\"{color}\"/>"),
            Self::Ring => line("M3 7a4 4 0 1 0 8 0a4 4 0 1 0-8 0"),
            Self::Triangle => fill("7,2 12,11 2,11"),
            Self::Square => fill("3,3 11,3 11,11 3,11"),
            Self::Diamond => fill("7,1 12,7 7,13 2,7"),
            Self::Cross => line("M3 3L11 11M3 11L11 3"),
            Self::Plus => line("M2 7H12M7 2V12"),
        };
        swatch(&shape)
    }
}

/// A drawing of 14 by 14 pixels for a legend, which its text explains.
pub(crate) fn swatch(shape: &str) -> String {
    format!("<svg viewBox=\"0 0 14 14\" aria-hidden=\"true\">{shape}</svg>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_a_mark_of_its_own_in_a_legend() {
        let all: std::collections::BTreeSet<String> =
            FORMS.iter().map(|form| form.legend(Ink::Plain)).collect();
        assert_eq!(all.len(), FORMS.len());
    }
}
