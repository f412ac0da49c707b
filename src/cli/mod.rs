//! The command line: which commands there are. What each does is in a file of its own.

mod bench;
mod boot_choice;
mod call;
mod camera;
mod check;
mod config;
mod console;
mod diagnose;
mod doctor;
mod door;
mod enroll;
mod eval;
mod factory_reset;
mod healthy;
mod http_push;
mod input;
mod log;
mod network;
mod people;
mod platform;
mod present;
mod read;
mod records;
mod restart;
mod run;
mod simulate;
mod status;
mod update;
mod voice;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use menshen::config::Config;
use menshen::{Error, Kind, Result};

/// The agent that runs on a face-recognition gate.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not there, 4 a picture was refused, 5 the check found damage.
#[derive(Parser)]
#[command(name = "menshen", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gate
    Run(ConfigArgs),
    /// Shows the example configuration, or checks one
    Config(config::Args),
    /// Verifies the store and repairs what can be repaired
    Check(check::Args),
    /// Explains each device and part of this gate: looked for, found, what to do
    Doctor(doctor::Args),
    /// Shows the running gate in short
    Status(status::Args),
    /// Shows the last lines of the gate's log
    Log(log::Args),
    /// The text screen for the serial line
    Console(console::Args),
    /// Shows the platforms, and changes the address of a server
    Platform(platform::Args),
    /// Writes a diagnosis bundle without personal data
    Diagnose(diagnose::Args),
    /// Removes people, records, settings and keys
    FactoryReset(factory_reset::Args),
    /// Enrols a person of the gate's own from pictures
    Enroll(enroll::Args),
    /// Lists, shows and removes people
    People(people::Args),
    /// Holds a card, a QR code or a document before a simulated reader
    Present(present::Args),
    /// Reads a card in a reader, without the gate
    Read(read::Args),
    /// Moves a simulated input: exit button, door contact, tamper contact
    Input(input::Args),
    /// Opens the door, or brings its lines to rest
    Door(door::Args),
    /// Lists and exports records
    Records(records::Args),
    /// Calls a room with the intercom of the running gate
    Call(call::Args),
    /// Shows and sets the addresses of the network cards
    Network(network::Args),
    /// Tries the loudspeaker
    Voice(voice::Args),
    /// Shows the cameras of this machine and sets their controls
    Camera(camera::Args),
    /// Restarts the machine under the gate
    Restart(restart::Args),
    /// Installs a new version, or says which versions are there
    Update(update::Args),
    /// Says whether this system is healthy, and decides whether a new version stays
    Healthy(healthy::Args),
    /// Which slot the boot loader starts: the backend of RAUC
    BootChoice(boot_choice::Args),
    /// Plays the other end of a wire
    Simulate(simulate::Args),
    /// Measures how well this gate tells people apart, or heads from pictures of them
    Eval(eval::Args),
    /// Measures this machine
    Bench(bench::Args),
}

/// Where the configuration is.
#[derive(clap::Args, Clone)]
pub struct ConfigArgs {
    /// The configuration of the gate
    #[arg(long, value_name = "FILE", default_value = "/etc/menshen/menshen.toml")]
    pub config: PathBuf,
}

impl ConfigArgs {
    /// Reads it.
    pub fn load(&self) -> Result<Config> {
        Config::load(&self.config)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.config
    }
}

/// Runs the command and answers with its exit code.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Console(args) => console::run(&args),
        Command::Platform(args) => platform::run(&args),
        Command::Diagnose(args) => diagnose::run(&args),
        Command::FactoryReset(args) => factory_reset::run(&args),
        Command::Enroll(args) => enroll::run(&args),
        Command::People(args) => people::run(&args),
        Command::Present(args) => present::run(&args),
        Command::Read(args) => read::run(&args),
        Command::Input(args) => input::run(&args),
        Command::Door(args) => door::run(&args),
        Command::Records(args) => records::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Network(args) => network::run(&args),
        Command::Voice(args) => voice::run(&args),
        Command::Camera(args) => camera::run(&args),
        Command::Restart(args) => restart::run(&args),
        Command::Update(args) => update::run(&args),
        Command::Healthy(args) => healthy::run(&args),
        Command::BootChoice(args) => boot_choice::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("menshen: {error}");
        exit_code(&error)
    })
}

fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(match error.kind() {
        Kind::NotFound => 3,
        Kind::Face => 4,
        _ => 1,
    })
}

/// Prints a line; a reader that has gone away (`menshen … | head`) ends the command quietly.
pub fn say(line: impl std::fmt::Display) -> Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
