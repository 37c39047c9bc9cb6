//! What the experiments are, without running them: `lab list` and `lab explain`.

use brigade_lab::units::Unit;
use brigade_lab::{Experiment, Role, Scale, Show, Theme};

use crate::render::{DIM, MARGIN, heading, paragraph, styled, title};

/// The experiments by theme, each with its claim.
pub(crate) fn list() -> String {
    let mut text = String::new();
    let all = brigade_lab::all().iter().map(|e| e.info().name);
    let width = all.map(|name| name.chars().count()).max().unwrap_or(0);
    for theme in Theme::ALL {
        let experiments = theme.experiments();
        if experiments.is_empty() {
            continue;
        }
        text += &title(&format!("{} ({})", theme.title(), theme.key()));
        for experiment in experiments {
            let info = experiment.info();
            text += &paragraph(&format!("  {}", info.name), width + 4, info.claim);
        }
        text.push('\n');
    }
    text += "Run one with 'brigade lab run NAME', all with 'brigade lab'; the word in parentheses\n\
             stands for the theme. 'brigade lab explain NAME' says how a claim is checked.";
    text
}

/// Everything about one experiment.
pub(crate) fn experiment(experiment: &dyn Experiment, scale: Scale) -> String {
    let info = experiment.info();
    let mut text = heading(info.name, &format!(" {}", Theme::of(info.name).key()), '-');
    for (head, body) in [
        ("Claim", info.claim),
        ("Said in", info.said_in),
        ("Done", info.method),
        ("Control", info.control),
        ("Premise", info.premise),
    ] {
        text += &paragraph(head, MARGIN, body);
    }
    text.push('\n');
    text += &arms(experiment, scale);
    text.push('\n');
    text += &numbers(experiment);
    text.push('\n');
    text + &paragraph("Next", MARGIN, &format!("brigade lab run {}", info.next))
}

fn arms(experiment: &dyn Experiment, scale: Scale) -> String {
    let arms = experiment.arms(scale);
    let heads = format!(
        "Arms     ({} scale, {} repeats)",
        scale.name(),
        scale.repeats()
    );
    let mut text = format!("{}\n", styled(&heads, DIM));
    let width = arms.iter().map(|arm| arm.label.chars().count()).max();
    for arm in &arms {
        let mut what = match arm.role {
            Role::Measured => "measured",
            Role::Control => "control",
            Role::Derived => "computed from the others",
        }
        .to_owned();
        if !arm.required {
            what += ", left out where the machine cannot";
        }
        text += &paragraph(&format!("  {}", arm.label), width.unwrap_or(0) + 4, &what);
    }
    text
}

fn numbers(experiment: &dyn Experiment) -> String {
    let mut text = format!("{}\n", styled("Numbers", DIM));
    for metric in experiment.metrics() {
        let unit = match metric.unit {
            Unit::Nanoseconds => "time",
            Unit::Bytes => "memory",
            Unit::Count => "count",
            Unit::Share => "share",
        };
        let shown = match metric.show {
            Show::Spread => "what the experiment is about",
            Show::Median => "stands beside",
            Show::Data => "for premises and verdict; in --json",
        };
        text += &paragraph(
            &format!("  {}", metric.label),
            15,
            &format!("{unit}; {shown}"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::WIDTH;

    #[test]
    fn the_list_names_every_experiment_and_every_theme_in_80_columns() {
        let text = list();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 8));
        for experiment in brigade_lab::all() {
            assert!(text.contains(&format!("  {} ", experiment.info().name)));
        }
        assert!(text.contains("(switches)"));
    }

    #[test]
    fn an_explanation_has_all_of_the_text_and_every_arm_in_80_columns() {
        for each in brigade_lab::all() {
            let text = anstream::adapter::strip_str(&experiment(*each, Scale::Full)).to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
            for arm in each.arms(Scale::Full) {
                assert!(text.contains(arm.label), "{}", arm.label);
            }
            for head in ["Claim", "Said in", "Done", "Control", "Premise", "Next"] {
                assert!(text.contains(&format!("\n{head:<9}")), "{head}");
            }
        }
    }
}
