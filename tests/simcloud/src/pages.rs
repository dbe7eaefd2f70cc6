//! Lists: filters, order and pages of what a request asks for.

use serde_json::{Value, json};

use crate::error::Refusal;
use crate::labels::{Labels, Selector};

/// The entries of a page where nothing is said, and the most.
const PER_PAGE: (usize, usize) = (25, 50);

/// A request's query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(pub Vec<(String, String)>);

impl Query {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str())
    }

    /// Whether a resource of this name and these labels is asked for.
    pub fn filter(&self) -> Result<impl Fn(&str, &Labels) -> bool, Refusal> {
        let selector = self.get("label_selector").filter(|text| !text.is_empty());
        let selector = selector.map(Selector::parse).transpose()?;
        let name = self.get("name").map(str::to_owned);
        Ok(move |own: &str, labels: &Labels| {
            name.as_deref().is_none_or(|name| name == own)
                && selector
                    .as_ref()
                    .is_none_or(|selector| selector.matches(labels))
        })
    }

    /// Whether one of the values of `name` is `own`, or none is given.
    pub fn wants(&self, name: &str, own: &str) -> bool {
        let mut values = self.all(name).flat_map(|value| value.split(',')).peekable();
        values.peek().is_none() || values.any(|value| value == own)
    }

    /// The page that is asked for, under the field `field`.
    pub fn page(&self, field: &str, mut entries: Vec<Value>) -> Result<Value, Refusal> {
        self.sort(&mut entries)?;
        let number = |name: &str, default: usize| match self.get(name).map(str::parse) {
            None => Ok(default),
            Some(Ok(number)) if number >= 1 => Ok(number),
            Some(_) => Err(Refusal::invalid(format!(
                "{name} must be a positive number"
            ))),
        };
        let (page, per_page) = (number("page", 1)?, number("per_page", PER_PAGE.0)?);
        if per_page > PER_PAGE.1 {
            return Err(Refusal::invalid("per_page must be at most 50"));
        }
        let total = entries.len();
        let last = total.div_ceil(per_page).max(1);
        let entries: Vec<Value> = entries
            .into_iter()
            .skip((page - 1).saturating_mul(per_page))
            .take(per_page)
            .collect();
        Ok(json!({
            field: entries,
            "meta": {"pagination": {
                "page": page,
                "per_page": per_page,
                "previous_page": (page > 1).then(|| page - 1),
                "next_page": (page < last).then(|| page + 1),
                "last_page": last,
                "total_entries": total,
            }},
        }))
    }

    fn sort(&self, entries: &mut [Value]) -> Result<(), Refusal> {
        // The last of several is the least: a stable sort for each, from the last on.
        let orders: Vec<&str> = self.all("sort").collect();
        for order in orders.into_iter().rev() {
            let (field, direction) = order.split_once(':').unwrap_or((order, "asc"));
            if !matches!(
                (field, direction),
                ("id" | "name" | "created", "asc" | "desc")
            ) {
                return Err(Refusal::invalid(format!("cannot sort by '{order}'")));
            }
            entries.sort_by(|left, right| {
                let key = |entry: &Value| {
                    let value = &entry[field];
                    (value.as_u64(), value.as_str().map(str::to_owned))
                };
                let ordering = key(left).cmp(&key(right));
                if direction == "desc" {
                    ordering.reverse()
                } else {
                    ordering
                }
            });
        }
        Ok(())
    }
}
