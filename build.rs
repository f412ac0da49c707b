//! When this program was built, for telling a clock that was lost: no gate's clock is right that shows an earlier day.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    // Reproducible builds set it (reproducible-builds.org/specs/source-date-epoch).
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // Not with every change of a source: a day more or less says the same.
    println!("cargo:rerun-if-changed=Cargo.lock");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = given.unwrap_or_else(now);
    // Whole days: a build of the same day is the same.
    println!("cargo:rustc-env=MENSHEN_BUILT={}", seconds / 86_400 * 86_400);
}
