#!/usr/bin/env python3
"""Drives a Cloudflare API with cloudflare (pip). Env: CF_URL (with /client/v4), CF_TOKEN, CF_ACCOUNT, CF_DOMAIN."""
import os
import cloudflare
from cloudflare import Cloudflare

URL, TOKEN = os.environ["CF_URL"], os.environ["CF_TOKEN"]
ACCOUNT = os.environ["CF_ACCOUNT"]
DOMAIN = os.environ.get("CF_DOMAIN", "landfall-demo.com")
# max_retries=0: otherwise 408, 409, 429 and 5xx are sent again twice.
c = Cloudflare(api_token=TOKEN, base_url=URL, max_retries=0)
count = 0


def ok(what):
    global count
    count += 1
    print("ok", what, flush=True)


def fails(cls, code, f):
    """code: one or several that may be the first of the errors."""
    try:
        f()
    except cloudflare.APIStatusError as e:
        assert type(e) is cls, (type(e), e.body)
        assert e.body["success"] is False and e.errors[0].message, e.body
        assert e.errors[0].code in (code if isinstance(code, tuple) else (code,)), e.body
        return e
    raise AssertionError("no error")


def pages(first, per_page):
    """All items, page by page until an empty page; returns items and number of pages that had some."""
    items, n, page = [], 0, first
    while page.result:
        assert len(page.result) <= per_page and page.result_info.page == n + 1, page.result_info
        items, n = items + page.result, n + 1
        page = page.get_next_page() if page.has_next_page() else type(page)(result=[])
    return items, n


# token
assert c.user.tokens.verify().status == "active"
fails(cloudflare.AuthenticationError, (1000, 10000), lambda: Cloudflare(api_token="wrong", base_url=URL, max_retries=0).user.tokens.verify())
ok("user.tokens.verify: active; a wrong token is AuthenticationError")

# zones
zones = [c.zones.create(account={"id": ACCOUNT}, name=f"{p}{DOMAIN}", type="full") for p in ("", "a-", "b-")]
z = zones[0]
assert z.name == DOMAIN and z.status in ("initializing", "pending") and len(z.name_servers) >= 2, z
fails(cloudflare.BadRequestError, 1061, lambda: c.zones.create(account={"id": ACCOUNT}, name=DOMAIN))
ok("zones.create, pending with name servers; again is 1061")
got, n = pages(c.zones.list(per_page=5), 5)
assert {x.id for x in zones} <= {x.id for x in got}
assert [x.id for x in c.zones.list(name=DOMAIN)] == [z.id] and c.zones.get(zone_id=z.id).name == DOMAIN
assert c.zones.edit(zone_id=z.id, paused=True).paused is True and c.zones.edit(zone_id=z.id, paused=False).paused is False
ok("zones.list, by name, get, edit paused")

# dns records
rec = c.dns.records
a = rec.create(zone_id=z.id, type="A", name="www", content="203.0.113.1", ttl=300, proxied=False, comment="landfall:demo")
assert a.name == f"www.{DOMAIN}" and a.ttl == 300 and a.proxied is False and a.comment == "landfall:demo", a
apex = rec.create(zone_id=z.id, type="AAAA", name="@", content="2001:db8::1", ttl=1)
mx = rec.create(zone_id=z.id, type="MX", name=DOMAIN, content="mx.example.net", priority=10, ttl=3600)
txt = rec.create(zone_id=z.id, type="TXT", name="_dmarc", content='"v=DMARC1; p=none"', ttl=1)
assert apex.name == DOMAIN and mx.priority == 10, (apex, mx)
ok("dns.records.create A, AAAA, MX, TXT; names come back in full")
fails(cloudflare.BadRequestError, (81057, 81058), lambda: rec.create(zone_id=z.id, type="A", name="www", content="203.0.113.1", ttl=300))
fails(cloudflare.BadRequestError, (81053, 81054), lambda: rec.create(zone_id=z.id, type="CNAME", name="www", content="example.net", ttl=1))
fails(cloudflare.BadRequestError, (9005, 1004), lambda: rec.create(zone_id=z.id, type="A", name="bad", content="nonsense", ttl=1))
ok("dns.records.create again is 81058, a CNAME beside it 81053, a bad address 9005")
for i in range(8):
    rec.create(zone_id=z.id, type="A", name=f"h{i}", content=f"203.0.113.{10 + i}", ttl=1)
got, n = pages(rec.list(zone_id=z.id, per_page=5), 5)
assert len({x.id for x in got}) == 12 == len(got) and n == 3, (len(got), n)
assert len(list(rec.list(zone_id=z.id, per_page=5))) == 12
ok("dns.records.list over three pages, also by iteration")
assert [x.id for x in rec.list(zone_id=z.id, type="TXT")] == [txt.id]
assert [x.id for x in rec.list(zone_id=z.id, name={"exact": f"www.{DOMAIN}"})] == [a.id]
assert [x.id for x in rec.list(zone_id=z.id, comment={"contains": "landfall:"})] == [a.id]
ok("dns.records.list by type, name.exact, comment.contains")
e = rec.edit(dns_record_id=a.id, zone_id=z.id, type="A", name="www", ttl=1, content="203.0.113.2", proxied=True)
assert e.id == a.id and e.content == "203.0.113.2" and e.proxied is True and e.comment == "landfall:demo", e
p = rec.update(dns_record_id=a.id, zone_id=z.id, type="A", name=f"www.{DOMAIN}", ttl=120, content="203.0.113.3")
assert p.content == "203.0.113.3" and p.proxied is False and not p.comment, p
assert rec.get(dns_record_id=a.id, zone_id=z.id).content == "203.0.113.3"
ok("dns.records.edit keeps, update resets what is not named; get")
b = rec.batch(zone_id=z.id, deletes=[{"id": txt.id}], patches=[{"id": a.id, "type": "A", "name": "www", "ttl": 1, "content": "203.0.113.4"}],
              puts=[{"id": mx.id, "type": "MX", "name": DOMAIN, "ttl": 1, "content": "mx2.example.net", "priority": 5}],
              posts=[{"type": "TXT", "name": "_dmarc", "ttl": 1, "content": '"v=DMARC1; p=reject"'}])
assert b.deletes[0].id == txt.id and b.patches[0].content == "203.0.113.4" and b.puts[0].priority == 5 and b.posts[0].id, b
fails(cloudflare.BadRequestError, 81044, lambda: rec.batch(zone_id=z.id, deletes=[{"id": "0" * 32}], posts=[{"type": "A", "name": "no", "ttl": 1, "content": "203.0.113.9"}]))
assert not list(rec.list(zone_id=z.id, name={"exact": f"no.{DOMAIN}"}))
ok("dns.records.batch; one that fails changes nothing")
assert rec.delete(dns_record_id=a.id, zone_id=z.id).id == a.id
fails(cloudflare.NotFoundError, 81044, lambda: rec.get(dns_record_id=a.id, zone_id=z.id))
ok("dns.records.delete, then get is NotFoundError 81044")

# settings
for k, v in (("ssl", "strict"), ("always_use_https", "on"), ("min_tls_version", "1.2")):
    assert c.zones.settings.edit(k, zone_id=z.id, value=v).value == v
    assert c.zones.settings.get(k, zone_id=z.id).value == v
fails(cloudflare.BadRequestError, (1005, 1006), lambda: c.zones.settings.edit("no_such", zone_id=z.id, value="on"))
ok("zones.settings edit and get; an unknown one is refused")

# dnssec
assert c.dns.dnssec.get(zone_id=z.id).status == "disabled"
d = c.dns.dnssec.edit(zone_id=z.id, status="active")
assert d.status in ("pending", "active") and d.ds and d.key_tag is not None, d
c.dns.dnssec.edit(zone_id=z.id, status="disabled")
c.dns.dnssec.delete(zone_id=z.id)
assert c.dns.dnssec.get(zone_id=z.id).status in ("disabled", "pending-disabled")
ok("dns.dnssec get, edit, delete")

for x in zones:
    assert c.zones.delete(zone_id=x.id).id == x.id
assert not list(c.zones.list(name=DOMAIN))
ok("zones.delete")
print(f"{count} passed, 0 failed")
