//! What Hetzner rents, where, for how much: `/locations`, `/server_types`, `/images`, `/pricing`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{ImageName, RegionName};
use serde_json::Value;

use super::client::Client;
use super::wire::parsed;
use crate::{Family, ImageOffer, Offers, Price, ProviderError, RegionOffer, SizeOffer};

pub(super) async fn read(client: &Client) -> Result<Offers, ProviderError> {
    let answer = client.read("read the prices", "/pricing").await?;
    let pricing = &answer.body["pricing"];
    let currency = parsed(&pricing["currency"]);
    let mut offers = Offers {
        currency: currency.ok_or_else(|| answer.unreadable("a currency"))?,
        regions: BTreeSet::new(),
        sizes: BTreeMap::new(),
        images: BTreeMap::new(),
        addresses: BTreeMap::new(),
    };
    for entry in pricing["primary_ips"].as_array().into_iter().flatten() {
        let family = match entry["type"].as_str() {
            Some("ipv4") => Family::Ipv4,
            Some("ipv6") => Family::Ipv6,
            _ => continue,
        };
        offers.addresses.insert(family, prices(entry));
    }
    for page in client.pages("locations", &[]).await? {
        let names = page.entries("locations")?.iter();
        offers
            .regions
            .extend(names.filter_map(|entry| parsed::<RegionName>(&entry["name"])));
    }
    for page in client.pages("server_types", &[]).await? {
        for entry in page.entries("server_types")? {
            if let (Some(name), Some(size)) = (parsed(&entry["name"]), size(entry, page.date)) {
                offers.sizes.insert(name, size);
            }
        }
    }
    // Deprecated images are not in this list unless they are asked for.
    let query = [("type", "system"), ("status", "available")];
    for page in client.pages("images", &query).await? {
        for entry in page.entries("images")? {
            add_image(&mut offers.images, entry);
        }
    }
    Ok(offers)
}

fn size(entry: &Value, now: Option<Timestamp>) -> Option<SizeOffer> {
    let listed = entry["locations"].as_array();
    let offered = |region: &RegionName| {
        // Before the list there was, a price in a region was an offer there.
        let Some(listed) = listed else {
            return !is_over(&entry["deprecation"], now);
        };
        let is_here = |place: &&Value| place["name"].as_str() == Some(region.as_str());
        listed.iter().find(is_here).is_some_and(|place| {
            place["available"].as_bool().unwrap_or(true)
                && !is_over(&place["deprecation"], now)
                && !is_over(&entry["deprecation"], now)
        })
    };
    let regions = prices(entry).into_iter().map(|(region, price)| {
        let available = offered(&region);
        (region, RegionOffer { price, available })
    });
    Some(SizeOffer {
        architecture: entry["architecture"].as_str()?.to_owned(),
        regions: regions.collect(),
    })
}

/// Whether the last day has passed on which somebody got one.
fn is_over(deprecation: &Value, now: Option<Timestamp>) -> bool {
    let after = parsed::<Timestamp>(&deprecation["unavailable_after"]);
    after.zip(now).is_some_and(|(after, now)| after <= now)
}

/// The prices by region. One that cannot be read is none: what has no price cannot be capped.
fn prices(entry: &Value) -> BTreeMap<RegionName, Price> {
    let prices = entry["prices"].as_array().into_iter().flatten();
    let prices = prices.filter_map(|price| {
        let read = Price {
            hour: parsed(&price["price_hourly"]["gross"])?,
            month: parsed(&price["price_monthly"]["gross"])?,
        };
        Some((parsed(&price["location"])?, read))
    });
    prices.collect()
}

/// An image is rented by its name, of which there is one for each architecture, or by its number.
fn add_image(images: &mut BTreeMap<ImageName, ImageOffer>, entry: &Value) {
    let number = entry["id"].as_u64().map(|id| id.to_string());
    let number = number.and_then(|number| number.parse().ok());
    let names = parsed::<ImageName>(&entry["name"])
        .into_iter()
        .chain(number);
    let Some(architecture) = entry["architecture"].as_str() else {
        return;
    };
    for name in names {
        let image = images.entry(name).or_insert_with(|| ImageOffer {
            architectures: BTreeSet::new(),
        });
        image.architectures.insert(architecture.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(locations: &Value) -> Value {
        let price = json!({"gross": "0.0056000000"});
        json!({
            "name": "cx23",
            "architecture": "x86",
            "prices": [{"location": "fsn1", "price_hourly": price, "price_monthly": price},
                {"location": "odd", "price_hourly": {"gross": "free"}, "price_monthly": price}],
            "locations": locations,
        })
    }

    fn is_available(locations: &Value) -> bool {
        let now = "2026-11-01T00:00:00Z".parse().ok();
        let size = size(&entry(locations), now).unwrap();
        assert_eq!(size.regions.len(), 1, "what has no price is not offered");
        size.regions[&"fsn1".parse().unwrap()].available
    }

    #[test]
    fn availability_is_what_the_list_says_or_that_there_is_a_price() {
        let ended = |day: &str| json!({"unavailable_after": format!("{day}T00:00:00Z")});
        assert!(is_available(&json!([{"name": "fsn1", "available": true}])));
        assert!(!is_available(
            &json!([{"name": "fsn1", "available": false}])
        ));
        assert!(is_available(&json!([{"name": "fsn1"}])));
        assert!(is_available(&Value::Null));
        assert!(!is_available(&json!([{"name": "nbg1", "available": true}])));
        let place = |deprecation: Value| json!([{"name": "fsn1", "available": true, "deprecation": deprecation}]);
        assert!(is_available(&place(ended("2026-11-02"))));
        assert!(!is_available(&place(ended("2026-10-31"))));
    }

    #[test]
    fn an_image_has_a_name_for_all_architectures_and_a_number_for_one() {
        let mut images = BTreeMap::new();
        add_image(
            &mut images,
            &json!({"id": 1, "name": "debian-13", "architecture": "x86"}),
        );
        add_image(
            &mut images,
            &json!({"id": 2, "name": "debian-13", "architecture": "arm"}),
        );
        add_image(
            &mut images,
            &json!({"id": 3, "name": "ubuntu-24.04", "architecture": "x86"}),
        );
        let counts = images
            .iter()
            .map(|(name, image)| (name.as_str(), image.architectures.len()));
        assert_eq!(
            counts.collect::<Vec<_>>(),
            [
                ("1", 1),
                ("2", 1),
                ("3", 1),
                ("debian-13", 2),
                ("ubuntu-24.04", 1)
            ]
        );
    }
}
