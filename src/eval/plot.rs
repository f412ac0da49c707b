//! A picture of an evaluation: the two distributions, and the ROC with its false accept rate on a logarithmic scale.
//! Plain SVG 1.1.

use std::fmt::Write as _;

use super::comparison::Report;

/// Bars of a distribution, over cosines -1 to 1.
const BARS: usize = 100;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 320.0;
/// Room for the axis at the left, and between and around the two plots.
const MARGIN: f64 = 60.0;

/// Colours that differ in brightness too, for those who print it or see no red.
const GENUINE: &str = "#1b7837";
const IMPOSTOR: &str = "#c2a5cf";
const MARK: &str = "#d95f02";

/// Draws a report.
pub fn svg(report: &Report) -> String {
    let mut svg = String::new();
    let (whole_width, whole_height) = (2.0 * WIDTH + 3.0 * MARGIN, HEIGHT + 2.2 * MARGIN);
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole_width}\" height=\"{whole_height}\" \
         viewBox=\"0 0 {whole_width} {whole_height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">{}: {} genuine, {} impostor pairs{}</text>\n",
        escape(&report.model),
        report.genuine,
        report.impostor,
        report.eer.map(|eer| format!(", EER {:.2} %", 100.0 * eer)).unwrap_or_default(),
    );
    distributions(&mut svg, report);
    roc(&mut svg, report);
    svg.push_str("</svg>\n");
    svg
}

fn distributions(svg: &mut String, report: &Report) {
    let x = |cosine: f64| MARGIN + (cosine + 1.0) / 2.0 * WIDTH;
    let lists =
        [(report.scores.impostor(), IMPOSTOR, "impostor"), (report.scores.genuine(), GENUINE, "genuine")];
    let bars = lists.map(|(list, ..)| histogram(list));
    let most = bars.iter().flatten().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let y = |share: f64| MARGIN + HEIGHT * (1.0 - share / most);
    frame(svg, MARGIN, "cosine", "share of the pairs");
    for (bars, (list, colour, name)) in bars.iter().zip(lists) {
        if list.is_empty() {
            continue;
        }
        let _ = write!(svg, "<path fill=\"{colour}\" fill-opacity=\"0.7\" d=\"M{:.1} {:.1}", x(-1.0), y(0.0));
        for (bar, share) in bars.iter().enumerate() {
            let left = -1.0 + 2.0 * bar as f64 / BARS as f64;
            let right = left + 2.0 / BARS as f64;
            let _ = write!(svg, " L{:.1} {:.1} L{:.1} {:.1}", x(left), y(*share), x(right), y(*share));
        }
        let _ = writeln!(svg, " L{:.1} {:.1} Z\"><title>{name}</title></path>", x(1.0), y(0.0));
    }
    for tenths in (-10..=10).step_by(5) {
        let at = f64::from(tenths) / 10.0;
        tick_below(svg, x(at), &format!("{at:.1}"));
    }
    for part in [0.0, 0.5, 1.0] {
        tick_beside(svg, MARGIN, y(part * most), &format!("{:.1} %", 100.0 * part * most));
    }
    let usual = x(f64::from(report.at_score_80.cosine));
    let _ = writeln!(
        svg,
        "<line x1=\"{usual:.1}\" x2=\"{usual:.1}\" y1=\"{MARGIN}\" y2=\"{:.1}\" stroke=\"{MARK}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{MARK}\">score 80</text>",
        MARGIN + HEIGHT,
        usual + 4.0,
        MARGIN + 14.0
    );
    for (row, (_, colour, name)) in lists.iter().enumerate() {
        let top = MARGIN + 10.0 + 18.0 * row as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            MARGIN + 10.0,
            MARGIN + 28.0,
            top + 11.0
        );
    }
}

fn roc(svg: &mut String, report: &Report) {
    let left = 2.0 * MARGIN + WIDTH;
    frame(svg, left, "false accept rate", "true accept rate");
    // Down to what one pair more or less would be, at most to 1e-6.
    let least = 1.0 / report.impostor.max(1) as f64;
    let decades = (-least.log10()).ceil().clamp(1.0, 6.0);
    let x = |far: f64| left + WIDTH * (1.0 + far.max(10_f64.powf(-decades)).log10() / decades);
    let y = |tar: f64| MARGIN + HEIGHT * (1.0 - tar);
    for decade in 0..=(decades as i32) {
        tick_below(
            svg,
            x(10_f64.powi(-decade)),
            &if decade == 0 { "1".into() } else { format!("1e-{decade}") },
        );
    }
    for tenths in (0..=10).step_by(2) {
        let tar = f64::from(tenths) / 10.0;
        tick_beside(svg, left, y(tar), &format!("{tar:.1}"));
    }
    let curve = report.scores.curve();
    if curve.is_empty() {
        return;
    }
    let _ = write!(svg, "<polyline fill=\"none\" stroke=\"{GENUINE}\" stroke-width=\"2\" points=\"");
    let mut before = f64::NAN;
    for [far, tar] in curve {
        // The curve goes in steps; between them it is level.
        if before.is_finite() {
            let _ = write!(svg, "{:.1},{:.1} ", x(far), y(before));
        }
        let _ = write!(svg, "{:.1},{:.1} ", x(far), y(tar));
        before = tar;
    }
    svg.push_str("\"/>\n");
    if let (Some(far), Some(tar)) = (report.at_score_80.far, report.at_score_80.tar) {
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{MARK}\"><title>score 80</title></circle>",
            x(far),
            y(tar)
        );
    }
}

/// Shares of a list in each bar.
fn histogram(list: &[f32]) -> [f64; BARS] {
    let mut bars = [0.0; BARS];
    for cosine in list {
        let bar = ((cosine + 1.0) / 2.0 * BARS as f32) as usize;
        bars[bar.min(BARS - 1)] += 1.0 / list.len() as f64;
    }
    bars
}

fn frame(svg: &mut String, left: f64, across: &str, down: &str) {
    let (bottom, middle) = (MARGIN + HEIGHT, MARGIN + HEIGHT / 2.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{MARGIN}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#444\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{across}</text>\
         <text transform=\"translate({:.1} {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{down}</text>",
        left + WIDTH / 2.0,
        bottom + 38.0,
        left - 44.0
    );
}

fn tick_below(svg: &mut String, x: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
        MARGIN + HEIGHT + 18.0
    );
}

fn tick_beside(svg: &mut String, left: f64, y: f64, text: &str) {
    let _ =
        writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", left - 4.0, y + 4.0);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::comparison::{Embedded, compare};
    use super::super::pairs::Pairs;
    use super::*;
    use crate::vision::calibration::Calibration;
    use crate::vision::template::Template;

    #[test]
    fn draws_both_plots() {
        let template = |values: [f32; 2]| Embedded::Template(Template::normalised(values.to_vec()).unwrap());
        let embedded = BTreeMap::from([
            ("a".to_owned(), template([1.0, 0.0])),
            ("b".to_owned(), template([0.0, 1.0])),
            ("c".to_owned(), template([0.8, 0.6])),
        ]);
        let calibration = Calibration::new(vec![[0.0, 0.0], [0.5, 80.0], [1.0, 100.0]]).unwrap();
        let pairs = Pairs::parse("a,c,1\na,b,0\nb,c,0");
        let report = compare(&pairs, (&embedded, &embedded), &calibration, "<model>").unwrap();
        let svg = svg(&report);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("&lt;model&gt;: 1 genuine, 2 impostor pairs, EER 0.00 %"));
        // Score 80 is cosine 0.5: three quarters of the first plot.
        assert!(svg.contains("<line x1=\"405.0\""), "{svg}");
        // All elements are closed.
        for name in ["text", "title", "circle", "path"] {
            let opened =
                svg.matches(&format!("<{name} ")).count() + svg.matches(&format!("<{name}>")).count();
            assert_eq!(opened, svg.matches(&format!("</{name}>")).count(), "{name}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
