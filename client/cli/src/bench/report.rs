//! What is told of a run: a table for people, a document for programs.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use serde::Serialize;

use super::recorder::{Recorder, SLICE, Summary, Volume, as_f64};
use crate::output::{Output, Table, Tone};

/// Where a report goes beside standard output.
#[derive(Debug, Clone, ClapArgs)]
pub struct Files {
    /// Write the report there too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report there too, as a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Files {
    /// Writes what was asked for.
    ///
    /// # Errors
    /// Of the write.
    pub fn write(&self, report: &Report) -> anyhow::Result<()> {
        let write = |path: &PathBuf, text: String| {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        if let Some(path) = &self.json {
            write(path, serde_json::to_string_pretty(report)?)?;
        }
        if let Some(path) = &self.html {
            write(path, super::html::page(report))?;
        }
        Ok(())
    }
}

/// One setting of the run.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// As people call it.
    pub name: String,
    /// As it was.
    pub value: String,
}

impl Setting {
    /// A name with its value.
    pub fn new(name: &str, value: String) -> Self {
        Self {
            name: name.to_owned(),
            value,
        }
    }
}

/// All that is known of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was driven.
    pub subject: &'static str,
    /// How.
    pub settings: Vec<Setting>,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Answers.
    pub operations: u64,
    /// Answers per second.
    pub per_second: f64,
    /// What was moved, where that is the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Throughput>,
    /// Requests whose connection was lost before their answer.
    pub unknown: u64,
    /// Requests that a server refused for a while, and that were sent again.
    pub refused: u64,
    /// Connections that were lost.
    pub lost_connections: u64,
    /// The longest time without any answer, in milliseconds, to a slice.
    pub longest_silence_ms: u64,
    /// Processor time that the processes named by `--cpu-of` used meanwhile.
    pub server_cpu_seconds: Option<f64>,
    /// Per kind of operation; the last one is of all, if there are several.
    pub kinds: Vec<Summary>,
    /// Length of a slice of `slices`, in milliseconds.
    pub slice_ms: u64,
    /// Answers in each slice.
    pub slices: Vec<u64>,
}

impl Report {
    /// Of what was measured in `length`.
    pub fn new(
        subject: &'static str,
        settings: Vec<Setting>,
        recorder: &Recorder,
        length: Duration,
    ) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            subject,
            settings,
            seconds: length.as_secs_f64(),
            operations: recorder.operations(),
            per_second: as_f64(recorder.operations()) / length.as_secs_f64(),
            volume: (recorder.volume.records > 0).then(|| Throughput::of(recorder.volume, length)),
            unknown: recorder.unknown,
            refused: recorder.refused,
            lost_connections: recorder.lost_connections,
            longest_silence_ms: ms(recorder.longest_silence(length)),
            server_cpu_seconds: recorder.server_cpu_seconds,
            kinds: recorder.summaries(length),
            slice_ms: ms(SLICE),
            slices: recorder.slices().to_vec(),
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// Of the write.
    pub fn print(&self, output: Output) -> std::io::Result<()> {
        if output.for_programs() {
            return output.document(self);
        }
        for Setting { name, value } in &self.settings {
            output.line(&output.paint(Tone::Faint, &format!("{name}: {value}")))?;
        }
        let mut table = Table::new([
            "KIND",
            "OPERATIONS",
            "PER SECOND",
            "MEAN",
            "P50",
            "P99",
            "P99.9",
            "MAX",
        ]);
        for kind in &self.kinds {
            let share = |share| kind.quantile(share).map_or_else(|| "-".to_owned(), latency);
            table.row([
                kind.kind.clone().into(),
                kind.operations.into(),
                format!("{:.0}", kind.per_second).into(),
                latency(kind.mean_us).into(),
                share(0.5).into(),
                share(0.99).into(),
                share(0.999).into(),
                share(1.0).into(),
            ]);
        }
        output.table(&table)?;
        if let Some(seconds) = self.server_cpu_seconds {
            let each = seconds * 1e6 / as_f64(self.operations.max(1));
            let told =
                format!("the servers' processors: {seconds:.2} s, {each:.1} µs an operation");
            output.line(&output.paint(Tone::Faint, &told))?;
        }
        if let Some(volume) = &self.volume {
            output.line(&volume.to_string())?;
        }
        if self.lost_connections + self.refused > 0 {
            let mut told = Vec::new();
            for (count, of) in [
                (self.lost_connections, "connections lost"),
                (self.unknown, "requests without an answer"),
                (self.refused, "refused for a while"),
            ] {
                if count > 0 {
                    told.push(format!("{count} {of}"));
                }
            }
            told.push(format!(
                "nothing answered for up to {} ms",
                self.longest_silence_ms
            ));
            let told = told.join(", ");
            output.line(&output.paint(Tone::Notice, &told))?;
        }
        Ok(())
    }
}

/// Records and their bytes, as they are told.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Records per second.
    pub records_per_second: f64,
    /// Million bytes per second.
    pub megabytes_per_second: f64,
}

impl Throughput {
    fn of(volume: Volume, length: Duration) -> Self {
        Self {
            records: volume.records,
            bytes: volume.bytes,
            records_per_second: as_f64(volume.records) / length.as_secs_f64(),
            megabytes_per_second: as_f64(volume.bytes) / 1e6 / length.as_secs_f64(),
        }
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} records/s, {:.1} MB/s; {} records, {:.1} MB in all",
            self.records_per_second,
            self.megabytes_per_second,
            self.records,
            as_f64(self.bytes) / 1e6
        )
    }
}

/// Three digits, in the unit that fits.
pub fn latency(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e5 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}
