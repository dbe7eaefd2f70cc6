//! Settings in parts: what is longer than a Worker's binding may be stands in several, `NAME`, `NAME_2`,
//! `NAME_3` and so on, one after the other.

/// The most bytes of a binding (Cloudflare, "Workers limits": 5 KB for an environment variable), with
/// room for what the platform may count besides.
pub const MOST_BINDING: usize = 5000;

/// The setting `name` in as many bindings as its text needs.
pub fn in_parts(name: &str, text: &str) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > MOST_BINDING {
        let mut end = MOST_BINDING;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, left) = rest.split_at(end);
        parts.push((part_name(name, parts.len()), part.to_owned()));
        rest = left;
    }
    parts.push((part_name(name, parts.len()), rest.to_owned()));
    parts
}

/// The text of the setting `name`, of which `binding` gives each part.
pub fn joined(name: &str, binding: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut whole = binding(name)?;
    for number in 1.. {
        let Some(part) = binding(&part_name(name, number)) else {
            break;
        };
        whole.push_str(&part);
    }
    Some(whole)
}

fn part_name(name: &str, number: usize) -> String {
    match number {
        0 => name.to_owned(),
        _ => format!("{name}_{}", number + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_setting_comes_back_from_its_parts_and_none_is_too_long() {
        for text in [String::new(), "short".to_owned(), "ä€".repeat(4000)] {
            let parts = in_parts("POSTERN_X", &text);

            assert!(parts.iter().all(|(_, part)| part.len() <= MOST_BINDING));
            let binding = |asked: &str| {
                let found = parts.iter().find(|(name, _)| name == asked);
                found.map(|(_, part)| part.clone())
            };
            assert_eq!(joined("POSTERN_X", binding), Some(text));
            assert_eq!(joined("POSTERN_Y", binding), None);
        }
        let names = in_parts("X", &"x".repeat(MOST_BINDING * 2 + 1));
        let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["X", "X_2", "X_3"]);
    }
}
