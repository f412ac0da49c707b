//! Which state may have signed a document: codes of three letters on documents (ICAO 9303 part 3 section 5), of two letters
//! in certificates (part 12 section 7.1.1, ISO 3166-1).

/// Codes of three letters and their two, where those are not the first two of the three: ISO 3166-1 as of 2026.
const IRREGULAR: &str = "\
    ABWAW AGOAO ALAAX ANDAD AREAE ARMAM ATAAQ ATFTF ATGAG AUTAT BDIBI BENBJ BESBQ BGDBD BHSBS BIHBA \
    BLRBY BLZBZ BRBBB BRNBN CAFCF CHLCL CHNCN CODCD COGCG COKCK COMKM CPVCV CUWCW CYMKY DNKDK ESHEH \
    ESTEE FLKFK FROFO FSMFM GINGN GLPGP GNBGW GNQGQ GRDGD GRLGL GUFGF GUYGY IRLIE IRQIQ ISRIL JAMJM \
    KAZKZ KORKR LBRLR LBYLY MACMO MAFMF MDGMG MDVMV MEXMX MLTMT MNEME MNPMP MOZMZ MTQMQ MYTYT NIUNU \
    PAKPK PCNPN PLWPW PNGPG POLPL PRKKP PRTPT PRYPY PYFPF SENSN SGSGS SLBSB SLVSV SPMPM SRBRS SURSR \
    SVKSK SVNSI SWESE SWZSZ SYCSC TCDTD TKMTM TUNTN TURTR TUVTV UKRUA URYUY WLFWF";

/// States under whose signatures others' documents are issued, besides their own: the code on the document, the country of
/// the certificate. Part 3 section 5 for the British ones; of territories and regions, that a document names itself is rarer
/// than that it names its state, and both are signed by either.
const BESIDES: &[(&str, &[&str])] = &[
    // Part 3: Germany has one letter.
    ("D", &["DE"]),
    ("CHN", &["HK", "MO"]),
    ("HKG", &["CN"]),
    ("MAC", &["CN"]),
    ("GBD", &["GB"]),
    ("GBN", &["GB"]),
    ("GBO", &["GB"]),
    ("GBP", &["GB"]),
    ("GBS", &["GB"]),
    ("AIA", &["GB"]),
    ("BMU", &["GB"]),
    ("CYM", &["GB"]),
    ("FLK", &["GB"]),
    ("GGY", &["GB"]),
    ("GIB", &["GB"]),
    ("IMN", &["GB"]),
    ("JEY", &["GB"]),
    ("MSR", &["GB"]),
    ("PCN", &["GB"]),
    ("SHN", &["GB"]),
    ("TCA", &["GB"]),
    ("VGB", &["GB"]),
    ("ABW", &["NL"]),
    ("CUW", &["NL"]),
    ("SXM", &["NL"]),
    ("FRO", &["DK"]),
    ("GRL", &["DK"]),
    // The United Nations' agencies and its mission in Kosovo; Kosovo itself, whose two letters are agreed on nowhere.
    ("UNA", &["UN"]),
    ("UNK", &["UN"]),
    ("RKS", &["KS", "XK"]),
];

/// Whether a document that names this state as its issuer may be signed under a certificate of this country, both in
/// capitals. Codes that stand in no table are those of organisations (`EUE`, `UNO`, `XOM`), of which certificates have the
/// first two letters; some states write all three.
pub(crate) fn may_sign(country: &str, state: &str) -> bool {
    if country.len() < 2 || state.is_empty() {
        return false;
    }
    let irregular =
        IRREGULAR.split(' ').find_map(|pair| pair.strip_prefix(state).filter(|two| two.len() == 2));
    let own = irregular.or_else(|| state.get(..2).filter(|_| state.len() == 3));
    let besides = BESIDES.iter().find(|(code, _)| *code == state).map_or(&[][..], |(_, countries)| countries);
    (country == state && state.len() == 3) || own == Some(country) || besides.contains(&country)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_sign_their_own_documents() {
        for (country, state) in [
            ("DE", "D"),
            ("DE", "DEU"),
            ("GB", "GBR"),
            ("GB", "GBD"),
            ("GB", "GBN"),
            ("GB", "GIB"),
            ("CN", "CHN"),
            ("HK", "CHN"),
            ("CN", "MAC"),
            ("SE", "SWE"),
            ("CH", "CHE"),
            ("KR", "KOR"),
            ("UT", "UTO"),
            ("UN", "UNO"),
            ("UN", "UNK"),
            ("EU", "EUE"),
            ("XO", "XOM"),
            ("KS", "RKS"),
            ("FRA", "FRA"),
        ] {
            assert!(may_sign(country, state), "{country} {state}");
        }
        for (country, state) in [
            ("UT", "D"),
            ("FR", "DEU"),
            // Its first two letters are another state's.
            ("CH", "CHN"),
            ("SW", "SWE"),
            ("KO", "KOR"),
            ("AU", "AUT"),
            ("DE", "DNK"),
            ("UN", "UTO"),
            ("", "UTO"),
            ("UT", ""),
            ("", ""),
            ("D", "D"),
            ("DE", "DE"),
        ] {
            assert!(!may_sign(country, state), "{country} {state}");
        }
    }

    #[test]
    fn the_table_is_one_of_pairs() {
        let pairs: Vec<&str> = IRREGULAR.split(' ').collect();
        assert_eq!(pairs.len(), 93);
        assert!(
            pairs.iter().all(|pair| pair.len() == 5 && pair.bytes().all(|byte| byte.is_ascii_uppercase()))
        );
        assert!(pairs.is_sorted() && pairs.iter().all(|pair| pair[..2] != pair[3..]));
    }
}
