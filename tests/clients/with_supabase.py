#!/usr/bin/env python3
"""Drives a Supabase Management API with the Supabase CLI.
Env: SUPABASE_CLI (binary), SB_URL (no /v1), SB_TOKEN (sbp_ + 40 hex digits), SB_ORG (slug)."""
import json, os, shutil, subprocess, tempfile, time

CLI, URL, TOKEN, ORG = (os.environ[k] for k in ("SUPABASE_CLI", "SB_URL", "SB_TOKEN", "SB_ORG"))
REGION = os.environ.get("SB_REGION", "eu-central-1")
DIR = tempfile.mkdtemp(prefix="supabase-driver-")
count = 0


def ok(what):
    global count
    count += 1
    print("ok", what, flush=True)


with open(f"{DIR}/profile.yaml", "w") as f:
    f.write(f"name: sim\napi_url: {URL}\ndashboard_url: {URL}/dashboard\ndocs_url: {URL}/docs\n"
            "project_host: supabase.invalid\npooler_host: pooler.invalid\n")


def cli(*args, token=TOKEN, rc=0):
    """Runs one command; returns the parsed JSON of standard output."""
    # A work tree of its own each time: the CLI keeps supabase/.temp/linked-project.json there.
    work = tempfile.mkdtemp(dir=DIR)
    env = {"PATH": "/usr/bin:/bin", "HOME": f"{DIR}/home", "SUPABASE_ACCESS_TOKEN": token, "SUPABASE_NO_KEYRING": "1",
           "SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1", "SUPABASE_NO_UPDATE_NOTIFIER": "1"}
    os.makedirs(env["HOME"], exist_ok=True)
    p = subprocess.run([CLI, "--profile", f"{DIR}/profile.yaml", "--workdir", work, "--agent", "no", "--yes", "--experimental",
                        "--output-format", "json", *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert p.returncode == rc, (args, p.returncode, p.stdout, p.stderr)
    return json.loads(p.stdout)


def fails(code, text, *args, **kw):
    a = cli(*args, rc=1, **kw)
    assert a["_tag"] == "Error" and a["error"]["code"] == code and text in a["error"]["message"], a


try:
    fails("OrgsListUnexpectedStatusError", "status 401", "orgs", "list", token="sbp_" + "0" * 40)
    fails("ProjectsListUnexpectedStatusError", "", "projects", "list", token="sbp_" + "0" * 40)
    ok("a wrong token fails orgs list (401) and projects list")
    orgs = cli("orgs", "list")["organizations"]
    assert ORG in [o["slug"] for o in orgs], orgs
    ok("orgs list")

    create = lambda name, *more: cli("projects", "create", name, "--org-id", ORG, "--db-password", "Pw-0123456789", "--region", REGION, *more)
    p = create("demo")
    ref = p["ref"]
    assert len(ref) == 20 and p["name"] == "demo" and p["organization_slug"] == ORG and p["region"] == REGION and p["status"] == "COMING_UP", p
    more = create("second", "--size", "small")
    ok("projects create, also with --size")
    fails("ProjectsCreateUnexpectedStatusError", "", "projects", "create", "demo", "--org-id", "zzzzzzzzzzzzzzzzzzzz",
          "--db-password", "Pw-0123456789", "--region", REGION)
    ok("projects create in an unknown organization fails")
    for _ in range(200):
        listed = {x["ref"]: x for x in cli("projects", "list")["projects"]}
        if listed[ref]["status"] == "ACTIVE_HEALTHY":
            break
        time.sleep(0.05)
    assert more["ref"] in listed and listed[ref]["status"] == "ACTIVE_HEALTHY", listed
    ok("projects list, until ACTIVE_HEALTHY")

    R = f"--remote={ref}"
    keys = cli("projects", "api-keys", R)["keys"]
    assert any(k["name"] == "anon" or k["type"] == "publishable" for k in keys), keys
    cli("projects", "api-keys", R, "--reveal")
    ok("projects api-keys, also with --reveal")

    before = cli("ssl-enforcement", "get", R)["currentConfig"]["database"]
    flag = "--disable-db-ssl-enforcement" if before else "--enable-db-ssl-enforcement"
    assert cli("ssl-enforcement", "update", R, flag)["currentConfig"]["database"] is (not before)
    assert cli("ssl-enforcement", "get", R)["currentConfig"]["database"] is (not before)
    ok("ssl-enforcement get, update, get")

    cli("network-restrictions", "get", R)
    a = cli("network-restrictions", "update", R, "--db-allow-cidr", "203.0.113.0/24", "--db-allow-cidr", "2001:db8:5::/48")
    assert a["config"] == {"dbAllowedCidrs": ["203.0.113.0/24"], "dbAllowedCidrsV6": ["2001:db8:5::/48"]}, a
    assert cli("network-restrictions", "get", R)["config"]["dbAllowedCidrs"] == ["203.0.113.0/24"]
    ok("network-restrictions get, update, get")

    cli("postgres-config", "update", R, "--config", "max_connections=90", "--config", "statement_timeout=60s")
    a = cli("postgres-config", "get", R)
    assert a["max_connections"] == 90 and a["statement_timeout"] == "60s", a
    cli("postgres-config", "delete", R, "--config", "statement_timeout", "--no-restart")
    a = cli("postgres-config", "get", R)
    assert "statement_timeout" not in a and a["max_connections"] == 90, a
    ok("postgres-config update, get, delete")

    cli("secrets", "set", R, "A_KEY=1", "B_KEY=2")
    a = cli("secrets", "list", R)["secrets"]
    assert {s["name"] for s in a} >= {"A_KEY", "B_KEY"}, a
    cli("secrets", "unset", R, "A_KEY")
    assert "A_KEY" not in {s["name"] for s in cli("secrets", "list", R)["secrets"]}
    ok("secrets set, list, unset")

    a = cli("projects", "delete", ref)
    cli("projects", "delete", more["ref"])
    # It is listed for a while, on its way out.
    while left := [x for x in cli("projects", "list")["projects"] if x["ref"] == ref]:
        assert left[0]["status"] == "GOING_DOWN", left
    ok("projects delete, until it is listed no more")
    fails("ProjectsDeleteNotFoundError", "Project does not exist", "projects", "delete", ref)
    fails("SslEnforcementGetUnexpectedStatusError", "status 404", "ssl-enforcement", "get", R)
    ok("projects delete of a missing project is ProjectsDeleteNotFoundError; ssl-enforcement of it 404")
finally:
    shutil.rmtree(DIR, ignore_errors=True)
print(f"{count} passed, 0 failed")
