# Two commands are enough: `make run` demonstrates gipam on this machine's Docker Engine, `make test` runs every test.

CARGO ?= cargo
# Selects scenarios and Engines: make engines SCENARIOS="takeover --engine 28"
SCENARIOS ?=

.PHONY: build run demo run-cluster demo-cluster run-edge demo-edge check test engines units faults torture page bench bench-check load deb dist plugin packages reproducible arm64

# Builds target/package/gipam. This is the program that the targets below run, that docs/install.md installs, and that
# the packages contain.
build:
	GIPAM_MACHINE="$(MACHINE)" scripts/package.sh program

# Builds gipam, starts it with a dual-stack network and two containers, shows the books, prints commands to try, and serves
# until Ctrl-C. Leaves nothing behind.
run:
	scripts/demo.sh run

# Does what `make run` does, but ends by itself; exit code 0 only if every step succeeded.
demo:
	scripts/demo.sh demo

# Demonstrates one address plan for three hosts, each a Docker Engine and a gipam in namespaces of this machine (needs root, on
# Debian; see docs/many-hosts.md). Serves until Ctrl-C and leaves nothing behind; demo-cluster ends by itself, as demo does.
run-cluster:
	scripts/cluster.sh run
demo-cluster:
	scripts/cluster.sh demo

# Demonstrates IPv6 at a provider's edge: a /64 on the link, and a prefix that changes (needs root, on Debian; see docs/ipv6.md).
# Serves until Ctrl-C and leaves nothing behind; demo-edge ends by itself, as demo does.
run-edge:
	scripts/edge.sh run
demo-edge:
	scripts/edge.sh demo

# Runs the fast part of `make test`: format, lints, and the tests that do not need a Docker Engine.
check:
	scripts/check.sh

# Runs every scenario on every Docker Engine in Debian's suites.
engines:
	$(CARGO) test --locked --quiet --test engines -- $(SCENARIOS)

# Tests the units, and every command of docs/install.md, on machines whose first process is systemd.
units:
	$(CARGO) test --locked --quiet --test units -- $(SCENARIOS)

# Tests the page in a real Chromium (Debian's, in its own root file system). GIPAM_SCREENSHOTS=DIRECTORY saves screenshots.
page:
	$(CARGO) test --locked --quiet --test page -- $(SCENARIOS)

# Builds in target/package: a Debian package; a tarball with an install script; a directory for docker plugin create. The
# same sources give the same bytes. For arm64, in target/package/aarch64: make deb MACHINE=aarch64
MACHINE ?=
deb dist plugin:
	GIPAM_MACHINE="$(MACHINE)" scripts/package.sh $@

# Tests the packages in fresh root file systems of every Debian suite, and on machines whose first process is systemd.
packages: override MACHINE :=
packages: deb dist plugin
	$(CARGO) test --locked --quiet --test packages -- $(SCENARIOS)

# Builds the program of the packages twice, here and from scratch in another directory, and compares the bytes.
reproducible:
	GIPAM_MACHINE="$(MACHINE)" scripts/package.sh $@

# Builds all three packages for arm64 and tests their program, emulated by qemu unless this machine is arm64 (needs root).
arm64:
	scripts/arm64.sh

# Kills the real daemon, cuts it off from its disk, starves and floods it, a few times each (needs root; see
# docs/reliability.md).
faults:
	scripts/torture.sh --short

# Runs the tests of `make faults` for longer, and also the plan's model, every interleaving and the fuzz targets; prints a
# table, then "N passed, N failed".
# WORDS selects rows: make torture WORDS=power_cut
WORDS ?=
torture:
	scripts/torture.sh --long $(WORDS)

# Measures gipam against bare loops and other plugins (docs/benchmarks.md); needs an otherwise idle machine.
# make bench PEERS="--peer NAME=/run/docker/plugins/NAME.sock"
PEERS ?=
bench:
	scripts/bench.sh run $(PEERS)

# Checks that no call needs more instructions than its budget, or more in larger books. Measures no times.
bench-check:
	scripts/bench.sh check

# Puts load on any IPAM plugin: make load WORDS="--socket /run/docker/plugins/NAME.sock"
load:
	scripts/bench.sh load $(WORDS)

# Runs everything, step by step, then prints the time of each step. STEPS selects steps: make test STEPS="build check"
STEPS ?=
test:
	scripts/suite.sh $(STEPS)
