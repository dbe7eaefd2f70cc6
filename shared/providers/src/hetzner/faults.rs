//! What each error means for who asked (API documentation, "Errors", and those of each operation).

use http::StatusCode;

use crate::Fault;

/// The class of an error, by its code, or by its status where the code is one that nobody knew.
pub(super) fn class(status: StatusCode, code: Option<&str>) -> Fault {
    let known = code.and_then(by_code);
    known.unwrap_or_else(|| by_status(status))
}

fn by_code(code: &str) -> Option<Fault> {
    Some(match code {
        // A gateway's or a service's trouble: it may have been done.
        "service_error" | "unknown_error" | "server_error" | "bad_gateway" | "timeout"
        | "unavailable" => Fault::Unclear,
        // Something else goes on first: an action, a detachment, a change by somebody else.
        "locked" | "conflict" | "maintenance" | "robot_unavailable" | "resource_in_use"
        | "must_be_unassigned" | "server_not_stopped" => Fault::Retry,
        "rate_limit_exceeded" => Fault::Wait { seconds: 0 },
        // It is so already, or somebody else has it.
        "uniqueness_error"
        | "primary_ip_assigned"
        | "primary_ip_already_assigned"
        | "server_has_ipv4"
        | "server_has_ipv6"
        | "server_already_attached"
        | "server_already_added"
        | "firewall_already_applied" => Fault::Adopt,
        "not_found" | "firewall_resource_not_found" => Fault::Gone,
        "resource_unavailable"
        | "placement_error"
        | "invalid_server_type"
        | "no_space_left_in_location" => Fault::Unavailable,
        "resource_limit_exceeded" => Fault::Limit,
        "unauthorized" | "forbidden" | "token_readonly" => Fault::Credential,
        "invalid_input"
        | "json_error"
        | "protected"
        | "resource_locked"
        | "unsupported_error"
        | "deprecated_api_endpoint"
        | "primary_ip_datacenter_mismatch"
        | "primary_ip_version_mismatch"
        | "incompatible_network_type"
        | "private_net_only_server"
        | "server_is_load_balancer_target"
        | "firewall_managed_by_label_selector" => Fault::Refused,
        _ => return None,
    })
}

fn by_status(status: StatusCode) -> Fault {
    match status.as_u16() {
        401 | 403 => Fault::Credential,
        404 | 410 => Fault::Gone,
        409 | 423 | 425 => Fault::Retry,
        412 => Fault::Unavailable,
        429 => Fault::Wait { seconds: 0 },
        408 | 500.. => Fault::Unclear,
        _ => Fault::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_error_has_its_class() {
        let wait = Fault::Wait { seconds: 0 };
        let table = [
            (401, "unauthorized", Fault::Credential),
            (403, "forbidden", Fault::Credential),
            (403, "token_readonly", Fault::Credential),
            (403, "resource_limit_exceeded", Fault::Limit),
            (404, "not_found", Fault::Gone),
            (409, "uniqueness_error", Fault::Adopt),
            (409, "conflict", Fault::Retry),
            (410, "deprecated_api_endpoint", Fault::Refused),
            (412, "resource_unavailable", Fault::Unavailable),
            (422, "placement_error", Fault::Unavailable),
            (422, "invalid_server_type", Fault::Unavailable),
            (422, "invalid_input", Fault::Refused),
            (422, "primary_ip_assigned", Fault::Adopt),
            (422, "primary_ip_already_assigned", Fault::Adopt),
            (422, "server_has_ipv4", Fault::Adopt),
            (422, "server_has_ipv6", Fault::Adopt),
            (422, "primary_ip_datacenter_mismatch", Fault::Refused),
            (422, "primary_ip_version_mismatch", Fault::Refused),
            (422, "must_be_unassigned", Fault::Retry),
            (422, "server_not_stopped", Fault::Retry),
            (422, "resource_in_use", Fault::Retry),
            (422, "firewall_already_applied", Fault::Adopt),
            (422, "firewall_resource_not_found", Fault::Gone),
            (423, "locked", Fault::Retry),
            (423, "protected", Fault::Refused),
            (423, "resource_locked", Fault::Refused),
            (429, "rate_limit_exceeded", wait),
            (500, "server_error", Fault::Unclear),
            (500, "unknown_error", Fault::Unclear),
            (502, "bad_gateway", Fault::Unclear),
            (503, "unavailable", Fault::Unclear),
            (503, "service_error", Fault::Unclear),
            (503, "maintenance", Fault::Retry),
            (504, "timeout", Fault::Unclear),
        ];
        for (status, code, fault) in table {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(class(status, Some(code)), fault, "{code}");
        }
    }

    #[test]
    fn an_unknown_error_goes_by_its_status() {
        let class = |status, code| class(StatusCode::from_u16(status).unwrap(), code);
        assert_eq!(class(400, None), Fault::Refused);
        assert_eq!(class(404, Some("a_new_code")), Fault::Gone);
        assert_eq!(class(409, Some("a_new_code")), Fault::Retry);
        assert_eq!(class(412, None), Fault::Unavailable);
        assert_eq!(class(422, Some("a_new_code")), Fault::Refused);
        assert_eq!(class(302, None), Fault::Refused);
        assert_eq!(class(599, None), Fault::Unclear);
    }
}
