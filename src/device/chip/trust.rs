//! The states whose signatures are believed: certificates of their signing authorities (CSCA) in a folder.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;

use super::certificate::{Certificate, LONGEST};
use crate::config;
use crate::error::{Context as _, Error, Kind, Result};

/// The most certificates that are held: all states of the world have some hundreds.
const MOST: usize = 4096;

/// The longest file: a text with many certificates.
const LONGEST_FILE: u64 = 4 << 20;

/// Certificates of signing authorities.
#[derive(Clone, Default)]
pub struct Trust {
    authorities: Vec<Certificate>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signing authorities", self.authorities.len())
    }
}

impl Trust {
    /// Nobody is believed: chips are read, and whether what they say is genuine stays open.
    pub fn none() -> Self {
        Self::default()
    }

    /// The authorities of `documents.csca_dir`; nobody where it is empty.
    ///
    /// # Errors
    /// As [`Trust::load`].
    pub fn open(config: &config::Documents) -> Result<Self> {
        match config.csca_dir.as_str() {
            "" => Ok(Self::none()),
            folder => Self::load(Path::new(folder)).context(|| "documents.csca_dir"),
        }
    }

    /// The certificates in the files of a folder, in DER or PEM (several in one file); other files are passed over. A file
    /// or a certificate that cannot be used is told of in the log and leaves the others usable.
    ///
    /// # Errors
    /// `NotFound` or `Io`: the folder cannot be read. `Config`: there is no certificate in it.
    pub fn load(folder: &Path) -> Result<Self> {
        let unreadable = || format!("the folder {} of signing authorities cannot be read", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).context(unreadable)? {
            files.push(entry.context(unreadable)?.path());
        }
        files.sort();
        let mut trust = Self::default();
        for file in files {
            let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
            if !["cer", "crt", "der", "pem"].contains(&suffix.to_ascii_lowercase().as_str()) {
                continue;
            }
            if let Err(error) = trust.add_file(&file) {
                tracing::warn!(file = %file.display(), %error, "a signing authority's certificate cannot be used");
            }
        }
        if trust.authorities.is_empty() {
            return Err(Error::new(
                Kind::Config,
                format!(
                    "the folder {} holds no certificate of a signing authority (.cer, .crt, .der, .pem)",
                    folder.display()
                ),
            ));
        }
        Ok(trust)
    }

    fn add_file(&mut self, file: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        let opened = File::open(file).context(|| "it cannot be opened")?;
        opened.take(LONGEST_FILE + 1).read_to_end(&mut bytes).context(|| "it cannot be read")?;
        if bytes.len() as u64 > LONGEST_FILE {
            return Err(Error::new(Kind::Input, "it is longer than 4 MiB"));
        }
        if bytes.first() == Some(&0x30) {
            return self.add(&bytes);
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| Error::caused(Kind::Input, "it is neither DER nor PEM", error))?;
        let mut found = false;
        for (at, part) in text.split("-----BEGIN CERTIFICATE-----").enumerate().skip(1) {
            found = true;
            let body = part.split("-----END").next().unwrap_or_default();
            let body: String = body.chars().filter(|letter| !letter.is_whitespace()).collect();
            let added = base64::engine::general_purpose::STANDARD
                .decode(body)
                .map_err(|error| Error::caused(Kind::Input, "its base64 is broken", error))
                .and_then(|bytes| self.add(&bytes));
            // A list of hundreds has some that are of no use; the others are.
            if let Err(error) = added {
                tracing::warn!(
                    file = %file.display(),
                    certificate = at,
                    %error,
                    "one of the signing authorities' certificates in this file cannot be used"
                );
            }
        }
        if found { Ok(()) } else { Err(Error::new(Kind::Input, "it is neither DER nor PEM")) }
    }

    /// Believes the authority of this certificate, in DER.
    ///
    /// # Errors
    /// `Input`: it is none, of no authority, or one too many.
    pub fn add(&mut self, certificate: &[u8]) -> Result<()> {
        if certificate.len() > LONGEST || self.authorities.len() >= MOST {
            return Err(Error::new(Kind::Input, "it is too long, or there are more than 4096"));
        }
        let certificate =
            Certificate::read(certificate).context_as(Kind::Input, || "it is no certificate")?;
        if let Some(why) = certificate.no_authority() {
            return Err(Error::new(Kind::Input, why));
        }
        self.authorities.push(certificate);
        Ok(())
    }

    /// How many authorities are believed.
    pub fn len(&self) -> usize {
        self.authorities.len()
    }

    /// How many of them are not valid at a time, UTC: not yet, or no more.
    pub fn out_of_date(&self, time: jiff::civil::DateTime) -> usize {
        self.authorities.iter().filter(|authority| !authority.valid_at(time)).count()
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }

    /// The authority that issued a certificate: of the same country, not past its end when the certificate begins to be
    /// valid, and the signature says so. When it begins does not count: states issue an authority's certificate anew, for the
    /// same key and with a later beginning. Names are not compared: states write them differently in different
    /// certificates. A certificate that names no country has no issuer.
    pub fn issuer(&self, certificate: &Certificate) -> Option<&Certificate> {
        let country = &certificate.issuer.country;
        let of_country = |authority: &&Certificate| {
            !country.is_empty()
                && authority.subject.country == *country
                && certificate.from <= authority.until
        };
        // The one whose key is named comes first; of a country with many, the others need no arithmetic then.
        let named = |authority: &&Certificate| {
            authority.key_id.is_some() && authority.key_id == certificate.issuer_key_id
        };
        let candidates = self.authorities.iter().filter(of_country);
        candidates
            .clone()
            .filter(named)
            .chain(candidates.filter(|authority| !named(authority)))
            .find(|authority| certificate.signed_with(&authority.key))
    }
}
