# Two commands are enough: `make run` shows gipam at work on this machine's Docker Engine, `make test` proves it.

CARGO ?= cargo
# Words after it choose scenarios and engines: make engines SCENARIOS="takeover --engine 28"
SCENARIOS ?=

.PHONY: build run demo check test engines units faults torture page bench bench-check load deb dist plugin packages reproducible arm64

# The program for use: target/package/gipam. The same one is run below, installed by docs/install.md, and packed.
build:
	GIPAM_MACHINE="$(MACHINE)" scripts/package.sh program

# Builds gipam, starts it with a dual-stack network and two containers, shows the books, serves until Ctrl-C and says what to
# type meanwhile. Leaves nothing behind.
run:
	scripts/demo.sh run

# The same, ending by itself: exit code 0 only if every step was true.
demo:
	scripts/demo.sh demo

# The fast part: format, lints, and the tests that need no Docker Engine.
check:
	scripts/check.sh

# Every scenario on every Docker Engine that Debian's suites hold.
engines:
	$(CARGO) test --locked --quiet --test engines -- $(SCENARIOS)

# The units, and every command of docs/install.md, on machines whose first process is systemd.
units:
	$(CARGO) test --locked --quiet --test units -- $(SCENARIOS)

# The page in a real Chromium (Debian's, in a root of its own). GIPAM_SCREENSHOTS=DIRECTORY keeps pictures of it.
page:
	$(CARGO) test --locked --quiet --test page -- $(SCENARIOS)

# target/package: a Debian package; a tarball with an install script; a directory for docker plugin create. The same bytes
# from the same sources. For arm64, in target/package/aarch64: make deb MACHINE=aarch64
MACHINE ?=
deb dist plugin:
	GIPAM_MACHINE="$(MACHINE)" scripts/package.sh $@

# The packages in fresh roots of every Debian suite, and on machines whose first process is systemd.
packages: override MACHINE :=
packages: deb dist plugin
	$(CARGO) test --locked --quiet --test packages -- $(SCENARIOS)

# Builds the packages' program here and once more, from nothing, in another directory, and compares the bytes.
reproducible:
	GIPAM_MACHINE="$(MACHINE)" scripts/package.sh $@

# All three packages for arm64, and their program at work, emulated by qemu where this machine is another (needs root).
arm64:
	scripts/arm64.sh

# The real daemon killed, cut off from its disk, starved and flooded, a few times each (needs root; see docs/reliability.md).
faults:
	scripts/torture.sh --short

# The same at length, with the plan's model, every interleaving and the fuzz targets: a table, then "N passed, N failed".
# WORDS choose rows: make torture WORDS=power_cut
WORDS ?=
torture:
	scripts/torture.sh --long $(WORDS)

# What it costs, against bare loops and other plugins: docs/benchmarks.md, on a machine that does nothing else.
# make bench PEERS="--peer NAME=/run/docker/plugins/NAME.sock"
PEERS ?=
bench:
	scripts/bench.sh run $(PEERS)

# No call costs more than its budget of instructions, or more the more there is. Times nothing.
bench-check:
	scripts/bench.sh check

# Load on any IPAM plugin: make load WORDS="--socket /run/docker/plugins/NAME.sock"
load:
	scripts/bench.sh load $(WORDS)

# Everything, step by step, and at the end what each took. STEPS chooses: make test STEPS="build check"
STEPS ?=
test:
	scripts/suite.sh $(STEPS)
