//! `menshen present`: holds a credential before a simulated reader.

use std::process::ExitCode;

use clap::Subcommand;
use jiff::civil::Date;
use menshen::service::admin::Presentation;
use menshen::service::admin::client::Client;
use menshen::{Error, Kind, Result};

use super::people::plain;
use super::{ConfigArgs, say};

/// Holds a credential before a simulated reader of the running gate.
///
/// The reader must be "sim" in the configuration: device.wiegand_in for cards, device.qr_reader,
/// device.id_reader. The agent must run, with service.admin. What becomes of the credential is in the events.
///
/// Exit codes: 0 presented, 1 failed (also: the gate has no such reader), 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A card, by its number or by the bits that its reader sends
    Card(CardArgs),
    /// A QR code
    Qr(QrArgs),
    /// An identity document
    Document(DocumentArgs),
}

#[derive(clap::Args)]
struct CardArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its number, as the gate compares it
    #[arg(required_unless_present = "bits", conflicts_with = "bits")]
    number: Option<String>,
    /// The 26 or 34 bits of the Wiegand frame, as 0 and 1, with their parity
    #[arg(long)]
    bits: Option<String>,
}

#[derive(clap::Args)]
struct QrArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// What it says
    text: String,
}

#[derive(clap::Args)]
struct DocumentArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its number
    #[arg(long)]
    number: String,
    /// Name of the holder
    #[arg(long, default_value = "")]
    name: String,
    /// 男 or 女
    #[arg(long, default_value = "")]
    gender: String,
    /// Ethnic group
    #[arg(long, default_value = "")]
    ethnic: String,
    /// Day of birth, such as 1989-10-10
    #[arg(long, value_name = "DATE")]
    birthday: Option<Date>,
    /// Address
    #[arg(long, default_value = "")]
    address: String,
    /// The authority that issued it
    #[arg(long, default_value = "")]
    issuer: String,
    /// First day on which it is valid
    #[arg(long, value_name = "DATE")]
    valid_from: Option<Date>,
    /// Last day on which it is valid; long term if not given
    #[arg(long, value_name = "DATE")]
    valid_until: Option<Date>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let (config, presentation) = match &args.what {
        What::Card(args) => {
            (&args.config, Presentation::Card { number: args.number.clone(), bits: args.bits.clone() })
        }
        What::Qr(args) => (&args.config, Presentation::Qr { content: args.text.clone() }),
        What::Document(args) => (
            &args.config,
            Presentation::Document {
                number: args.number.clone(),
                name: args.name.clone(),
                gender: args.gender.clone(),
                ethnic: args.ethnic.clone(),
                birthday: args.birthday,
                address: args.address.clone(),
                issuer: args.issuer.clone(),
                valid_from: args.valid_from,
                valid_until: args.valid_until,
            },
        ),
    };
    let config = config.load()?;
    let admin = config.service.admin.as_ref().ok_or_else(|| {
        Error::new(Kind::Config, "credentials are presented through the admin service: set service.admin")
    })?;
    let answer = Client::new(admin)?.request(hyper::Method::POST, "/api/v1/present", Some(&presentation))?;
    match answer["number"].as_str() {
        Some(number) => say(format_args!("the card {} was presented", plain(number)))?,
        None => say("presented")?,
    }
    Ok(ExitCode::SUCCESS)
}
