//! Completions and manual pages, made from the definitions that the program itself reads.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::args::{Cli, EXAMPLES};
use crate::exit::Exit;
use crate::files::write_whole;
use crate::output::Output;

const NAME: &str = "brigade";

/// Writes the completions of `shell`.
pub(crate) fn completions(shell: Shell, out: &Output) -> io::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    out.print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Clean)
}

/// Writes the main page to standard output, or every page into `dir`.
pub(crate) fn man(dir: Option<&Path>, out: &Output) -> io::Result<Exit> {
    let pages = pages()?;
    let Some(dir) = dir else {
        out.print(&pages[0].text)?;
        return Ok(Exit::Clean);
    };
    match write_pages(dir, &pages) {
        Ok(()) => {
            out.print(&format!("{} pages in {}", pages.len(), dir.display()))?;
            Ok(Exit::Clean)
        }
        Err(error) => Ok(out.refuse(&format!("cannot write the manual: {error}"))),
    }
}

fn write_pages(dir: &Path, pages: &[Page]) -> io::Result<()> {
    fs::create_dir_all(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?;
    let write = |page: &Page| write_whole(&dir.join(format!("{}.1", page.name)), &page.text);
    pages.iter().try_for_each(write)
}

/// A manual page.
struct Page {
    name: String,
    text: String,
}

/// One page for each command that is not hidden, the main page first.
fn pages() -> io::Result<Vec<Page>> {
    let mut root = Cli::command().name(NAME).disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&root, NAME, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, name: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    pages.push(Page {
        name: name.to_owned(),
        text: page(command, name)?,
    });
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

/// The page of `command`; the main page ends with examples and exit codes.
fn page(command: &Command, name: &str) -> io::Result<String> {
    let mut text = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .source(format!("{NAME} {version}"))
        .manual("Brigade");
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        man.render_options_section(&mut text)?;
    }
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    if name == NAME {
        text.write_all(closing().as_bytes())?;
    } else if command.get_after_long_help().is_some() || command.get_after_help().is_some() {
        man.render_extra_section(&mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What the long help says at its end, as sections.
fn closing() -> String {
    let mut roff = Roff::new();
    for line in EXAMPLES.lines() {
        match line.strip_suffix(':') {
            Some(head) if !line.starts_with(' ') => {
                roff.control("SH", [head.to_uppercase().as_str()]);
                roff.control("nf", []);
            }
            _ if line.is_empty() => {
                roff.control("fi", []);
            }
            _ => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_the_word_that_runs_an_arm_has_none() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
        assert_eq!(names[0], "brigade");
        for name in [
            "brigade-lab",
            "brigade-lab-run",
            "brigade-doctor",
            "brigade-man",
        ] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(names.iter().all(|name| !name.contains("__arm")));
        assert!(pages.iter().all(|page| !page.text.contains("__arm")));
    }

    #[test]
    fn the_main_page_has_examples_and_exit_codes_under_their_own_heads() {
        let text = &pages().unwrap()[0].text;
        for head in [
            ".SH NAME",
            ".SH SYNOPSIS",
            ".SH EXAMPLES",
            ".SH \"EXIT CODES\"",
        ] {
            assert!(text.contains(head), "{head}");
        }
    }
}
