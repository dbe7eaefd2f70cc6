//! Remote text on its way to a person.
//!
//! A catalog's free text, a problem's details or a mirror's URL can hold what a terminal obeys
//! (colours, cursor moves, a line break that starts a false line, marks that reverse the order of
//! letters). None of that reaches a screen.

/// `text` on one line, with a mark (U+FFFD) for each control character and each mark of writing
/// direction.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if is_obeyed(c) { '\u{fffd}' } else { c })
        .collect()
}

/// The same for a text of several lines: line breaks stay.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and what Unicode's
/// bidirectional algorithm obeys (UAX #9, section 2).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let text = "\u{1b}[31mred\r\n\u{9b}2J\u{202e}dne\u{7f}, Zürich 東京";
        assert_eq!(plain(text), "�[31mred���2J�dne�, Zürich 東京");
        assert_eq!(plain_lines("a\u{1b}\nb"), "a�\nb");
    }
}
