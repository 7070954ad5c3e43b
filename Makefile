# The verbs of Gatehouse. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr/local
DESTDIR ?=
FILTER ?=
NAME ?=
SECS ?= 60
SEEDS ?= 100000
PEERS ?=
SCENARIOS ?=
ROUNDS ?= 5
SCALE ?= 1
IDLE ?= 120
LOADED ?= 60
SEED ?=
PICTURES ?=

# Debian packages, by what needs them. The Swift toolchain (6.3) comes from swift.org.
BUILD_PACKAGES := libssl-dev libnghttp2-dev libjemalloc-dev libyaml-dev libsodium-dev libsqlite3-dev libcurl4-openssl-dev
DEMO_PACKAGES := $(BUILD_PACKAGES) openssl curl python3 python3-aiosmtpd
TEST_PACKAGES := $(DEMO_PACKAGES) gcc libc6-dev nghttp2-client nginx-light wrk python3-pytest python3-pytest-xdist python3-h2 python3-grpcio python3-websockets python3-jwt python3-cryptography python3-pip systemd
BENCH_PACKAGES := binutils strace valgrind
# Peers come when the load tests are asked for, from Benchmarks/Load/targets.py.
LOAD_PACKAGES := $(BENCH_PACKAGES) gcc libc6-dev libssl-dev libnghttp2-dev openssl nghttp2-client python3 python3-pip python3-cryptography
PACKAGES ?= $(TEST_PACKAGES) $(BENCH_PACKAGES)

# The gateway has scratch folders of its own: a manifest without the services resolves other packages, and one folder
# for both would fetch and build them again at each change.
# The manifest looks at which folders exist, which the cache of manifests does not know.
STRICT := --explicit-target-dependency-import-check error --manifest-cache none
GATEWAY := GATEHOUSE_GATEWAY_ONLY=1 swift
RELEASE_FLAGS := -c release --static-swift-stdlib $(STRICT) --scratch-path .build-gateway
ASAN_FLAGS := --sanitize=address $(STRICT) --scratch-path .build-asan
TSAN_FLAGS := --sanitize=thread $(STRICT) --scratch-path .build-tsan
# The kernel is one in memory; assertions stay on.
SIMULATION_FLAGS := -c release -Xswiftc -assert-config -Xswiftc Debug $(STRICT) --scratch-path .build-simulation
SIMULATION := GATEHOUSE_SIMULATION=1 $(GATEWAY)
BIN := $(CURDIR)/.build-gateway/release
# Tests of the running gateway wait more than they work: several at a time, those that measure by themselves.
TEST_JOBS ?= 4
PYTEST := /usr/bin/python3 -B -m pytest -p no:cacheprovider -q $(if $(filter-out 1,$(TEST_JOBS)),-n $(TEST_JOBS))
LINTED := Package.swift Sources Tests Benchmarks/Micro

# ThreadSanitizer's memory map collides with a kernel that randomises more bits than it knows; some containers refuse
# the call that turns this off, and there it is tried without.
NO_ASLR := $(shell setarch -R true 2>/dev/null && echo setarch -R)
# Unit tests that run at the same time. Swift Testing begins all thousand at once by itself: on two processors each `await` of
# one then stands behind all others, and a time limit of seconds in a service or a client, which would be long for it alone,
# runs out.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH := 8
# A leak at exit is not looked for: the runtime and a process that ends by a signal keep memory on purpose.
export ASAN_OPTIONS := detect_leaks=0:abort_on_error=0:exitcode=99
export TSAN_OPTIONS := halt_on_error=1:exitcode=99

.PHONY: help deps build release services test integration conformance page-test platform-test api-test guards-planted testssl refusal-sites acceptance lint format asan tsan \
	fuzz fuzz-all hot-path-gate simulation simulation-planted bench-smoke bench-gate bench-gate-planted bench-tokens load load-all count soak micro limit-flood flames reasons bench-platform search-figures demo dev ci install install-services install-services-built install-units

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' Makefile

deps: ## install the Debian packages that are missing
	@if ! command -v dpkg-query >/dev/null; then echo "Not Debian: please have $(PACKAGES)"; exit 0; fi; \
	missing=(); for package in $(PACKAGES); do \
		state=$$(dpkg-query -W -f='$${db:Status-Status}' $$package 2>/dev/null || true); \
		[ "$$state" = installed ] || missing+=($$package); done; \
	[ $${#missing[@]} -gt 0 ] || exit 0; \
	echo "Installing $${missing[*]}"; root=; [ $$(id -u) -eq 0 ] || root=sudo; \
	$$root apt-get update -qq; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null

build: ## everything, debug
	swift build $(STRICT)

release: ## the gateway, release, Swift linked in: .build-gateway/release
	$(GATEWAY) build $(RELEASE_FLAGS)

services: ## the reference services: .build/debug/gatehouse-services
	swift build $(STRICT) --product gatehouse-services

test: ## all tests, after what they need is installed; FILTER=RegExp for some of the unit tests alone
	@$(MAKE) deps PACKAGES='$(TEST_PACKAGES)'
	swift test $(STRICT) $(if $(FILTER),--filter '$(FILTER)')
	$(if $(FILTER),,$(MAKE) integration conformance)

# Beside the gateway in a test, in a folder of its own: it wants a newer `cryptography` than Debian's.
JOSERFC := .build/joserfc
JOSERFC_PACKAGES := joserfc==1.8.0 cryptography==50.0.2
.PHONY: joserfc
joserfc: ## another implementation of tokens, for one of the tests, from the Python package index
	@[ "$$(cat $(JOSERFC)/versions 2>/dev/null)" = "$(JOSERFC_PACKAGES)" ] || { set -e; \
		echo "Installing $(JOSERFC_PACKAGES) into $(JOSERFC)"; rm -rf $(JOSERFC) $(JOSERFC).new; mkdir -p $(JOSERFC).new; \
		/usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --only-binary :all: \
			--target $(JOSERFC).new $(JOSERFC_PACKAGES); \
		echo "$(JOSERFC_PACKAGES)" >$(JOSERFC).new/versions; mv $(JOSERFC).new $(JOSERFC); }

integration: release joserfc ## tests of the running gateway; FILTER=words for some of them
	GATEHOUSE_BIN=$(BIN)/gatehouse $(PYTEST) Tests/Integration $(if $(FILTER),-k '$(FILTER)')

conformance: release ## what RFC 9110, 9112 and 9113 ask, clause by clause, of the running gateway; FILTER=words for some
	GATEHOUSE_BIN=$(BIN)/gatehouse $(PYTEST) Tests/ConformanceTests $(if $(FILTER),-k '$(FILTER)')

page-test: release services ## the web page in headless Chromium, which is installed; PICTURES=folder for pictures of it
	@$(MAKE) deps PACKAGES='openssl python3-pytest python3-cryptography python3-h2 chromium fonts-dejavu-core'
	GATEHOUSE_BIN=$(BIN)/gatehouse GATEHOUSE_SERVICES=$(CURDIR)/.build/debug/gatehouse-services PICTURES=$(PICTURES) \
		$(PYTEST) -n 0 -rs Tests/Page $(if $(FILTER),-k '$(FILTER)')

platform-test: release services ## the services behind the gateway, each a process, some of them killed: GATEHOUSE_FULL=1 for a minute of it
	GATEHOUSE_BIN=$(BIN)/gatehouse GATEHOUSE_SERVICES=$(CURDIR)/.build/debug/gatehouse-services $(PYTEST) -rP Tests/Platform $(if $(FILTER),-k '$(FILTER)')

# Schemathesis is not in Debian: it has a folder of its own, which is made anew when its list changes.
API_TEST := $(CURDIR)/.build-api-test
$(API_TEST)/done: Tests/Interface/requirements.txt
	@$(MAKE) deps PACKAGES='python3-venv python3-pytest python3-aiosmtpd'
	rm -rf $(API_TEST)
	/usr/bin/python3 -m venv $(API_TEST)
	$(API_TEST)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@

api-test: services $(API_TEST)/done ## each service against its own /openapi.json, by schemathesis; GATEHOUSE_FULL=1 for minutes of it
	GATEHOUSE_SERVICES=$(CURDIR)/.build/debug/gatehouse-services GATEHOUSE_SCHEMATHESIS=$(API_TEST)/bin/schemathesis SEED=$(SEED) \
		$(PYTEST) -n 0 -s Tests/Interface $(if $(FILTER),-k '$(FILTER)')

guards-planted: ## the test of each guard of the services fails when the guard is taken out: minutes; FILTER=words
	@Tests/Guards/run $(FILTER)

testssl: release ## what testssl.sh finds at a TLS listener, where it is installed: minutes
	GATEHOUSE_BIN=$(BIN)/gatehouse $(PYTEST) -rs Tests/Scan

refusal-sites: ## which case fails when a refusal of HTTP, HTTP1 or HTTP2 is switched off, one after the other: minutes
	Tests/ConformanceTests/refusal-sites

acceptance: release joserfc ## the integration tests at full size: minutes, not seconds
	GATEHOUSE_BIN=$(BIN)/gatehouse GATEHOUSE_FULL=1 $(PYTEST) Tests/Integration Tests/ConformanceTests $(if $(FILTER),-k '$(FILTER)')

lint: ## formatting and style
	swift format lint --strict --parallel --recursive --configuration .swift-format $(LINTED)
	@for script in .ci/run conf/demo/*.sh Tests/Fuzz/run Tests/SimulationTests/planted/run Benchmarks/gate/planted/run; do bash -n $$script; done

format: ## put the sources into the house format
	swift format --in-place --parallel --recursive --configuration .swift-format $(LINTED)

asan: ## unit and integration tests under AddressSanitizer; UNIT=1 for the unit tests alone
	$(GATEWAY) build --build-tests $(ASAN_FLAGS)
	GATEHOUSE_SANITIZER=address $(GATEWAY) test --skip-build --skip HouseTests $(ASAN_FLAGS)
	$(if $(UNIT),,GATEHOUSE_SANITIZER=address GATEHOUSE_BIN=$(CURDIR)/.build-asan/debug/gatehouse $(PYTEST) Tests/Integration Tests/ConformanceTests)

tsan: ## unit and integration tests under ThreadSanitizer; UNIT=1 for the unit tests alone
	$(GATEWAY) build --build-tests $(TSAN_FLAGS)
	$(NO_ASLR) env GATEHOUSE_SANITIZER=thread $(GATEWAY) test --skip-build --skip HouseTests $(TSAN_FLAGS)
	$(if $(UNIT),,GATEHOUSE_SANITIZER=thread GATEHOUSE_BIN=$(CURDIR)/.build-tsan/debug/gatehouse $(NO_ASLR) $(PYTEST) Tests/Integration Tests/ConformanceTests)

fuzz: ## fuzz targets for SECS seconds each, after their committed inputs; NAME= for one of them, SECS=0 for those alone
	@Tests/Fuzz/run $(SECS) $(NAME)

fuzz-all: ## every fuzz target for 120 seconds
	@Tests/Fuzz/run 120

simulation: ## schedules of the worker in a kernel of our own: SEEDS= how many; SEED= shows one
	$(SIMULATION) build --product simulation $(SIMULATION_FLAGS)
	SWIFT_BACKTRACE=enable=no .build-simulation/release/simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

simulation-planted: ## the simulation must find each of six planted bugs
	@Tests/SimulationTests/planted/run

hot-path-gate: release ## no reference counting and no allocation in what a request runs
	/usr/bin/python3 -B Benchmarks/gate/hot-path-gate --self-test
	/usr/bin/python3 -B Benchmarks/gate/hot-path-gate $(BIN)/gatehouse

bench-smoke: release ## nginx and Gatehouse side by side, as a table
	/usr/bin/python3 -B Benchmarks/bench-smoke --bin $(BIN)

bench-gate: release ## cost of a request against the committed figures; ALLOW_NO_PMU=1 without hardware counters
	/usr/bin/python3 -B Benchmarks/bench-gate --bin $(BIN)

bench-gate-planted: release ## bench-gate must find each of two planted regressions: an allocation, a system call
	@$(MAKE) deps PACKAGES='$(BENCH_PACKAGES) python3-cryptography'
	@Benchmarks/gate/planted/run $(BIN)

bench-tokens: release ## what a request costs by its token, Gatehouse and HAProxy side by side
	@$(MAKE) deps PACKAGES='$(BENCH_PACKAGES) haproxy python3-cryptography'
	/usr/bin/python3 -B Benchmarks/bench-tokens --bin $(BIN) --beside haproxy

LOAD = /usr/bin/python3 -B Benchmarks/Load/load --bin $(BIN) --peers '$(PEERS)' --scenarios '$(SCENARIOS)' --rounds $(ROUNDS) --scale $(SCALE)

load: release ## five proxies and Gatehouse at the same jobs: PEERS=gatehouse,nginx SCENARIOS=S1,S4 ROUNDS=5
	@$(MAKE) deps PACKAGES='$(LOAD_PACKAGES)'
	$(LOAD)

count: release ## instructions of user and kernel space a request, in an emulated machine: PEERS=gatehouse,nginx SCENARIOS=S1,S4
	@$(MAKE) deps PACKAGES='$(LOAD_PACKAGES) qemu-system-x86'
	$(LOAD) --rounds 0 --only emulated --out Benchmarks/Results/count

load-all: release ## every scenario there is; goes on where it was cut short
	@$(MAKE) deps PACKAGES='$(LOAD_PACKAGES)'
	$(LOAD) --all --resume

soak: release ## the gateway idle for IDLE minutes (120), then under a gentle load for LOADED minutes (60): memory, descriptors, CPU
	@$(MAKE) deps PACKAGES='$(LOAD_PACKAGES)'
	/usr/bin/python3 -B Benchmarks/Load/soak --bin $(BIN) --idle $(IDLE) --loaded $(LOADED)

micro: release ## what the parts of a request cost alone, in instructions; FILTER='NAME ...' for some of them
	@$(MAKE) deps PACKAGES='$(BENCH_PACKAGES)'
	/usr/bin/python3 -B Benchmarks/bench-micro --bin $(BIN) $(FILTER)

flames: release ## flame graphs of S1, S3 and S4, and whose code the time and the instructions are: some minutes
	@$(MAKE) deps PACKAGES='$(LOAD_PACKAGES) linux-perf'
	/usr/bin/python3 -B Benchmarks/flames --bin $(BIN)

limit-flood: release ## five million clients that are new, at the table of limits, while a busy one is held to its rate
	$(BIN)/gatehouse-micro limit-flood 5000000

reasons: release ## write the article of all reasons anew, from the registry
	.build-gateway/release/gatehouse reasons --format markdown > Sources/Proxy/Proxy.docc/Reasons.md

bench-platform: ## jobs, events and tokens a second, and the memory of the reference services (release): some minutes
	swift build -c release $(STRICT) --scratch-path .build-services --product platform-figures
	swift build -c release $(STRICT) --scratch-path .build-services --product gatehouse-services
	/usr/bin/python3 -B Benchmarks/bench-platform --bin .build-services/release

search-figures: ## how long a search takes over 100,000 documents: some minutes
	GATEHOUSE_FULL=1 swift test $(STRICT) --filter SearchFiguresTests

demo: ## see it work: certificates, services, gateway; ONCE=1 ends it again and judges each step
	@$(MAKE) deps PACKAGES='$(DEMO_PACKAGES)'
	@echo "Building the gateway (release) and the reference services; the first time takes some minutes."
	@$(MAKE) release
	@$(MAKE) services
	@ONCE=$(ONCE) conf/demo/demo.sh $(BIN)/gatehouse .build/debug/gatehouse-services

dev: ## the gateway (debug) before the reference services, until Ctrl-C
	@$(MAKE) build
	@conf/demo/demo.sh --dev .build/debug/gatehouse .build/debug/gatehouse-services

ci: ## all of the above, as the build machine runs it
	@.ci/steps

install: release ## the gateway, the units and the example configuration; DESTDIR= PREFIX=
	install -D -m 0755 -s $(BIN)/gatehouse $(DESTDIR)$(PREFIX)/bin/gatehouse
	install -d $(DESTDIR)$(PREFIX)/share/gatehouse
	install -m 0644 conf/*.yaml $(DESTDIR)$(PREFIX)/share/gatehouse/
	@$(MAKE) install-units

install-services: ## the reference services (release), and the units; minutes the first time; DESTDIR= PREFIX=
	swift build -c release --static-swift-stdlib $(STRICT) --scratch-path .build-services --product gatehouse-services
	@$(MAKE) install-services-built SERVICES=.build-services/release/gatehouse-services

install-services-built: ## the reference services that SERVICES= names, and the units; DESTDIR= PREFIX=
	install -D -m 0755 -s $(SERVICES) $(DESTDIR)$(PREFIX)/bin/gatehouse-services
	@$(MAKE) install-units

install-units: ## the systemd units alone; DESTDIR= PREFIX=
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in systemd/*; do \
		sed 's|/usr/local/bin|$(PREFIX)/bin|' "$$unit" > "$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit#systemd/}"; done
