//! The six functions as the template and its lists know them.

use crate::settings::Function;

/// How many there are.
pub const COUNT: usize = 6;
/// All, in the order of the template's lists.
pub const ALL: [Function; COUNT] = [
    Function::Admin,
    Function::Cleanup,
    Function::Enroll,
    Function::Publish,
    Function::Reconcile,
    Function::Register,
];

/// What stands in a list for a function that is not there.
pub const NONE: &str = "none";
/// What stands in a list of versions for one that is not there yet.
pub const NO_VERSION: &str = "0";

/// Its name in the template, with which the names of its parts begin.
pub fn part(function: Function) -> &'static str {
    match function {
        Function::Admin => "Admin",
        Function::Cleanup => "Cleanup",
        Function::Enroll => "Enroll",
        Function::Publish => "Publish",
        Function::Reconcile => "Reconcile",
        Function::Register => "Register",
    }
}

/// A text for each function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List(pub [String; COUNT]);

impl List {
    /// `text` for each.
    pub fn of(text: &str) -> Self {
        Self(std::array::from_fn(|_| text.to_owned()))
    }

    /// The list that a parameter of the template holds; `unsaid` where it holds none.
    pub fn read(parameter: Option<&String>, unsaid: &str) -> Self {
        let mut list = Self::of(unsaid);
        let given = parameter.map(|text| text.split(',')).into_iter().flatten();
        for (own, given) in list.0.iter_mut().zip(given) {
            given.clone_into(own);
        }
        list
    }

    /// As a parameter of the template.
    pub fn parameter(&self) -> String {
        self.0.join(",")
    }

    /// Each function with its text.
    pub fn each(&self) -> impl Iterator<Item = (Function, &str)> {
        ALL.into_iter().zip(self.0.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_from_its_parameter_and_a_short_one_is_filled() {
        let list = List(["1", "2", "3", "4", "5", "6"].map(str::to_owned));

        assert_eq!(List::read(Some(&list.parameter()), NO_VERSION), list);
        let short = List::read(Some(&"7".to_owned()), NO_VERSION);
        assert_eq!(short.parameter(), "7,0,0,0,0,0");
        assert_eq!(List::read(None, NONE), List::of(NONE));
        let third = list.each().nth(2).unwrap();
        assert_eq!(third, (Function::Enroll, "3"));
    }
}
