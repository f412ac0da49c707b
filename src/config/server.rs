//! Changes the address of a platform's server in a configuration file, and nothing else in it: comments and order
//! stay as their author left them. Only done where it can be proved to be right: the changed text must parse, be
//! accepted, and differ from what was there in this one value. Otherwise the technician is told where to change it.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::Config;
use crate::error::{Context, Error, Kind, Result};

/// The table and key that hold the address of a platform's server.
fn place(platform: &str) -> Result<(&'static str, &'static str)> {
    match platform {
        "qyzn" => Ok(("qyzn", "server")),
        "terminal_ws" => Ok(("terminal_ws", "url")),
        other => Err(Error::new(
            Kind::Input,
            format!("{other:?} is no platform of the configuration: qyzn or terminal_ws"),
        )),
    }
}

/// Writes `server` as the address of `platform` into the configuration `file`. The old file or the new one is there
/// at any moment. `Config` if the text cannot be changed safely or the address cannot be used; other kinds if
/// the file cannot be written. Nothing has changed then.
pub fn change(file: &Path, platform: &str, server: &str) -> Result<()> {
    let (table, key) = place(platform)?;
    let by_hand = || format!("change {key} in [platform.{table}] of {} by hand", file.display());
    let text = std::fs::read_to_string(file).context(|| format!("{} cannot be read", file.display()))?;
    let changed = changed(&text, table, key, server).context(by_hand)?;
    put(file, &changed).context(by_hand)
}

/// The text with one value changed.
fn changed(text: &str, table: &str, key: &str, server: &str) -> Result<String> {
    let header = format!("[platform.{table}]");
    let mut inside = false;
    let mut found = 0;
    let mut changed = String::with_capacity(text.len() + server.len());
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            inside = trimmed.split('#').next().is_some_and(|head| head.trim() == header);
        }
        let named = trimmed.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        if !(inside && named) {
            changed.push_str(line);
            continue;
        }
        found += 1;
        let indent = &line[..line.len() - line.trim_start().len()];
        let comment = comment(line).map_or_else(String::new, |comment| format!(" {comment}"));
        changed.push_str(&format!("{indent}{key} = {}{comment}\n", toml::Value::String(server.to_owned())));
    }
    let unsafe_here = || Error::new(Kind::Config, "it is not written as one line of its own table");
    if found != 1 {
        return Err(unsafe_here());
    }
    let mut wanted: toml::Table =
        toml::from_str(text).map_err(|error| Error::caused(Kind::Config, "the file is no TOML", error))?;
    let value =
        wanted.get_mut("platform").and_then(|all| all.get_mut(table)).and_then(|one| one.get_mut(key));
    *value.ok_or_else(unsafe_here)? = toml::Value::String(server.to_owned());
    // Our reading of lines proves nothing; the parser does.
    if toml::from_str::<toml::Table>(&changed).ok() != Some(wanted) {
        return Err(unsafe_here());
    }
    let config = Config::parse(&changed).context(|| format!("{server:?} cannot be used"))?;
    if let Some(qyzn) = &config.platform.qyzn {
        check_server(&qyzn.server)?;
    }
    Ok(changed)
}

/// `HOST:PORT`.
fn check_server(server: &str) -> Result<()> {
    let well = server.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._:[]".contains(letter))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match well {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Config,
            format!("{server:?} cannot be used: HOST:PORT is wanted, such as 10.0.0.5:5005"),
        )),
    }
}

/// The comment behind a value in quotation marks.
fn comment(line: &str) -> Option<&str> {
    let end = line.rfind('"').map_or(0, |end| end + 1);
    line[end..].find('#').map(|begin| line[end + begin..].trim_end())
}

/// Puts a text in the place of a file, with its rights and owner.
fn put(file: &Path, text: &str) -> Result<()> {
    // A link is followed: what it names is what is to change.
    let file = &std::fs::canonicalize(file)?;
    let before = std::fs::metadata(file)?;
    let beside = file.with_extension("toml.new");
    let step = || format!("{} cannot be written", beside.display());
    let _ = std::fs::remove_file(&beside);
    let mut new =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(&beside).context(step)?;
    let written = new
        .write_all(text.as_bytes())
        .and_then(|()| std::os::unix::fs::fchown(&new, Some(before.uid()), Some(before.gid())))
        .and_then(|()| new.set_permissions(before.permissions()))
        .and_then(|()| new.sync_all())
        .and_then(|()| std::fs::rename(&beside, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.context(step)?;
    if let Some(folder) = file.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TEXT: &str = "# ours\n[platform.qyzn]\n  server = \"127.0.0.1:5005\" # the old one\nheartbeat_s = 25\n\n\
                        [platform.terminal_ws]\nurl = \"ws://10.0.0.5:1/devs/\"\nusername = \"dev\"\npassword = \"a # b\"\n";

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("menshen.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        (folder, path)
    }

    #[test]
    fn one_value_changes_and_the_rest_stays() {
        let (_folder, path) = file(TEXT);
        change(&path, "qyzn", "10.0.0.9:6006").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, TEXT.replace("127.0.0.1:5005", "10.0.0.9:6006"));
        change(&path, "terminal_ws", "wss://gates.example:443/devs/").unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.platform.terminal_ws.unwrap().url, "wss://gates.example:443/devs/");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn what_cannot_be_changed_safely_stays_and_says_where() {
        for (text, platform, server) in [
            (TEXT, "qyzn", "no port"),
            (TEXT, "qyzn", "10.0.0.9:99999"),
            (TEXT, "qyzn", "a\"\n[x]:1"),
            (TEXT, "terminal_ws", "10.0.0.9:1"),
            ("[platform]\nqyzn = { server = \"127.0.0.1:5005\" }\n", "qyzn", "10.0.0.9:1"),
            ("[platform.qyzn]\nserver = \"\"\"a:1\n\"\"\"\n", "qyzn", "10.0.0.9:1"),
            ("[terminal]\n", "qyzn", "10.0.0.9:1"),
        ] {
            let (_folder, path) = file(text);
            let error = change(&path, platform, server).unwrap_err();
            assert!(error.to_string().contains("by hand"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let (_folder, path) = file(TEXT);
        assert_eq!(change(&path, "other", "a:1").unwrap_err().kind(), Kind::Input);
    }
}
