//! PICTURES: two line charts as SVG, drawn without a library.
//!
//! Promises: the charts are readable on light and on dark pages and need neither scripts nor fonts or colours
//! of the page around them; the name of each line is at its end. Receives the measurements as points, and
//! does not measure anything.

use std::fmt::Write as _;

use crate::findings::Findings;
use crate::rounds::{BARE, CONNECTIONS, OURS, SHOWN};
use crate::script::Phase;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 650.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 360.0;
const COLOURS: [&str; 8] =
    ["#7f7f7f", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf"];

struct Line {
    name: String,
    /// Position on the horizontal axis (0 to 1), and the value.
    points: Vec<(f64, f64)>,
}

struct Chart {
    title: &'static str,
    below: &'static str,
    /// Marks on the horizontal axis: position and text.
    marks: Vec<(f64, String)>,
    lines: Vec<Line>,
    /// A target, as a dashed line.
    bound: Option<(f64, &'static str)>,
}

/// Requests per second, by number of connections.
pub fn throughput(found: &Findings) -> String {
    let place = |connections: usize| (connections as f64).log2() / 7.0;
    let line = |name: String, who: &str, phase: Phase, at: &[usize]| Line {
        name,
        points: at
            .iter()
            .map(|&c| (place(c), found.rounds.median(who, phase, c, |sample| sample.rate)))
            .filter(|(_, rate)| rate.is_finite())
            .collect(),
    };
    let mut lines = vec![
        line("bare loop".to_owned(), BARE, Phase::Activate, &CONNECTIONS),
        line("Plugin.Activate".to_owned(), OURS, Phase::Activate, &CONNECTIONS),
        line("RequestAddress, durable".to_owned(), OURS, Phase::Addresses, &CONNECTIONS),
        line("release+request, durable".to_owned(), OURS, Phase::Churn, &CONNECTIONS),
    ];
    for (name, _) in &found.rounds.peers {
        lines.push(line(format!("{name}: RequestAddress"), name, Phase::Addresses, &SHOWN));
    }
    let marks = CONNECTIONS.iter().map(|&c| (place(c), c.to_string())).collect();
    draw(&Chart { title: "Requests per second", below: "connections", marks, lines, bound: None })
}

/// Nanoseconds that RequestAddress takes, by occupancy.
pub fn occupancy(found: &Findings) -> String {
    let mut lines = Vec::new();
    for family in ["IPv4", "IPv6"] {
        for order in ["contiguous", "scattered"] {
            let points = found.pure.series(&format!("address {family} {order}"));
            let points = points.into_iter().map(|(at, nanos)| (at as f64 / 100.0, nanos)).collect();
            lines.push(Line { name: format!("{family}, {order}"), points });
        }
    }
    let marks = [0, 25, 50, 75, 99].map(|at| (f64::from(at) / 100.0, format!("{at} %"))).to_vec();
    let bound = Some((300.0, "target"));
    draw(&Chart {
        title: "RequestAddress in the pure plan, nanoseconds",
        below: "of the range is leased",
        marks,
        lines,
        bound,
    })
}

/// The end of the vertical axis, a round number that is at least `most`, and the step between grid lines.
fn scale(most: f64) -> (f64, f64) {
    let magnitude = 10f64.powf(most.max(1.0).log10().floor());
    let step = [0.1, 0.2, 0.25, 0.5, 1.0, 2.0].map(|factor| factor * magnitude);
    let step = step.into_iter().find(|step| most / step <= 6.0).unwrap_or(magnitude);
    ((most / step).ceil() * step, step)
}

fn draw(chart: &Chart) -> String {
    let values = chart.lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let most = values.chain(chart.bound.map(|bound| bound.0)).fold(0.0, f64::max);
    let (top, step) = scale(most);
    let x = |position: f64| LEFT + position * (RIGHT - LEFT);
    let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"16\" fill=\"#222222\">{}</text>\n",
        chart.title
    );
    for number in 0..=(top / step).round() as u32 {
        let (value, label_x) = (f64::from(number) * step, LEFT - 8.0);
        let (height, label_y) = (y(value), y(value) + 4.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{height:.1}\" y2=\"{height:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{label_x}\" y=\"{label_y:.1}\" text-anchor=\"end\" fill=\"#444444\">{}</text>",
            thousands(value)
        );
    }
    for (position, text) in &chart.marks {
        let (at, under) = (x(*position), BOTTOM + 20.0);
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{under}\" text-anchor=\"middle\" fill=\"#444444\">{text}</text>"
        );
    }
    let (middle, under) = ((LEFT + RIGHT) / 2.0, BOTTOM + 42.0);
    let _ = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{under}\" text-anchor=\"middle\" fill=\"#222222\">{}</text>",
        chart.below
    );
    if let Some((value, name)) = chart.bound {
        let (height, label_at) = (y(value), RIGHT + 8.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{height:.1}\" y2=\"{height:.1}\" stroke=\"#222222\" stroke-dasharray=\"6 4\"/>\
             <text x=\"{label_at}\" y=\"{:.1}\" fill=\"#222222\">{name}</text>",
            height + 4.0
        );
    }
    draw_lines(&mut svg, chart, x, y);
    svg + "</svg>\n"
}

fn draw_lines(svg: &mut String, chart: &Chart, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    let mut names: Vec<(f64, &str, &str)> = Vec::new();
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<String> =
            line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        for point in &points {
            let (at, height) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(svg, "<circle cx=\"{at}\" cy=\"{height}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if let Some((_, value)) = line.points.last() {
            names.push((y(*value) + 4.0, &line.name, colour));
        }
    }
    // Names are next to the ends of their lines, moved apart where they would overlap.
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bound = chart.bound.map(|bound| y(bound.0) + 4.0);
    let mut free = f64::MIN;
    for (height, name, colour) in names {
        let mut height = height.max(free);
        if bound.is_some_and(|bound| (height - bound).abs() < 15.0) {
            height = bound.unwrap_or(height) + 15.0;
        }
        free = height + 15.0;
        let label_at = RIGHT + 8.0;
        let _ = writeln!(svg, "<text x=\"{label_at}\" y=\"{height:.1}\" fill=\"{colour}\">{name}</text>");
    }
}

/// A number with a comma before the thousands, such as 12,000.
fn thousands(value: f64) -> String {
    let number = value.round() as u64;
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}
