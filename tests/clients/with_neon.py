#!/usr/bin/env python3
"""Drives a Neon API with neon-api (pip). Env: NEON_URL (with /api/v2, no slash at the end), NEON_TOKEN, NEON_ORG (optional)."""
import json, os, time
import neon_api.client
from neon_api import NeonAPI
from neon_api.exceptions import NeonAPIError

URL, TOKEN = os.environ["NEON_URL"].rstrip("/") + "/", os.environ["NEON_TOKEN"]
ORG = {"org_id": os.environ["NEON_ORG"]} if os.environ.get("NEON_ORG") else {}
c = NeonAPI(TOKEN, base_url=URL)
count = 0


def ok(what):
    global count
    count += 1
    print("ok", what, flush=True)


def raw(f, *args, **kw):
    """The answer as a plain dict: the client's dataclasses drop pagination, connection_uris and (of some) operations."""
    neon_api.client.ENABLE_PYDANTIC = False
    try:
        return f(*args, **kw)
    finally:
        neon_api.client.ENABLE_PYDANTIC = True


def fails(status, f):
    try:
        f()
    except NeonAPIError as e:
        body = json.loads(str(e))  # the text of the answer is all that the exception has
        assert e.__context__.response.status_code == status, (e.__context__, body)
        assert isinstance(body["code"], str) and body["message"], body
        return body
    raise AssertionError("no error")


def retry_locked(f, *args, **kw):
    """423: a resource with running operations takes no other change."""
    for _ in range(200):
        try:
            return f(*args, **kw)
        except NeonAPIError as e:
            if e.__context__.response.status_code != 423:
                raise
            time.sleep(0.05)
    raise AssertionError("locked for ever")


def done(pid, operations):
    for o in operations:
        o = o if isinstance(o, dict) else o.__dict__
        for _ in range(200):
            s = c.operation(pid, o["id"]).operation.status.value
            if s in ("finished", "skipped"):
                break
            assert s in ("scheduling", "running"), s
            time.sleep(0.05)
        else:
            raise AssertionError(f"{o} never finished")


def pages(f, key, limit, *args):
    items, n, cursor = [], 0, None
    while True:
        a = raw(f, *args, limit=limit, cursor=cursor)
        if not a[key]:
            return items, n
        assert len(a[key]) <= limit
        items, n, cursor = items + a[key], n + 1, (a.get("pagination") or {}).get("cursor") or (a.get("pagination") or {}).get("next")
        if not cursor:
            return items, n


fails(401, lambda: NeonAPI("wrong", base_url=URL).projects())
ok("a wrong key is NeonAPIError, 401")

# projects
made = raw(c.project_create, project={"name": "demo", "pg_version": 17, "region_id": "aws-eu-central-1", **ORG})
pid = made["project"]["id"]
assert made["branch"]["default"] and made["endpoints"] and made["operations"] and made["connection_uris"][0]["connection_uri"].startswith("postgresql://"), made
done(pid, made["operations"])
others = [c.project_create(project={"name": f"other{i}", **ORG}).project for i in range(2)]
ok("project_create with branch, endpoint, connection_uris; its operations finish")
got, n = pages(c.projects, "projects", 1)
assert {pid, *(p.id for p in others)} <= {p["id"] for p in got} and n >= 3, (got, n)
assert pid in [p.id for p in c.projects().projects] and c.project(pid).project.name == "demo"
ok(f"projects over {n} pages, project")
assert retry_locked(c.project_update, pid, project={"name": "renamed"}).project.name == "renamed"
fails(400, lambda: c.project_create(project={"name": "bad", "pg_version": 3, **ORG}))
fails(404, lambda: c.project("no-such-project-12345678"))
ok("project_update; a bad pg_version is 400, an unknown project 404")

# branches
main = made["branch"]["id"]
b = retry_locked(c.branch_create, pid, branch={"name": "dev"}, endpoints=[{"type": "read_write"}])
dev = b.branch.id
assert b.branch.name == "dev" and b.branch.parent_id == main and b.operations, b
done(pid, b.operations)
got, n = pages(c.branches, "branches", 1, pid)
assert {x["id"] for x in got} == {main, dev} and n == 2, (got, n)
u = retry_locked(c.branch_update, pid, dev, branch={"name": "dev2"})
assert u.branch.name == "dev2" and c.branch(pid, dev).branch.name == "dev2"
ok("branch_create, branches over two pages, branch_update, branch")

# roles
r = retry_locked(c.role_create, pid, main, "app")
assert r.role.name == "app" and r.role.password and r.operations
done(pid, r.operations)
assert "app" in [x.name for x in c.roles(pid, main).roles] and c.role(pid, main, "app").role.name == "app"
r2 = retry_locked(c.role_password_reset, pid, main, "app")
assert r2.role.password and r2.role.password != r.role.password
done(pid, r2.operations)
ok("role_create, roles, role, role_password_reset")

# databases
d = raw(retry_locked, c.database_create, pid, main, database={"name": "appdb", "owner_name": "app"})
assert d["database"]["owner_name"] == "app" and d["operations"], d
done(pid, d["operations"])
assert {"neondb", "appdb"} <= {x.name for x in c.databases(pid, main).databases} and c.database(pid, main, "appdb").database.name == "appdb"
d = raw(retry_locked, c.database_update, pid, main, "appdb", database={"name": "appdb2"})
assert d["database"]["name"] == "appdb2"
done(pid, d["operations"])
fails(404, lambda: c.database(pid, main, "appdb"))
uri = c.connection_uri(pid, "appdb2", "app").uri
assert uri.startswith("postgresql://app:") and "/appdb2" in uri, uri
ok("database_create, databases, database, database_update, connection_uri; the old name is 404")
d = raw(retry_locked, c.database_delete, pid, main, "appdb2")
done(pid, d["operations"])
done(pid, retry_locked(c.role_delete, pid, main, "app").operations)
fails(404, lambda: c.role(pid, main, "app"))
ok("database_delete, role_delete")

# endpoints
eps = c.endpoints(pid).endpoints
assert {e.branch_id for e in eps} == {main, dev}, eps
e = retry_locked(c.endpoint_create, pid, endpoint={"branch_id": main, "type": "read_only"})
assert e.endpoint.type.value == "read_only" and e.operations
done(pid, e.operations)
ep = e.endpoint.id
assert retry_locked(c.endpoint_update, pid, ep, endpoint={"suspend_timeout_seconds": 120}).endpoint.suspend_timeout_seconds == 120
done(pid, retry_locked(c.endpoint_suspend, pid, ep).operations)
assert c.endpoint(pid, ep).endpoint.current_state.value == "idle"
done(pid, retry_locked(c.endpoint_start, pid, ep).operations)
assert c.endpoint(pid, ep).endpoint.current_state.value == "active"
done(pid, retry_locked(c.endpoint_delete, pid, ep).operations)
fails(404, lambda: c.endpoint(pid, ep))
ok("endpoint_create, endpoints, endpoint_update, suspend, start, endpoint_delete")

# operations
got, n = pages(c.operations, "operations", 2, pid)
assert len({o["id"] for o in got}) == len(got) and {o["id"] for o in made["operations"]} <= {o["id"] for o in got} and n >= 2
fails(404, lambda: c.operation(pid, "00000000-0000-4000-8000-000000000000"))
ok(f"operations over {n} pages; an unknown one is 404")

# the end
done(pid, retry_locked(c.branch_delete, pid, dev).operations)
fails(404, lambda: c.branch(pid, dev))
ok("branch_delete")
for x in (pid, *(p.id for p in others)):
    assert retry_locked(c.project_delete, x).project.id == x
fails(404, lambda: c.project(pid))
ok("project_delete")
print(f"{count} passed, 0 failed")
