//! The screen as cells, and the bytes that turn one screen into another: at 115200 a screen of 2 kB takes 0.17 s, a
//! changed figure a millisecond.
//!
//! Only what a VT100 understands is used: cursor position, erase to the end of the line, reverse video.

use std::io::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// Cells between two changes that are cheaper to write again than to jump over: a jump has up to 8 bytes.
const JUMP: usize = 6;

/// Largest screen that is drawn: a line that claims more is not believed.
const LARGEST: (usize, usize) = (200, 80);

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// `None` is the right half of the character before.
    character: Option<char>,
    reverse: bool,
}

const BLANK: Cell = Cell { character: Some(' '), reverse: false };

/// A screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    width: usize,
    height: usize,
    /// Whether only ASCII may be shown.
    ascii: bool,
    cells: Vec<Cell>,
}

/// How many columns a character takes; 0 is none of its own.
pub fn columns(character: char) -> usize {
    character.width().unwrap_or(0)
}

impl Grid {
    /// A blank screen.
    pub fn new(width: usize, height: usize, ascii: bool) -> Self {
        let (width, height) = (width.clamp(1, LARGEST.0), height.clamp(1, LARGEST.1));
        Self { width, height, ascii, cells: vec![BLANK; width * height] }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Lines.
    pub fn height(&self) -> usize {
        self.height
    }

    /// What is shown for a character: no control character gets out, and no letter that the terminal has not.
    fn shown(&self, character: char) -> char {
        if character.is_control() || self.ascii && !character.is_ascii() { '?' } else { character }
    }

    /// Writes `text` from column `at` of `line`, cut at the edge; the column behind it.
    pub fn put(&mut self, line: usize, at: usize, text: &str) -> usize {
        self.write(line, at, text, false)
    }

    /// The same in reverse video, over the whole line.
    pub fn put_reverse(&mut self, line: usize, text: &str) {
        if line < self.height {
            self.write(line, 0, text, true);
            for cell in &mut self.cells[line * self.width..(line + 1) * self.width] {
                cell.reverse = true;
            }
        }
    }

    fn write(&mut self, line: usize, mut at: usize, text: &str, reverse: bool) -> usize {
        if line >= self.height {
            return at;
        }
        for character in text.chars() {
            let character = self.shown(character);
            let wide = columns(character);
            if wide == 0 {
                continue;
            }
            if at + wide > self.width {
                break;
            }
            self.set(line, at, Cell { character: Some(character), reverse });
            if wide == 2 {
                self.set(line, at + 1, Cell { character: None, reverse });
            }
            at += wide;
        }
        at
    }

    /// Sets a cell; the other half of what was there goes.
    fn set(&mut self, line: usize, at: usize, cell: Cell) {
        let place = line * self.width + at;
        if self.cells[place].character.is_none() && cell.character.is_some() && at > 0 {
            self.cells[place - 1] = BLANK;
        }
        if at + 1 < self.width && self.cells[place + 1].character.is_none() {
            self.cells[place + 1] = BLANK;
        }
        self.cells[place] = cell;
    }

    fn line(&self, line: usize) -> &[Cell] {
        &self.cells[line * self.width..(line + 1) * self.width]
    }

    /// The text of a line, for tests and dumps.
    pub fn text(&self, line: usize) -> String {
        let text: String = self.line(line).iter().filter_map(|cell| cell.character).collect();
        text.trim_end().to_owned()
    }

    /// Appends to `bytes` what makes a terminal that shows `shown` show this. Another size, or `None`, is drawn
    /// from nothing.
    pub fn over(&self, shown: Option<&Grid>, bytes: &mut Vec<u8>) {
        let shown = shown.filter(|shown| (shown.width, shown.height) == (self.width, self.height));
        let nothing;
        let shown = match shown {
            Some(shown) => shown,
            None => {
                bytes.extend_from_slice(b"\x1b[m\x1b[2J\x1b[H");
                nothing = Grid::new(self.width, self.height, self.ascii);
                &nothing
            }
        };
        let mut pen = Pen { at: None, reverse: false, bytes };
        for line in 0..self.height {
            pen.line(line, self.line(line), shown.line(line), line + 1 == self.height);
        }
        pen.turn(false);
    }
}

/// `text` in exactly `width` columns: cut or padded.
pub fn fit(text: &str, width: usize) -> String {
    let mut fitted = String::with_capacity(width);
    let mut used = 0;
    for character in text.chars() {
        let wide = if character.is_control() { 1 } else { columns(character) };
        if used + wide > width {
            break;
        }
        fitted.push(character);
        used += wide;
    }
    fitted.extend(std::iter::repeat_n(' ', width - used));
    fitted
}

/// Where the cursor is and how it writes.
struct Pen<'a> {
    /// Line and column; `None` where nobody can say.
    at: Option<(usize, usize)>,
    reverse: bool,
    bytes: &'a mut Vec<u8>,
}

impl Pen<'_> {
    fn line(&mut self, line: usize, wanted: &[Cell], shown: &[Cell], last: bool) {
        // A character in the last cell of the last line makes some terminals scroll.
        let end = wanted.len() - usize::from(last);
        let blank_from = wanted.iter().rposition(|cell| *cell != BLANK).map_or(0, |last| last + 1);
        let mut column = 0;
        while let Some(mut change) = (column..end).find(|at| wanted[*at] != shown[*at]) {
            // The right half of a character is written with its left one.
            if wanted[change].character.is_none() {
                change -= 1;
            }
            let rest = (change..end).filter(|at| wanted[*at] != shown[*at]).count();
            if change >= blank_from && rest > JUMP {
                self.go(line, change, wanted);
                self.turn(false);
                self.bytes.extend_from_slice(b"\x1b[K");
                return;
            }
            self.go(line, change, wanted);
            column = self.cell(line, change, wanted[change], end);
        }
    }

    /// Writes one cell; the column behind it.
    fn cell(&mut self, line: usize, at: usize, cell: Cell, end: usize) -> usize {
        let character = cell.character.unwrap_or(' ');
        // What does not fit any more is not written in halves.
        let character = if at + columns(character) > end { ' ' } else { character };
        let wide = columns(character).max(1);
        self.turn(cell.reverse);
        let mut buffer = [0; 4];
        self.bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        self.at = Some((line, at + wide));
        at + wide
    }

    fn go(&mut self, line: usize, column: usize, wanted: &[Cell]) {
        match self.at {
            Some(at) if at == (line, column) => return,
            Some((on, from)) if on == line && from < column && column - from <= JUMP => {
                let mut at = from;
                while at < column {
                    at = self.cell(line, at, wanted[at], column);
                }
                if self.at == Some((line, column)) {
                    return;
                }
            }
            _ => {}
        }
        // Writing to memory does not fail.
        let _ = match column {
            0 => write!(self.bytes, "\x1b[{}H", line + 1),
            _ => write!(self.bytes, "\x1b[{};{}H", line + 1, column + 1),
        };
        self.at = Some((line, column));
    }

    fn turn(&mut self, reverse: bool) {
        if self.reverse != reverse {
            self.reverse = reverse;
            self.bytes.extend_from_slice(if reverse { b"\x1b[7m" } else { b"\x1b[m" });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wide_letters_take_two_columns_and_are_not_cut_in_halves() {
        let mut grid = Grid::new(10, 2, false);
        assert_eq!(grid.put(0, 0, "张三abc"), 7);
        assert_eq!(grid.put(0, 7, "李四"), 9, "the second does not fit");
        assert_eq!(grid.text(0), "张三abc李");
        assert_eq!(grid.put(0, 1, "x"), 2);
        assert_eq!(grid.text(0), " x三abc李", "the other half has gone");
        let mut grid = Grid::new(10, 2, true);
        grid.put(0, 0, "张三\x1b[2J");
        assert_eq!(grid.text(0), "???[2J");
    }

    #[test]
    fn a_changed_figure_costs_a_few_bytes() {
        let (mut before, mut after) = (Grid::new(80, 24, false), Grid::new(80, 24, false));
        before.put(10, 40, "12:00:01");
        after.put(10, 40, "12:00:02");
        let mut bytes = Vec::new();
        after.over(Some(&before), &mut bytes);
        assert_eq!(bytes, b"\x1b[11;48H2");
        bytes.clear();
        after.over(Some(&after.clone()), &mut bytes);
        assert!(bytes.is_empty());
        before.put(5, 0, &"x".repeat(80));
        after.over(Some(&before), &mut bytes);
        assert_eq!(bytes, b"\x1b[6H\x1b[K\x1b[11;48H2");
    }

    fn texts() -> impl Strategy<Value = Vec<(usize, usize, String, bool)>> {
        proptest::collection::vec((0..8_usize, 0..30_usize, "[a-c 张三]{0,12}", any::<bool>()), 0..12)
    }

    fn drawn(texts: &[(usize, usize, String, bool)]) -> Grid {
        let mut grid = Grid::new(30, 8, false);
        for (line, at, text, reverse) in texts {
            if *reverse {
                grid.put_reverse(*line, text);
            } else {
                grid.put(*line, *at, text);
            }
        }
        grid
    }

    proptest! {
        /// What a terminal shows after any change of screens is what a terminal shows that only saw the second.
        #[test]
        fn a_difference_is_as_good_as_the_whole(first in texts(), second in texts()) {
            let (first, second) = (drawn(&first), drawn(&second));
            let (mut stepwise, mut at_once) = (vt100::Parser::new(8, 30, 0), vt100::Parser::new(8, 30, 0));
            let mut bytes = Vec::new();
            first.over(None, &mut bytes);
            second.over(Some(&first), &mut bytes);
            stepwise.process(&bytes);
            bytes.clear();
            second.over(None, &mut bytes);
            at_once.process(&bytes);
            for line in 0..8 {
                // The last cell is never written.
                for column in 0..29 {
                    // A cell that was never written and a blank look the same.
                    let at = |parser: &vt100::Parser| {
                        let cell = parser.screen().cell(line, column)?;
                        let text = if cell.has_contents() { cell.contents() } else { " " };
                        Some((text.to_owned(), cell.is_wide(), cell.inverse()))
                    };
                    prop_assert_eq!(at(&stepwise), at(&at_once), "{}, {}", line, column);
                }
            }
        }
    }
}
