//! `POST /api/v1/present`: presents a credential to a simulated reader.

use axum::extract::{Request, State};
use axum::response::Response;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Shared;
use super::answer::{Failure, json, json_body};
use crate::device::reader::Reader;
use crate::device::wiegand;
use crate::document::Document;
use crate::error::{Error, Kind, Result};

/// Largest body, in bytes.
const BODY_BYTES: usize = 64 << 10;

/// The body of `POST /api/v1/present`: what is held before which reader.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Presentation {
    /// A card before the reader on the Wiegand input (`device.wiegand_in`).
    Card {
        /// Its number, as the gate compares it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<String>,
        /// Or the 26 or 34 bits that the reader sends, as 0 and 1, with their parity.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bits: Option<String>,
    },
    /// A QR code (`device.qr_reader`).
    Qr {
        /// What it says.
        content: String,
    },
    /// An identity document (`device.id_reader`). Only the number must be there; dates are `2026-01-31`.
    Document {
        /// Its number.
        number: String,
        /// Name of the holder.
        #[serde(default)]
        name: String,
        /// 男 or 女.
        #[serde(default)]
        gender: String,
        /// Ethnic group.
        #[serde(default)]
        ethnic: String,
        /// Day of birth.
        #[serde(default)]
        birthday: Option<Date>,
        /// Address.
        #[serde(default)]
        address: String,
        /// The authority that issued it.
        #[serde(default)]
        issuer: String,
        /// First day on which it is valid.
        #[serde(default)]
        valid_from: Option<Date>,
        /// Last day on which it is valid; absent for long term.
        #[serde(default)]
        valid_until: Option<Date>,
    },
}

/// Refuses for a reader that is not there, or is a real one.
fn simulated(reader: Reader, key: &str) -> Result<()> {
    match reader {
        Reader::Simulated => Ok(()),
        Reader::Real => Err(Error::new(
            Kind::Config,
            format!(
                "device.{key} is a real reader: hold it before that, or set it to \"sim\" to try one out"
            ),
        )),
        Reader::None => Err(Error::new(
            Kind::Config,
            format!(
                "the gate has no such reader: device.{key} is \"none\"; set it to \"sim\" to try one out"
            ),
        )),
    }
}

/// `POST /api/v1/present`. It answers when the credential is with the gate; what becomes of it the events tell.
pub(super) async fn present(
    State(shared): State<Shared>,
    request: Request,
) -> std::result::Result<Response, Failure> {
    let presentation: Presentation = json_body(request, BODY_BYTES).await?;
    let (gate, readers) = (&shared.gate, shared.gate.readers());
    let answer = match presentation {
        Presentation::Card { number, bits } => {
            simulated(readers.card, "wiegand_in")?;
            let number = match (number, bits) {
                (Some(number), None) => {
                    gate.present_card(number.clone()).await?;
                    number
                }
                (None, Some(bits)) => gate.present_wiegand(&wiegand::bits(&bits)?).await?,
                _ => return Err(Failure::input("a card has either a number or bits")),
            };
            json!({ "presented": "card", "number": number })
        }
        Presentation::Qr { content } => {
            simulated(readers.qr, "qr_reader")?;
            gate.present_qr(content).await?;
            json!({ "presented": "qr" })
        }
        Presentation::Document {
            number,
            name,
            gender,
            ethnic,
            birthday,
            address,
            issuer,
            valid_from,
            valid_until: expires,
        } => {
            simulated(readers.document, "id_reader")?;
            let document = Document {
                number,
                name,
                gender,
                ethnic,
                birthday,
                address,
                issuer,
                valid_from,
                expires,
                ..Document::default()
            };
            gate.present_document(document).await?;
            json!({ "presented": "document" })
        }
    };
    Ok(json(&answer))
}
