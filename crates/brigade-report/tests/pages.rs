//! Pages of documents of every kind.

use brigade_lab::Document;

const FIXTURE: &str = include_str!("data/every-figure.json");

fn fixture() -> Document {
    serde_json::from_str(FIXTURE).expect("the fixture is a document")
}

/// The page without the data at its end, which is not shown.
fn shown(page: &str) -> &str {
    let end = page.find("<script type=\"application/json\"");
    &page[..end.expect("data at the end")]
}

#[test]
fn every_experiment_has_a_section_that_the_summary_points_to() {
    let page = brigade_report::page(&fixture());
    for name in ["bars", "lines", "histogram", "timeline", "skipped-one"] {
        assert!(
            page.contains(&format!("<a href=\"#lab-{name}\">")),
            "{name}"
        );
        assert!(page.contains(&format!("id=\"lab-{name}\"")), "{name}");
    }
    for word in ["CONFIRMED", "NOT HERE", "INCONCLUSIVE", "SKIPPED"] {
        assert!(page.contains(word), "{word}");
    }
}

#[test]
fn every_figure_is_drawn_for_both_widths_with_a_title_and_words() {
    let document = fixture();
    let page = brigade_report::page(&document);
    let figures: usize = document
        .reports
        .iter()
        .map(|report| report.figures.len())
        .sum();
    let measured = document.reports.iter();
    let measured = measured.filter(|r| r.arms.iter().any(|arm| !arm.samples.is_empty()));
    // The matrix is a table.
    let drawings = figures - 1 + measured.count();
    assert_eq!(
        page.matches("<svg class=\"plot narrow\" role=\"img\"")
            .count(),
        drawings
    );
    assert_eq!(
        page.matches("<svg class=\"plot wide\" role=\"img\"")
            .count(),
        drawings
    );
    assert_eq!(page.matches("<desc>").count(), 2 * drawings);
    assert!(!page.contains("could not be drawn"));
}

#[test]
fn text_of_a_document_cannot_become_markup() {
    let mut text = FIXTURE.to_owned();
    for plain in [
        "kernel threads",
        "What a round trip",
        "Who ran when",
        "chef",
        "L1 cache",
        "beside 8 hogs",
        "file descriptors",
        "round trip",
        "Broadwell",
        "Blog posts",
    ] {
        text = text.replace(plain, "</script><script>alert(1)</script><b a='");
    }
    let document: Document = serde_json::from_str(&text).unwrap();
    let page = brigade_report::page(&document);
    let scripts = page.matches("<script").count();
    // The page's own script, what stands around the reports, and each report.
    assert_eq!(scripts, 2 + document.reports.len());
    assert_eq!(page.matches("</script").count(), scripts);
    assert!(!page.contains("<b a=") && !page.contains("#F0A5"));
}

#[test]
fn a_page_asks_no_address_for_anything() {
    let page = brigade_report::page(&fixture());
    for word in ["src=", "@import", "url(", "<link", "<img", "<iframe"] {
        assert!(!shown(&page).contains(word), "{word}");
    }
    let addresses = shown(&page).matches("http").count();
    let said = shown(&page).matches("https://example.org/").count();
    let namespaces = shown(&page).matches("http://www.w3.org/2000/svg").count();
    let policy = shown(&page).matches("http-equiv").count();
    assert_eq!(addresses, said + namespaces + policy);
}

#[test]
fn the_data_in_a_page_is_the_document_with_all_digits_of_its_seed() {
    let document = fixture();
    let page = brigade_report::page(&document);
    let texts: Vec<&str> = page
        .split("<script type=\"application/json\"")
        .skip(1)
        .map(|part| {
            part.split_once('>')
                .unwrap()
                .1
                .split("</script>")
                .next()
                .unwrap()
        })
        .collect();
    let joined = texts[0].replace(
        "\"reports\":[]",
        &format!("\"reports\":[{}]", texts[1..].join(",")),
    );
    let saved: serde_json::Value = serde_json::from_str(&joined).unwrap();
    assert_eq!(saved, serde_json::to_value(&document).unwrap());
    assert_eq!(saved["seed"], u64::MAX);
}

#[test]
fn a_document_without_reports_has_a_page_that_says_so() {
    let mut document = fixture();
    document.reports.clear();
    document.interrupted = false;
    let page = brigade_report::page(&document);
    assert!(page.contains("No experiment was carried out."));
    assert!(!page.contains("was interrupted"));
}

#[test]
fn an_interrupted_run_says_so_and_shows_what_there_is() {
    let page = brigade_report::page(&fixture());
    assert!(page.contains("This run was interrupted."));
    assert!(page.contains("Interrupted before its end: samples are missing."));
}

#[test]
fn a_refuted_claim_is_corrected_with_the_number() {
    let page = brigade_report::page(&fixture());
    let start = page
        .find("Commonly said, and not so here")
        .expect("corrections");
    assert!(page[start..].contains("with 8 MiB a switch costs 90 µs, sixty times as much"));
}

#[test]
fn the_summary_goes_through_the_themes_in_the_order_of_the_tour_and_names_more_than_one() {
    let mut document = fixture();
    let heading = "scope=\"rowgroup\"";
    let mut one = document.clone();
    one.reports.truncate(1);
    assert!(!brigade_report::page(&one).contains(heading));
    for (report, name) in
        document
            .reports
            .iter_mut()
            .zip(["gil", "deadlock", "spawn-cost", "lock-order"])
    {
        report.name = name.to_owned();
    }
    let page = brigade_report::page(&document);
    let summary = page.split("id=\"summary\"").nth(1).expect("a summary");
    let due = [
        "Threads and processes",
        "#lab-spawn-cost",
        "Races and locks",
        "#lab-deadlock",
        "#lab-lock-order",
        "Interpreters",
        "#lab-gil",
        "Further experiments",
    ];
    let places: Vec<_> = due.map(|text| summary.find(text).expect(text)).into();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn the_page_says_when_the_run_began_if_the_document_does() {
    let mut document = fixture();
    assert!(!brigade_report::page(&document).contains("<dt>Begun</dt>"));
    document.begun = Some("2026-11-22T10:00:00Z".to_owned());
    let page = brigade_report::page(&document);
    assert!(
        page.contains("<dt>Begun</dt><dd>2026-11-22T10:00:00Z</dd>"),
        "{page}"
    );
}
