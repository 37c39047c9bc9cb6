//! One Rust file as the checks see it: tokens with lines, comments, paths, functions, test-only ranges.
//!
//! Invariants:
//! 1. `comments[l]` is the text of line `l` outside every token, so a string or a doc comment that contains
//!    the words of a rule neither satisfies nor breaks it.
//! 2. A line is a code line when a token other than a doc comment touches it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A token of the flattened file; delimiters are tokens of their own and `::` is one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token as written; empty for a string literal, whose content no rule looks at.
    pub text: String,
    /// Line, counted from 1.
    pub line: usize,
}

/// A function with a body.
#[derive(Debug)]
pub struct Function {
    /// Its name without the path.
    pub name: String,
    /// From the `fn` line to the closing brace.
    pub lines: RangeInclusive<usize>,
}

/// A path as it stands in the code, its first segment replaced by what a `use` made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedPath {
    /// The segments; a glob import ends with `*`.
    pub segments: Vec<String>,
    /// The name the path was given by `as`, if any.
    pub renamed: Option<String>,
    /// Line, counted from 1.
    pub line: usize,
    /// Whether it stands in a `use` item.
    pub is_import: bool,
}

/// One parsed file.
#[derive(Debug)]
pub struct Source {
    tokens: Vec<Token>,
    comments: Vec<String>,
    code_lines: Vec<bool>,
    paths: Vec<UsedPath>,
    functions: Vec<Function>,
    test_ranges: Vec<RangeInclusive<usize>>,
    test_modules: Vec<String>,
}

impl Source {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// The parser's message when `text` is no Rust file.
    pub fn parse(text: &str) -> Result<Source, String> {
        let file =
            syn::parse_file(text).map_err(|e| format!("line {}: {e}", e.span().start().line))?;
        let stream: TokenStream = text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .parse()
            .map_err(|e: proc_macro2::LexError| e.to_string())?;
        let mut layout = Layout::new(text);
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens, &mut layout);
        let mut items = Items::default();
        items.visit_file(&file);
        let paths = with_inline_paths(items.imports, &tokens);
        Ok(Source {
            tokens,
            comments: layout.comments(),
            code_lines: layout.code,
            paths,
            functions: items.functions,
            test_ranges: items.test_ranges,
            test_modules: items.test_modules,
        })
    }

    /// The flattened tokens.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Imports and inline paths, imports first.
    pub fn paths(&self) -> &[UsedPath] {
        &self.paths
    }

    /// Functions and methods with a body.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Names of modules declared `#[cfg(test)] mod name;`.
    pub fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// Whether `line` lies in an item compiled for tests only.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_ranges.iter().any(|r| r.contains(&line))
    }

    /// The plain comment on `line`, or the empty string.
    pub fn comment(&self, line: usize) -> &str {
        self.comments
            .get(line.wrapping_sub(1))
            .map_or("", String::as_str)
    }

    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.comments.len()
    }

    /// How many lines of `range` hold code.
    pub fn code_lines_in(&self, range: RangeInclusive<usize>) -> usize {
        range.filter(|l| self.is_code(*l)).count()
    }

    /// How many lines of the file hold code.
    pub fn code_line_count(&self) -> usize {
        self.code_lines.iter().filter(|c| **c).count()
    }

    /// The line of a comment containing `mark`: on `line` itself, or alone on a line above it with at most
    /// `reach` lines of code (and any number of comment lines) between.
    pub fn comment_near(&self, line: usize, mark: &str, reach: usize) -> Option<usize> {
        if self.comment(line).contains(mark) {
            return Some(line);
        }
        let mut skipped = 0;
        for above in (1..line).rev() {
            let stands_alone = !self.is_code(above);
            if stands_alone && self.comment(above).contains(mark) {
                return Some(above);
            }
            if !stands_alone || self.comment(above).is_empty() {
                skipped += 1;
            }
            if skipped > reach {
                return None;
            }
        }
        None
    }

    /// Whether a token other than a doc comment touches `line`.
    pub fn is_code(&self, line: usize) -> bool {
        self.code_lines
            .get(line.wrapping_sub(1))
            .copied()
            .unwrap_or(false)
    }
}

/// The characters of the file with the tokens taken out.
struct Layout {
    original: Vec<Vec<char>>,
    left_over: Vec<Vec<char>>,
    code: Vec<bool>,
}

impl Layout {
    fn new(text: &str) -> Layout {
        let original: Vec<Vec<char>> = text.lines().map(|l| l.chars().collect()).collect();
        let code = vec![false; original.len()];
        Layout {
            left_over: original.clone(),
            original,
            code,
        }
    }

    /// Whether `span` is a doc comment: the parser turns one into tokens that share its span.
    fn is_doc(&self, span: Span) -> bool {
        let start = span.start();
        let Some(chars) = self.original.get(start.line - 1) else {
            return false;
        };
        let begins = |mark: &str| {
            mark.chars()
                .enumerate()
                .all(|(i, c)| chars.get(start.column + i) == Some(&c))
        };
        ["///", "//!", "/**", "/*!"].into_iter().any(begins)
    }

    fn take(&mut self, span: Span, is_code: bool) {
        let (start, end) = (span.start(), span.end());
        for line in start.line..=end.line {
            let Some(chars) = self.left_over.get_mut(line - 1) else {
                continue;
            };
            let from = if line == start.line { start.column } else { 0 };
            let to = if line == end.line {
                end.column.min(chars.len())
            } else {
                chars.len()
            };
            chars
                .get_mut(from..to)
                .into_iter()
                .flatten()
                .for_each(|c| *c = ' ');
            self.code[line - 1] |= is_code;
        }
    }

    fn comments(&self) -> Vec<String> {
        let text = |chars: &Vec<char>| chars.iter().collect::<String>().trim().to_owned();
        self.left_over.iter().map(text).collect()
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>, layout: &mut Layout) {
    for tree in stream {
        if layout.is_doc(tree.span()) {
            layout.take(tree.span(), false);
            continue;
        }
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(tokens, layout, open, group.span_open());
                flatten(group.stream(), tokens, layout);
                push(tokens, layout, close, group.span_close());
            }
            TokenTree::Ident(ident) => push(tokens, layout, &ident.to_string(), ident.span()),
            TokenTree::Punct(punct) => {
                push(tokens, layout, &punct.as_char().to_string(), punct.span())
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let shown = if text.contains('"') {
                    ""
                } else {
                    text.as_str()
                };
                push(tokens, layout, shown, literal.span());
            }
        }
    }
}

fn push(tokens: &mut Vec<Token>, layout: &mut Layout, text: &str, span: Span) {
    layout.take(span, true);
    let line = span.start().line;
    match tokens.last_mut() {
        Some(last) if text == ":" && last.text == ":" && last.line == line => last.text.push(':'),
        _ => tokens.push(Token {
            text: text.to_owned(),
            line,
        }),
    }
}

/// Resolves the first segment of inline paths through the file's imports and appends them to the imports.
fn with_inline_paths(imports: Vec<UsedPath>, tokens: &[Token]) -> Vec<UsedPath> {
    let mut names = BTreeMap::new();
    for import in &imports {
        if let Some(name) = import.renamed.as_ref().or(import.segments.last()) {
            names.insert(name.clone(), import.segments.clone());
        }
    }
    let mut paths = imports;
    let mut at = 0;
    while at < tokens.len() {
        let first = &tokens[at];
        at += 1;
        if !is_ident(&first.text) {
            continue;
        }
        let mut segments = names
            .get(&first.text)
            .cloned()
            .unwrap_or_else(|| vec![first.text.clone()]);
        let mut inline = false;
        while at + 1 < tokens.len() && tokens[at].text == "::" && is_ident(&tokens[at + 1].text) {
            segments.push(tokens[at + 1].text.clone());
            inline = true;
            at += 2;
        }
        if inline {
            paths.push(UsedPath {
                segments,
                renamed: None,
                line: first.line,
                is_import: false,
            });
        }
    }
    paths
}

fn is_ident(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// What the syntax tree tells beyond the tokens.
#[derive(Default)]
struct Items {
    imports: Vec<UsedPath>,
    functions: Vec<Function>,
    test_ranges: Vec<RangeInclusive<usize>>,
    test_modules: Vec<String>,
}

impl Items {
    fn function(&mut self, name: &syn::Ident, from: Span, body: &syn::Block) {
        let lines = from.start().line..=body.span().end().line;
        self.functions.push(Function {
            name: name.to_string(),
            lines,
        });
    }

    fn import(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |name: String| [prefix, &[name]].concat();
        let line = tree.span().start().line;
        let mut push = |segments: Vec<String>, renamed: Option<String>| {
            self.imports.push(UsedPath {
                segments,
                renamed,
                line,
                is_import: true,
            });
        };
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, &with(path.ident.to_string())),
            syn::UseTree::Name(name) if name.ident == "self" => push(prefix.to_vec(), None),
            syn::UseTree::Name(name) => push(with(name.ident.to_string()), None),
            syn::UseTree::Rename(name) if name.ident == "self" => {
                push(prefix.to_vec(), Some(name.rename.to_string()));
            }
            syn::UseTree::Rename(name) => {
                push(with(name.ident.to_string()), Some(name.rename.to_string()))
            }
            syn::UseTree::Glob(_) => push(with("*".to_owned()), None),
            syn::UseTree::Group(group) => group.items.iter().for_each(|t| self.import(t, prefix)),
        }
    }

    fn note_test_item(&mut self, attributes: &[syn::Attribute], item: Span) {
        if attributes.iter().any(is_test_attribute) {
            self.test_ranges.push(item.start().line..=item.end().line);
        }
    }
}

/// Whether the attribute is `#[test]`, or a `#[cfg(...)]` that requires `test`.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    let path = attribute.path();
    if path.is_ident("test") {
        return true;
    }
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    let condition = list.tokens.to_string().replace(' ', "");
    let words = || condition.split(|c: char| !c.is_alphanumeric() && c != '_');
    path.is_ident("cfg")
        && words().any(|w| w == "test")
        && !condition.contains("not(")
        && !condition.contains("any(")
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if let Some(attributes) = attributes_of(item) {
            self.note_test_item(attributes, item.span());
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[]);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, item.sig.span(), &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note_test_item(&item.attrs, item.span());
        self.function(&item.sig.ident, item.sig.span(), &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig.ident, item.sig.span(), body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_none() && item.attrs.iter().any(is_test_attribute) {
            self.test_modules.push(item.ident.to_string());
        }
        visit::visit_item_mod(self, item);
    }
}

fn attributes_of(item: &syn::Item) -> Option<&[syn::Attribute]> {
    match item {
        syn::Item::Const(i) => Some(&i.attrs),
        syn::Item::Enum(i) => Some(&i.attrs),
        syn::Item::Fn(i) => Some(&i.attrs),
        syn::Item::Impl(i) => Some(&i.attrs),
        syn::Item::Macro(i) => Some(&i.attrs),
        syn::Item::Mod(i) => Some(&i.attrs),
        syn::Item::Static(i) => Some(&i.attrs),
        syn::Item::Struct(i) => Some(&i.attrs),
        syn::Item::Trait(i) => Some(&i.attrs),
        syn::Item::Use(i) => Some(&i.attrs),
        _ => None,
    }
}
