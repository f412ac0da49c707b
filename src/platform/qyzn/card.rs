//! `swiping_card` (4.5.8): the next card or document that is presented is the platform's.

use jiff::civil::Date;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::code::{self, Answer};
use super::json::Fields;
use super::link::Work;
use super::snapshot::seconds;
use crate::document::{Document, DocumentKind};
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Presented};

/// Range of `timeOut` in seconds; the document gives none.
const SECONDS: (i64, i64) = (1, 300);

/// `cardType` of an IC card.
const IC_CARD: u8 = 3;

/// Waits for a card or a document and answers what it says. 104 for a time out of range, 107 if none comes, 109
/// while another such request waits. The wait ends with the line, as busy: what was never answered is not
/// remembered, and when the platform asks again on the next line, the wait begins anew.
///
/// The wait begins with this call, not with the first poll: of two requests the first gets the card.
pub fn swiping_card(gate: &Gate, data: &Value, mut line: watch::Receiver<bool>) -> Work<Answer> {
    let asked = seconds(&Fields::of(data), "timeOut", SECONDS).map(|within| gate.next_presented(within));
    Box::pin(async move {
        let presented = async {
            tokio::select! {
                presented = asked? => presented,
                _ = line.wait_for(|logged_in| !logged_in) => Err(line_lost()),
            }
        };
        let presented: Result<Presented> = presented.await;
        match presented {
            Ok(presented) => Answer::with(written(&presented)),
            Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
        }
    })
}

fn line_lost() -> Error {
    Error::new(Kind::Busy, "the line was lost while a card was waited for")
}

/// The data of the answer: dates as the table has them (`yyyyMMdd`), not as the sample does.
fn written(presented: &Presented) -> Value {
    match presented {
        Presented::Card(number) => json!({ "cardType": IC_CARD, "name": "", "idNum": number }),
        Presented::Document(document) => document_fields(document),
    }
}

/// `cardType` of a document. The table has numbers for three; the others are read as the first, by their number and
/// name.
fn card_type(kind: DocumentKind) -> u8 {
    match kind {
        DocumentKind::Resident => 0,
        DocumentKind::Foreigner => 1,
        DocumentKind::HongKongMacaoTaiwan => 2,
        DocumentKind::Passport
        | DocumentKind::TravelCard
        | DocumentKind::Visa
        | DocumentKind::SocialSecurity => 0,
    }
}

fn document_fields(document: &Document) -> Value {
    let date = |date: Date| format!("{:04}{:02}{:02}", date.year(), date.month(), date.day());
    let mut data = Map::new();
    let mut put = |key: &str, value: &str| data.insert(key.to_owned(), json!(value));
    put("name", &document.name);
    put("idNum", &document.number);
    put("ethnic", &document.ethnic);
    put("gender", &document.gender);
    put("birthday", &document.birthday.map(date).unwrap_or_default());
    put("address", &document.address);
    put("idIssuingOrgan", &document.issuer);
    let validity = match (document.valid_from, document.expires) {
        (None, None) => String::new(),
        // 长期: long term, as it is printed on such cards.
        (from, until) => {
            format!("{}~{}", from.map(date).unwrap_or_default(), until.map_or("长期".into(), date))
        }
    };
    put("idUsefulLife", &validity);
    data.insert("cardType".to_owned(), json!(card_type(document.kind)));
    Value::Object(data)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn written_as_the_table_has_it() {
        // The facts of the sample in 4.5.8.
        let mut document = Document {
            number: "420381198802141789".into(),
            name: "Jim".into(),
            gender: "男".into(),
            ethnic: "汉".into(),
            birthday: Some(date(1989, 10, 10)),
            address: "北京市朝阳区清湖路".into(),
            issuer: "北京市朝阳区公安局".into(),
            valid_from: Some(date(2000, 1, 1)),
            expires: Some(date(2030, 1, 1)),
            ..Document::default()
        };
        let written = |document: &Document| super::written(&Presented::Document(Box::new(document.clone())));
        assert_eq!(
            written(&document),
            json!({"cardType": 0, "name": "Jim", "idNum": "420381198802141789", "ethnic": "汉", "gender": "男",
                "birthday": "19891010", "address": "北京市朝阳区清湖路", "idIssuingOrgan": "北京市朝阳区公安局",
                "idUsefulLife": "20000101~20300101"})
        );
        document.expires = None;
        assert_eq!(written(&document)["idUsefulLife"], "20000101~长期");
        document.valid_from = None;
        assert_eq!(written(&document)["idUsefulLife"], "");
        assert_eq!(
            super::written(&Presented::Card("157342643".into())),
            json!({"cardType": 3, "name": "", "idNum": "157342643"})
        );
    }
}
