//! All stories of the test bed, also the long ones: `cargo test --test matrix`.
//!
//! They are those of the target `cluster`, whose long ones are ignored unless they are asked for.

#![expect(clippy::disallowed_methods, reason = "runs cargo")]

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let status = Command::new(env!("CARGO"))
        .args(["test", "--test", "cluster", "--", "--include-ignored"])
        .args(env::args().skip(1))
        .status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
