#!/usr/bin/env python3
"""Drives a DigitalOcean API with pydo. Env: DO_URL (no /v2), DO_TOKEN."""
import base64, os, struct, time
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from pydo import Client


class PlainHttp(SansIOHTTPPolicy):
    """Lets the bearer token go over plain HTTP (otherwise enforce_https=False on every call)."""

    def on_request(self, request):
        request.context.options.setdefault("enforce_https", False)


def client(token):
    # retry_total=0: azure-core would otherwise retry 408, 429 and 5xx up to ten times.
    return Client(token, endpoint=URL, retry_total=0, per_call_policies=[PlainHttp()])


URL, TOKEN = os.environ["DO_URL"], os.environ["DO_TOKEN"]
REGION = os.environ.get("DO_REGION", "fra1")
SIZE = os.environ.get("DO_SIZE", "s-1vcpu-1gb")
IMAGE = os.environ.get("DO_IMAGE", "debian-12-x64")
c = client(TOKEN)
count = 0


def ok(what):
    global count
    count += 1
    print("ok", what, flush=True)


def fails(cls, status, id, f):
    try:
        f()
    except HttpResponseError as e:
        body = e.response.json()
        assert type(e) is cls, type(e)
        assert e.status_code == status, (e.status_code, body)
        assert body["id"] == id and body["message"], body
        return body
    raise AssertionError("no error")


def missing(f):
    """pydo RETURNS the error body, without raising, where DigitalOcean's specification lists a 404."""
    body = f()
    assert body["id"] == "not_found" and body["message"], body


def wait(read, good, tries=200):
    for _ in range(tries):
        x = read()
        if good(x):
            return x
        time.sleep(0.05)
    raise AssertionError(f"never became good: {x}")


def pages(call, key, per_page=2):
    """All items, by page number until links.pages.next is gone; returns items and number of pages."""
    items, n = [], 1
    while True:
        a = call(page=n, per_page=per_page)
        assert len(a[key]) <= per_page and a["meta"]["total"] >= len(a[key]), a
        items += a[key]
        if not (a.get("links") or {}).get("pages", {}).get("next"):
            return items, n
        n += 1


def public_key(n):
    s = lambda b: struct.pack(">I", len(b)) + b
    return "ssh-ed25519 " + base64.b64encode(s(b"ssh-ed25519") + s(os.urandom(31) + bytes([n]))).decode() + f" k{n}"


def action_done(a):
    got = wait(lambda: c.actions.get(a["id"])["action"], lambda x: x["status"] != "in-progress")
    assert got["status"] == "completed", got


# errors of the token
fails(ClientAuthenticationError, 401, "unauthorized", lambda: client("wrong").ssh_keys.list())
ok("a wrong token is ClientAuthenticationError, 401 unauthorized")

# ssh keys
pks = [public_key(i) for i in range(3)]
keys = [c.ssh_keys.create(body={"name": f"key{i}", "public_key": p})["ssh_key"] for i, p in enumerate(pks)]
assert keys[0]["public_key"] == pks[0] and keys[0]["fingerprint"].count(":") == 15, keys[0]
ok("ssh_keys.create three")
got, n = pages(c.ssh_keys.list, "ssh_keys")
assert {k["id"] for k in keys} <= {k["id"] for k in got} and n >= 2, (got, n)
ok(f"ssh_keys.list over {n} pages")
assert c.ssh_keys.get(keys[0]["id"])["ssh_key"] == keys[0] == c.ssh_keys.get(keys[0]["fingerprint"])["ssh_key"]
ok("ssh_keys.get by id and by fingerprint")
assert c.ssh_keys.update(keys[0]["id"], body={"name": "renamed"})["ssh_key"]["name"] == "renamed"
ok("ssh_keys.update")
b = fails(HttpResponseError, 422, "unprocessable_entity", lambda: c.ssh_keys.create(body={"name": "again", "public_key": pks[1]}))
assert b["message"] == "SSH Key is already in use on your account", b
ok("the same public key again is 422 unprocessable_entity")
assert c.ssh_keys.delete(keys[2]["id"]) is None
missing(lambda: c.ssh_keys.get(keys[2]["id"]))
ok("ssh_keys.delete, then get is 404 not_found")

# tags
assert c.tags.create(body={"name": "landfall:demo"})["tag"]["name"] == "landfall:demo"
t = c.tags.get("landfall:demo")["tag"]
assert t["resources"]["count"] == 0, t
ok("tags.create and get")

# droplets
r = c.droplets.create(body={"name": "web0", "region": REGION, "size": SIZE, "image": IMAGE, "ssh_keys": [keys[0]["id"]],
                            "tags": ["landfall:demo"], "user_data": "#cloud-config\n", "monitoring": False, "ipv6": True})
d0 = r["droplet"]
assert d0["status"] == "new" and r["links"]["actions"][0]["rel"] == "create", r
action_done(r["links"]["actions"][0])
d0 = wait(lambda: c.droplets.get(d0["id"])["droplet"], lambda d: d["status"] == "active" and d["networks"]["v4"])
assert any(a["type"] == "public" for a in d0["networks"]["v4"]) and d0["tags"] == ["landfall:demo"], d0
ok("droplets.create, its action, then active with an address")
r = c.droplets.create(body={"names": ["web1", "web2"], "region": REGION, "size": SIZE, "image": IMAGE, "tags": ["landfall:demo"]})
assert [d["name"] for d in r["droplets"]] == ["web1", "web2"] and len(r["links"]["actions"]) == 2, r
for a in r["links"]["actions"]:
    action_done(a)
ok("droplets.create with names")
got, n = pages(c.droplets.list, "droplets")
assert {"web0", "web1", "web2"} <= {d["name"] for d in got} and n >= 2
ok(f"droplets.list over {n} pages")
assert len(c.droplets.list(tag_name="landfall:demo")["droplets"]) == 3
assert [d["id"] for d in c.droplets.list(name="web0")["droplets"]] == [d0["id"]]
ok("droplets.list by tag_name and by name")
a = c.droplet_actions.post(d0["id"], body={"type": "rename", "name": "www"})["action"]
action_done(a)
assert c.droplets.get(d0["id"])["droplet"]["name"] == "www"
ok("droplet_actions.post rename")
fails(HttpResponseError, 422, "unprocessable_entity", lambda: c.droplets.create(body={"name": "x", "region": REGION, "image": IMAGE}))
ok("a droplet without a size is 422 unprocessable_entity")
c.tags.create(body={"name": "extra"})
c.tags.assign_resources("extra", body={"resources": [{"resource_id": str(d0["id"]), "resource_type": "droplet"}]})
assert "extra" in c.droplets.get(d0["id"])["droplet"]["tags"]
c.tags.unassign_resources("extra", body={"resources": [{"resource_id": str(d0["id"]), "resource_type": "droplet"}]})
assert "extra" not in c.droplets.get(d0["id"])["droplet"]["tags"]
ok("tags.assign_resources and unassign_resources")
c.tags.create(body={"name": "third"})
got, n = pages(c.tags.list, "tags")
assert {"landfall:demo", "extra", "third"} <= {t["name"] for t in got} and n >= 2
ok(f"tags.list over {n} pages")

# firewalls
rule = {"protocol": "tcp", "ports": "22", "sources": {"addresses": ["0.0.0.0/0", "::/0"]}}
out = {"protocol": "tcp", "ports": "all", "destinations": {"addresses": ["0.0.0.0/0", "::/0"]}}
f = c.firewalls.create(body={"name": "fw0", "inbound_rules": [rule], "outbound_rules": [out], "droplet_ids": [d0["id"]]})["firewall"]
assert f["status"] in ("waiting", "succeeded"), f
wait(lambda: c.firewalls.get(f["id"])["firewall"], lambda x: x["status"] == "succeeded")
ok("firewalls.create, then succeeded")
fails(ResourceExistsError, 409, "conflict", lambda: c.firewalls.create(body={"name": "fw0", "inbound_rules": [rule], "outbound_rules": [out]}))
ok("the same firewall name again is ResourceExistsError, 409 conflict")
for i in (1, 2):
    c.firewalls.create(body={"name": f"fw{i}", "inbound_rules": [rule]})
got, n = pages(c.firewalls.list, "firewalls")
assert {"fw0", "fw1", "fw2"} <= {x["name"] for x in got} and n >= 2
ok(f"firewalls.list over {n} pages")
c.firewalls.add_rules(f["id"], body={"inbound_rules": [dict(rule, ports="443")]})
assert len(c.firewalls.get(f["id"])["firewall"]["inbound_rules"]) == 2
u = c.firewalls.update(f["id"], body={"name": "fw0", "inbound_rules": [dict(rule, ports="80")], "outbound_rules": [out]})["firewall"]
assert [x["ports"] for x in u["inbound_rules"]] == ["80"] and u["droplet_ids"] in ([], None), u
ok("firewalls.add_rules; update overwrites everything")
c.firewalls.assign_droplets(f["id"], body={"droplet_ids": [d0["id"]]})
assert c.firewalls.get(f["id"])["firewall"]["droplet_ids"] == [d0["id"]]
c.firewalls.delete_droplets(f["id"], body={"droplet_ids": [d0["id"]]})
for x in c.firewalls.list()["firewalls"]:
    if x["name"] in ("fw0", "fw1", "fw2"):
        c.firewalls.delete(x["id"])
missing(lambda: c.firewalls.get(f["id"]))
ok("firewalls.assign_droplets, delete_droplets, delete")

# volumes
vs = [c.volumes.create(body={"name": f"data{i}", "size_gigabytes": 10, "region": REGION, "filesystem_type": "ext4", "tags": ["landfall:demo"]})["volume"] for i in range(3)]
got, n = pages(c.volumes.list, "volumes")
assert {v["id"] for v in vs} <= {v["id"] for v in got} and n >= 2
assert [v["id"] for v in c.volumes.list(name="data1")["volumes"]] == [vs[1]["id"]]
ok(f"volumes.create, list over {n} pages, list by name")
fails(ResourceExistsError, 409, "conflict", lambda: c.volumes.create(body={"name": "data0", "size_gigabytes": 10, "region": REGION}))
ok("the same volume name again is 409 conflict")


def volume_action(**body):
    a = c.volume_actions.post_by_id(vs[0]["id"], body=body)["action"]
    wait(lambda: c.volume_actions.get(vs[0]["id"], a["id"])["action"], lambda x: x["status"] == "completed")
    return c.volumes.get(vs[0]["id"])["volume"]


assert volume_action(type="attach", droplet_id=d0["id"], region=REGION)["droplet_ids"] == [d0["id"]]
assert volume_action(type="resize", size_gigabytes=20, region=REGION)["size_gigabytes"] == 20
assert volume_action(type="detach", droplet_id=d0["id"], region=REGION)["droplet_ids"] == []
ok("volume_actions attach, resize, detach")
for v in vs:
    c.volumes.delete(v["id"])
missing(lambda: c.volumes.get(vs[0]["id"]))
ok("volumes.delete")

# reserved IPs
ips = [c.reserved_ips.create(body={"region": REGION})["reserved_ip"] for _ in range(3)]
got, n = pages(c.reserved_ips.list, "reserved_ips")
assert {x["ip"] for x in ips} <= {x["ip"] for x in got} and n >= 2
ok(f"reserved_ips.create, list over {n} pages")
ip = ips[0]["ip"]


def ip_action(**body):
    a = c.reserved_ips_actions.post(ip, body=body)["action"]
    wait(lambda: c.reserved_ips_actions.get(ip, a["id"])["action"], lambda x: x["status"] == "completed")
    return c.reserved_ips.get(ip)["reserved_ip"]["droplet"]


assert ip_action(type="assign", droplet_id=d0["id"])["id"] == d0["id"]
assert ip_action(type="unassign") is None
for x in ips:
    c.reserved_ips.delete(x["ip"])
missing(lambda: c.reserved_ips.get(ip))
ok("reserved_ips_actions assign, unassign; reserved_ips.delete")

# the end
c.droplets.destroy(d0["id"])
missing(lambda: c.droplets.get(d0["id"]))
c.droplets.destroy_by_tag(tag_name="landfall:demo")
assert c.droplets.list(tag_name="landfall:demo")["droplets"] == []
ok("droplets.destroy and destroy_by_tag")
for t in ("landfall:demo", "extra", "third"):
    c.tags.delete(t)
missing(lambda: c.tags.get("extra"))
for k in keys[:2]:
    c.ssh_keys.delete(k["id"])
ok("tags.delete, ssh_keys.delete")
print(f"{count} passed, 0 failed")
