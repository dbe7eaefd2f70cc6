use super::*;
use crate::fixture::{NOW, Repository};
use crate::select::{Request, select};

fn device() -> Device {
    let mut repository = Repository::default();
    repository
        .gateways
        .retain(|gateway| !gateway.id.as_str().contains('2'));
    let mut device = repository.synced_device();
    select(&mut device, &Request::default(), NOW).unwrap();
    device
}

#[test]
fn the_outer_tunnel_carries_nothing_but_the_way_to_the_egress() {
    let device = device();
    let selection = device.selection.clone().unwrap();
    let expected = format!(
        "# Postern, outer tunnel: {} enters at g-in1a (r-1a).\n\
         [Interface]\n\
         PrivateKey = {}\n\
         Address = 100.64.1.44/32, fd00::1/128\n\
         MTU = 1420\n\
         FwMark = 0xca6c\n\
         \n\
         [Peer]\n\
         PublicKey = {}\n\
         Endpoint = 192.0.2.1:51820\n\
         AllowedIPs = 192.0.2.11/32\n\
         PersistentKeepalive = 25\n",
        device.id(),
        device.tunnel.reveal(),
        selection.ingress.tunnel_key,
    );
    assert_eq!(configs(&device, NOW).unwrap().outer, expected);
}

#[test]
fn the_inner_tunnel_carries_everything_with_the_exit_key() {
    let device = device();
    let selection = device.selection.clone().unwrap();
    let expected = format!(
        "# Postern, inner tunnel: {} leaves at g-out1 (r-t1).\n\
         [Interface]\n\
         PrivateKey = {}\n\
         Address = 100.96.1.44/32, fd00::8001/128\n\
         MTU = 1340\n\
         FwMark = 0xca6c\n\
         \n\
         [Peer]\n\
         PublicKey = {}\n\
         Endpoint = 192.0.2.11:51820\n\
         AllowedIPs = 0.0.0.0/0, ::/0\n",
        device.id(),
        device.exit.reveal(),
        selection.egress.tunnel_key,
    );
    assert_eq!(configs(&device, NOW).unwrap().inner, expected);
}

#[test]
fn a_gateway_that_left_the_catalog_is_an_error() {
    let mut device = device();
    device.selection.as_mut().unwrap().egress.id = "g-gone".parse().unwrap();
    let error = configs(&device, NOW).unwrap_err();
    assert_eq!(error.kind(), "not-listed");
}

#[test]
fn a_region_cannot_start_a_line_of_config() {
    assert_eq!(plain("fsn1\nPostUp = rm"), "fsn1\u{fffd}PostUp = rm");
}

#[test]
fn who_has_not_ended_enrolling_is_told_that_first() {
    let mut device = Repository::default().device(&[]);
    device.answer = None;
    assert!(matches!(
        configs(&device, NOW),
        Err(Error::Unfinished { .. })
    ));
}
