# make rehearse   the main job on this machine, for nothing: a server, Docker, an app, a proxy, and all gone again
# make test       every test, those on real local hosts included
# make chaos      the kill sweep and a thousand seeds of faults, for docs/reliability.md; takes about an hour
# make fuzz       ten minutes of input that nobody expects for each of five parsers; takes over an hour
# make bench      the numbers in docs/benchmarks.md
# make lint       formatting and lints
#
# Each sets up what it needs: packages of the distribution and a Docker engine, on Debian and as root, or
# with Docker already there.

CARGO ?= cargo
PLAYBOOK ?= playbooks/solo-hetzner.toml

.PHONY: rehearse test chaos fuzz deny bench lint setup

rehearse: setup
	$(CARGO) build --release --quiet
	./target/release/landfall rehearse $(PLAYBOOK)

test: setup lint deny
	LANDFALL_HOST_TESTS=1 $(CARGO) test --quiet

chaos: setup
	LANDFALL_HOST_TESTS=1 LANDFALL_CHAOS=1 LANDFALL_SEEDS=1000 $(CARGO) test --release --test it -- chaos:: kills:: --test-threads 1

fuzz:
	sh fuzz/run.sh

bench: setup
	$(CARGO) build --release --quiet
	sh benches/run.sh

# Licences, versions and sources of every dependency; known holes where the database of them can be reached.
deny: export PATH := $(CURDIR)/target/tools/bin:$(PATH)
deny: setup
	cargo deny --all-features check --hide-inclusion-graph licenses bans sources
	@cargo deny fetch db >/dev/null 2>&1 || { echo "SKIPPED: the database of known holes (RustSec) cannot be reached from here" >&2; exit 0; }; \
		cargo deny --all-features check advisories

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --quiet --all-targets -- --deny warnings

setup:
	@sh tests/lab/setup.sh
