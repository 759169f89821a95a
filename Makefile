# All that a person or a gate does with this repository. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The programs that the demo runs, built for speed.
RELEASE := target/release
NEXTEST_VERSION := 0.9.143

# Runs a command in a sandbox of its own, started by the programs in a folder.
in_sandbox = dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; $(1)/auditstorm-sandbox up --dir "$$dir" --

.PHONY: help
help: ## List what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

.PHONY: demo
demo: release ## Run the main job end to end on real servers: two minutes after the build
	$(RELEASE)/auditstorm-sandbox setup
	@deploy/sandbox/demo.sh $(RELEASE)

.PHONY: test
test: check deny build setup bench-smoke nextest ## Check form, lints and docs, and run all tests on real servers
	cargo test --doc --workspace --locked --quiet
	cargo nextest run --workspace --no-fail-fast

.PHONY: check
check: ## Check form, lints and documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

.PHONY: deny
deny: ## Check licenses, versions and sources of all dependencies
	@.ci/deny licenses bans sources

.PHONY: advisories
advisories: ## Ask for known faults of dependencies, where the list of advisories can be reached
	@.ci/deny advisories

.PHONY: bench
bench: bench-make-events bench-distances bench-post-single bench-post-batch bench-generator-memory \
       bench-query bench-backfill-insert bench-accounts-1e9 bench-reconcile-10m \
       bench-scan-stream bench-read-page bench-capacity bench-compare bench-verdicts \
       bench-readers ## Run all benches; each prints a line `bench NAME …`

.PHONY: bench-make-events
bench-make-events: ## Making events against copying memory
	cargo bench --quiet -p events --bench make_events

.PHONY: bench-distances
bench-distances: ## Shares and sizes of events against the published ones
	cargo bench --quiet -p events --bench distances

.PHONY: bench-post-single
bench-post-single: release bench-setup ## Posting single events, against k6 and wrk
	cargo bench --quiet -p auditstorm-generator --bench post -- single

.PHONY: bench-post-batch
bench-post-batch: release bench-setup ## Posting lists of 400 events, against k6, and making + wrk
	cargo bench --quiet -p auditstorm-generator --bench post -- batch

.PHONY: bench-generator-memory
bench-generator-memory: release bench-setup ## Memory of the generator at 50,000 events a second
	cargo bench --quiet -p auditstorm-generator --bench post -- memory

.PHONY: bench-query
bench-query: release bench-setup ## Asking and checking the answers, against k6, and memory with 500 users
	cargo bench --quiet -p auditstorm-generator --bench post -- query

.PHONY: bench-backfill-insert
bench-backfill-insert: release ## Loading 10 million rows, against the server's own INSERT SELECT
	$(RELEASE)/auditstorm-sandbox setup
	@$(call in_sandbox,$(RELEASE)) cargo bench --quiet -p auditstorm-backfill --bench insert

.PHONY: bench-accounts-1e9
bench-accounts-1e9: ## From a ledger to accounts: a billion events of 65,000 tenants, in time and memory
	cargo bench --quiet -p auditstorm-verifier --bench accounts_1e9

.PHONY: bench-reconcile-10m
bench-reconcile-10m: release ## Loading and reconciling 10 million rows
	$(RELEASE)/auditstorm-sandbox setup
	@$(call in_sandbox,$(RELEASE)) cargo bench --quiet -p auditstorm-verifier --bench reconcile_10m

.PHONY: bench-scan-stream
bench-scan-stream: release ## Reading the IDs of a stream's messages, against a bare consumer of headers
	$(RELEASE)/auditstorm-sandbox setup
	@$(call in_sandbox,$(RELEASE)) cargo bench --quiet -p auditstorm-verifier --bench scan_stream

.PHONY: bench-read-page
bench-read-page: ## Reading a page of the query API's answer, against parsing it as JSON
	cargo bench --quiet -p queries --bench read_page

.PHONY: bench-capacity
bench-capacity: ## Searching the highest sustained rate of 1,000 simulated pipelines, whose limit is known
	cargo bench --quiet -p capacity --bench capacity

.PHONY: bench-compare
bench-compare: ## How often comparing runs is wrong: equal runs called worse, worse runs missed
	cargo bench --quiet -p auditstorm-verifier --bench compare

# Some seeds take minutes, in which they mostly wait. It goes on where it was stopped.
.PHONY: bench-verdicts
bench-verdicts: release ## Verdicts on 1,000 random runs in random storms, against the truth; resumable
	$(RELEASE)/auditstorm-sandbox setup
	cargo bench --quiet -p tests --bench verdicts

.PHONY: bench-readers
bench-readers: release ## Reading 50 random runs back, and querying them, against the truth; resumable
	$(RELEASE)/auditstorm-sandbox setup
	cargo bench --quiet -p tests --bench verdicts -- --readers

# Runs a bench unoptimized. With the whole workspace in view nothing is built for it alone.
SMOKE := cargo bench --quiet --profile dev --workspace --bench

.PHONY: bench-smoke
bench-smoke: build setup ## Run every bench once, unoptimized and small: do they still work?
	AUDITSTORM_BENCH_EVENTS=1000 $(SMOKE) make_events
	AUDITSTORM_BENCH_EVENTS=20000 $(SMOKE) distances
	AUDITSTORM_BENCH_EVENTS=1000000 $(SMOKE) accounts_1e9
	AUDITSTORM_BENCH_EVENTS=100 $(SMOKE) read_page
	AUDITSTORM_BENCH_SEEDS=10 $(SMOKE) capacity
	AUDITSTORM_BENCH_PAIRS=4 $(SMOKE) compare >/dev/null
	@for part in single batch memory query; do AUDITSTORM_BENCH_SECONDS=1 $(SMOKE) post -- $$part; done
	$(SMOKE) verdicts -- --gate --seed 0 >/dev/null
	@for bench in insert reconcile_10m scan_stream; do \
	  ( $(call in_sandbox,target/debug) env AUDITSTORM_BENCH_ROWS=20000 $(SMOKE) $$bench ); done

.PHONY: bench-setup
bench-setup: ## Fetch what the benches of posting and asking measure against into .sandbox
	@generator/benches/post/setup.sh .sandbox/bench-peers

.PHONY: setup
setup: build ## Fetch the servers of the sandbox into .sandbox, and what the tests need
	target/debug/auditstorm-sandbox setup
	@tests/setup.sh

# With tests and benches in view, dependencies are built once for all: else some are built again
# with the features that only tests ask for.
.PHONY: build
build: ## Build all programs, tests and benches
	cargo build --workspace --all-targets --locked

.PHONY: release
release: ## Build all programs for speed
	cargo build --workspace --release --locked

PREFIX ?= $(HOME)/.local

.PHONY: install-extras
install-extras: ## Write shell completions and man pages into PREFIX/share (PREFIX is ~/.local by default)
	cargo run --quiet --locked --example extras -- "$(PREFIX)/share"

.PHONY: nextest
nextest:
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest@$(NEXTEST_VERSION)
