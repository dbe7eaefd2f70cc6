//! Texts of others on a terminal.

use std::ops::RangeInclusive;

/// Characters that show nothing, or the others in another order: marks of width and direction, line and
/// paragraph ends, embeddings, overrides and isolates (Unicode 16, sections 23.2 and 23.3), and tags.
const UNSEEN: [RangeInclusive<char>; 7] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{e0000}'..='\u{e007f}',
];

/// A text of one line as it can be printed: what would move the cursor, or make it read otherwise than it
/// is, stands there as `\u{…}`. A change's file comes from a stranger until it is read.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || UNSEEN.iter().any(|range| range.contains(&character)) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}
