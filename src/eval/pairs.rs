//! The list of pairs to compare: CSV (RFC 4180) with the columns `a,b,same`.

/// Two pictures, and whether they show one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Path of the one, below the root.
    pub a: String,
    /// Path of the other.
    pub b: String,
    /// One person.
    pub same: bool,
}

/// What a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// In the order of the list.
    pub pairs: Vec<Pair>,
    /// Numbers of the lines, from 1, that are no pair.
    pub malformed: Vec<usize>,
}

impl Pairs {
    /// Reads a list. A first line `a,b,same` is its heading; empty lines count for nothing. `same` is 1 or 0.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() {
                continue;
            }
            let fields = fields(line);
            let fields: Option<Vec<&str>> =
                fields.as_ref().map(|fields| fields.iter().map(|field| field.trim()).collect());
            match fields.as_deref() {
                Some(["a", "b", "same"]) if number == 0 => {}
                Some([a, b, same @ ("0" | "1")]) if !a.is_empty() && !b.is_empty() => {
                    found.pairs.push(Pair { a: (*a).into(), b: (*b).into(), same: *same == "1" });
                }
                _ => found.malformed.push(number + 1),
            }
        }
        found
    }
}

/// The fields of a line; a field in quotes may hold commas, and two quotes for one. `None` for a quote out of place.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(next) = chars.next() {
        let field = fields.last_mut()?;
        match next {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => {
                quoted = false;
                if chars.peek().is_some_and(|after| *after != ',') {
                    return None;
                }
            }
            '"' if field.is_empty() => quoted = true,
            '"' => return None,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_and_names_the_lines_that_are_none() {
        let text = "\u{feff}a,b,same\r\none.jpg,two.jpg,1\r\n\n \"with, comma.jpg\" ,x.jpg,0\n\"with, comma.jpg\",\"a\"\"b.png\", 0\n\
                    one.jpg,two.jpg\none.jpg,two.jpg,yes\n,two.jpg,1\n\"open,two.jpg,1\na,b,same\nlast.jpg,first.jpg,0";
        let found = Pairs::parse(text);
        let pair = |a: &str, b: &str, same| Pair { a: a.into(), b: b.into(), same };
        assert_eq!(
            found.pairs,
            [
                pair("one.jpg", "two.jpg", true),
                pair("with, comma.jpg", "a\"b.png", false),
                pair("last.jpg", "first.jpg", false)
            ]
        );
        assert_eq!(found.malformed, [4, 6, 7, 8, 9, 10]);
        assert_eq!(Pairs::parse(""), Pairs::default());
        // Without a heading the first line counts.
        assert_eq!(Pairs::parse("x,y,1").pairs, [pair("x", "y", true)]);
    }
}
