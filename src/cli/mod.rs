//! The commands, one file for each family.

/// Runs the command and answers with its exit code.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
