#!/bin/sh
# Makes a fresh Debian machine able to rehearse and to run every test: packages, and a Docker engine.
# Run as root, or on a machine where Docker already answers. Running it again does nothing.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }
engine() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# What is needed, and the Debian package that brings it.
missing=
need() { have "$1" || missing="$missing $2"; }
need cc gcc
need make make
need perl perl
need ssh openssh-client
need curl curl
need debootstrap debootstrap
need hcloud hcloud-cli
need hyperfine hyperfine
need python3 python3
[ -x /usr/bin/time ] || missing="$missing time"
need dockerd docker.io
need npm npm
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
if engine; then missing=$(printf '%s' "$missing" | sed 's/ docker\.io//'); fi

if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "setup: these packages are missing:$missing (run as root, or install them)" >&2; exit 1; }
    echo "setup: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    # From Debian 13 on, the command `docker` is a package of its own.
    if ! have docker && apt-cache show docker-cli >/dev/null 2>&1; then missing="$missing docker-cli"; fi
    # Simulated databases are clusters of their own; one that runs all the time is not asked for.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    # shellcheck disable=SC2086 # a list of package names
    apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install --no-install-recommends $missing >/dev/null
fi

# Judges that come as Python packages, in an environment of their own.
judges=$(dirname "$0")/../../target/judges
if ! cmp -s "$(dirname "$0")/judges.txt" "$judges/installed"; then
    echo "setup: installing the outside judges"
    rm -rf "$judges"
    python3 -m venv "$judges" >/dev/null 2>&1 || {
        [ "$(id -u)" = 0 ] || { echo "setup: python3-venv is missing (run as root, or install it)" >&2; exit 1; }
        apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends python3-venv >/dev/null
        rm -rf "$judges"
        python3 -m venv "$judges"
    }
    "$judges/bin/pip" --quiet --disable-pip-version-check install --require-hashes --requirement "$(dirname "$0")/judges.txt"
    cp "$(dirname "$0")/judges.txt" "$judges/installed"
fi

# Clients written by others, which must work with our simulators.
here=$(dirname "$0")/../clients
clients=$(dirname "$0")/../../target/clients
if ! cat "$here/requirements.txt" "$here/package-lock.json" | cmp -s - "$clients/installed"; then
    echo "setup: installing other people's clients"
    rm -rf "$clients"
    mkdir -p "$clients"
    python3 -m venv "$clients/venv"
    "$clients/venv/bin/pip" --quiet --disable-pip-version-check install --require-hashes --requirement "$here/requirements.txt"
    cp "$here/package.json" "$here/package-lock.json" "$clients/"
    npm ci --prefix "$clients" --ignore-scripts --no-audit --no-fund --silent
    cat "$here/requirements.txt" "$here/package-lock.json" >"$clients/installed"
fi

# What judges the dependencies; built from source, which takes some minutes, once.
deny=0.20.2
tools=$(dirname "$0")/../../target/tools
if ! { cargo deny --version || "$tools/bin/cargo-deny" --version; } 2>/dev/null | grep -q "$deny"; then
    echo "setup: building cargo-deny (some minutes, once)"
    cargo install --quiet --locked --root "$tools" --version "$deny" cargo-deny
fi

if ! engine; then
    [ "$(id -u)" = 0 ] || { echo "setup: no Docker engine answers, and starting one needs root" >&2; exit 1; }
    echo "setup: starting the Docker engine"
    if [ -d /run/systemd/system ]; then
        systemctl start docker
    else
        # An engine that was killed leaves its process number behind, which may by now be somebody else's.
        pidof dockerd >/dev/null || rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid
        setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &
    fi
    tries=0
    until engine; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { tail -n 20 /var/log/dockerd.log >&2; echo "setup: the Docker engine did not come up" >&2; exit 1; }
        sleep 1
    done
fi
