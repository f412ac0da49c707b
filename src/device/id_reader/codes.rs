//! Codes in the chips of identity cards, and what is printed for them.

/// Names of the ethnic groups, as they are printed, by their code from 01 on (GB/T 3304-1991).
const ETHNIC: [&str; 56] = [
    "汉",
    "蒙古",
    "回",
    "藏",
    "维吾尔",
    "苗",
    "彝",
    "壮",
    "布依",
    "朝鲜",
    "满",
    "侗",
    "瑶",
    "白",
    "土家",
    "哈尼",
    "哈萨克",
    "傣",
    "黎",
    "傈僳",
    "佤",
    "畲",
    "高山",
    "拉祜",
    "水",
    "东乡",
    "纳西",
    "景颇",
    "柯尔克孜",
    "土",
    "达斡尔",
    "仫佬",
    "羌",
    "布朗",
    "撒拉",
    "毛南",
    "仡佬",
    "锡伯",
    "阿昌",
    "普米",
    "塔吉克",
    "怒",
    "乌孜别克",
    "俄罗斯",
    "鄂温克",
    "德昂",
    "保安",
    "裕固",
    "京",
    "塔塔尔",
    "独龙",
    "鄂伦春",
    "赫哲",
    "门巴",
    "珞巴",
    "基诺",
];

/// Codes beyond those of the 56 groups.
const OTHER_ETHNIC: [(&str, &str); 2] = [("97", "其他"), ("98", "外国血统中国籍人士")];

/// Sexes by their code (GB/T 2261.1-2003).
const SEXES: [(&str, &str); 4] = [("0", "未知"), ("1", "男"), ("2", "女"), ("9", "未说明")];

/// The ethnic group of a code of two digits; `None` for one that is not in the standard.
pub fn ethnic(code: &str) -> Option<&'static str> {
    if let Some((_, name)) = OTHER_ETHNIC.iter().find(|(other, _)| *other == code) {
        return Some(name);
    }
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let index: usize = code.parse().ok()?;
    ETHNIC.get(index.checked_sub(1)?).copied()
}

/// The code of two digits of an ethnic group, by its printed name with or without 族.
pub fn ethnic_code(name: &str) -> Option<String> {
    let short = name.strip_suffix('族').unwrap_or(name);
    if let Some((code, _)) = OTHER_ETHNIC.iter().find(|(_, other)| *other == name) {
        return Some((*code).to_owned());
    }
    let index = ETHNIC.iter().position(|ethnic| *ethnic == short)?;
    Some(format!("{:02}", index + 1))
}

/// The sex of a code.
pub fn sex(code: &str) -> Option<&'static str> {
    SEXES.iter().find(|(other, _)| *other == code).map(|(_, sex)| *sex)
}

/// The code of a sex.
pub fn sex_code(sex: &str) -> Option<&'static str> {
    SEXES.iter().find(|(_, other)| *other == sex).map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_standards() {
        // Spread over the table of GB/T 3304.
        for (code, name) in [
            ("01", "汉"),
            ("03", "回"),
            ("05", "维吾尔"),
            ("11", "满"),
            ("16", "哈尼"),
            ("22", "畲"),
            ("29", "柯尔克孜"),
            ("33", "羌"),
            ("36", "毛南"),
            ("46", "德昂"),
            ("52", "鄂伦春"),
            ("56", "基诺"),
            ("97", "其他"),
            ("98", "外国血统中国籍人士"),
        ] {
            assert_eq!(ethnic(code), Some(name));
            assert_eq!(ethnic_code(name).as_deref(), Some(code));
        }
        assert_eq!(ethnic_code("汉族").as_deref(), Some("01"));
        for code in ["", "0", "00", "1", "57", "96", "99", "001", "+1", "  "] {
            assert_eq!(ethnic(code), None, "{code:?}");
        }
        for (code, name) in [("1", "男"), ("2", "女"), ("0", "未知"), ("9", "未说明")] {
            assert_eq!((sex(code), sex_code(name)), (Some(name), Some(code)));
        }
        assert_eq!((sex("3"), sex_code("M")), (None, None));
    }
}
