//! What pages have set. One set for the service, as deployed pages expect it, kept in the store.

use serde::{Deserialize, Serialize};

use crate::device::id_reader::Wanted;

/// Where the store keeps them.
pub(super) const ROW: &str = "document_reader";

/// The settings; names are those of the operands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Settings {
    /// Whether what is printed for the eye is read.
    #[serde(rename = "VIZ")]
    pub viz: bool,
    /// Whether chips of travel documents are read.
    #[serde(rename = "RFID")]
    pub rfid: bool,
    /// Whether a document that does not check out is refused.
    pub rejection: bool,
    /// Whether pages are told that a document was laid down.
    pub if_enable_callback: bool,
    /// Whether pages are told that a document was laid down or taken away.
    pub if_notify_card_detected: bool,
    /// Whether the machine readable zone is read in white light. The gate's document camera has no other.
    #[serde(rename = "MRZOnWhiteImage")]
    pub mrz_on_white_image: bool,
    /// Whether the paper is judged under ultraviolet light.
    #[serde(rename = "IfDetectUVDull")]
    pub if_detect_uv_dull: bool,
    /// Whether fibres are looked for under ultraviolet light.
    pub if_detect_fibre: bool,
    /// Whether an original is told from a copy.
    pub if_check_source_type: bool,
    /// Whether bar codes are read.
    pub bar_code_recog: bool,
    /// Whether only the chip of an identity card is wanted, no picture of it.
    pub only_read_chip: bool,
    /// Whether each text goes with its source.
    pub want_field_source: bool,
    /// Whether texts and pictures go in one message.
    pub doc_info_all_in_one: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            viz: true,
            rfid: true,
            rejection: false,
            if_enable_callback: false,
            if_notify_card_detected: false,
            mrz_on_white_image: false,
            if_detect_uv_dull: false,
            if_detect_fibre: false,
            if_check_source_type: false,
            bar_code_recog: false,
            only_read_chip: false,
            want_field_source: false,
            doc_info_all_in_one: false,
        }
    }
}

impl Settings {
    /// The switch that an operand sets.
    pub fn switch(&mut self, operand: &str) -> Option<&mut bool> {
        Some(match operand.to_ascii_lowercase().as_str() {
            "viz" => &mut self.viz,
            "rfid" => &mut self.rfid,
            "rejection" => &mut self.rejection,
            "ifenablecallback" => &mut self.if_enable_callback,
            "ifnotifycarddetected" => &mut self.if_notify_card_detected,
            // The document's spelling, and that of pages.
            "mrzonwhitelimage" | "mrzonwhiteimage" => &mut self.mrz_on_white_image,
            "ifdetectuvdull" => &mut self.if_detect_uv_dull,
            "ifdetectfibre" => &mut self.if_detect_fibre,
            "ifchecksourcetype" => &mut self.if_check_source_type,
            "barcoderecog" => &mut self.bar_code_recog,
            "wantfieldsource" => &mut self.want_field_source,
            "docinfoallinone" => &mut self.doc_info_all_in_one,
            // Its parameter is an object, `{"OnlyReadChip": …}`.
            "sid" => &mut self.only_read_chip,
            _ => return None,
        })
    }

    /// What is wanted of the reader.
    pub fn wanted(&self) -> Wanted {
        Wanted { chip: self.rfid, viz: self.viz, mrz: true, bar_code: self.bar_code_recog }
    }

    /// Whether pages are told that a document was laid down: of that both operands speak.
    pub fn tells_detected(&self) -> bool {
        self.if_enable_callback || self.if_notify_card_detected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operand_sets_a_switch_of_its_own() {
        const OPERANDS: [&str; 13] = [
            "VIZ",
            "RFID",
            "Rejection",
            "IfEnableCallback",
            "IfNotifyCardDetected",
            "MRZOnWhitelImage",
            "IfDetectUVDull",
            "IfDetectFibre",
            "IfCheckSourceType",
            "BarCodeRecog",
            "WantFieldSource",
            "DocInfoAllInOne",
            "Sid",
        ];
        let mut seen = vec![Settings::default()];
        for operand in OPERANDS {
            let mut settings = Settings::default();
            let switch = settings.switch(operand).unwrap();
            *switch = !*switch;
            assert!(!seen.contains(&settings), "{operand}");
            let stored = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<Settings>(&stored).unwrap(), settings, "{stored}");
            seen.push(settings);
        }
        let mut settings = Settings::default();
        *settings.switch("MRZOnWhiteImage").unwrap() = true;
        assert!(seen.contains(&settings), "one switch by both its names");
        assert!(settings.switch("Colour").is_none());
    }

    #[test]
    fn what_an_older_version_has_stored_is_understood() {
        let stored = r#"{"VIZ":false,"SomethingGone":true}"#;
        let settings: Settings = serde_json::from_str(stored).unwrap();
        assert_eq!(settings, Settings { viz: false, ..Settings::default() });
        assert_eq!(settings.wanted(), Wanted { chip: true, viz: false, mrz: true, bar_code: false });
    }
}
