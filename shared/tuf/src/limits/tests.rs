use serde_json::json;

use super::*;

fn limits() -> Limits {
    serde_json::from_value(json!({
        "schema": Limits::SCHEMA, "network": "n-abcdefgh",
        "front_door_hosts": ["cdn.example.org", "192.0.2.7", "2001:db8::7"],
        "gateway_networks": ["192.0.2.0/24", "2001:db8::/32"],
        "cohorts": ["default"],
    }))
    .unwrap()
}

#[test]
fn plain_urls_of_listed_hosts_are_allowed() {
    for url in [
        "https://cdn.example.org",
        "http://cdn.example.org:8080/a/b-1.2_~",
        "https://CDN.example.ORG",
        "http://192.0.2.7:80",
        "https://[2001:db8::7]",
        "https://[2001:db8:0::7]:8443/x",
    ] {
        assert!(allows_front_door(&limits(), url), "{url}");
    }
}

#[test]
fn urls_that_another_parser_could_read_otherwise_are_refused() {
    for url in [
        "https://evil.example",
        "https://cdn.example.org.evil.example",
        "https://cdn.example.org@evil.example",
        "https://evil.example\\@cdn.example.org",
        "https://cdn.example.org\\.evil.example",
        "https://evil.example#cdn.example.org",
        "https://evil.example?cdn.example.org",
        "https://cdn.example.org:80@evil.example/",
        "https://cdn.example.org:0",
        "https://cdn.example.org:99999",
        "https://cdn.example.org:",
        "https://cdn.example.org/%2e%2e",
        "https://cdn.example.org/\n",
        "https:///cdn.example.org",
        "https:cdn.example.org",
        "ftp://cdn.example.org",
        "HTTPS://cdn.example.org",
        " https://cdn.example.org",
        "https://cdn。example。org",
        "https://[cdn.example.org]",
        "https://[2001:db8::7",
        "https://[::1]2001:db8::7",
        "https://",
        "",
    ] {
        assert!(!allows_front_door(&limits(), url), "{url}");
    }
}

#[test]
fn gateways_outside_the_networks_are_taken_out_and_named() {
    let gateway = |id: &str, endpoint: &str| {
        json!({"id": id, "role": "egress", "region": "r", "endpoint": endpoint, "load": 0,
               "tunnel_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})
    };
    let mut catalog: Catalog = serde_json::from_value(json!({
        "schema": "postern-catalog/1", "network": "n-abcdefgh", "name": "default", "version": 1,
        "changed_at": "2026-11-22T00:00:00Z",
        "front_doors": ["https://cdn.example.org", "https://evil.example"],
        "slices": [{"kind": "open", "gateways": [
            gateway("g-aaaa", "192.0.2.1:51820"), gateway("g-bbbb", "198.51.100.1:51820"),
            gateway("g-cccc", "[2001:db8::1]:51820"), gateway("g-dddd", "[::ffff:198.51.100.1]:1"),
            gateway("g-eeee", "[::ffff:192.0.2.9]:1"),
        ]}],
    }))
    .unwrap();
    let mut skipped = Vec::new();

    enforce(&limits(), &mut catalog, &mut skipped);

    let ids: Vec<&str> = catalog.gateways().map(|g| g.id.as_str()).collect();
    assert_eq!(ids, ["g-aaaa", "g-cccc", "g-eeee"]);
    assert_eq!(catalog.front_doors, ["https://cdn.example.org"]);
    assert_eq!(
        skipped,
        [
            "front door \"https://evil.example\": outside the signed limits",
            "gateway g-bbbb at 198.51.100.1:51820: outside the signed limits",
            "gateway g-dddd at [::ffff:198.51.100.1]:1: outside the signed limits",
        ]
    );
}
