//! Printing, for people (aligned, with colour on a terminal) and for programs (JSON, YAML).
//!
//! Every function returns the error of the write: a reader that has gone away ends the program.

use std::io::{self, IsTerminal, Write, stderr, stdout};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    // No doc lines: `--help` would give each a line.
    Table,
    Json,
    Yaml,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// What a piece of text means; its colour follows from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// What can be skipped.
    Faint,
    /// As it should be.
    Good,
    /// Noteworthy.
    Notice,
    /// As it should not be.
    Bad,
    /// Of the kind that goes with its session.
    Ephemeral,
}

impl Tone {
    fn style(self) -> Style {
        let of = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => of(AnsiColor::Green),
            Self::Notice => of(AnsiColor::Yellow),
            Self::Bad => of(AnsiColor::Red).bold(),
            Self::Ephemeral => of(AnsiColor::Cyan),
        }
    }
}

/// Where and how results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    color: bool,
}

impl Output {
    /// Decides about colour once.
    pub fn new(format: Format, color: Color) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Self { format, color }
    }

    /// Whether a program reads it.
    pub fn for_programs(self) -> bool {
        self.format != Format::Table
    }

    /// Whether a person sees it as it comes, so that it may be redrawn.
    pub fn is_screen(self) -> bool {
        !self.for_programs() && stdout().is_terminal()
    }

    /// The text in its tone's colour.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if self.color && tone != Tone::Plain {
            let style = tone.style();
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// Prints a line.
    ///
    /// # Errors
    /// Of the write.
    pub fn line(self, text: &str) -> io::Result<()> {
        let mut out = stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// Of the write.
    pub fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// One document with its line break: JSON on one line, or YAML, begun by `---` so that several can follow each other.
    ///
    /// # Errors
    /// If the value cannot be written so: a map whose keys are no text.
    pub fn rendered(self, value: &impl Serialize) -> io::Result<String> {
        let json = || serde_json::to_string(value).map_err(io::Error::other);
        match self.format {
            Format::Yaml => yaml(value),
            Format::Json | Format::Table => Ok(json()? + "\n"),
        }
    }

    /// Prints one document.
    ///
    /// # Errors
    /// Of the write, and as [`Output::rendered`].
    pub fn document(self, value: &impl Serialize) -> io::Result<()> {
        self.bytes(self.rendered(value)?.as_bytes())
    }

    /// Prints a table.
    ///
    /// # Errors
    /// Of the write.
    pub fn table(self, table: &Table) -> io::Result<()> {
        self.bytes(table.render(self).as_bytes())
    }
}

/// A YAML document, of what the value is in JSON.
fn yaml(value: &impl Serialize) -> io::Result<String> {
    let value = serde_json::to_value(value).map_err(io::Error::other)?;
    let text = serde_saphyr::to_string(&value).map_err(io::Error::other)?;
    let end = if text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("---\n{text}{end}"))
}

/// Tells people something beside the result, on standard error. If nobody reads that, nobody is told.
pub fn note(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// A cell: text and what it means.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

/// A cell in a tone.
#[allow(
    clippy::needless_pass_by_value,
    reason = "numbers and owned texts are at home here"
)]
pub fn cell(tone: Tone, text: impl ToString) -> Cell {
    Cell {
        text: text.to_string(),
        tone,
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        cell(Tone::Plain, text)
    }
}

/// Aligned columns under their names; columns of numbers stand to the right.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: impl Into<Vec<&'static str>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell per column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = cells.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "one cell per column");
        self.rows.push(row);
    }

    fn render(&self, output: Output) -> String {
        let mut text = String::new();
        let layout: Vec<(usize, bool)> = (0..self.columns.len()).map(|c| self.layout(c)).collect();
        let header = self.columns.iter().map(|name| cell(Tone::Faint, name));
        let header = header.collect::<Vec<_>>();
        for row in std::iter::once(&header).chain(&self.rows) {
            for (column, cell) in row.iter().enumerate() {
                let (width, right) = layout[column];
                let space = " ".repeat(width - cell.text.chars().count());
                let painted = output.paint(cell.tone, &cell.text);
                let last = column + 1 == row.len();
                if right {
                    text.push_str(&space);
                }
                text.push_str(&painted);
                if !right && !last {
                    text.push_str(&space);
                }
                text.push_str(if last { "\n" } else { "  " });
            }
        }
        text
    }

    /// The width of a column, and whether its content is numbers.
    fn layout(&self, column: usize) -> (usize, bool) {
        let texts = || self.rows.iter().map(|row| row[column].text.as_str());
        let widest = texts().map(|t| t.chars().count()).max().unwrap_or(0);
        let numeric = |text: &str| {
            text == "-" || (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        };
        let right = texts().any(|t| t != "-") && texts().all(numeric);
        (widest.max(self.columns[column].chars().count()), right)
    }
}

/// Data for people: text as it is, up to `most` characters of it, control characters escaped;
/// anything else by its length.
pub fn preview(data: &[u8], most: usize) -> String {
    let Ok(text) = std::str::from_utf8(data) else {
        return format!("<{} bytes>", data.len());
    };
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most {
            shown.push('…');
            break;
        }
        match c {
            '\n' => shown.push('⏎'),
            '\t' => shown.push(' '),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// Data for programs: `data` if it is text, else `data_base64`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JsonData {
    /// The data, if it is valid UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The data in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

impl From<Option<&[u8]>> for JsonData {
    fn from(data: Option<&[u8]>) -> Self {
        use base64::Engine;
        match data.map(|data| (data, std::str::from_utf8(data))) {
            None => Self::default(),
            Some((_, Ok(text))) => Self {
                data: Some(text.to_owned()),
                data_base64: None,
            },
            Some((data, Err(_))) => Self {
                data: None,
                data_base64: Some(base64::engine::general_purpose::STANDARD.encode(data)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Output {
        Output::new(Format::Table, Color::Never)
    }

    #[test]
    fn columns_are_aligned_numbers_to_the_right() {
        let mut table = Table::new(["NAME", "SIZE"]);
        table.row(["a".into(), Cell::from(7)]);
        table.row(["longer".into(), Cell::from(1234)]);
        assert_eq!(
            table.render(plain()),
            "NAME    SIZE\na          7\nlonger  1234\n"
        );
    }

    #[test]
    fn colour_does_not_shift_columns() {
        let mut table = Table::new(["A", "B"]);
        table.row([cell(Tone::Bad, "x"), "y".into()]);
        table.row(["wide".into(), "z".into()]);
        let coloured = table.render(Output::new(Format::Table, Color::Always));
        let mut bare = String::new();
        let mut escaped = false;
        for c in coloured.chars() {
            match c {
                '\u{1b}' => escaped = true,
                'm' if escaped => escaped = false,
                c if !escaped => bare.push(c),
                _ => {}
            }
        }
        assert_eq!(bare, table.render(plain()));
    }

    #[test]
    fn yaml_means_what_json_means() {
        let yaml = Output::new(Format::Yaml, Color::Never);
        let value = serde_json::json!({ "a": ["no", "0x1f", "1e3", "", "~", "x: y", "two\nlines\n"], "none": null, "i": -1 });
        let text = yaml.rendered(&value).expect("rendered");
        assert!(text.starts_with("---\n") && text.ends_with('\n'), "{text}");
        // Words that YAML would take for something else are quoted.
        for quoted in ["no", "0x1f", "1e3", "", "~", "x: y"] {
            let told = [format!("\"{quoted}\""), format!("'{quoted}'")];
            assert!(
                told.iter().any(|one| text.contains(one)),
                "{quoted:?}: {text}"
            );
        }
        assert!(
            text.contains("none: null") && text.contains("i: -1"),
            "{text}"
        );
    }

    #[test]
    fn data_is_shown_as_text_or_by_its_length() {
        assert_eq!(preview(b"two\nlines", 80), "two⏎lines");
        assert_eq!(preview("äöü".as_bytes(), 2), "äö…");
        assert_eq!(preview(b"\x1b[2J", 80), "\\u{1b}[2J");
        assert_eq!(preview(&[0xff, 0], 80), "<2 bytes>");
    }
}
