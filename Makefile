# make rehearse   the main job on this machine, for nothing: a server, Docker, an app, a proxy, and all gone again
# make test       every test, those on real local hosts included
# make bench      the numbers in docs/benchmarks.md
# make lint       formatting and lints
#
# Each sets up what it needs: packages of the distribution and a Docker engine, on Debian and as root, or
# with Docker already there.

CARGO ?= cargo
PLAYBOOK ?= playbooks/solo-hetzner.toml

.PHONY: rehearse test bench lint setup

rehearse: setup
	$(CARGO) build --release --quiet
	./target/release/landfall rehearse $(PLAYBOOK)

test: setup lint
	LANDFALL_HOST_TESTS=1 $(CARGO) test --quiet

bench: setup
	$(CARGO) build --release --quiet
	sh benches/run.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --quiet --all-targets -- --deny warnings

setup:
	@sh tests/lab/setup.sh
