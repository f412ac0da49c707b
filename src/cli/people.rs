//! `menshen people`: who is enrolled.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Subcommand, ValueEnum};
use menshen::access::{Origin, PersonKey};
use menshen::clock::SystemClock;
use menshen::config::Config;
use menshen::service::admin::client::{Client, segment};
use menshen::service::admin::person_form;
use menshen::store::{ListedPerson, Options, PersonRow, Store};
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// People read from the store at once.
const CHUNK: usize = 500;

/// Who is enrolled.
///
/// Reads the store, also while the agent runs. Removing goes through the agent while it runs, so that it forgets
/// the person at once.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nobody of that id.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists people: origin, id, name, kind, pictures
    List(ListArgs),
    /// Shows all that is known of a person; identity numbers are masked
    Show(OneArgs),
    /// Removes a person and their pictures; records stay
    Remove(OneArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only people that this one enrolled
    #[arg(long)]
    origin: Option<EnrolledBy>,
    /// Only people whose name, id, code or card this is part of
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct OneArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Id of the person
    id: String,
    /// Who enrolled them, needed where two have the same id
    #[arg(long)]
    origin: Option<EnrolledBy>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Who enrolled somebody.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum EnrolledBy {
    /// The QYZN platform
    Qyzn,
    /// The terminal WebSocket platform
    #[value(name = "terminal_ws")]
    TerminalWs,
    /// A technician at the gate
    Local,
}

impl From<EnrolledBy> for Origin {
    fn from(by: EnrolledBy) -> Self {
        match by {
            EnrolledBy::Qyzn => Origin::Qyzn,
            EnrolledBy::TerminalWs => Origin::TerminalWs,
            EnrolledBy::Local => Origin::Local,
        }
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args)?,
        Command::Show(args) => show(args)?,
        Command::Remove(args) => remove(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How the store of `config` is opened.
pub fn store_options(config: &Config) -> Options {
    Options { data_dir: config.terminal.data_dir.clone(), config: config.store.clone() }
}

fn list(args: &ListArgs) -> Result<()> {
    let store = Store::open_read_only(&store_options(&args.config.load()?))?;
    let wanted = args.origin.map(Origin::from);
    let search = args.search.as_ref().map(|text| text.trim().to_lowercase());
    let mut after: Option<PersonRow> = None;
    loop {
        let people = store.list_people(after, CHUNK)?;
        for listed in &people {
            if wanted.is_some_and(|origin| origin != listed.person.key.origin) {
                continue;
            }
            if search.as_ref().is_some_and(|text| !menshen::service::admin::person_matches(listed, text)) {
                continue;
            }
            if args.json {
                say(person_form(listed))?;
            } else {
                say(line(listed))?;
            }
        }
        match people.last() {
            Some(last) if people.len() == CHUNK => after = Some(last.row),
            _ => return Ok(()),
        }
    }
}

/// One line with tabs between its fields.
fn line(listed: &ListedPerson) -> String {
    let person = &listed.person;
    let kind = serde_json::to_value(person.kind).unwrap_or_default();
    format!(
        "{}\t{}\t{}\t{}\t{}",
        person.key.origin.as_str(),
        plain(&person.key.id),
        plain(&person.name),
        kind.as_str().unwrap_or_default(),
        listed.faces.len()
    )
}

/// `text` as a terminal may show it: what a platform sent could move the cursor or fake a line.
pub fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn show(args: &OneArgs) -> Result<()> {
    let store = Store::open_read_only(&store_options(&args.config.load()?))?;
    print_form(&person_form(&find(&store, &args.id, args.origin)?), args.json)
}

/// A person or a record, one field a line or as JSON.
pub fn print_form(form: &serde_json::Value, json: bool) -> Result<()> {
    if json {
        return say(form);
    }
    for (field, value) in form.as_object().into_iter().flatten().filter(|(field, _)| *field != "row") {
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => say(format_args!("{field}: {}", plain(text)))?,
            other => say(format_args!("{field}: {other}"))?,
        }
    }
    Ok(())
}

/// The person with this id; `NotFound` without one, `Input` if two origins have one.
fn find(store: &Store, id: &str, origin: Option<EnrolledBy>) -> Result<ListedPerson> {
    let origins = match origin {
        Some(origin) => vec![origin.into()],
        None => vec![Origin::Qyzn, Origin::TerminalWs, Origin::Local],
    };
    let mut found = Vec::new();
    for origin in origins {
        found.extend(store.listed_person(&PersonKey::new(origin, id))?);
    }
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Error::new(Kind::NotFound, format!("nobody has the id {}", plain(id)))),
        (Some(one), Some(other)) => Err(Error::new(
            Kind::Input,
            format!(
                "{} and {} both enrolled somebody with the id {}: say which with --origin",
                one.person.key.origin.as_str(),
                other.person.key.origin.as_str(),
                plain(id)
            ),
        )),
    }
}

fn remove(args: &OneArgs) -> Result<()> {
    let config = args.config.load()?;
    let options = store_options(&config);
    let key = find(&Store::open_read_only(&options)?, &args.id, args.origin)?.person.key;
    match Store::open(&options, Arc::new(SystemClock)) {
        Ok(store) => {
            store.delete_people(vec![key.clone()]).wait()?;
            store.close();
        }
        Err(error) if error.kind() == Kind::Busy => {
            let path = format!("/api/v1/people/{}/{}", key.origin.as_str(), segment(&key.id));
            agent(&config, error)?.request(hyper::Method::DELETE, &path, None::<&()>)?;
        }
        Err(error) => return Err(error),
    }
    if args.json {
        say(serde_json::json!({ "removed": key }))
    } else {
        say(format_args!("{} {} was removed", key.origin.as_str(), plain(&key.id)))
    }
}

/// The way to the agent that holds the store; `busy` where the configuration gives it none.
pub fn agent(config: &Config, busy: Error) -> Result<Client> {
    match &config.service.admin {
        Some(admin) => Client::new(admin),
        None => Err(Error::caused(
            Kind::Busy,
            "the agent runs and has no admin service to ask: set service.admin, or stop the agent first",
            busy,
        )),
    }
}
