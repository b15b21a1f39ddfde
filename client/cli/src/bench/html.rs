//! A report as one page that needs nothing from outside: the figures, answers over time, and latencies by share.

use std::fmt::Write;

use super::recorder::as_f64;
use super::report::{Report, Setting, latency};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 260.0;
const MARGIN: f64 = 64.0;
const COLORS: [&str; 8] = [
    "#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4b5563",
];
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#111;background:#fff}\
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:currentColor}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}td,th{border-color:#444}}";

/// The page.
pub fn page(report: &Report) -> String {
    let mut settings = String::new();
    for Setting { name, value } in &report.settings {
        let _ = write!(
            settings,
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(name),
            escaped(value)
        );
    }
    let mut kinds = String::new();
    for kind in &report.kinds {
        let _ = write!(
            kinds,
            "<tr><td>{}</td><td>{}</td><td>{:.0}</td><td>{}</td>",
            escaped(&kind.kind),
            kind.operations,
            kind.per_second,
            latency(kind.mean_us)
        );
        for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let text = kind.quantile(share).map_or_else(|| "-".to_owned(), latency);
            let _ = write!(kinds, "<td>{text}</td>");
        }
        kinds.push_str("</tr>");
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>zweig bench {subject}</title><style>{STYLE}</style>\
         <h1>{subject}: {headline}</h1><table>{settings}</table>\
         <table><tr><th>kind<th>operations<th>per second<th>mean<th>p50<th>p90<th>p99<th>p99.9<th>max</tr>{kinds}</table>\
         <h2>{counted} per second over time</h2>{time}<h2>Latency by share of operations</h2>{shares}</html>",
        subject = report.subject,
        headline = report.volume.as_ref().map_or_else(
            || format!("{:.0} operations per second", report.per_second),
            ToString::to_string
        ),
        counted = if report.volume.is_some() {
            "Records"
        } else {
            "Operations"
        },
        time = over_time(report),
        shares = by_share(report),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// One line of a plot: its name, and points between 0 and 1 on both axes.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws lines between axes; marks are pairs of a place between 0 and 1 and what stands there.
fn plot(lines: &[Line], across: &[(f64, String)], up: &[(f64, String)]) -> String {
    let x = |share: f64| MARGIN + share * (WIDTH - MARGIN - 10.0);
    let y = |share: f64| HEIGHT - 30.0 - share * (HEIGHT - 50.0);
    let mut svg = format!("<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img>");
    for (at, text) in up {
        let _ = write!(
            svg,
            "<line x1={0:.1} x2={1:.1} y1={2:.1} y2={2:.1} stroke='currentColor' stroke-opacity='.15'/>\
             <text x={3:.1} y={4:.1} text-anchor=end>{text}</text>",
            x(0.0),
            x(1.0),
            y(*at),
            x(0.0) - 6.0,
            y(*at) + 4.0
        );
    }
    for (at, text) in across {
        let _ = write!(
            svg,
            "<text x={:.1} y={:.1} text-anchor=middle>{text}</text>",
            x(*at),
            HEIGHT - 10.0
        );
    }
    for (line, color) in lines.iter().zip(COLORS.iter().cycle()) {
        let mut points = String::new();
        for (across, up) in &line.points {
            let _ = write!(points, "{:.1},{:.1} ", x(*across), y(*up));
        }
        let _ = write!(
            svg,
            "<polyline points='{points}' fill=none stroke='{color}' stroke-width=1.6><title>{}</title></polyline>",
            escaped(&line.name)
        );
    }
    svg.push_str("</svg>");
    if lines.len() > 1 {
        svg.push_str("<p>");
        for (line, color) in lines.iter().zip(COLORS.iter().cycle()) {
            let _ = write!(
                svg,
                "<span style='color:{color}'>\u{25a0}</span> {} ",
                escaped(&line.name)
            );
        }
        svg.push_str("</p>");
    }
    svg
}

fn over_time(report: &Report) -> String {
    let per_second = 1e3 / as_f64(report.slice_ms.max(1));
    let rates: Vec<f64> = report
        .slices
        .iter()
        .map(|&answers| as_f64(answers) * per_second)
        .collect();
    let highest = rates.iter().copied().fold(1.0, f64::max);
    let last = as_f64(rates.len().saturating_sub(1).max(1) as u64);
    let points = rates
        .iter()
        .enumerate()
        .map(|(nth, rate)| (as_f64(nth as u64) / last, rate / highest))
        .collect();
    let across = [0.0, 0.25, 0.5, 0.75, 1.0]
        .map(|share| (share, format!("{:.1} s", share * report.seconds)));
    let up = [0.0, 0.5, 1.0].map(|share| (share, format!("{:.0}", share * highest)));
    plot(
        &[Line {
            name: "per second".to_owned(),
            points,
        }],
        &across,
        &up,
    )
}

/// Latency on a logarithmic axis against the share of operations that were no slower.
fn by_share(report: &Report) -> String {
    let all = || {
        report
            .kinds
            .iter()
            .flat_map(|kind| &kind.quantiles_us)
            .map(|(_, us)| us.max(1.0))
    };
    let lowest = all().fold(f64::INFINITY, f64::min).log10().floor();
    let highest = all().fold(1.0, f64::max).log10().ceil().max(lowest + 1.0);
    if !lowest.is_finite() {
        return "<p>nothing was answered</p>".to_owned();
    }
    let height = |us: f64| (us.max(1.0).log10() - lowest) / (highest - lowest);
    let shares = report
        .kinds
        .first()
        .map_or(1, |kind| kind.quantiles_us.len().max(2))
        - 1;
    let place = |nth: usize| as_f64(nth as u64) / as_f64(shares as u64);
    let lines: Vec<Line> = report
        .kinds
        .iter()
        .map(|kind| Line {
            name: kind.kind.clone(),
            points: kind
                .quantiles_us
                .iter()
                .enumerate()
                .map(|(nth, (_, us))| (place(nth), height(*us)))
                .collect(),
        })
        .collect();
    let across: Vec<(f64, String)> = report.kinds.first().map_or_else(Vec::new, |kind| {
        kind.quantiles_us
            .iter()
            .enumerate()
            .map(|(nth, (share, _))| (place(nth), format!("{}", share * 100.0)))
            .collect()
    });
    let mut up = Vec::new();
    let mut decade = lowest;
    while decade <= highest {
        let us = 10f64.powf(decade);
        up.push((height(us), latency(us)));
        decade += 1.0;
    }
    plot(&lines, &across, &up)
}
