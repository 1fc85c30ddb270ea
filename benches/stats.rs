//! MEDIANS, of figures and of ratios of pairs.
//!
//! Promises: a single figure of a noisy machine is never trusted; a ratio is taken within a round, and the
//! median over all rounds.

/// The middle value; for an even number of values, the mean of the two in the middle; NaN without any values.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(figure), 1) => *figure,
        (Some(figure), _) => (figure + sorted[middle - 1]) / 2.0,
        (None, _) => f64::NAN,
    }
}

/// The median of `a / b`, pair by pair.
pub fn median_ratio(a: &[f64], b: &[f64]) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| a / b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_taken() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
        assert_eq!(median_ratio(&[1.0, 4.0, 9.0], &[1.0, 2.0, 3.0]), 2.0);
    }
}
