//! What every page has: its frame, its style, its script, the signs of verdicts and the data it was made from.

use brigade_lab::{Document, Verdict};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// No address is ever asked for anything: the page says so itself, and browsers hold it to that.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// A page.
pub(crate) fn shell(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                (body)
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    page.into_string()
}

/// The class that colours a verdict.
pub(crate) fn class_of(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Confirmed => "confirmed",
        Verdict::NotHere => "not-here",
        Verdict::Inconclusive(_) => "inconclusive",
        Verdict::Skipped(_) => "skipped",
    }
}

/// The sign that goes with a verdict's word.
pub(crate) fn sign(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Confirmed => "✓",
        Verdict::NotHere => "✗",
        Verdict::Inconclusive(_) => "?",
        Verdict::Skipped(_) => "–",
    }
}

/// A verdict in one word.
pub(crate) fn badge(verdict: &Verdict) -> Markup {
    html! {
        span class={ "badge " (class_of(verdict)) } {
            span aria-hidden="true" { (sign(verdict)) } " " (verdict.word())
        }
    }
}

/// The document as it will be saved: one text for what stands around the reports and one for each report,
/// so that the page can save one experiment as a document of its own.
pub(crate) fn saved_data(document: &Document) -> Markup {
    let around = Document {
        reports: Vec::new(),
        ..document.clone()
    };
    html! {
        script type="application/json" id="document" { (PreEscaped(json(&around))) }
        @for report in &document.reports {
            script type="application/json" data-report="" { (PreEscaped(json(report))) }
        }
    }
}

/// JSON that may stand in a script element: `<` occurs in texts only, where it has another spelling.
fn json(value: &impl serde::Serialize) -> String {
    // Maps with keys of text and numbers that are finite: there is nothing that JSON cannot say.
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    text.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_end_its_element_and_reads_the_same() {
        let text = json(&"</script><script>alert(1)</script>");
        assert!(!text.contains('<'), "{text}");
        assert_eq!(
            serde_json::from_str::<String>(&text).unwrap(),
            "</script><script>alert(1)</script>"
        );
    }

    /// The luminance of sRGB as WCAG 2 defines it.
    fn luminance(color: &str) -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_of_text_and_figures_is_readable_in_light_and_in_dark_and_on_paper() {
        let css = include_str!("page.css");
        let blocks: Vec<&str> = css.split(":root {").skip(1).collect();
        assert_eq!(blocks.len(), 3, "light, dark, paper");
        for block in blocks {
            let block = block.split('}').next().unwrap();
            let color = |name: &str| {
                let at = block.find(&format!("--{name}: #")).expect(name) + name.len() + 4;
                &block[at..at + 7]
            };
            let inks = (0..8).map(|n| format!("c{n}"));
            for ink in inks.chain(["ink", "muted"].map(str::to_owned)) {
                for ground in ["card", "page"] {
                    let ratio = contrast(color(&ink), color(ground));
                    assert!(ratio >= 4.5, "{ink} on {ground}: {ratio:.2}");
                }
            }
        }
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
    }
}
