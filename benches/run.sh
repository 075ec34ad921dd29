#!/bin/sh
# The numbers of docs/benchmarks.md: start, plan, memory, the wizard, and the no-op host pass beside a bare ssh, ansible-core and
# pyinfra.
set -eu
cd "$(dirname "$0")/.."
landfall=$PWD/target/release/landfall
work=$(mktemp -d)
simulator=
trap 'test -z "$simulator" || kill "$simulator"; wait 2>/dev/null || :; rm -rf "$work"' EXIT INT TERM

# simulate OPTION…: starts the simulator and waits for its line of JSON.
simulate() {
    rm -f "$work/ready"
    "$landfall" simulate "$@" >"$work/ready" 2>"$work/simulator.log" &
    simulator=$!
    until [ -s "$work/ready" ]; do
        kill -0 "$simulator" 2>/dev/null || { cat "$work/simulator.log"; exit 1; }
        sleep 0.2
    done
    LANDFALL_HETZNER_URL=$(sed 's/.*"url":"\([^"]*\)".*/\1/' "$work/ready")
    HCLOUD_TOKEN=$(sed 's/.*"token":"\([^"]*\)".*/\1/' "$work/ready")
    export LANDFALL_HETZNER_URL HCLOUD_TOKEN
}

export XDG_STATE_HOME="$work/state"
echo "== start and plan, whole process"
simulate
hyperfine --shell=none --warmup 5 --runs 50 --style none --export-json "$work/start.json" \
    "$landfall --version" "$landfall plan benches/six-steps.toml"
sed -n 's/^ *"command": "[^ ]*landfall \(.*\)",/\1/p; s/^ *"median": \(.*\),/  median \1 s/p' "$work/start.json"

echo "== plan of many apps on one server, whole process"
# apps NUMBER: a playbook with so many apps.
apps() {
    sed '/^\[\[step\]\]/,$d' benches/six-steps.toml
    printf '[[step]]\nuse = "server"\nid = "web"\nprovider = "hetzner"\nlocation = "fsn1"\nsize = "cx23"\nkeys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me"]\n\n[[step]]\nuse = "docker"\non = "web"\n\n'
    i=0
    while [ "$i" -lt "$1" ]; do
        printf '[[step]]\nuse = "app"\nid = "app%d"\non = "web"\nimage = "registry.test/acme:1"\nport = 3000\nlisten = %d\nhost = "a%d.acme.dev"\nhealth = "/up"\n\n[step.env]\nA = "x"\nKEY = { secret = "k%d", generate = 32 }\n\n' "$i" "$((10000 + i))" "$i" "$i"
        i=$((i + 1))
    done
    printf '[[step]]\nuse = "proxy"\non = "web"\n'
}
for number in 100 200 500; do apps "$number" >"$work/apps-$number.toml"; done
hyperfine --shell=none --warmup 1 --runs 5 --style none --export-json "$work/many.json" \
    "$landfall plan $work/apps-100.toml" "$landfall plan $work/apps-200.toml" "$landfall plan $work/apps-500.toml"
sed -n 's/^ *"command": ".*apps-\([0-9]*\).toml",/\1 apps/p; s/^ *"median": \(.*\),/  median \1 s/p' "$work/many.json"
kill "$simulator"; wait "$simulator" 2>/dev/null || :; simulator=

echo "== peak memory of an apply, whole process"
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
export LANDFALL_SSH_KEY="$work/key"
mkdir "$work/site"
echo hello >"$work/site/index.html"
# A server, Docker, a static app and a proxy: everything but an image, which no registry may serve here.
cat >"$work/apply.toml" <<PLAYBOOK
schema = 1
name = "bench"
step = [
    { use = "server", id = "web", provider = "hetzner", location = "fsn1", size = "cx23", keys = ["$(cat "$work/key.pub")"] },
    { use = "docker", on = "web" },
    { use = "app", on = "web", static = "site", host = "pages.test" },
    { use = "proxy", on = "web" },
]
PLAYBOOK
simulate --hosts
/usr/bin/time -f '%M kB' "$landfall" apply "$work/apply.toml" --yes --quiet 2>"$work/memory" ||
    { cat "$work/memory"; exit 1; }
tail -n 1 "$work/memory"
kill "$simulator"; wait "$simulator" 2>/dev/null || :; simulator=

echo "== the wizard, in a terminal"
cargo bench --quiet --bench wizard

peers=target/peers
if [ "$(cat "$peers/installed" 2>/dev/null)" != "ansible-core 2.19.14, pyinfra 3.10.0" ]; then
    rm -rf "$peers"
    python3 -m venv "$peers"
    "$peers/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14 pyinfra==3.10.0
    echo "ansible-core 2.19.14, pyinfra 3.10.0" >"$peers/installed"
fi
echo "== no-op host pass"
cargo bench --quiet --bench host_pass
