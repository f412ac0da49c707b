//! Encryption at rest: XChaCha20-Poly1305 with a random nonce for each value, bound to the value's place.
//!
//! What it is for: a flash chip that was taken out of a gate tells nothing about people. What it is not for:
//! somebody who runs code as root on the gate has the key, and somebody who can write to the chip can put back
//! an old version of a value in its own place.
//!
//! The key of the device is never used itself; two keys are derived from it with HMAC-SHA256, one for sealing
//! and one for [`Seal::fingerprint`]. HMAC-SHA256 because `sha2` is there already for the models' pins, and
//! because the construction is short enough to be checked against RFC 4231 here.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use super::types::PictureKind;
use crate::access::PersonKey;
use crate::error::{Context, Error, Kind, Result};

/// Bytes that sealing adds to a value: nonce and tag.
pub(super) const OVERHEAD: usize = NONCE + TAG;
const NONCE: usize = 24;
const TAG: usize = 16;
/// Bytes of a device key.
pub(super) const KEY: usize = 32;
/// The constant behind `meta.key_check`.
pub(super) const KEY_CHECK: &[u8] = b"menshen store";

/// Where a sealed value lives. It is authenticated with the value, so that a value moved to another place no
/// longer opens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// `meta.value` of `key_check`.
    KeyCheck,
    /// `people.facts`.
    PersonFacts {
        /// The row.
        row: i64,
        /// The key, so that the facts of one person cannot be put under the name of another.
        key: &'a PersonKey,
    },
    /// `faces.template`.
    Template {
        /// The row.
        face: i64,
        /// Whose, so that a face cannot be given to another person.
        person: i64,
        /// Which model made it, so that it is never compared with templates of another.
        model: &'a str,
    },
    /// `face_pictures.picture`.
    FacePicture {
        /// The row.
        face: i64,
        /// Whose.
        person: i64,
    },
    /// `records.facts`.
    RecordFacts {
        /// The row.
        record: i64,
    },
    /// `record_pictures.picture`.
    RecordPicture {
        /// The record.
        record: i64,
        /// Which of its pictures.
        kind: PictureKind,
    },
}

impl Place<'_> {
    /// Associated data: a name, then numbers of eight bytes, then at most two texts behind their lengths.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(96);
        let mut put = |name: &str, numbers: &[i64], texts: &[&str]| {
            data.extend_from_slice(name.as_bytes());
            data.push(0);
            for number in numbers {
                data.extend_from_slice(&number.to_le_bytes());
            }
            for text in texts {
                data.extend_from_slice(&(text.len() as u64).to_le_bytes());
                data.extend_from_slice(text.as_bytes());
            }
        };
        match *self {
            Place::KeyCheck => put("meta.key_check", &[], &[]),
            Place::PersonFacts { row, key } => put("people.facts", &[row], &[key.origin.as_str(), &key.id]),
            Place::Template { face, person, model } => put("faces.template", &[face, person], &[model]),
            Place::FacePicture { face, person } => put("face_pictures.picture", &[face, person], &[]),
            Place::RecordFacts { record } => put("records.facts", &[record], &[]),
            Place::RecordPicture { record, kind } => {
                put("record_pictures.picture", &[record], &[kind.as_str()]);
            }
        }
        data
    }

    /// For messages: table, column and row, never a value.
    fn describe(&self) -> String {
        match self {
            Place::KeyCheck => "the key check of the store".into(),
            Place::PersonFacts { row, .. } => format!("people.facts of row {row}"),
            Place::Template { face, .. } => format!("faces.template of row {face}"),
            Place::FacePicture { face, .. } => format!("face_pictures.picture of face {face}"),
            Place::RecordFacts { record } => format!("records.facts of row {record}"),
            Place::RecordPicture { record, kind } => {
                format!("record_pictures.picture ({}) of record {record}", kind.as_str())
            }
        }
    }
}

/// Seals and opens values, and makes fingerprints for look-ups.
#[derive(Clone)]
pub(super) struct Seal {
    cipher: XChaCha20Poly1305,
    lookup: [u8; 32],
}

impl Seal {
    /// From the key of the device.
    pub(super) fn new(key: &[u8; KEY]) -> Self {
        let sealing = hmac_sha256(key, &[b"menshen store sealing 1"]);
        let lookup = hmac_sha256(key, &[b"menshen store lookup 1"]);
        Self { cipher: XChaCha20Poly1305::new(&sealing.into()), lookup }
    }

    /// Encrypts `plain` for `place`: nonce, ciphertext, tag.
    pub(super) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0_u8; NONCE];
        getrandom::fill(&mut nonce)
            .map_err(|error| Error::caused(Kind::Io, "the system has no random numbers", error))?;
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                &place.associated_data(),
                (&mut sealed[NONCE..]).into(),
            )
            .map_err(|_| Error::new(Kind::Input, format!("{} is too long to be sealed", place.describe())))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Decrypts what [`Seal::seal`] made for the same place. `Store` when it was altered, moved or damaged.
    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.open_into(place, sealed, &mut plain)?;
        Ok(plain)
    }

    /// The same into a buffer that is used again.
    pub(super) fn open_into(&self, place: Place<'_>, sealed: &[u8], plain: &mut Vec<u8>) -> Result<()> {
        let damaged = || {
            Error::new(
                Kind::Store,
                format!(
                    "{} does not open: it was damaged or altered; run `menshen check` to see what else is",
                    place.describe()
                ),
            )
        };
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let (body, tag) = rest.split_last_chunk::<TAG>().ok_or_else(damaged)?;
        plain.clear();
        plain.extend_from_slice(body);
        self.cipher
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &place.associated_data(),
                plain.as_mut_slice().into(),
                &(*tag).into(),
            )
            .map_err(|_| {
                plain.clear();
                damaged()
            })
    }

    /// Keyed hash of a canonical number, for finding it without storing it: the numbers are few enough to be
    /// tried out, so a hash without a key would hide nothing. Half of HMAC-SHA256 is enough to tell them apart.
    pub(super) fn fingerprint(&self, what: &str, canonical: &str) -> [u8; 16] {
        let whole = hmac_sha256(&self.lookup, &[what.as_bytes(), b"\0", canonical.as_bytes()]);
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        half
    }
}

/// HMAC (RFC 2104) with SHA-256 over the concatenation of `parts`; the key has at most 64 bytes here.
fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (block, key) in block.iter_mut().zip(key) {
            *block ^= key;
        }
        block
    };
    let mut inner = Sha256::new();
    inner.update(pad(0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha256::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// Where the key of the device comes from (`store.key`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource {
    /// A file of 32 bytes that only its owner can read.
    File(PathBuf),
    /// A credential that the service manager hands over (systemd `LoadCredentialEncrypted=`).
    Credential(String),
}

impl KeySource {
    /// Parses `file:auto`, `file:PATH` or `credential:NAME`.
    pub(super) fn parse(text: &str, data_dir: &Path) -> Result<Self> {
        match text.split_once(':') {
            Some(("file", "auto")) => Ok(Self::File(data_dir.join("device.key"))),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') && name != ".." => {
                Ok(Self::Credential(name.into()))
            }
            _ => Err(Error::new(
                Kind::Config,
                format!("store.key must be file:auto, file:PATH or credential:NAME, not {text:?}"),
            )),
        }
    }

    /// Reads the key. With `may_create` (the store is new) an absent key file is made, on disk before it returns.
    pub(super) fn load(&self, may_create: bool) -> Result<[u8; KEY]> {
        match self {
            Self::File(path) => match std::fs::metadata(path) {
                Ok(metadata) => {
                    if metadata.mode() & 0o077 != 0 {
                        return Err(Error::new(
                            Kind::Store,
                            format!(
                                "the device key {} can be read by others (mode {:04o}); \
                                 run `chmod 600` on it, or give the gate a new key and enrol again",
                                path.display(),
                                metadata.mode() & 0o7777
                            ),
                        ));
                    }
                    read_key(path)
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_create => create_key(path),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::new(
                    Kind::Store,
                    format!(
                        "the device key {} is missing, but a store made with it exists; put the key back, \
                         or move the store away to begin anew",
                        path.display()
                    ),
                )),
                Err(error) => Err(error)
                    .context_as(Kind::Store, || format!("cannot see the device key {}", path.display())),
            },
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    Error::new(
                        Kind::Store,
                        format!(
                            "store.key is credential:{name}, but the service manager handed over no credentials \
                             (CREDENTIALS_DIRECTORY is not set); check LoadCredential= of the unit"
                        ),
                    )
                })?;
                read_key(&Path::new(&folder).join(name))
            }
        }
    }
}

fn read_key(path: &Path) -> Result<[u8; KEY]> {
    let bytes = std::fs::read(path)
        .context_as(Kind::Store, || format!("cannot read the device key {}", path.display()))?;
    <[u8; KEY]>::try_from(bytes.as_slice()).map_err(|_| {
        Error::new(
            Kind::Store,
            format!("the device key {} must have {KEY} bytes, not {}", path.display(), bytes.len()),
        )
    })
}

fn create_key(path: &Path) -> Result<[u8; KEY]> {
    let mut key = [0; KEY];
    getrandom::fill(&mut key)
        .map_err(|error| Error::caused(Kind::Io, "the system has no random numbers", error))?;
    let step = || format!("cannot make the device key {}", path.display());
    // Whole or not at all: a key cut short by the power would lock the next start out.
    crate::durable::replace_private(path, &key).context(step)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Origin;
    use std::os::unix::fs::PermissionsExt;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        // RFC 4231 pads short keys with zeros to the block; so does a key of 32 bytes that ends in zeros.
        let mut key = [0; 32];
        key[..20].copy_from_slice(&[0x0b; 20]);
        assert_eq!(
            hmac_sha256(&key, &[b"Hi ", b"There"]).to_vec(),
            hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        );
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hmac_sha256(&key, &[b"what do ya want for nothing?"]).to_vec(),
            hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        );
    }

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let seal = Seal::new(&[7; 32]);
        let key = PersonKey::new(Origin::Qyzn, "1");
        let other = PersonKey::new(Origin::TerminalWs, "1");
        let places = [
            Place::KeyCheck,
            Place::PersonFacts { row: 1, key: &key },
            Place::PersonFacts { row: 2, key: &key },
            Place::PersonFacts { row: 1, key: &other },
            Place::Template { face: 1, person: 1, model: "a" },
            Place::Template { face: 1, person: 2, model: "a" },
            Place::Template { face: 2, person: 1, model: "a" },
            Place::Template { face: 1, person: 1, model: "b" },
            Place::FacePicture { face: 1, person: 1 },
            Place::FacePicture { face: 1, person: 2 },
            Place::FacePicture { face: 2, person: 1 },
            Place::RecordFacts { record: 1 },
            Place::RecordFacts { record: 2 },
            Place::RecordPicture { record: 1, kind: PictureKind::Snap },
            Place::RecordPicture { record: 1, kind: PictureKind::Document },
            Place::RecordPicture { record: 2, kind: PictureKind::Snap },
        ];
        for (i, from) in places.iter().enumerate() {
            let sealed = seal.seal(*from, b"secret").unwrap();
            for (j, to) in places.iter().enumerate() {
                let opened = seal.open(*to, &sealed);
                if i == j {
                    assert_eq!(opened.unwrap(), b"secret");
                } else {
                    assert_eq!(opened.unwrap_err().kind(), Kind::Store, "{from:?} opened as {to:?}");
                }
            }
        }
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_seen() {
        let seal = Seal::new(&[7; 32]);
        let place = Place::RecordFacts { record: 9 };
        let sealed = seal.seal(place, b"0123456789").unwrap();
        assert_eq!(sealed.len(), 10 + OVERHEAD);
        for i in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[i] ^= 1;
            assert!(seal.open(place, &altered).is_err(), "byte {i}");
            assert!(seal.open(place, &sealed[..i]).is_err(), "cut at {i}");
        }
        assert!(Seal::new(&[8; 32]).open(place, &sealed).is_err());
        assert_ne!(sealed, seal.seal(place, b"0123456789").unwrap(), "the nonce must be new each time");
    }

    #[test]
    fn fingerprints_depend_on_key_kind_and_number() {
        let seal = Seal::new(&[7; 32]);
        assert_eq!(seal.fingerprint("card", "1"), Seal::new(&[7; 32]).fingerprint("card", "1"));
        assert_ne!(seal.fingerprint("card", "1"), seal.fingerprint("card", "2"));
        assert_ne!(seal.fingerprint("card", "1"), seal.fingerprint("id_number", "1"));
        assert_ne!(seal.fingerprint("card", "1"), Seal::new(&[8; 32]).fingerprint("card", "1"));
    }

    #[test]
    fn the_key_file_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let source = KeySource::parse("file:auto", folder.path()).unwrap();
        let path = folder.path().join("device.key");
        assert!(source.load(false).unwrap_err().to_string().contains("is missing"));
        let key = source.load(true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(source.load(true).unwrap(), key);
        assert_eq!(source.load(false).unwrap(), key);
        for mode in [0o640, 0o604, 0o666] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = source.load(false).unwrap_err();
            assert!(error.to_string().contains("can be read by others"), "{error}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, [0; 31]).unwrap();
        assert!(source.load(true).unwrap_err().to_string().contains("must have 32 bytes, not 31"));
    }

    #[test]
    fn sources_of_the_key() {
        let folder = Path::new("/data");
        assert_eq!(KeySource::parse("file:/k", folder).unwrap(), KeySource::File("/k".into()));
        assert_eq!(
            KeySource::parse("file:auto", folder).unwrap(),
            KeySource::File("/data/device.key".into())
        );
        assert_eq!(KeySource::parse("credential:key", folder).unwrap(), KeySource::Credential("key".into()));
        for wrong in ["", "file:", "credential:", "credential:../x", "credential:..", "tpm:1", "/k"] {
            assert_eq!(KeySource::parse(wrong, folder).unwrap_err().kind(), Kind::Config, "{wrong}");
        }
    }
}
