//! Random numbers that are the same for the same seed, on every machine.

use std::f64::consts::TAU;

/// The increment of `SplitMix64`: 2^64 divided by the golden ratio, made odd.
pub(super) const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The generator `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014).
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that starts at the seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// The next number in [0, 1), uniform.
    pub fn next_unit(&mut self) -> f64 {
        unit(self.next_bits())
    }

    /// The next number of a lognormal distribution: `median` times e to the power of `sigma`
    /// times a standard normal (by Box and Muller).
    pub fn next_lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.next_unit()).ln()).sqrt();
        let normal = radius * (TAU * self.next_unit()).cos();
        median * (sigma * normal).exp()
    }
}

/// The output function of `SplitMix64`: scrambles one position of its sequence.
pub(super) fn mix(position: u64) -> u64 {
    let mut bits = position;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Maps 64 random bits to [0, 1): the upper 53 of them are the digits.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_reference_implementation() {
        let mut random = SplitMix64::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next_bits()).collect();
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn half_of_the_lognormal_numbers_are_below_the_median() {
        let mut random = SplitMix64::new(7);
        let below = (0..10_000).filter(|_| random.next_lognormal(20.0, 0.5) < 20.0).count();
        // Binomial(10000, .5) has a standard deviation of 50: four of them.
        assert!((4_800..=5_200).contains(&below), "{below} of 10000 are below");
    }

    #[test]
    fn the_upper_tail_is_as_wide_as_sigma_says() {
        let mut random = SplitMix64::new(8);
        // One sixth (15.87 %) of a normal lies more than one sigma above its mean.
        let limit = 20.0 * 0.5_f64.exp();
        let above = (0..10_000).filter(|_| random.next_lognormal(20.0, 0.5) > limit).count();
        assert!((1_440..=1_735).contains(&above), "{above} of 10000 are above");
    }
}
