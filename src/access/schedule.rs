//! When within the day, the week and the year somebody may pass. The JSON of the platforms is in
//! [`schedule_json`](super::schedule_json).
//!
//! What the documents leave open is decided here, once:
//! - A minute is the smallest unit and the last minute belongs to its period: `08:00~09:30` allows until
//!   09:30:59. Platforms write a whole day as `00:00~23:59`; with an end that is excluded nobody could pass
//!   in the last minute of such a day.
//! - `24:00` is the end of the day, not the first minute of the next one. `08:00~08:00` is one minute.
//! - A period across midnight belongs to the day on which it begins: `22:00~06:00` of Monday allows Tuesday
//!   05:00 even if Tuesday is a day without permission, and does not allow Monday 05:00.
//! - A holiday takes the place of the week for the periods that begin on it. What began on the evening
//!   before goes on into a holiday, unless the holiday allows nothing at all ([`DayRule::Never`]).
//! - On a day of several holidays only what each of them allows is allowed.

use std::fmt;

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Most periods that one text may list; beyond it the text is no schedule but a mistake. The extended rules
/// of QYZN have their own, smaller limit.
pub const MOST_PERIODS: usize = 48;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// One period of a day in minutes from midnight, both ends included to the minute as both documents write
/// them (`08:00~09:30`, `09:00-12:35`). `from > to` crosses midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// First minute, 0..=1439.
    pub from: u16,
    /// Last minute, 0..=1440 (24:00).
    pub to: u16,
}

impl Period {
    /// Reads `08:00~09:30` or `09:00-12:35`, with blanks, full-width punctuation, hours of one digit and
    /// seconds (`00`, and `59` at the end) tolerated. [`Kind::Input`] names what cannot be read.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_plain(&plain(text))
    }

    fn parse_plain(text: &str) -> Result<Self> {
        let text = text.trim();
        let ends: Vec<&str> = text.split(['~', '-']).collect();
        let &[from, to] = ends.as_slice() else {
            return Err(bad(format!("the period {} is not written as 08:00~09:30", quoted(text))));
        };
        let from = minute(from, 0).map_err(|why| bad(format!("the period {}: {why}", quoted(text))))?;
        let to = minute(to, 59).map_err(|why| bad(format!("the period {}: {why}", quoted(text))))?;
        if from >= DAY {
            return Err(bad(format!(
                "the period {} begins at 24:00; write 00:00 of the next day",
                quoted(text)
            )));
        }
        Ok(Self { from, to })
    }

    /// Whether it holds in `minute` of the day on which it begins.
    fn holds(self, minute: u16) -> bool {
        if self.from <= self.to { (self.from..=self.to).contains(&minute) } else { minute >= self.from }
    }

    /// Whether it still holds in `minute` of the day after.
    fn holds_next_day(self, minute: u16) -> bool {
        self.from > self.to && minute <= self.to
    }

    fn write(self, out: &mut String, sign: char) {
        use fmt::Write as _;
        let (from, to) = (self.from, self.to);
        // Writing to a String cannot fail.
        let _ = write!(out, "{:02}:{:02}{sign}{:02}:{:02}", from / 60, from % 60, to / 60, to % 60);
    }
}

/// Periods of a day; none of them is never.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Periods(pub Vec<Period>);

impl Periods {
    /// Reads `08:00~09:30,11:30~14:00` (QYZN) and `09:00-12:35;13:25-16:25` (terminal WebSocket).
    ///
    /// A blank text is `None`, because the documents differ on what it means: all day in QYZN's `passPeriod`,
    /// no permission in the terminal's `weekly`. Empty places between separators are skipped. [`Kind::Input`]
    /// names the first period that cannot be read.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let line = plain(text);
        let mut periods = Vec::new();
        for part in line.split([',', ';']).filter(|part| !part.trim().is_empty()) {
            if periods.len() == MOST_PERIODS {
                return Err(bad(format!("more than {MOST_PERIODS} periods in {}", quoted(text))));
            }
            periods.push(Period::parse_plain(part)?);
        }
        if periods.is_empty() {
            return Err(bad(format!("no period in {}; write 08:00~09:30", quoted(text))));
        }
        Ok(Some(Self(periods)))
    }

    /// As QYZN writes them: `08:00~09:30,11:30~14:00`.
    pub fn to_qyzn(&self) -> String {
        self.write('~', ',')
    }

    /// As the terminal WebSocket protocol writes them: `09:00-12:35;13:25-16:25`.
    pub fn to_terminal_ws(&self) -> String {
        self.write('-', ';')
    }

    fn write(&self, sign: char, separator: char) -> String {
        let mut out = String::with_capacity(self.0.len() * 12);
        for (index, period) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(separator);
            }
            period.write(&mut out, sign);
        }
        out
    }

    fn hold(&self, minute: u16) -> bool {
        self.0.iter().any(|period| period.holds(minute))
    }

    fn hold_next_day(&self, minute: u16) -> bool {
        self.0.iter().any(|period| period.holds_next_day(minute))
    }
}

/// The rule of one day (QYZN `mode` 0, 1, 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayRule {
    /// 0: not at all.
    Never,
    /// 1: all day.
    Always,
    /// 2: in these periods.
    Periods(Periods),
}

impl DayRule {
    /// Whether it allows `minute` of its own day.
    fn allows(&self, minute: u16) -> bool {
        match self {
            DayRule::Never => false,
            DayRule::Always => true,
            DayRule::Periods(periods) => periods.hold(minute),
        }
    }

    /// Whether a period of it reaches `minute` of the day after.
    fn allows_next_day(&self, minute: u16) -> bool {
        matches!(self, DayRule::Periods(periods) if periods.hold_next_day(minute))
    }
}

/// QYZN `passPeriod` with `passMonday` to `passSunday`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimpleSchedule {
    /// Monday first.
    pub days: [bool; 7],
    /// `None`: all day.
    pub periods: Option<Periods>,
}

impl SimpleSchedule {
    /// Whether passing is allowed at `local`, the civil time of the gate.
    pub fn allows(&self, local: DateTime) -> bool {
        let (date, minute) = day_and_minute(local);
        let permitted = |date: Date| self.days[weekday(date)];
        let Some(periods) = &self.periods else { return permitted(date) };
        permitted(date) && periods.hold(minute)
            || date.yesterday().is_ok_and(permitted) && periods.hold_next_day(minute)
    }
}

/// Some days of a year with a rule of their own; it beats the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holiday {
    /// What the platform calls it.
    pub name: String,
    /// First day.
    pub first: Date,
    /// Last day, included.
    pub last: Date,
    /// What holds on it.
    pub rule: DayRule,
}

impl Holiday {
    fn covers(&self, date: Date) -> bool {
        self.first <= date && date <= self.last
    }
}

/// QYZN `extPassRule`, and the terminal WebSocket protocol's `weekly`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedSchedule {
    /// The platform's id of the rule, may be empty.
    pub id: String,
    /// The platform's name of the rule, may be empty.
    pub name: String,
    /// Monday first.
    pub weekly: [DayRule; 7],
    /// Days that beat the week.
    pub holidays: Vec<Holiday>,
}

impl ExtendedSchedule {
    /// Whether passing is allowed at `local`, the civil time of the gate.
    pub fn allows(&self, local: DateTime) -> bool {
        let (date, minute) = day_and_minute(local);
        if self.all_rules(date, |rule| rule.allows(minute)) {
            return true;
        }
        // What began yesterday and crosses midnight.
        let forbidden = self.holidays_of(date).any(|holiday| holiday.rule == DayRule::Never);
        !forbidden
            && date.yesterday().is_ok_and(|date| self.all_rules(date, |rule| rule.allows_next_day(minute)))
    }

    fn holidays_of(&self, date: Date) -> impl Iterator<Item = &Holiday> {
        self.holidays.iter().filter(move |holiday| holiday.covers(date))
    }

    /// Whether every rule of `date` agrees: its holidays, or the week where it has none.
    fn all_rules(&self, date: Date, agrees: impl Fn(&DayRule) -> bool) -> bool {
        let mut holidays = self.holidays_of(date).peekable();
        if holidays.peek().is_some() {
            holidays.all(|holiday| agrees(&holiday.rule))
        } else {
            agrees(&self.weekly[weekday(date)])
        }
    }
}

/// A person's schedule: the extended one where there is one, else the simple one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The simple rules.
    pub simple: SimpleSchedule,
    /// The extended rules, which replace the simple ones.
    pub extended: Option<ExtendedSchedule>,
}

impl Default for SimpleSchedule {
    /// Always.
    fn default() -> Self {
        Self { days: [true; 7], periods: None }
    }
}

impl Default for Schedule {
    /// Always.
    fn default() -> Self {
        Self { simple: SimpleSchedule::default(), extended: None }
    }
}

impl Schedule {
    /// Whether passing is allowed at `local`, the civil time of the gate.
    pub fn allows(&self, local: DateTime) -> bool {
        match &self.extended {
            Some(extended) => extended.allows(local),
            None => self.simple.allows(local),
        }
    }
}

/// Reads a range of days, both included: `2019.10.01~2019.10.03` as QYZN's `dayRange` writes it, also with
/// `-` or `/` in the dates or between them, eight digits (`20191001`), or one day alone. [`Kind::Input`] says
/// what cannot be read.
pub fn parse_day_range(text: &str) -> Result<(Date, Date)> {
    let line = plain(text);
    let parts: Vec<&str> = line.split('~').collect();
    let (first, last) = match parts.as_slice() {
        [first, last] => (date(first), date(last)),
        // Without a `~` a `-` may stand in the dates, between them, or both.
        [both] => {
            let numbers: Vec<&str> = both.split(['.', '-', '/']).collect();
            match numbers.len() {
                1 | 3 => (date(both), date(both)),
                2 => (date(numbers[0]), date(numbers[1])),
                6 => (date(&numbers[..3].join(".")), date(&numbers[3..].join("."))),
                _ => (None, None),
            }
        }
        _ => (None, None),
    };
    let (Some(first), Some(last)) = (first, last) else {
        return Err(bad(format!(
            "the range of days {} is not written as 2019.10.01~2019.10.03",
            quoted(text)
        )));
    };
    if last < first {
        return Err(bad(format!("the range of days {} ends before it begins", quoted(text))));
    }
    Ok((first, last))
}

/// Writes a range of days as QYZN's `dayRange` does: `2019.10.01~2019.10.03`.
pub fn write_day_range(first: Date, last: Date) -> String {
    let day = |date: Date| format!("{:04}.{:02}.{:02}", date.year(), date.month(), date.day());
    format!("{}~{}", day(first), day(last))
}

/// One date: `2019.10.01`, `2019-10-01`, `2019/10/01`, `20191001`.
fn date(text: &str) -> Option<Date> {
    let text = text.trim();
    let numbers: Vec<&str> = text.split(['.', '-', '/']).map(str::trim).collect();
    let (year, month, day) = match numbers.as_slice() {
        [one] if one.len() == 8 && one.is_ascii() => (&one[..4], &one[4..6], &one[6..]),
        [year, month, day] if year.len() == 4 => (*year, *month, *day),
        _ => return None,
    };
    Date::new(digits(year)?, i8::try_from(digits(month)?).ok()?, i8::try_from(digits(day)?).ok()?).ok()
}

/// A time of day in minutes, 0..=1440. Seconds are only taken where they change nothing: `00`, and
/// `whole_minute` (59 for an end, which includes its minute).
fn minute(text: &str, whole_minute: i16) -> Result<u16, String> {
    let text = text.trim();
    let unreadable = || format!("{} is no time of day from 00:00 to 24:00", quoted(text));
    let numbers: Vec<&str> = text.split(':').map(str::trim).collect();
    let (hour, minute) = match numbers.as_slice() {
        [hour, minute] => (hour, minute),
        [hour, minute, second] => {
            let second = digits(second).ok_or_else(unreadable)?;
            if second != 0 && second != whole_minute {
                return Err(format!("{} has seconds, which a period cannot keep", quoted(text)));
            }
            (hour, minute)
        }
        _ => return Err(unreadable()),
    };
    let hour = digits(hour).filter(|hour| *hour <= 24).ok_or_else(unreadable)?;
    let minute = digits(minute).filter(|minute| *minute <= 59).ok_or_else(unreadable)?;
    let minutes = u16::try_from(hour * 60 + minute).map_err(|_| unreadable())?;
    if minutes > DAY {
        return Err(unreadable());
    }
    Ok(minutes)
}

/// A number of one to four ASCII digits, without a sign.
fn digits(text: &str) -> Option<i16> {
    let fits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

/// Full-width letters and the many dashes of Chinese keyboards as their plain ASCII kin.
fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            // Full-width forms lie at a fixed distance from ASCII.
            '\u{FF01}'..='\u{FF5E}' => {
                char::from_u32(u32::from(letter) - 0xFEE0).expect("ASCII is within Unicode")
            }
            '\u{3000}' | '\u{00A0}' => ' ',
            '、' => ',',
            '。' => '.',
            '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => '-',
            '〜' | '∼' | '至' | '到' => '~',
            other => other,
        })
        .collect()
}

/// A text within an error message: in quotes, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 40;
    let text = text.trim();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn bad(message: String) -> Error {
    Error::new(Kind::Input, message)
}

fn day_and_minute(local: DateTime) -> (Date, u16) {
    // jiff keeps hours in 0..=23 and minutes in 0..=59.
    (local.date(), u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs()))
}

/// 0 for Monday to 6 for Sunday.
fn weekday(date: Date) -> usize {
    usize::from(date.weekday().to_monday_zero_offset().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date as day;
    use proptest::prelude::*;

    use super::*;

    fn period(from: u16, to: u16) -> Period {
        Period { from, to }
    }

    fn message(error: Error) -> String {
        assert_eq!(error.kind(), Kind::Input);
        error.message().to_owned()
    }

    #[test]
    fn reads_the_samples_of_the_documents() {
        let qyzn = Periods::parse("08:00~09:30,11:30~14:00,17:00~19:00").unwrap().unwrap();
        assert_eq!(qyzn.0, [period(480, 570), period(690, 840), period(1020, 1140)]);
        assert_eq!(qyzn.to_qyzn(), "08:00~09:30,11:30~14:00,17:00~19:00");
        let terminal = Periods::parse("09:00-12:35;13:25-16:25;16:50-18:30").unwrap().unwrap();
        assert_eq!(terminal.0, [period(540, 755), period(805, 985), period(1010, 1110)]);
        assert_eq!(terminal.to_terminal_ws(), "09:00-12:35;13:25-16:25;16:50-18:30");
        assert_eq!(terminal.to_qyzn(), "09:00~12:35,13:25~16:25,16:50~18:30");
        assert_eq!(parse_day_range("2019.12.25~2019.12.25").unwrap(), (day(2019, 12, 25), day(2019, 12, 25)));
        assert_eq!(parse_day_range("2019.10.01~2019.10.03").unwrap(), (day(2019, 10, 1), day(2019, 10, 3)));
        assert_eq!(write_day_range(day(2019, 10, 1), day(2019, 10, 3)), "2019.10.01~2019.10.03");
    }

    #[test]
    fn tolerates_what_people_type() {
        for (text, expected) in [
            (" 08:00 ~ 09:30 , 11:30 ~ 14:00 ", "08:00~09:30,11:30~14:00"),
            ("8:00-9:30", "08:00~09:30"),
            ("8:5~9:5", "08:05~09:05"),
            ("08：00～09：30，11：30～14：00；", "08:00~09:30,11:30~14:00"),
            ("０８:００—０９:３０、11:30至14:00", "08:00~09:30,11:30~14:00"),
            (",,08:00~09:30,;", "08:00~09:30"),
            ("00:00~24:00", "00:00~24:00"),
            ("00:00:00~23:59:59", "00:00~23:59"),
            ("22:00~06:00", "22:00~06:00"),
            ("08:00\u{3000}~\u{a0}09:30", "08:00~09:30"),
        ] {
            assert_eq!(Periods::parse(text).unwrap().unwrap().to_qyzn(), expected, "{text}");
        }
        for blank in ["", " ", "\t\n", "\u{3000}"] {
            assert_eq!(Periods::parse(blank).unwrap(), None, "{blank:?}");
        }
        for text in [
            "2019-10-01~2019-10-03",
            "2019/10/01 ~ 2019/10/03",
            "2019.10.01-2019.10.03",
            "2019-10-01-2019-10-03",
            "2019-10-1 至 2019-10-3",
            "20191001~20191003",
            "20191001-20191003",
            "２０１９．１０．０１～２０１９．１０．０３",
        ] {
            assert_eq!(parse_day_range(text).unwrap(), (day(2019, 10, 1), day(2019, 10, 3)), "{text}");
        }
        assert_eq!(parse_day_range("2020-02-29").unwrap(), (day(2020, 2, 29), day(2020, 2, 29)));
    }

    #[test]
    fn names_the_bad_part() {
        for (text, part) in [
            ("08:00~09:30,11:30", "\"11:30\""),
            ("08:00~09:30,11:30~14:60", "\"14:60\""),
            ("08:00~09:30,24:01~24:00", "\"24:01\""),
            ("25:00~26:00", "\"25:00\""),
            ("24:00~06:00", "begins at 24:00"),
            ("08:00~~09:30", "\"08:00~~09:30\""),
            ("08:00~09:30~10:00", "\"08:00~09:30~10:00\""),
            ("08:00~09:30 11:30~14:00", "\"08:00~09:30 11:30~14:00\""),
            ("08:00:30~09:30", "\"08:00:30\" has seconds"),
            ("all day", "\"all day\""),
            ("+8:00~9:00", "\"+8:00\""),
            ("8~9", "\"8\""),
            (",", "no period"),
            ("~", "\"\""),
        ] {
            let said = message(Periods::parse(text).unwrap_err());
            assert!(said.contains(part), "{text}: {said}");
        }
        for text in [
            "2019.10.03~2019.10.01",
            "2019.02.29",
            "2019.13.01~2019.13.02",
            "19.10.01",
            "2019.10",
            "",
            "~",
            "2019.10.01~",
            "2019.10.01~2019.10.02~2019.10.03",
            "10.01.2019",
            "中秋节",
            "２０19100一",
        ] {
            let said = message(parse_day_range(text).unwrap_err());
            assert!(said.contains("range of days"), "{text}: {said}");
        }
        let long = "x".repeat(10_000);
        assert!(message(Periods::parse(&long).unwrap_err()).len() < 200);
        assert!(message(parse_day_range(&long).unwrap_err()).len() < 200);
        let many = vec!["08:00~09:00"; MOST_PERIODS].join(",");
        assert_eq!(Periods::parse(&many).unwrap().unwrap().0.len(), MOST_PERIODS);
        assert!(
            message(Periods::parse(&format!("{many},08:00~09:00")).unwrap_err()).contains("more than 48")
        );
    }

    /// 2019-09-30 is a Monday: an almanac, not jiff, says so.
    const MONDAY: Date = day(2019, 9, 30);

    fn week(rules: [DayRule; 7]) -> ExtendedSchedule {
        ExtendedSchedule { id: String::new(), name: String::new(), weekly: rules, holidays: Vec::new() }
    }

    fn in_periods(text: &str) -> DayRule {
        DayRule::Periods(Periods::parse(text).unwrap().unwrap())
    }

    #[test]
    fn the_simple_schedule_of_the_document() {
        // 4.3.1: Monday to Friday in three periods.
        let schedule = SimpleSchedule {
            days: [true, true, true, true, true, false, false],
            periods: Periods::parse("08:00~09:30,11:30~14:00,17:00~19:00").unwrap(),
        };
        let schedule = Schedule { simple: schedule, extended: None };
        for (days_on, hour, minute, second, expected) in [
            (0, 8, 0, 0, true),
            (0, 7, 59, 59, false),
            (0, 9, 30, 0, true),
            (0, 9, 30, 59, true),
            (0, 9, 31, 0, false),
            (0, 12, 0, 0, true),
            (4, 19, 0, 59, true),
            (4, 19, 1, 0, false),
            (5, 12, 0, 0, false),
            (6, 12, 0, 0, false),
            (7, 12, 0, 0, true),
        ] {
            let date = MONDAY.checked_add(jiff::Span::new().days(days_on)).unwrap();
            assert_eq!(
                schedule.allows(date.at(hour, minute, second, 999_999_999)),
                expected,
                "{days_on} {hour}:{minute}:{second}"
            );
        }
    }

    #[test]
    fn a_simple_period_across_midnight_belongs_to_its_first_day() {
        let schedule = SimpleSchedule {
            days: [true, false, false, false, false, false, false],
            periods: Periods::parse("22:00~06:00").unwrap(),
        };
        assert!(!schedule.allows(MONDAY.at(5, 0, 0, 0)), "Sunday evening was not permitted");
        assert!(schedule.allows(MONDAY.at(22, 0, 0, 0)));
        assert!(schedule.allows(day(2019, 10, 1).at(6, 0, 59, 0)));
        assert!(!schedule.allows(day(2019, 10, 1).at(6, 1, 0, 0)));
        assert!(!schedule.allows(day(2019, 10, 1).at(22, 0, 0, 0)));
    }

    #[test]
    fn ends_of_the_day() {
        let mut schedule = week(std::array::from_fn(|_| DayRule::Never));
        schedule.weekly[0] = in_periods("20:00~24:00");
        assert!(schedule.allows(MONDAY.at(23, 59, 59, 0)));
        assert!(!schedule.allows(day(2019, 10, 1).at(0, 0, 0, 0)), "24:00 is not a minute of Tuesday");
        schedule.weekly[0] = in_periods("00:00~23:59");
        assert!(schedule.allows(MONDAY.at(0, 0, 0, 0)) && schedule.allows(MONDAY.at(23, 59, 59, 0)));
        schedule.weekly[0] = in_periods("08:00~08:00");
        assert!(schedule.allows(MONDAY.at(8, 0, 59, 0)) && !schedule.allows(MONDAY.at(8, 1, 0, 0)));
        schedule.weekly[0] = DayRule::Periods(Periods::default());
        assert!(!schedule.allows(MONDAY.at(8, 0, 0, 0)), "no periods are never");
    }

    #[test]
    fn a_holiday_beats_the_week() {
        // The holidays of 4.3.8 over a week that is always open.
        let mut schedule = week(std::array::from_fn(|_| DayRule::Always));
        schedule.holidays = vec![
            Holiday {
                name: "中秋节".into(),
                first: day(2019, 12, 25),
                last: day(2019, 12, 25),
                rule: DayRule::Never,
            },
            Holiday {
                name: "国庆节".into(),
                first: day(2019, 10, 1),
                last: day(2019, 10, 3),
                rule: in_periods("00:00~05:00,13:30~18:00"),
            },
        ];
        assert!(schedule.allows(day(2019, 12, 24).at(12, 0, 0, 0)));
        assert!(!schedule.allows(day(2019, 12, 25).at(12, 0, 0, 0)));
        assert!(schedule.allows(day(2019, 12, 26).at(12, 0, 0, 0)));
        assert!(!schedule.allows(day(2019, 10, 1).at(12, 0, 0, 0)));
        assert!(schedule.allows(day(2019, 10, 3).at(18, 0, 0, 0)));
        assert!(schedule.allows(day(2019, 10, 4).at(12, 0, 0, 0)));
        // Open on a holiday while the week is shut.
        let mut shut = week(std::array::from_fn(|_| DayRule::Never));
        shut.holidays = schedule.holidays.clone();
        assert!(shut.allows(day(2019, 10, 2).at(4, 0, 0, 0)));
        assert!(!shut.allows(day(2019, 10, 4).at(4, 0, 0, 0)));
        // The extended rules replace the simple ones.
        let both = Schedule {
            simple: SimpleSchedule { days: [false; 7], periods: None },
            extended: Some(schedule.clone()),
        };
        assert!(both.allows(day(2019, 12, 24).at(12, 0, 0, 0)));
        // A day of two holidays.
        schedule.holidays[0].first = day(2019, 10, 3);
        assert!(!schedule.allows(day(2019, 10, 3).at(14, 0, 0, 0)));
        assert!(schedule.allows(day(2019, 10, 2).at(14, 0, 0, 0)));
    }

    #[test]
    fn a_night_runs_into_a_holiday_unless_nothing_is_allowed_on_it() {
        let mut schedule = week(std::array::from_fn(|_| DayRule::Never));
        schedule.weekly[0] = in_periods("22:00~06:00");
        let tuesday = day(2019, 10, 1);
        assert!(schedule.allows(tuesday.at(5, 0, 0, 0)), "Tuesday is Never, the period is Monday's");
        let mut holiday =
            Holiday {
                name: "国庆节".into(), first: tuesday, last: tuesday, rule: in_periods("13:30~18:00")
            };
        schedule.holidays = vec![holiday.clone()];
        assert!(schedule.allows(tuesday.at(5, 0, 0, 0)), "it began before the holiday");
        holiday.rule = DayRule::Never;
        schedule.holidays = vec![holiday.clone()];
        assert!(!schedule.allows(tuesday.at(5, 0, 0, 0)), "nothing is allowed on this holiday");
        // A holiday on the Monday itself takes its night away.
        holiday.first = MONDAY;
        holiday.last = MONDAY;
        schedule.holidays = vec![holiday];
        assert!(!schedule.allows(tuesday.at(5, 0, 0, 0)));
    }

    #[test]
    fn the_first_day_of_time_has_no_yesterday() {
        let schedule = week(std::array::from_fn(|_| in_periods("22:00~06:00")));
        assert!(!schedule.allows(Date::MIN.at(5, 0, 0, 0)));
        assert!(schedule.allows(Date::MAX.at(23, 0, 0, 0)));
    }

    fn any_period() -> impl Strategy<Value = Period> {
        (0..DAY, 0..=DAY).prop_map(|(from, to)| Period { from, to })
    }

    fn any_periods() -> impl Strategy<Value = Periods> {
        proptest::collection::vec(any_period(), 0..4).prop_map(Periods)
    }

    fn any_rule() -> impl Strategy<Value = DayRule> {
        prop_oneof![
            1 => Just(DayRule::Never),
            1 => Just(DayRule::Always),
            4 => any_periods().prop_map(DayRule::Periods)
        ]
    }

    /// Days around the turn of a leap year, as days since 1970-01-01.
    const FROM_DAY: i64 = 18_259;

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        let simple = (any::<[bool; 7]>(), proptest::option::of(any_periods()))
            .prop_map(|(days, periods)| SimpleSchedule { days, periods });
        let holidays = proptest::collection::vec((0..14i64, 0..4i64, any_rule()), 0..4).prop_map(|list| {
            list.into_iter()
                .map(|(first, more, rule)| Holiday {
                    name: String::new(),
                    first: date_of(FROM_DAY + first),
                    last: date_of(FROM_DAY + first + more),
                    rule,
                })
                .collect::<Vec<_>>()
        });
        let extended = (proptest::collection::vec(any_rule(), 7), holidays).prop_map(|(rules, holidays)| {
            let mut schedule = week(rules.try_into().expect("seven rules were asked for"));
            schedule.holidays = holidays;
            schedule
        });
        (simple, proptest::option::weighted(0.7, extended))
            .prop_map(|(simple, extended)| Schedule { simple, extended })
    }

    fn date_of(days: i64) -> Date {
        day(1970, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap()
    }

    /// The oracle: paints every allowed minute since 1970 on a long strip of paper, period by period, by
    /// walking forward minute after minute, and then wipes the days on which nothing is allowed.
    fn paint(schedule: &Schedule) -> std::collections::HashSet<i64> {
        fn stroke(day: i64, rule: &DayRule) -> std::collections::HashSet<i64> {
            let mut strip = std::collections::HashSet::new();
            match rule {
                DayRule::Never => {}
                DayRule::Always => strip.extend(day * 1440..(day + 1) * 1440),
                DayRule::Periods(Periods(periods)) => {
                    for period in periods {
                        let mut minute = day * 1440 + i64::from(period.from);
                        loop {
                            strip.insert(minute);
                            let shown = minute.rem_euclid(1440);
                            if shown == i64::from(period.to) || (period.to == 1440 && shown == 1439) {
                                break;
                            }
                            minute += 1;
                        }
                    }
                }
            }
            strip
        }
        let mut paper = std::collections::HashSet::new();
        for day in FROM_DAY - 1..FROM_DAY + 20 {
            // 1970-01-01 was a Thursday.
            let weekday = usize::try_from((day + 3) % 7).unwrap();
            match &schedule.extended {
                None => {
                    if schedule.simple.days[weekday] {
                        let rule = schedule.simple.periods.clone().map_or(DayRule::Always, DayRule::Periods);
                        paper.extend(stroke(day, &rule));
                    }
                }
                Some(extended) => {
                    let date = date_of(day);
                    let mut strips = extended
                        .holidays
                        .iter()
                        .filter(|holiday| (holiday.first..=holiday.last).contains(&date))
                        .map(|holiday| stroke(day, &holiday.rule))
                        .collect::<Vec<_>>();
                    if strips.is_empty() {
                        strips.push(stroke(day, &extended.weekly[weekday]));
                    }
                    let first = strips.remove(0);
                    paper
                        .extend(first.into_iter().filter(|minute| strips.iter().all(|s| s.contains(minute))));
                }
            }
        }
        if let Some(extended) = &schedule.extended {
            for holiday in extended.holidays.iter().filter(|holiday| holiday.rule == DayRule::Never) {
                let mut date = holiday.first;
                while date <= holiday.last {
                    let day = i64::from((date - FIRST).get_days());
                    paper.retain(|minute| minute.div_euclid(1440) != day);
                    date = date.tomorrow().unwrap();
                }
            }
        }
        paper
    }

    const FIRST: Date = day(1970, 1, 1);

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_paint_on_paper(schedule in any_schedule(), second in 0..60i8) {
            let paper = paint(&schedule);
            for days in FROM_DAY..FROM_DAY + 18 {
                let date = date_of(days);
                for minute in 0..1440i64 {
                    let local = date.at(
                        i8::try_from(minute / 60).unwrap(),
                        i8::try_from(minute % 60).unwrap(),
                        second,
                        0,
                    );
                    prop_assert_eq!(
                        schedule.allows(local),
                        paper.contains(&(days * 1440 + minute)),
                        "{} of {:?}", local, schedule
                    );
                }
            }
        }

        #[test]
        fn both_notations_read_back(periods in any_periods()) {
            let expected = (!periods.0.is_empty()).then(|| periods.clone());
            prop_assert_eq!(Periods::parse(&periods.to_qyzn()).unwrap(), expected.clone());
            prop_assert_eq!(Periods::parse(&periods.to_terminal_ws()).unwrap(), expected);
        }

        #[test]
        fn day_ranges_read_back(first in 0..60_000i64, more in 0..400i64) {
            let (first, last) = (date_of(first), date_of(first + more));
            prop_assert_eq!(parse_day_range(&write_day_range(first, last)).unwrap(), (first, last));
        }

        #[test]
        fn no_text_breaks_the_parsers(text in "\\PC*", near in "[0-9:~;,.\\- ：～，至]{0,24}") {
            for text in [text, near] {
                let _ = Periods::parse(&text);
                let _ = Period::parse(&text);
                let _ = parse_day_range(&text);
            }
        }
    }
}
