//! `menshen enroll`: a person of the gate's own, from pictures.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use menshen::access::PersonKind;
use menshen::clock::SystemClock;
use menshen::config::Config;
use menshen::error::Context;
use menshen::service::admin::NewPerson;
use menshen::store::{NewFace, Store};
use menshen::vision::Models;
use menshen::vision::enrolment::Examiner;
use menshen::{Error, Kind, Result};

use super::people::{agent, plain, store_options};
use super::{ConfigArgs, say};

/// Largest picture file, in bytes.
const PICTURE_BYTES: u64 = 8 << 20;

/// Enrols a person of the gate's own from one to three pictures.
///
/// A picture with no face, a bad one or more than one is refused, and then nothing is changed. While the agent
/// runs the order goes through it, and the person can pass at once; else it goes into the store directly.
///
/// Exit codes: 0 done, 1 failed (also: the id is taken), 2 wrong usage, 3 a file is not there, 4 a picture was
/// refused.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Id, 1 to 60 bytes
    #[arg(long)]
    id: String,
    /// Name as the gate shows it
    #[arg(long)]
    name: String,
    /// Number of their card
    #[arg(long)]
    card: Option<String>,
    /// A number of the house's own
    #[arg(long, default_value = "")]
    code: String,
    /// white, black or visitor
    #[arg(long, default_value = "white", value_parser = kind)]
    kind: PersonKind,
    /// Passages they have; without limit if not given
    #[arg(long, value_name = "NUMBER")]
    passes: Option<u32>,
    /// First moment, such as 2026-01-31T18:00:00 (the gate's time) or 2026-01-31T10:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_from: Option<String>,
    /// The moment from which they may no longer pass
    #[arg(long, value_name = "TIME")]
    valid_until: Option<String>,
    /// Replaces who has this id
    #[arg(long)]
    replace: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// JPEG or PNG files, one to three
    #[arg(required = true, num_args = 1..=3, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
}

fn kind(text: &str) -> Result<PersonKind, String> {
    match text {
        "white" => Ok(PersonKind::White),
        "black" => Ok(PersonKind::Black),
        "visitor" => Ok(PersonKind::Visitor),
        _ => Err("white, black or visitor".into()),
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let mut new = NewPerson {
        id: args.id.clone(),
        name: args.name.clone(),
        code: args.code.clone(),
        kind: Some(args.kind),
        card: args.card.clone(),
        passes_left: args.passes,
        valid_from: args.valid_from.clone(),
        valid_until: args.valid_until.clone(),
        replace: args.replace,
        ..NewPerson::default()
    };
    // Before the pictures are looked at: it costs nothing.
    new.person()?;
    for path in &args.pictures {
        let step = || format!("the picture {} cannot be read", path.display());
        let size = std::fs::metadata(path).context(step)?.len();
        if size > PICTURE_BYTES {
            return Err(Error::new(
                Kind::Input,
                format!("{} has {size} bytes; a picture has at most {PICTURE_BYTES}", path.display()),
            ));
        }
        new.add_picture(&std::fs::read(path).context(step)?);
    }
    match Store::open(&store_options(&config), Arc::new(SystemClock)) {
        Ok(store) => {
            let outcome = enrol(&config, &store, &new, &args.pictures);
            store.close();
            outcome?;
        }
        Err(error) if error.kind() == Kind::Busy => {
            agent(&config, error)?.request(hyper::Method::POST, "/api/v1/people", Some(&new))?;
        }
        Err(error) => return Err(error),
    }
    if args.json {
        say(serde_json::json!({ "origin": "local", "id": new.id, "faces": new.pictures.len() }))?;
    } else {
        say(format_args!("{} was enrolled with {} pictures", plain(&new.name), new.pictures.len()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Straight into the store, where no agent runs.
fn enrol(config: &Config, store: &Store, new: &NewPerson, files: &[PathBuf]) -> Result<()> {
    let person = new.person()?;
    if !new.replace && store.person(&person.key)?.is_some() {
        return Err(Error::new(
            Kind::Exists,
            "somebody with this id is enrolled: remove them, or replace them with --replace",
        ));
    }
    let models = Models::open(&config.vision.models_dir, &config.vision.onnxruntime)?;
    let mut examiner = Examiner::new(&models, config.vision.threads)?;
    let mut faces = Vec::new();
    for (picture, file) in new.pictures()?.into_iter().zip(files) {
        let examined = examiner
            .examine(&picture.bytes)
            .context(|| format!("the picture {} cannot enrol anybody", file.display()))?;
        faces.push(NewFace {
            face_id: picture.face_id,
            picture: picture.bytes,
            model: models.embedder_id(),
            template: examined.template.to_bytes(),
        });
    }
    store.put_person(person, faces).wait()?;
    Ok(())
}
