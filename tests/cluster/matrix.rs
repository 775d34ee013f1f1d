//! All stories of the test bed, also the long ones: `cargo test --test matrix`.

#[path = "main.rs"]
mod cluster;

fn main() -> std::process::ExitCode {
    cluster::main()
}
