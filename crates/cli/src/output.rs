//! Lines on standard output, in logcli's modes.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use crate::answer::{Labels, Row, print_labels};
use crate::args::{OutputArgs, OutputMode, TimestampFormat};
use crate::error::CliError;
use crate::time::TimePrinter;

/// Colours of streams; which one a stream gets depends on its labels alone.
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
];

/// Prints lines.
pub(crate) struct Printer<'a> {
    args: OutputArgs,
    times: TimePrinter,
    colours: bool,
    out: &'a mut (dyn Write + Send),
}

impl<'a> Printer<'a> {
    pub(crate) fn new(
        args: &OutputArgs,
        out: &'a mut (dyn Write + Send),
        colours: bool,
    ) -> Result<Self, CliError> {
        // Programs that read lines as objects want the whole time.
        let format = match (args.output, args.output_timestamp_format) {
            (OutputMode::Jsonl, TimestampFormat::Rfc3339) => TimestampFormat::Rfc3339nano,
            (_, format) => format,
        };
        Ok(Self {
            times: TimePrinter::new(&args.timezone, format)?,
            colours: args.colored_output || colours,
            args: args.clone(),
            out,
        })
    }

    /// What of the labels is printed: all but the common ones, unless flags say otherwise.
    fn shown(&self, labels: &Labels, common: &Labels) -> Labels {
        let args = &self.args;
        let is_shown = |name: &String, value: &String| {
            (args.include_labels.is_empty() || args.include_labels.contains(name))
                && !args.exclude_labels.contains(name)
                && (args.include_common_labels
                    || args.include_labels.contains(name)
                    || common.get(name) != Some(value))
        };
        let pairs = labels.iter().filter(|(name, value)| is_shown(name, value));
        pairs
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Prints one line.
    pub(crate) fn line(
        &mut self,
        labels: &Labels,
        common: &Labels,
        row: &Row,
    ) -> Result<(), CliError> {
        match self.args.output {
            OutputMode::Raw => writeln!(self.out, "{}", row.line)?,
            OutputMode::Jsonl => {
                let mut object = serde_json::json!({
                    "line": row.line,
                    "timestamp": self.times.print(row.timestamp_ns),
                });
                if !self.args.no_labels {
                    object["labels"] = serde_json::json!(self.shown(labels, common));
                }
                writeln!(self.out, "{object}")?;
            }
            OutputMode::Default => self.default_line(labels, common, row)?,
        }
        Ok(())
    }

    fn default_line(
        &mut self,
        labels: &Labels,
        common: &Labels,
        row: &Row,
    ) -> Result<(), CliError> {
        let time = self.times.print(row.timestamp_ns);
        let (time_style, label_style) = self.styles(labels);
        write!(self.out, "{time_style}{time}{time_style:#} ")?;
        if !self.args.no_labels {
            let text = print_labels(&self.shown(labels, common));
            let width = self.args.labels_length;
            write!(self.out, "{label_style}{text:width$}{label_style:#} ")?;
        }
        writeln!(self.out, "{}", row.line)?;
        Ok(())
    }

    fn styles(&self, labels: &Labels) -> (Style, Style) {
        if !self.colours {
            return (Style::new(), Style::new());
        }
        let hash = print_labels(labels).bytes().fold(5381_usize, |hash, byte| {
            hash.wrapping_mul(33) ^ usize::from(byte)
        });
        let colour = COLOURS
            .get(hash % COLOURS.len())
            .copied()
            .unwrap_or(AnsiColor::Cyan);
        (AnsiColor::Blue.on_default().bold(), colour.on_default())
    }

    /// Prints text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// Hands everything to the reader.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush()?;
        Ok(())
    }
}

/// Labels that all sets have with the same value.
pub(crate) fn common_labels<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut common = sets.next().cloned().unwrap_or_default();
    for labels in sets {
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn common_labels_are_those_of_all_streams() {
        let sets = [
            labels(&[("a", "1"), ("b", "1")]),
            labels(&[("a", "1"), ("b", "2")]),
        ];
        assert_eq!(common_labels(sets.iter()), labels(&[("a", "1")]));
        assert_eq!(common_labels(std::iter::empty()), Labels::new());
    }
}
