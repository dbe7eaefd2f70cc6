"""Drives a Hetzner Cloud with its official client, hcloud-python, through its ordinary calls.

Arguments: the API's base URL, its token. Prints what it found as JSON; what it did not expect is
an exception.
"""

import json
import sys

from hcloud import APIException, Client
from hcloud.firewalls.domain import Firewall, FirewallResource, FirewallRule
from hcloud.images.domain import Image
from hcloud.locations.domain import Location
from hcloud.primary_ips.domain import PrimaryIP
from hcloud.server_types.domain import ServerType
from hcloud.servers.domain import Server, ServerCreatePublicNetwork

url, token = sys.argv[1:]
client = Client(token=token, api_endpoint=url, poll_interval=0.05, timeout=10)
EVERYBODY = ["0.0.0.0/0", "::/0"]
LABELS = {"postern-network": "n-aaaaaaaa", "postern-role": "ingress"}


def refused(code, call):
    """The call is refused with this code."""
    try:
        call()
    except APIException as error:
        assert error.code == code, f"{error.code} and not {code}: {error.message}"
        return
    raise AssertionError(f"not refused with {code}")


# What there is, and for how much.
locations = [location.name for location in client.locations.get_all()]
server_type = client.server_types.get_by_name("cx23")
offers = {place.location.name: place for place in server_type.locations}
prices = {price["location"]: price["price_monthly"]["gross"] for price in server_type.prices}
images = client.images.get_all(name="debian-13", architecture="x86")
pricing = client._client.request("GET", "/pricing")["pricing"]
assert prices["fsn1"] == next(
    price["price_monthly"]["gross"]
    for known in pricing["server_types"]
    if known["name"] == "cx23"
    for price in known["prices"]
    if price["location"] == "fsn1"
)

# A firewall, an address, a server with both.
rules = [
    FirewallRule(direction="in", protocol="udp", port="51820", source_ips=EVERYBODY),
    FirewallRule(direction="in", protocol="icmp", source_ips=EVERYBODY),
]
firewall = client.firewalls.create(name="postern-a", rules=rules, labels=LABELS).firewall
address = client.primary_ips.create(
    name="postern-a",
    type="ipv4",
    location=Location(name="fsn1"),
    labels=LABELS,
).primary_ip
assert address.assignee_id is None
created = client.servers.create(
    name="postern-a",
    server_type=ServerType(name="cx23"),
    image=Image(name="debian-13"),
    location=Location(name="fsn1"),
    firewalls=[Firewall(id=firewall.id)],
    public_net=ServerCreatePublicNetwork(
        enable_ipv4=True, ipv4=PrimaryIP(id=address.id), enable_ipv6=False
    ),
    user_data="#cloud-config\n",
    labels=LABELS,
)
created.action.wait_until_finished()
for action in created.next_actions:
    action.wait_until_finished()
server = client.servers.get_by_name("postern-a")
assert server.status == Server.STATUS_RUNNING, server.status
assert server.public_net.ipv4.ip == address.ip
assert server.public_net.ipv6 is None
assert [bound.firewall.id for bound in server.public_net.firewalls] == [firewall.id]
assert server.location.name == "fsn1" and server.image.name == "debian-13"
assert client.primary_ips.get_by_id(address.id).assignee_id == server.id

# Labels, lists by them, pages.
server.update(labels={**LABELS, "postern-state": "active"})
assert [one.id for one in client.servers.get_all(label_selector="postern-state=active")] == [server.id]
assert client.servers.get_all(label_selector="postern-state!=active") == []
made = [
    client.primary_ips.create(
        name=f"page-{n:02}", type="ipv6", location=Location(name="hel1"), labels={"page": "yes"}
    ).primary_ip
    for n in range(55)
]
paged = client.primary_ips.get_all(label_selector="page=yes")
assert [one.id for one in paged] == [one.id for one in made]
second = client.primary_ips.get_list(label_selector="page=yes", page=2, per_page=50)
assert second.meta.pagination.total_entries == 55 and len(second.primary_ips) == 5
for one in made:
    one.delete()

# What is refused.
refused(
    "uniqueness_error",
    lambda: client.firewalls.create(name="postern-a", rules=rules),
)
refused("server_not_stopped", address.unassign)
refused("must_be_unassigned", address.delete)
refused("resource_in_use", firewall.delete)
refused("not_found", lambda: client.servers.get_by_id(1))
refused(
    "invalid_input",
    lambda: client.firewalls.create(name="postern-b", rules=rules, labels={"a": "2026-11-01T00:00:00Z"}),
)
refused("unauthorized", Client(token="another", api_endpoint=url).servers.get_all)

# Off, address released, all deleted.
server.power_off().wait_until_finished()
assert client.servers.get_by_id(server.id).status == Server.STATUS_OFF
address.unassign().wait_until_finished()
address = client.primary_ips.get_by_id(address.id)
assert address.assignee_id is None
for action in firewall.remove_from_resources([FirewallResource(type="server", server=Server(id=server.id))]):
    action.wait_until_finished()
firewall.delete()
address.delete()
server.delete().wait_until_finished()
left = client.servers.get_all() + client.primary_ips.get_all() + client.firewalls.get_all()

print(
    json.dumps(
        {
            "locations": locations,
            "available": offers["fsn1"].available,
            "images": len(images),
            "currency": pricing["currency"],
            "left": len(left),
        }
    )
)
