#!/usr/bin/env python3
"""Drives a Hetzner Cloud API with hcloud (pip). Env: HCLOUD_URL (with /v1), HCLOUD_TOKEN, HCLOUD_READ_ONLY_TOKEN (optional)."""
import base64, os, struct, time
from hcloud import APIException, Client
from hcloud.firewalls import FirewallResource, FirewallRule
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType
from hcloud.servers import ServerCreatePublicNetwork

URL, TOKEN = os.environ["HCLOUD_URL"], os.environ["HCLOUD_TOKEN"]
RO = os.environ.get("HCLOUD_READ_ONLY_TOKEN")
LOC = Location(name=os.environ.get("HCLOUD_LOCATION", "fsn1"))
TYPE = ServerType(name=os.environ.get("HCLOUD_TYPE", "cx23"))
IMAGE = Image(name=os.environ.get("HCLOUD_IMAGE", "debian-12"))
client = lambda token: Client(token, api_endpoint=URL, poll_interval=0.05, poll_max_retries=400, timeout=20)
c = client(TOKEN)
LABELS = {"landfall": "demo"}
count = 0


def ok(what):
    global count
    count += 1
    print("ok", what, flush=True)


def fails(code, f):
    try:
        f()
    except APIException as e:
        assert e.code == code, (e.code, e.message, e.details)
        return e
    raise AssertionError(f"no {code}")


def public_key(n):
    s = lambda b: struct.pack(">I", len(b)) + b
    return "ssh-ed25519 " + base64.b64encode(s(b"ssh-ed25519") + s(os.urandom(31) + bytes([n]))).decode() + f" k{n}"


def two_pages(resource, mine):
    """Lists with per_page=1: at least two pages, no item twice; then all."""
    p1 = resource.get_list(page=1, per_page=1, label_selector="landfall=demo")
    p2 = resource.get_list(page=2, per_page=1, label_selector="landfall=demo")
    (a,), (b,) = p1[0], p2[0]
    assert a.id != b.id and p1.meta.pagination.next_page == 2 and p2.meta.pagination.previous_page == 1
    assert p1.meta.pagination.total_entries == len(mine) and p1.meta.pagination.last_page == len(mine)
    assert {x.id for x in mine} <= {x.id for x in resource.get_all()}
    assert resource.get_by_name(mine[0].name).id == mine[0].id  # volumes.get_all takes no name


def gone(f):
    fails("not_found", f)


# tokens
fails("unauthorized", lambda: client("x" * 64).servers.get_all())
ok("a wrong token is unauthorized")
if RO:
    fails("token_readonly", lambda: client(RO).ssh_keys.create(name="ro", public_key=public_key(9)))
    client(RO).ssh_keys.get_all()
    ok("a read-only token may list, and is token_readonly on create")

# ssh keys
pk = [public_key(i) for i in range(2)]
keys = [c.ssh_keys.create(name=f"key{i}", public_key=p, labels=LABELS) for i, p in enumerate(pk)]
assert c.ssh_keys.get_by_id(keys[0].id).public_key == pk[0]
assert c.ssh_keys.get_by_fingerprint(keys[0].fingerprint).id == keys[0].id
ok("ssh_keys create, get_by_id, get_by_fingerprint")
two_pages(c.ssh_keys, keys)
ok("ssh_keys over two pages, by label, by name")
u = c.ssh_keys.update(keys[1], name="renamed", labels={**LABELS, "more": "1"})
assert u.name == "renamed" and u.labels == {"landfall": "demo", "more": "1"}
fails("uniqueness_error", lambda: c.ssh_keys.create(name="again", public_key=pk[0]))
ok("ssh_keys update; the same public key again is uniqueness_error")

# catalogue
t = c.server_types.get_by_name(TYPE.name)
assert t.cores and t.prices[0]["price_monthly"]["gross"] and c.locations.get_by_name(LOC.name).network_zone
assert c.images.get_by_name_and_architecture(IMAGE.name, t.architecture).id
ok("server_types, locations, images")

# firewalls
rule = lambda port: FirewallRule(direction="in", protocol="tcp", port=port, source_ips=["0.0.0.0/0", "::/0"])
fws = [c.firewalls.create(name=f"fw{i}", rules=[rule("22")], labels=LABELS).firewall for i in range(2)]
two_pages(c.firewalls, fws)
for a in c.firewalls.set_rules(fws[0], [rule("22"), rule("80-85")]):
    a.wait_until_finished()
assert [r.port for r in c.firewalls.get_by_id(fws[0].id).rules] == ["22", "80-85"]
fails("uniqueness_error", lambda: c.firewalls.create(name="fw0"))
ok("firewalls create, two pages, set_rules; a name again is uniqueness_error")

# primary IPs
ips = [c.primary_ips.create(type="ipv4", name=f"ip{i}", location=LOC, labels=LABELS) for i in range(2)]
for x in ips:
    if x.action:
        x.action.wait_until_finished()
ips = [x.primary_ip for x in ips]
two_pages(c.primary_ips, ips)
assert c.primary_ips.update(ips[0], auto_delete=False, name="ip-a").name == "ip-a"
ok("primary_ips create, two pages, update")

# servers, with their actions
r = c.servers.create(name="web0", server_type=TYPE, image=IMAGE, location=LOC, ssh_keys=[keys[0]], firewalls=[fws[0]], labels=LABELS,
                     user_data="#cloud-config\n", public_net=ServerCreatePublicNetwork(ipv4=ips[0], enable_ipv6=True))
assert r.server.status == "initializing" and r.root_password is None, r.server.status
r.action.wait_until_finished()
for a in r.next_actions:
    a.wait_until_finished()
s0 = c.servers.get_by_id(r.server.id)
assert s0.status == "running" and s0.public_net.ipv4.ip == ips[0].ip and s0.public_net.ipv6.ip, s0.data_model
ok("servers.create on a primary IP; action and next_actions; running")
r = c.servers.create(name="web1", server_type=TYPE, image=IMAGE, location=LOC, labels=LABELS, start_after_create=False)
assert r.root_password
r.action.wait_until_finished()
for a in r.next_actions:
    a.wait_until_finished()
s1 = c.servers.get_by_id(r.server.id)
assert s1.status == "off", s1.status
ok("servers.create without a key gives a root password; start_after_create=False leaves it off")
two_pages(c.servers, [s0, s1])
ok("servers over two pages")
fails("uniqueness_error", lambda: c.servers.create(name="web0", server_type=TYPE, image=IMAGE, location=LOC))
e = fails("invalid_input", lambda: c.servers.create(name="no_good!", server_type=TYPE, image=IMAGE, location=LOC))
assert e.details["fields"], e.details
ok("servers.create: uniqueness_error and invalid_input with fields")
assert c.servers.update(s1, name="web-b", labels=LABELS).name == "web-b"
s1.power_on().wait_until_finished()
assert c.servers.get_by_id(s1.id).status == "running"
s1.shutdown().wait_until_finished()
s1.power_off().wait_until_finished()
assert c.servers.get_by_id(s1.id).status == "off"
ok("servers update, power_on, shutdown, power_off")
assert [a.command for a in s0.get_actions()][0] and c.actions.get_by_id(s0.get_actions()[0].id).status == "success"
ok("servers.get_actions and actions.get_by_id")

# firewall on a server
for a in c.firewalls.apply_to_resources(fws[0], [FirewallResource(type="server", server=s1)]):
    a.wait_until_finished()
fails("resource_in_use", lambda: c.firewalls.delete(fws[0]))
for a in c.firewalls.remove_from_resources(fws[0], [FirewallResource(type="server", server=s1), FirewallResource(type="server", server=s0)]):
    a.wait_until_finished()
ok("firewalls apply_to_resources, remove_from_resources; delete meanwhile is resource_in_use")

# volumes
vs = []
for i in range(2):
    r = c.volumes.create(size=10, name=f"data{i}", location=LOC, format="ext4", labels=LABELS)
    if r.action:
        r.action.wait_until_finished()
    for a in r.next_actions:
        a.wait_until_finished()
    vs.append(r.volume)
two_pages(c.volumes, vs)
v = vs[0]
v.attach(s0, automount=False).wait_until_finished()
assert c.volumes.get_by_id(v.id).server.id == s0.id and c.servers.get_by_id(s0.id).volumes[0].id == v.id
v.resize(20).wait_until_finished()
assert c.volumes.get_by_id(v.id).size == 20
v.detach().wait_until_finished()
assert c.volumes.get_by_id(v.id).server is None
assert c.volumes.update(v, name="data-a").name == "data-a"
for x in vs:
    assert c.volumes.delete(x)
gone(lambda: c.volumes.get_by_id(v.id))
ok("volumes create, two pages, attach, resize, detach, update, delete")

# the end
for s in (s0, s1):
    a = c.servers.delete(s)
    a.wait_until_finished()
gone(lambda: c.servers.get_by_id(s0.id))
for f in fws:
    assert c.firewalls.delete(f)
assert c.primary_ips.get_by_id(ips[0].id).assignee_id is None
for x in ips:
    assert c.primary_ips.delete(x)
for k in keys:
    assert c.ssh_keys.delete(k)
gone(lambda: c.ssh_keys.get_by_id(keys[0].id))
for x in (c.servers, c.firewalls, c.volumes, c.primary_ips, c.ssh_keys):
    assert x.get_all(label_selector="landfall=demo") == []
ok("all deleted; get_by_id is not_found")
print(f"{count} passed, 0 failed")
