//! The command line of Menshen.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
