//! The key of the secure channel (SCBK): 16 bytes, as 32 hexadecimal digits in a file of mode 0600.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Context, Error, Kind, Result};

/// Bytes of a key.
pub(super) const KEY: usize = 16;

/// The key that every device has before one was installed (SCBK-D of the OSDP specification). It protects nothing.
const DEFAULT: [u8; KEY] = *b"0123456789:;<=>?";

/// The key in a file; `None` if there is no file. `Device` if others can read it, if it is none, or the default one.
pub(super) fn load(path: &Path) -> Result<Option<[u8; KEY]>> {
    let fail = |what: String| {
        let advice = "remove the file and let the controller install a new key (osdp.install_mode = true)";
        Err(Error::new(Kind::Device, format!("the OSDP key {} {what}: {advice}", path.display())))
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error)
                .context_as(Kind::Device, || format!("cannot see the OSDP key {}", path.display()));
        }
    };
    if metadata.mode() & 0o077 != 0 {
        return fail(format!("can be read by others (mode {:04o})", metadata.mode() & 0o7777));
    }
    let text = std::fs::read_to_string(path)
        .context_as(Kind::Device, || format!("cannot read the OSDP key {}", path.display()))?;
    let Some(key) = parse(text.trim()) else {
        return fail("is damaged: it has 32 hexadecimal digits".into());
    };
    if key == DEFAULT {
        return fail("is the default one, which everybody knows".into());
    }
    Ok(Some(key))
}

fn parse(text: &str) -> Option<[u8; KEY]> {
    let mut key = [0; KEY];
    // Also keeps signs out, which the number's parser takes.
    if text.len() != 2 * KEY || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in key.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(key)
}

/// Keeps a key in place of the one before; it is on the disk when this returns. The default key is refused.
pub(super) fn install(path: &Path, key: &[u8]) -> Result<()> {
    if key.len() != KEY || key == DEFAULT {
        return Err(Error::new(Kind::Input, "a key has 16 bytes and is not the default one"));
    }
    let step = || format!("the OSDP key {} cannot be written", path.display());
    let mut text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    crate::durable::replace_private(path, text.as_bytes()).context(step)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_kept_privately_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("osdp.key");
        assert_eq!(load(&path).unwrap(), None);
        // A power cut in the middle of the one before.
        std::fs::write(folder.path().join("osdp.new"), "94").unwrap();
        install(&path, &[0x94; KEY]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "94".repeat(16) + "\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        install(&path, &[0xfe; KEY]).unwrap();
        assert_eq!(load(&path).unwrap(), Some([0xfe; KEY]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("osdp.key");
        install(&path, &[1; KEY]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&path).unwrap_err().message().contains("can be read by others (mode 0640)"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (text, said) in [
            ("", "is damaged"),
            ("00112233445566778899aabbccddee", "is damaged"),
            ("00112233445566778899aabbccddeeffff", "is damaged"),
            ("+0112233445566778899aabbccddeeff", "is damaged"),
            ("gg112233445566778899aabbccddeeff", "is damaged"),
            // The specification's default key, written out.
            ("303132333435363738393A3B3C3D3E3F", "is the default one"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err();
            assert_eq!(error.kind(), Kind::Device);
            assert!(error.message().contains(said), "{text}: {error}");
        }
        assert_eq!(install(&path, &DEFAULT).unwrap_err().kind(), Kind::Input);
        assert_eq!(install(&path, &[1; 15]).unwrap_err().kind(), Kind::Input);
        let nowhere = folder.path().join("no folder/osdp.key");
        assert!(install(&nowhere, &[1; KEY]).unwrap_err().message().contains("cannot be written"));
    }
}
